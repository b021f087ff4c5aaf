"""Samplers, against the exact posterior of a Gaussian prior and a linear signal."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation
from nnunet_phys.precomputed_spin.prior import SpinPrior, new_scheduler
from nnunet_phys.precomputed_spin.samplers import (
    DPS,
    ProximalMean,
    ProximalSampler,
    SliceNoise,
    ancestral_scheduler,
    new_sampler,
)
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

SCALING = SpinScaling()
SLOPE = 1.25
"""PD per unit of scaled PD."""


@dataclass(frozen=True)
class ProtonDensity(PulseSequence):
    """The signal is PD itself."""

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        return maps.pd


def likelihood(image: torch.Tensor, sequence: PulseSequence, sigma: float) -> Likelihood:
    """The likelihood of one signed image (slices, rows, columns)."""
    nowhere = torch.zeros_like(image[None], dtype=torch.bool)
    observation = Observation(sequence, image[None], 0.2, sigma, nowhere, signed=True)
    return Likelihood((observation,), torch.ones_like(image, dtype=torch.bool), SCALING)


@dataclass(frozen=True)
class GaussianPrior:
    """A prior whose pixels are independent Gaussians: its denoiser is known exactly."""

    mean: torch.Tensor
    variance: float
    device = torch.device("cpu")
    scheduler = new_scheduler()
    alphas_cumprod = scheduler.alphas_cumprod
    timesteps = SpinPrior.timesteps

    @property
    def denoising_error(self) -> torch.Tensor:
        abar = self.alphas_cumprod
        return (self.variance * (1 - abar) / (abar * self.variance + 1 - abar))[:, None].expand(-1, 3)

    def denoise(self, noisy: torch.Tensor, timestep: int) -> torch.Tensor:
        abar, variance = self.alphas_cumprod[timestep], self.variance
        return (abar.sqrt() * variance * noisy + (1 - abar) * self.mean) / (abar * variance + 1 - abar)


@pytest.fixture(scope="module")
def prior() -> GaussianPrior:
    mean = SCALING.encode(SpinMaps(*(torch.full((1, 1, 1), value) for value in (0.8, 900.0, 90.0))))
    return GaussianPrior(mean, 0.02)


def draw(sampler, prior: GaussianPrior, pd: float, sigma: float) -> torch.Tensor:
    """Sample scaled maps of two images that are `pd` everywhere, (2, 3, 48, 48)."""
    return sampler(prior, likelihood(torch.full((2, 48, 48), pd), ProtonDensity(), sigma), SliceNoise(["a", "b"]))


def moments(u: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation."""
    return float(u.mean()), float(u.std())


@pytest.mark.parametrize("sampler", [ProximalMean(), ProximalMean(7), ProximalSampler(25)])
def test_proximal_reaches_the_mean_of_the_posterior(prior, sampler):
    pd, sigma = 1.0, 0.1
    u = draw(sampler, prior, pd, sigma)
    gain = prior.variance * SLOPE / (prior.variance * SLOPE**2 + sigma**2)
    expected = float(prior.mean[0, 0]) + gain * (pd - 0.8)
    assert moments(u[:, 0])[0] == pytest.approx(expected, abs=0.005)  # of a step of 0.12
    for channel in (1, 2):  # about which the image says nothing
        assert moments(u[:, channel])[0] == pytest.approx(float(prior.mean[0, channel]), abs=0.01)


@pytest.mark.parametrize("steps", [12, 25])
def test_proximal_samples_spread_like_the_posterior(prior, steps):
    u = draw(ProximalSampler(steps), prior, 1.0, 0.1)
    for channel in (1, 2):
        assert moments(u[:, channel])[1] == pytest.approx(math.sqrt(prior.variance), rel=0.05)


def test_ancestral_steps_need_no_distinct_timesteps_and_do_not_clip(prior):
    clipping = DDPMScheduler.from_config(prior.scheduler.config, thresholding=True, clip_sample=True)
    scheduler = ancestral_scheduler(SimpleNamespace(scheduler=clipping), prior.timesteps(1000, 1e-3))
    assert len(scheduler.timesteps) == len(set(prior.timesteps(1000, 1e-3))) < 1000
    assert not scheduler.config.thresholding and not scheduler.config.clip_sample


def test_dps_without_guidance_draws_from_the_prior(prior):
    u = draw(DPS(500, xi=0.0), prior, 1.0, 1.0)
    for channel in range(3):
        mean, spread = moments(u[:, channel])
        assert mean == pytest.approx(float(prior.mean[0, channel]), abs=0.006)
        assert spread == pytest.approx(math.sqrt(prior.variance), rel=0.05)


