"""Infarcts lie in the layer next to blood, as deep, as wide and as often as their parameters say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.fields import grid_positions
from nnunet_phys.infarct import Infarct, blood_distance
from nnunet_phys.spin import SpinMaps

SPACING = (10.0, 1.5, 1.5)
BLOOD, MUSCLE = (0.9, 1550.0, 230.0), (0.8, 1050.0, 50.0)


def tissue(blood: np.ndarray) -> SpinMaps:
    """Maps of blood where the mask is true, of myocardium elsewhere."""
    values = torch.tensor([MUSCLE, BLOOD])[torch.from_numpy(blood).long()]
    return SpinMaps.unstack(values, dim=-1)


def block_of_blood(shape=(3, 60, 70), rows=slice(0, 10)) -> SpinMaps:
    blood = np.zeros(shape, bool)
    blood[:, rows] = True
    return tissue(blood)


def everywhere(maps: SpinMaps, spacing=SPACING) -> tuple:
    shape = tuple(maps.shape)
    return grid_positions((0, 0, 0), shape, shape, spacing)


def infarcted(infarct: Infarct, maps: SpinMaps, spacing=SPACING) -> np.ndarray:
    return infarct(everywhere(maps, spacing), blood_distance(maps, spacing)).numpy() > 0


@pytest.fixture(scope="module")
def heart():
    return digital_heart(4, slices=4, shape=(128, 128), pixel_mm=1.8)


def test_the_distance_is_in_mm():
    distance = blood_distance(block_of_blood(), SPACING)
    assert distance.shape == (3, 60, 70) and (distance[:, :10] == 0).all()
    torch.testing.assert_close(distance[1, 10:23, 30], torch.arange(1, 14) * 1.5)
    assert torch.isinf(distance[1, 23:]).all()  # nothing within 20 mm


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((30.0, 0.3, 40.0, 1), "depth_mm must lie between 0.5 and 20, got 30"),
        ((8.0, 0.0, 40.0, 1), "share must lie between 0.01 and 0.99, got 0"),
        ((8.0, 0.3, 2.0, 1), "scale_mm must lie between 5 and 200, got 2"),
        ((8.0, 0.3, 40.0, -1), "seed must be a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Infarct(*values)
