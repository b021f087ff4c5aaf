"""Blood and papillary muscle within a labelled cavity."""

import pytest
import torch

from nnunet_phys.precomputed_spin.label_brightness import weigh_by_brightness
from nnunet_phys.precomputed_spin.labels import TissueLabels
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP, SpoiledGRE

BLOOD, VENOUS, MUSCLE = range(3)


def cavity(tissue, sequence, gain: float):
    """Image of blood with a papillary muscle in its first two columns, and its label."""
    blood, muscle = (sequence(tissue(pd, t1, t2)) for pd, t1, t2 in ((0.9, 1650, 200), (0.82, 1150, 48)))
    image = torch.where(torch.arange(6) < 2, muscle, blood) * gain
    return image, TissueLabels(torch.tensor([0.85, 0.0, 0.15]).view(1, 3, 1, 1).expand(1, 3, 6, 6), SpinScaling())


@pytest.mark.parametrize("gain", [0.3, 3.0])
@pytest.mark.parametrize("sequence", [BSSFP(flip_angle_deg=50.0), SpoiledGRE(inflow_pulses=20.0)])
def test_what_is_dark_in_a_cavity_is_muscle_at_any_gain(tissue, observation, sequence, gain):
    image, labels = cavity(tissue, sequence, gain)
    weights = weigh_by_brightness(labels, observation(image[None], sequence)).weights
    assert (weights[0, MUSCLE, :, :2] > 0.8).all() and (weights[0, BLOOD, :, 2:] > 0.95).all()
    torch.testing.assert_close(weights.sum(1), labels.weights.sum(1))


def test_a_cavity_without_signal_keeps_its_labels(tissue, observation):
    image, labels = cavity(tissue, BSSFP(flip_angle_deg=50.0), 1.0)
    black = torch.where(torch.arange(6) < 2, image, 0.0)
    same = weigh_by_brightness(labels, observation(black[None]))
    assert torch.equal(same.weights, labels.weights)


def test_a_wall_and_a_cavity_of_few_pixels_keep_their_labels(tissue, observation):
    image, labels = cavity(tissue, BSSFP(flip_angle_deg=50.0), 1.0)
    wall = torch.zeros(1, 3, 6, 6)
    wall[:, MUSCLE] = 1.0
    few = labels.weights.clone()
    few[..., 2:] = 0
    few[..., 1:, :] = 0
    for weights in (wall, few):
        same = weigh_by_brightness(TissueLabels(weights, SpinScaling()), observation(image[None]))
        assert torch.equal(same.weights, weights)
