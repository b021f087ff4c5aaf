"""Fusing the probabilities of a series: who counts how much, and what comes out."""

import numpy as np
import pytest

from nnunet_phys.series_segmentation.fusion import confidence, fuse, weights


def probabilities(masks, certainty):
    """Of three labels, (images, 3, slices, rows, columns): `certainty` for the label in a mask, the rest shared."""
    masks = np.asarray(masks)
    certainty = np.broadcast_to(np.asarray(certainty, np.float32), masks.shape[:1]).reshape(-1, *[1] * (masks.ndim - 1))
    return np.stack([np.where(masks == code, certainty, (1 - certainty) / 2) for code in range(3)], axis=1)


@pytest.fixture
def disc():
    """A disc of label 1 around one of label 2, (1, rows, columns)."""
    rows, columns = np.mgrid[:40, :48]
    distance = np.hypot(rows - 20, columns - 24)[None]
    return np.where(distance < 6, 2, np.where(distance < 11, 1, 0))


def test_one_sure_image_outweighs_many_that_doubt(disc):
    elsewhere = np.roll(disc, 12, axis=2)
    found = probabilities([disc, *[elsewhere] * 7], [0.98, *[0.5] * 7])
    shares = weights(confidence(found))
    assert shares[0, 0] > 0.5 and np.array_equal(fuse(found, shares).argmax(0), disc)
    alike = np.full_like(shares, 1 / len(shares))
    assert not np.array_equal(fuse(found, alike).argmax(0), disc)


def test_images_that_agree_are_left_as_they_are(disc):
    found = probabilities([disc] * 3, 0.9)
    shares = weights(confidence(found))
    fused = fuse(found, shares)
    np.testing.assert_allclose(shares, 1 / 3, rtol=1e-5)
    np.testing.assert_allclose(fused, found[0], rtol=1e-5)
    np.testing.assert_allclose(fused.sum(0), 1, rtol=1e-5)


def test_confidence_is_the_dice_to_be_expected(disc):
    """Masks drawn by the probabilities have that Dice with the most probable one, on average."""
    found = probabilities([disc], 0.8)
    rng, inside, dice = np.random.default_rng(0), disc == 1, []
    for _ in range(200):
        drawn = rng.random(disc.shape) < found[0, 1]
        dice.append(2 * (inside & drawn).sum() / (inside.sum() + drawn.sum()))
    of_label_2 = 2 * 0.8 * (disc == 2).sum() / ((disc == 2).sum() + found[0, 2].sum())
    assert confidence(found)[0, 0] == pytest.approx((np.mean(dice) + of_label_2) / 2, abs=0.01)


def test_an_image_without_a_label_that_others_show_is_unsure(disc):
    without = np.where(disc == 2, 1, disc)
    both = confidence(probabilities([disc, without], 0.95))
    alone = confidence(probabilities([without], 0.95))
    assert both[1, 0] < 0.6 * both[0, 0] and alone[0, 0] > 0.8


def test_what_a_single_image_of_many_shows_decides_nothing(disc):
    """A stray pixel of another label in one image; and a heart that one image alone sees."""
    speck = np.where(disc == 2, 1, disc)
    clean = speck.copy()
    speck[0, 0, 0] = 2
    shares = weights(confidence(probabilities([speck, *[clean] * 7], 0.95)))
    np.testing.assert_allclose(shares, 1 / 8, rtol=0.05)
    nothing = np.zeros_like(disc)
    found = probabilities([disc, *[nothing] * 7], [0.9, *[0.999] * 7])
    assert not fuse(found, weights(confidence(found))).argmax(0).any()


def test_an_empty_slice_stays_empty(disc):
    found = probabilities([np.zeros_like(disc)] * 3, 0.9)
    assert not confidence(found).any()
    assert not fuse(found, weights(confidence(found))).argmax(0).any()


def test_slices_are_weighted_apart(disc):
    nothing = np.zeros_like(disc)
    first, second = np.concatenate((disc, nothing)), np.concatenate((nothing, disc))
    found = probabilities([first, second], 0.9)
    shares = weights(confidence(found))
    assert shares[0, 0] > 0.9 and shares[1, 1] > 0.9
    assert np.array_equal(fuse(found, shares).argmax(0), np.concatenate((disc, disc)))
