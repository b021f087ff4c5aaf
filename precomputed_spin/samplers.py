"""Samplers of the posterior: maps that a prior finds plausible and that explain images.

`ProximalMean` is the default. `DPS` is what Zhao et al. use (Reverse Imaging, MICCAI 2025, eq. 10): diffusion
posterior sampling (Chung et al., ICLR 2023).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.utils.torch_utils import randn_tensor

from nnunet_phys.precomputed_spin.likelihood import Likelihood
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST

STEPS = (2, 1000)
"""Fewest and most network evaluations of a sampler: a first and a last noise level, and no more than a prior has."""


class SliceNoise:
    """Standard normal noise with a random stream per slice, so that batching does not change it.

    Args:
        keys: one string per slice; equal keys give equal noise.
        seed: another seed changes the noise of all keys.

    Attributes:
        generators: one per slice, on the CPU, so that every device gets the same noise.
    """

    def __init__(self, keys: Sequence[str], seed: int = 0) -> None:
        digests = [hashlib.sha256(f"{seed}/{key}".encode()).digest() for key in keys]
        self.generators = [torch.Generator().manual_seed(int.from_bytes(d[:8], "big") >> 1) for d in digests]

    def __call__(self, like: torch.Tensor) -> torch.Tensor:
        """Noise of the shape (slices first), type and device of `like`."""
        return randn_tensor(like.shape, self.generators, like.device, like.dtype)


@dataclass(frozen=True)
class Sampler(ABC):
    """Finds the maps of each slice of a likelihood: a sample of the posterior, or an estimate of its mean.

    Attributes:
        name: its name on the command line and in records (`new_sampler`).
        uses_labels: whether it uses the likelihood's labels at every step.
        draws_samples: whether each call draws from the posterior; else it estimates the posterior's mean.
    """

    name: ClassVar[str]
    uses_labels: ClassVar[bool]
    draws_samples: ClassVar[bool]

    @abstractmethod
    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """Scaled maps (slices, 3, rows, columns) on the grid of the likelihood's images, on the prior's device."""


def _check_steps(steps: int) -> None:
    fewest, most = STEPS
    if not fewest <= steps <= most:
        raise ValueError(f"{steps} steps: a sampler takes {fewest} to {most}")


@dataclass(frozen=True)
class _Proximal(Sampler):
    """Corrects the prior's denoised estimate in closed form at every noise level.

    The signal is point-wise in the maps, so the likelihood needs three derivatives per pixel and none of the U-Net. The
    belief handed to the likelihood is the prior's estimate with the variance that its errors were measured to have
    at that noise level, channel by channel (similar to PiGDM, Song et al., ICLR 2023, and DiffPIR, Zhu et al.,
    CVPRW 2023).

    Attributes:
        least_abar: noise level (cumulative alpha) of the first step.
        iterations: Gauss-Newton iterations per noise level.

    Raises:
        ValueError: `steps` outside of `STEPS`.
    """

    name: ClassVar[str] = "proximal"
    uses_labels: ClassVar[bool] = True

    steps: int
    least_abar: float = 1e-3
    iterations: int = 2

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def _corrected(
        self,
        mean: torch.Tensor,
        timestep: int,
        prior: SpinPrior,
        likelihood: Likelihood,
        noise: SliceNoise | None = None,
    ) -> torch.Tensor:
        """The prior's estimate of the clean maps, corrected by labels and images.

        With `noise`, a sample of that belief is corrected in place of its mean: the posterior of a Gaussian belief is
        sampled by correcting samples (Papandreou and Yuille, NeurIPS 2010; the images' own noise is left out).
        """
        # 1. Set the gains that are only guesses, anew at each level
        likelihood = likelihood.calibrated(mean)
        # 2. Combine that belief, as uncertain as the prior is known to err at this level, with the labels
        variance = prior.denoising_error[timestep].view(1, 3, 1, 1)
        if likelihood.labels is not None:
            mean, variance = likelihood.labels.combine(mean.clamp(LEAST, GREATEST), variance)
        if noise is not None:
            mean = mean + variance.sqrt() * noise(mean)
        # 3. Let the images correct it
        return likelihood.correct(mean, variance, self.iterations)


@dataclass(frozen=True)
class ProximalMean(_Proximal):
    """The default: an estimate of the posterior's mean.

    Where the image does not determine T1 and T2, a sample is mottled and a mean is not. So the steps end at a noise
    level where the tissues can be recognised and their details cannot, and an estimate averages two network
    evaluations, with a noise and with its opposite: what depends on the noise linearly cancels (antithetic variates,
    Hammersley and Morton, 1956). As the estimates of successive levels move in one direction, each is carried further
    in it. Measured on 24 digital hearts: 8 evaluations give contrasts closer to the true ones, by 0.3 to 0.9 dB, than
    12 without opposites do, the last 4 of them averaged.

    Attributes:
        steps: network evaluations: one at each of the first two noise levels (the first alone if `steps` is odd), where
            there is hardly anything but noise, and two at each other level.
        last_abar: noise level of the last estimate. Measured likewise: 0.1 and 0.25 are worse by up to 0.2 dB.
        overshoot: how much further an estimate is carried, as a share of its distance from the last one. Measured: 0
            loses 0.1 to 0.4 dB; 0.3 to 0.5 differ by less.
    """

    draws_samples: ClassVar[bool] = False

    steps: int = 8
    last_abar: float = 0.18
    overshoot: float = 0.4

    @torch.no_grad()
    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        # 1. Start in the middle of the scale: at the first level there is hardly anything but noise
        u, last_estimate = _blank(prior, likelihood), None
        single = 1 if self.steps % 2 else 2
        levels = prior.timesteps((self.steps + single) // 2, self.least_abar, self.last_abar)
        for k, timestep in enumerate(levels):
            # 2. Carry the maps to this noise level, and ask the prior what the clean ones are
            level, fresh = cast(torch.IntTensor, torch.tensor([timestep], device=prior.device)), noise(u)
            signs = (1,) if k < single else (1, -1)
            answers = [prior.denoise(prior.scheduler.add_noise(u, sign * fresh, level), timestep) for sign in signs]
            estimate = torch.stack(answers).mean(0)
            further = estimate if last_estimate is None else estimate + self.overshoot * (estimate - last_estimate)
            last_estimate = estimate
            # 3. Let labels and images correct it
            u = self._corrected(further, timestep, prior, likelihood)
        return u


@dataclass(frozen=True)
class ProximalSampler(_Proximal):
    """Draws from the posterior, by ancestral steps (Ho et al., NeurIPS 2020) from samples of the belief.

    With so few steps, means with fresh noise in their place would give a Gaussian posterior half of its spread.

    Attributes:
        steps: network evaluations, each at its own noise level.
    """

    draws_samples: ClassVar[bool] = True

    steps: int = 12

    @torch.no_grad()
    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        scheduler = ancestral_scheduler(prior, prior.timesteps(self.steps, self.least_abar))
        noisy = noise(_blank(prior, likelihood))
        *timesteps, last = scheduler.timesteps.tolist()
        for timestep in timesteps:
            clean = self._corrected(prior.denoise(noisy, timestep), timestep, prior, likelihood, noise)
            noisy = ancestral_step(scheduler, clean, timestep, noisy, noise)
        return self._corrected(prior.denoise(noisy, last), last, prior, likelihood)


@dataclass(frozen=True)
class DPS(Sampler):
    """Diffusion posterior sampling, eq. (10) of the paper: an ancestral step, then down the likelihood's gradient.

    The squared norm is summed over pixels and slices, so guidance depends on neither batch size nor resolution (the
    published code takes means). Like the paper's, it uses no labels: its guidance is so much weaker than a likelihood
    of the images' true noise (xi would be 1 / (2 sigma^2)) that a label's density, weakened alike, would do nothing.

    Attributes:
        steps: network evaluations, each with a gradient through the network.
        xi: guidance strength on the squared norm, the signal in units of PD 1. The published setting (xi 400, sigma
            0.1, batch of 5, 128x128 pixels, mean instead of sum) amounts to 0.49.

    Raises:
        ValueError: `steps` outside of `STEPS`.
    """

    name: ClassVar[str] = "dps"
    uses_labels: ClassVar[bool] = False
    draws_samples: ClassVar[bool] = True

    steps: int = 200
    xi: float = 0.49

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        # 1. Ancestral steps from pure noise to none
        scheduler = ancestral_scheduler(prior, prior.timesteps(self.steps, 0.0))

        # 2. Start from noise
        u = noise(_blank(prior, likelihood))

        for timestep in scheduler.timesteps.tolist():
            # 3. The prior's estimate of the clean maps, and the gradient of its misfit through the network
            with torch.enable_grad():
                u = u.detach().requires_grad_(True)
                clean = prior.denoise(u, timestep)
                (gradient,) = torch.autograd.grad(likelihood.squared_norm(clean), u)
            with torch.no_grad():
                # 4. The ancestral step, each slice with its own noise
                clean = clean.clamp(LEAST, GREATEST)
                u = ancestral_step(scheduler, clean, timestep, u, noise)
                # 5. Down the gradient
                u = u - self.xi * gradient
        return u.detach().clamp(LEAST, GREATEST)


def ancestral_scheduler(prior: SpinPrior, timesteps: list[int]) -> DDPMScheduler:
    """A scheduler whose steps take the clean maps, and do not clip them: it only clips to symmetric bounds.

    Args:
        prior: its noise schedule is used.
        timesteps: descending, equal ones count once; the step from the last one ends without noise.
    """
    changes = {"prediction_type": "sample", "clip_sample": False, "thresholding": False}
    scheduler = DDPMScheduler.from_config(prior.scheduler.config, **changes)
    scheduler.set_timesteps(timesteps=list(dict.fromkeys(timesteps)))
    return scheduler


def ancestral_step(
    scheduler: DDPMScheduler, clean: torch.Tensor, timestep: int, noisy: torch.Tensor, noise: SliceNoise
) -> torch.Tensor:
    """Maps at the next noise level; each slice has its own noise.

    Args:
        scheduler: the noise levels.
        clean: scaled maps without noise, (slices, 3, rows, columns).
        timestep: level of the noisy maps.
        noisy: scaled maps at that level, of the same shape.
        noise: generators of the noise.
    """
    generators: Any = noise.generators  # diffusers takes several, but does not say so
    stepped: Any = scheduler.step(clean, timestep, noisy, generator=generators)
    following: torch.Tensor = stepped.prev_sample
    return following


def _blank(prior: SpinPrior, likelihood: Likelihood) -> torch.Tensor:
    """Scaled maps of zeros for the slices of a likelihood, on the prior's device."""
    slices, rows, columns = likelihood.observed.shape
    return torch.zeros((slices, 3, rows, columns), device=prior.device)


def new_sampler(name: str, samples: int = 1, steps: int | None = None) -> Sampler:
    """The sampler of a name, for one estimate or for several samples.

    Args:
        name: proximal or dps.
        samples: samples per slice; of one, the proximal sampler gives the posterior's mean.
        steps: network evaluations; None: the sampler's default.

    Raises:
        KeyError: another name.
        ValueError: `steps` outside of `STEPS`.
    """
    kinds: dict[str, type[ProximalMean | ProximalSampler | DPS]] = {
        "proximal": ProximalMean if samples == 1 else ProximalSampler,
        "dps": DPS,
    }
    return kinds[name]() if steps is None else kinds[name](steps)
