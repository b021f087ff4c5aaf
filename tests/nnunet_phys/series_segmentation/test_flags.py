"""What is flagged about a mask, and what is not."""

import numpy as np
import pytest

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.series_segmentation.agreement import agreement, label_dice
from nnunet_phys.series_segmentation.flags import series_flags, shape_flags
from nnunet_phys.series_segmentation.fusion import weights

CODES = {name: code for name, code in LABELS.items() if code}


@pytest.fixture
def mask():
    """A slice with a whole ring, (rows, columns)."""
    return digital_heart(seed=5, slices=3, shape=(80, 72)).labels[1]


def centre(mask):
    return np.argwhere(mask == CODES["LV"]).mean(0).round().astype(int)


def cut_open(mask):
    """A quarter of the ring is gone."""
    row, column = centre(mask)
    mask[:row, column:][mask[:row, column:] == CODES["MYO"]] = 0


def split_cavity(mask):
    row, _ = centre(mask)
    mask[row - 1 : row + 2][mask[row - 1 : row + 2] == CODES["LV"]] = CODES["MYO"]


def no_wall(mask):
    mask[mask == CODES["MYO"]] = 0


def empty(mask):
    mask[:] = 0


def specks(mask):
    mask[2, 2] = CODES["MYO"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut_open, "myocardium surrounds"),
        (split_cavity, "LV is in 2 pieces"),
        (no_wall, "a cavity without myocardium"),
        (empty, "none of RV, MYO, LV in the mask"),
    ],
)
def test_broken_shapes_are_flagged(mask, damage, expected):
    assert shape_flags(mask, CODES) == []
    damage(mask)
    assert any(expected in flag for flag in shape_flags(mask, CODES))


def test_specks_are_not(mask):
    specks(mask)
    assert shape_flags(mask, CODES) == []


def test_other_labels_have_no_ring(mask):
    cut_open(mask)
    assert not [flag for flag in shape_flags(mask, {"scar": 1, "wall": 2, "blood": 3}) if "surrounds" in flag]


def test_images_that_disagree(mask):
    masks = np.stack([mask[None]] * 4 + [np.roll(mask, 14, 1)[None]] * 4)
    agreements = agreement(label_dice(masks, mask[None], 4))[:, 0]
    np.testing.assert_allclose(agreements[:4], 1)
    assert agreements[4:].max() < 0.5
    alike = np.full(8, 0.95)
    (flag,) = series_flags(agreements, alike, weights(alike[:, None])[:, 0])
    assert flag.startswith("images disagree with the mask (weighted Dice 0.")
    sure = np.where(np.arange(8) < 4, 0.97, 0.5)
    assert series_flags(agreements, sure, weights(sure[:, None])[:, 0]) == []


@pytest.mark.parametrize(("confidences", "flagged"), [([0.9, 0.9, 0.7, 0.6], True), ([0.9] * 3 + [0.1] * 4, False)])
def test_few_confident_images(confidences, flagged):
    flags = series_flags(
        np.ones(len(confidences)), np.array(confidences), np.full(len(confidences), 1 / len(confidences))
    )
    assert bool(flags) == flagged and all("images are confident" in flag for flag in flags)


def test_dice_of_what_is_absent():
    nothing, something = np.zeros((1, 1, 4, 4), int), np.ones((1, 1, 4, 4), int)
    assert np.isnan(label_dice(nothing, nothing[0], 3)).all()
    np.testing.assert_array_equal(agreement(label_dice(nothing, nothing[0], 3)), 1)
    np.testing.assert_array_equal(agreement(label_dice(something, nothing[0], 3)), 0)
