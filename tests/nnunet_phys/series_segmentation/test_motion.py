"""Motion between the images of a series: known shifts are found and undone, and a still heart stays untouched."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.series_segmentation.fusion import confidence
from nnunet_phys.series_segmentation.motion import find_motion

PIXEL_MM = (2.5, 2.5)
SHIFTS = np.array([(0, 0), (3.4, -2.0), (0, 0), (0, 0), (-1.6, 4.2), (0.3, -0.2), (0, 0)])


@pytest.fixture(scope="module")
def heart():
    """Without its apex, which is small."""
    whole = digital_heart(seed=5, slices=3, shape=(80, 72))
    return replace(whole, labels=whole.labels[:2], maps=whole.maps.map(lambda values: values[:2]))


def soft(labels, shifts):
    """Probabilities of the labels as a network gives them, displaced, (images, 4, slices, rows, columns)."""
    one_hot = np.stack([gaussian_filter((labels == code).astype(np.float32), (0, 0.5, 0.5)) for code in range(4)])
    moved = np.stack([shift(one_hot, (0, 0, *by), order=1, mode="nearest") for by in shifts])
    sharp = moved**4 + 1e-6  # a network's edges are sharp wherever they lie
    return sharp / sharp.sum(1, keepdims=True)


def test_known_shifts_are_found_within_a_fifth_of_a_pixel(heart):
    found = soft(heart.labels, SHIFTS)
    motion = find_motion(found, confidence(found), PIXEL_MM)
    assert motion.known.all()
    np.testing.assert_allclose(motion.shifts, np.broadcast_to(-SHIFTS[:, None], motion.shifts.shape), atol=0.2)
    assert motion.moved.all(1).tolist() == [False, True, False, False, True, False, False]


def test_an_image_is_brought_back_and_others_stay_the_same(heart):
    still = 300 * heart.maps.pd.numpy()
    still = gaussian_filter(still, (0, 1, 1))
    found = soft(heart.labels, SHIFTS)
    motion = find_motion(found, confidence(found), PIXEL_MM)
    moved = shift(still, (0, *SHIFTS[1]), order=3, mode="nearest")
    registered = motion.registered(1, moved)
    inside = heart.labels > 0
    assert np.abs(registered - still)[inside].mean() < 0.2 * np.abs(moved - still)[inside].mean()
    assert registered.min() >= moved.min() and registered.max() <= moved.max()
    assert np.array_equal(motion.registered(5, moved), moved)


def test_slices_move_on_their_own(heart):
    found = soft(heart.labels, np.zeros((5, 2)))
    found[2, :, 1] = soft(heart.labels, [(4, 0)])[0, :, 1]
    motion = find_motion(found, confidence(found), PIXEL_MM)
    assert np.argwhere(motion.moved).tolist() == [[2, 1]]


def test_images_that_are_not_sure_are_not_moved(heart):
    found = soft(heart.labels, SHIFTS)
    found[1] = 0.5 * found[1] + 0.5 / 4
    motion = find_motion(found, confidence(found), PIXEL_MM)
    assert not motion.known[1].any() and not motion.shifts[1].any() and motion.moved[4].all()


def test_a_heart_that_is_called_otherwise_is_not_moved(heart):
    found = soft(heart.labels, SHIFTS)
    found[1] = found[1][[0, 2, 3, 1]]  # labels exchanged
    assert not find_motion(found, confidence(found), PIXEL_MM).known[1].any()


def test_nothing_to_compare(heart):
    found = soft(np.zeros_like(heart.labels), np.zeros((3, 2)))
    motion = find_motion(found, confidence(found), PIXEL_MM)
    assert not motion.known.any() and not motion.moved.any()


def test_nothing_moves_where_few_images_tell_their_place(heart):
    found = soft(heart.labels, SHIFTS)
    found[:4] = 0.5 * found[:4] + 0.5 / 4
    motion = find_motion(found, confidence(found), PIXEL_MM)
    assert not motion.known.any() and not motion.shifts.any()
