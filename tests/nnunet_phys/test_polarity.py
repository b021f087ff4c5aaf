"""Conventional inversion-recovery fits against signals whose parameters are known."""

import pytest
import torch

from nnunet_phys.polarity import fit_inversion_recovery
from nnunet_phys.sequences import MOLLI, LookLocker
from nnunet_phys.spin import SpinMaps

T1 = torch.linspace(250, 2000, 60).reshape(6, 10)


@pytest.mark.parametrize("times", [(120, 1120, 2120, 3120, 4120, 200, 1200, 2200), (100, 300, 600, 1500, 3000, 5000)])
def test_parameters_and_polarity_come_back(times):
    ti = torch.tensor(times).view(-1, 1, 1)
    signal = 300 - 560 * torch.exp(-ti / (0.8 * T1))
    fit = fit_inversion_recovery(signal.abs(), times)
    torch.testing.assert_close(fit.t1_ms, 0.8 * T1 * (560 / 300 - 1), rtol=5e-3, atol=0)
    torch.testing.assert_close(fit.polarity * signal.abs(), signal)


def test_look_locker_correction_gives_the_true_t1():
    maps = SpinMaps(torch.ones_like(T1), T1, T1 * 0.2)
    times = tuple(torch.linspace(30, 4000, 12).tolist())
    images = torch.stack([LookLocker(flip_angle_deg=8.0, time_ms=t)(maps) for t in times]).abs()
    torch.testing.assert_close(fit_inversion_recovery(images, times).t1_ms, T1, rtol=0.03, atol=0)


def test_molli_is_biased_low():
    maps = SpinMaps(torch.ones(1), torch.tensor([1200.0]), torch.tensor([45.0]))
    sequence = MOLLI(inversion_efficiency=0.96)
    fitted_t1 = float(fit_inversion_recovery(sequence(maps).abs(), sequence.inversion_times_ms).t1_ms)
    assert 0.85 * 1200 < fitted_t1 < 0.99 * 1200


def test_too_few_images():
    with pytest.raises(ValueError, match="3 images with 3 inversion times: give 4 or more"):
        fit_inversion_recovery(torch.ones(3, 2), (100.0, 200.0, 300.0))
    with pytest.raises(ValueError, match="8 images with 5 inversion times"):
        fit_inversion_recovery(torch.ones(8, 2), (100.0, 200.0, 300.0, 400.0, 500.0))