def eq_10(prior: GaussianPrior, steps: int, xi: float, pd: float) -> tuple[float, float]:
    """Mean and standard deviation of scaled PD under eq. (10), whose every step is affine in u and in the noise.

    The ancestral step is written as Song et al. (DDIM, ICLR 2021, eq. 12) have it, with their eta of 1.
    """
    levels = [float(prior.alphas_cumprod[timestep]) for timestep in prior.timesteps(steps, 0.0)]
    prior_mean, mean, variance = float(prior.mean[0, 0]), 0.0, 1.0
    for abar, following in zip(levels, [*levels[1:], 1.0], strict=True):
        # clean = slope * u + offset; u = sqrt(abar) * clean + sqrt(1 - abar) * noise
        spread = abar * prior.variance + 1 - abar
        slope, offset = math.sqrt(abar) * prior.variance / spread, (1 - abar) * prior_mean / spread
        fresh = (1 - following) / (1 - abar) * (1 - abar / following)
        kept = math.sqrt(max(1 - following - fresh, 0) / (1 - abar))
        factor = math.sqrt(following) * slope + kept * (1 - math.sqrt(abar) * slope)
        shift = math.sqrt(following) * offset - kept * math.sqrt(abar) * offset
        # the gradient of (pd - SLOPE * (clean + 1))^2 by u
        factor -= xi * 2 * SLOPE**2 * slope**2
        shift += xi * 2 * SLOPE * slope * (pd - SLOPE * (offset + 1))
        mean, variance = factor * mean + shift, factor**2 * variance + fresh
    return mean, math.sqrt(variance)


@pytest.mark.parametrize("steps, xi", [(100, 0.5), (200, 0.2)])
def test_dps_follows_eq_10(prior, steps, xi):
    expected_mean, expected_spread = eq_10(prior, steps, xi, 1.0)
    mean, spread = moments(draw(DPS(steps, xi), prior, 1.0, 1.0)[:, 0])
    start = float(prior.mean[0, 0])
    assert expected_mean - start > 0.05  # PD moves from 0.8 towards the image's 1.0
    assert mean - start == pytest.approx(expected_mean - start, rel=0.05)
    assert spread == pytest.approx(expected_spread, rel=0.05)


@pytest.mark.parametrize(("steps", "levels"), [(2, 2), (3, 2), (5, 3), (8, 5)])
def test_the_mean_takes_as_many_network_evaluations_as_it_says(prior, steps, levels, monkeypatch):
    asked, denoise = [], GaussianPrior.denoise

    def counted(self, noisy, timestep):
        asked.append(timestep)
        return denoise(self, noisy, timestep)

    monkeypatch.setattr(GaussianPrior, "denoise", counted)
    draw(ProximalMean(steps), prior, 1.0, 0.1)
    assert len(asked) == steps and asked == sorted(asked, reverse=True) and len(set(asked)) == levels


@pytest.mark.parametrize("sampler", [ProximalMean(8), ProximalSampler(8), DPS(12)])
def test_neighbours_in_a_batch_do_not_matter(prior, sampler):
    images = torch.rand((2, 8, 8), generator=torch.Generator().manual_seed(0)) * 0.3
    together = sampler(prior, likelihood(images, BSSFP(45.0), 0.003), SliceNoise(["a", "b"], seed=3))
    alone = sampler(prior, likelihood(images[1:], BSSFP(45.0), 0.003), SliceNoise(["b"], seed=3))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)
    other = sampler(prior, likelihood(images[1:], BSSFP(45.0), 0.003), SliceNoise(["b"], seed=4))
    cancels = sampler == ProximalMean(8)  # opposite noises, as this prior's denoiser is linear
    assert torch.allclose(alone, other, atol=1e-3) == cancels


def test_noise_belongs_to_the_slice():
    like = torch.empty(3, 3, 20, 20, dtype=torch.float64)
    first, second, third = SliceNoise(["a", "b", "a"])(like)
    assert first.dtype == torch.float64 and torch.equal(first, third) and not torch.equal(first, second)
    stream = SliceNoise(["a"])
    assert torch.equal(stream(like[:1])[0], first) and not torch.equal(stream(like[:1])[0], first)


def test_samplers_by_name():
    assert new_sampler("proximal") == ProximalMean() and new_sampler("proximal", 3) == ProximalSampler()
    assert new_sampler("dps", steps=9) == new_sampler("dps", 3, 9) == DPS(9)
    assert ProximalMean.uses_labels and ProximalSampler.uses_labels and not DPS.uses_labels
    assert DPS.draws_samples and ProximalSampler.draws_samples and not ProximalMean.draws_samples


@pytest.mark.parametrize("make", [lambda: DPS(1), lambda: ProximalMean(0), lambda: ProximalSampler(1001)])
def test_numbers_out_of_bounds_are_refused(make):
    with pytest.raises(ValueError, match="takes 2 to 1000"):
        make()
