"""Samplers of the posterior: maps that a prior finds plausible and that explain images.

`ProximalSampler` is the default. `DPS` is what Zhao et al. use (Reverse Imaging, MICCAI 2025, eq. 10): diffusion
posterior sampling (Chung et al., ICLR 2023).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

from nnunet_phys.precomputed_spin.likelihood import Likelihood
from nnunet_phys.precomputed_spin.prior import GREATEST, LEAST, SpinPrior


class SliceNoise:
    """Standard normal noise of each slice from a stream of its own, so that batching does not change it.

    Args:
        keys: one string a slice; equal keys give equal noise.
        seed: changes all of them.
    """

    def __init__(self, keys: list[str], seed: int = 0) -> None:
        digests = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in keys]
        self._generators = [torch.Generator().manual_seed(int.from_bytes(d[:8], "big") >> 1) for d in digests]

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        """Noise of the shape (slices first) and device of `like`."""
        return torch.stack([torch.randn(like.shape[1:], generator=g) for g in self._generators]).to(like)


class Sampler(Protocol):
    """Finds maps for each slice of a likelihood: a sample of the posterior, or an estimate of its mean."""

    uses_labels: ClassVar[bool]

    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """Scaled maps (slices, 3, rows, columns) on the grid of the likelihood's image."""
        ...


def _check_steps(steps: int) -> None:
    if not 2 <= steps <= 1000:
        raise ValueError(f"{steps} steps: a sampler takes 2 to 1000")


@dataclass(frozen=True)
class ProximalSampler:
    """The default: correct the denoised estimate in closed form at every step, then noise it afresh.

    The signal is point-wise in the maps, so the likelihood needs 3 derivatives a pixel and none of the U-Net. The
    belief handed to the likelihood is the prior's estimate with the variance that its errors were measured to have
    at that noise level, channel by channel (in the spirit of PiGDM, Song et al., ICLR 2023, and DiffPIR, Zhu et al.,
    CVPRW 2023).

    Where the image leaves T1 and T2 open, a sample is mottled and a mean is not. So the steps end at a noise level
    where tissues are told and details are not, and the last few estimates, each of noise of its own, are averaged:
    close to the posterior mean for the price of a sample (`benchmarks/reverse_imaging.py` compares them).

    Attributes:
        steps: network evaluations.
        average: how many of them are averaged at the end, at `average_abar`; 1 draws a posterior sample instead.
        least_abar: noise level of the first step.
        average_abar: noise level (cumulative alpha) of the averaged ones.
        iterations: Gauss-Newton iterations a step.
    """

    uses_labels: ClassVar[bool] = True

    steps: int = 12
    average: int = 4
    least_abar: float = 1e-3
    average_abar: float = 0.4
    iterations: int = 2

    def __post_init__(self) -> None:
        _check_steps(self.steps)
        if self.average < 1:
            raise ValueError(f"average of {self.average} estimates: give 1 or more")

    @torch.no_grad()
    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        averaged = min(self.average, self.steps - 1)
        end = 1.0 if self.average == 1 else self.average_abar
        slices, rows, columns = likelihood.observed.shape
        u = torch.zeros((slices, 3, rows, columns), device=prior.device)
        timesteps = prior.timesteps(self.steps - averaged + 1, self.least_abar, end)
        for t, draws in zip(timesteps, [*[1] * (len(timesteps) - 1), averaged], strict=True):
            abar = prior.alphas_cumprod[t]
            noisy = (abar.sqrt() * u + (1 - abar).sqrt() * noise(u) for _ in range(draws))
            mean = sum(prior.denoise(one, t) for one in noisy) / draws
            likelihood = likelihood.calibrated(mean)
            u = likelihood.correct(mean, prior.denoising_error[t].view(1, 3, 1, 1), self.iterations)
        return u


@dataclass(frozen=True)
class DPS:
    """Diffusion posterior sampling, eq. (10) of the paper: an ancestral step, then down the likelihood's gradient.

    The squared norm is summed over pixels and slices, so guidance depends on neither batch size nor resolution (the
    published code takes means).

    Attributes:
        steps: network evaluations, each with a gradient through the network.
        xi: guidance strength on the squared norm, the signal in units of PD 1. The published setting (xi 400, sigma
            0.1, batch of 5, 128x128 pixels, mean instead of sum) amounts to 0.49.
    """

    uses_labels: ClassVar[bool] = False

    steps: int = 200
    xi: float = 0.49

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        timesteps = prior.timesteps(self.steps, 0.0)
        abar = prior.alphas_cumprod
        slices, rows, columns = likelihood.observed.shape
        u = noise(torch.empty((slices, 3, rows, columns), device=prior.device))
        for step, t in enumerate(timesteps):
            with torch.enable_grad():
                u = u.detach().requires_grad_(True)
                clean = prior.denoise(u, t)
                (gradient,) = torch.autograd.grad(likelihood.squared_norm(clean), u)
            with torch.no_grad():
                clean = clean.clamp(LEAST, GREATEST)
                after = abar[timesteps[step + 1]] if step + 1 < len(timesteps) else torch.ones_like(abar[t])
                alpha = abar[t] / after
                mean = after.sqrt() * (1 - alpha) * clean + alpha.sqrt() * (1 - after) * u
                u = mean / (1 - abar[t]) + ((1 - alpha) * (1 - after) / (1 - abar[t])).sqrt() * noise(u)
                u = u - self.xi * gradient
        return u.detach().clamp(LEAST, GREATEST)


SAMPLERS: dict[str, type[Sampler]] = {"proximal": ProximalSampler, "dps": DPS}
