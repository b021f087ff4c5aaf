"""Where the heart lies in maps without labels."""

import numpy as np
import pytest
import torch

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.heart_location import find_heart
from nnunet_phys.spin import SpinMaps


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_blood_of_a_heart_is_found(seed):
    heart = digital_heart(seed, 3, (96, 96))
    found = find_heart(heart.maps, (2.5, 2.5))
    cavities = np.isin(heart.labels, (LABELS["RV"], LABELS["LV"]))
    assert found.shape == cavities.shape and (found & cavities).sum() > 0.6 * found.sum() > 0


def test_maps_without_blood_have_no_heart():
    maps = SpinMaps(torch.ones(2, 40, 40), torch.full((2, 40, 40), 1000.0), torch.full((2, 40, 40), 50.0))
    assert not find_heart(maps, (2.0, 2.0)).any()


def test_a_pool_that_is_longer_than_a_heart_is_none():
    maps = SpinMaps(torch.ones(1, 90, 90), torch.full((1, 90, 90), 1600.0), torch.full((1, 90, 90), 200.0))
    assert not find_heart(maps, (2.0, 2.0)).any() and find_heart(maps, (1.0, 1.0)).all()
