"""Digital hearts as a scanner shows them."""

import numpy as np
import pytest

from nnunet_phys.digital_heart import LABELS
from nnunet_phys.experiments.heart_scans import CONTRASTS, scan_test_heart, scan_training_heart


@pytest.fixture(scope="module")
def scans():
    return scan_test_heart(0, slices=2)


def test_a_number_decides_everything(scans):
    again = scan_test_heart(0, slices=2)
    for contrast in CONTRASTS:
        for case, image in scans.images[contrast].items():
            assert np.array_equal(image, again.images[contrast][case])
    first, second = (scan_training_heart(i, slices=1) for i in (0, 1))
    assert not np.array_equal(first.image, second.image)


def test_every_contrast_fits_the_labels(scans):
    assert tuple(scans.images) == CONTRASTS and len(scans.images["molli"]) == 11
    for cases in scans.images.values():
        for image in cases.values():
            assert image.shape == scans.heart.labels.shape and image.dtype == np.float32
            assert np.isfinite(image).all() and image.min() >= 0


def test_healthy_wall_is_dark_and_blood_bright_in_late_enhancement(scans):
    image, labels = scans.images["lge"][""], scans.heart.labels
    wall, blood = (np.median(image[labels == LABELS[name]]) for name in ("MYO", "LV"))
    assert blood > 2.5 * wall


def test_some_hearts_have_a_bright_scar():
    scarred = []
    for index in range(4):
        scans = scan_test_heart(index, slices=1)
        image, labels = scans.images["lge"][""], scans.heart.labels
        bright = image[labels == LABELS["MYO"]] > 0.6 * np.median(image[labels == LABELS["LV"]])
        scarred.append(bright.mean() > 0.05)
    assert any(scarred) and not all(scarred)
