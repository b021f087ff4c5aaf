"""Faults of an image: each does what its parameter says, on a slice as on a volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nnunet_phys.scanner import Ghost, Noise, PartialVolume, ZeroFilling, displace, standard_normal

FAULTS = [PartialVolume(0.8), ZeroFilling(0.6), Ghost(0.1, 0.25, True), Ghost(0.1, 0.25, False)]


def picture(*shape) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(1, 1, shape).astype(np.float32))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: type(f).__name__)
@pytest.mark.parametrize("size", [(32, 41), (33, 40)])
def test_a_volume_is_a_stack_of_slices(fault, size):
    volume = picture(1, 3, *size)
    once = fault(volume)
    assert once.shape == volume.shape
    for z in range(3):
        torch.testing.assert_close(once[0, z], fault(volume[0, z]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fault", FAULTS[:2], ids=lambda f: type(f).__name__)
def test_a_constant_stays(fault):
    torch.testing.assert_close(fault(torch.full((24, 30), 0.7)), torch.full((24, 30), 0.7))


@pytest.mark.parametrize(("sigma", "acts_as"), [(0.3, 0.088), (0.45, 0.38), (0.6, 0.6), (0.9, 0.9), (2.0, 2.0)])
def test_blur_has_its_width(sigma, acts_as):
    point = torch.zeros(41, 41)
    point[20, 20] = 1
    spread = PartialVolume(sigma)(point)
    variance = float((spread.sum(0) * (torch.arange(41.0) - 20) ** 2).sum())
    assert float(spread.sum()) == pytest.approx(1, abs=1e-5)
    assert variance == pytest.approx(acts_as**2, rel=0.05)


def test_a_sign_change_becomes_a_dark_rim():
    signal = torch.cat((torch.full((20, 20), -1.0), torch.full((20, 20), 1.0)), 1)
    assert PartialVolume(0.8)(signal).abs()[10, 19:21].max() < 0.5


def test_zero_filling_keeps_the_middle_of_k_space():
    image = picture(64, 48)
    before, after = (torch.fft.fft2(i) for i in (image, ZeroFilling(0.5)(image)))
    low = (torch.fft.fftfreq(64).abs() <= 0.25)[:, None] & (torch.fft.fftfreq(48).abs() <= 0.25)
    torch.testing.assert_close(after[low], before[low], atol=1e-3, rtol=1e-3)
    assert after[~low].abs().max() < 1e-3


def test_cut_k_space_rings():
    step = torch.cat((torch.zeros(64, 32), torch.ones(64, 32)), 1)
    overshoot = float(ZeroFilling(0.5)(step).max()) - 1
    assert 0.06 < overshoot < 0.09  # Gibbs: 9 % of the step, less where no pixel lies on the crest


def test_ghosts_lie_on_both_sides():
    point = torch.zeros(40, 20)
    point[20, 10] = 1
    ghost = Ghost(0.1, 0.25, True)(point)
    assert ghost[20, 10] == 1 and ghost[10, 10] == ghost[30, 10] == pytest.approx(0.1)
    assert float(ghost.sum()) == pytest.approx(1.2)


def test_noise_is_rician_and_has_the_drawn_strength():
    bright = 4.0
    air = Noise(0.05, 3)(torch.zeros(300, 300), bright)
    assert float(air.mean()) == pytest.approx(0.2 * np.sqrt(np.pi / 2), rel=0.02)
    tissue = Noise(0.05, 3)(torch.full((300, 300), -3.0), bright)
    assert float(tissue.mean()) == pytest.approx(3 + 0.2**2 / 6, rel=0.01)
    assert float(tissue.std()) == pytest.approx(0.2, rel=0.03)


def test_with_the_phase_known_noise_keeps_the_sign():
    shown = Noise(0.05, 3)(torch.full((300, 300), -3.0), 4.0, phase_sensitive=True)
    assert float(shown.mean()) == pytest.approx(-3, abs=0.01) and float(shown.std()) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize("shape", [(256, 256), (64, 128, 128)])
def test_noise_in_air_does_not_repeat_itself(shape):
    air = Noise(0.1, 5)(torch.zeros(shape), 1.0).reshape(-1)
    for shift in (len(air) // 2, len(air) // 2 + 1, shape[-1], len(air) // shape[0]):
        pair = torch.stack((air, air.roll(shift)))
        assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.02
    other = Noise(0.1, 77)(torch.zeros(shape), 1.0).reshape(-1)
    assert abs(float(torch.corrcoef(torch.stack((air, other)))[0, 1])) < 0.02


@pytest.mark.parametrize("count", [50_000, 2**19, 2**20, 1_500_000])
def test_noise_follows_its_seed(count):
    one, same, other = (standard_normal(count, seed).clone() for seed in (3, 3, 2**31 - 4))
    assert torch.equal(one, same) and len(one) == count
    assert abs(float(torch.corrcoef(torch.stack((one, other)))[0, 1])) < 0.02
    assert abs(float(one.mean())) < 0.02 and abs(float(one.std()) - 1) < 0.02
    Noise(0.1, 3)(torch.zeros(count), 1.0)
    assert torch.equal(one, standard_normal(count, 3))  # nobody wrote into the bank


def test_displacement_of_a_single_line():
    assert torch.equal(displace(torch.ones(5, 1), 2.0, False), torch.ones(5, 1))


@pytest.mark.parametrize("along_rows", [True, False])
def test_displacement(along_rows):
    image = picture(2, 30, 34)
    moved = displace(image, 3.0, along_rows)
    if along_rows:
        torch.testing.assert_close(moved[:, 3:], image[:, :-3], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(moved[:, :3], image[:, :1].expand(2, 3, 34), atol=1e-4, rtol=1e-4)
    else:
        torch.testing.assert_close(moved[..., 3:], image[..., :-3], atol=1e-4, rtol=1e-4)
    field = torch.zeros(2, 30, 34)
    field[1] = -1.5
    half = displace(image, field, along_rows)
    torch.testing.assert_close(half[0], image[0], atol=1e-4, rtol=1e-4)
    assert (half[1] - image[1]).abs().max() > 0.5
