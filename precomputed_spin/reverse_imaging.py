"""Reverse imaging: sample PD, T1 and T2 maps that a prior finds plausible and that explain an image.

After Zhao et al., Reverse Imaging, MICCAI 2025; its sampler is diffusion posterior sampling (Chung et al., ICLR 2023).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from nnunet_phys.precomputed_spin.likelihood import (
    GREATEST,
    LEAST,
    Likelihood,
    Sequence,
    bright_level,
    saturation_mask,
)
from nnunet_phys.precomputed_spin.prior import SpinPrior, renoise
from nnunet_phys.sequences import SEQUENCES
from nnunet_phys.spin import SpinMaps

_LAST_ABAR = 0.995  # noise level that stands for what is left to decide on the native grid


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
    """Draws one posterior sample for each slice of a likelihood."""

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

    Attributes:
        steps: network evaluations.
        least_abar: noise level of the first step.
        trust: scales the prior's variance; above 1 the image is trusted more.
        iterations: Gauss-Newton iterations a step.
    """

    steps: int = 25
    least_abar: float = 1e-3
    trust: float = 1.0
    iterations: int = 2

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    @torch.no_grad()
    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        timesteps = prior.timesteps(self.steps, self.least_abar)
        abar = prior.alphas_cumprod
        slices, rows, columns = likelihood.image.shape
        u = noise(torch.empty((slices, 3, rows, columns), device=prior.device))
        for step, t in enumerate(timesteps):
            mean = prior.denoise(u, t)
            variance = self.trust * prior.denoising_error[t].view(1, 3, 1, 1)
            u = likelihood.correct(mean, variance, self.iterations)
            if step + 1 < len(timesteps):
                after = abar[timesteps[step + 1]]
                u = renoise(u, u, abar[t], after, fresh=noise(u))
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

    steps: int = 200
    xi: float = 0.49

    def __post_init__(self) -> None:
        _check_steps(self.steps)

    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        timesteps = prior.timesteps(self.steps, 0.0)
        abar = prior.alphas_cumprod
        slices, rows, columns = likelihood.image.shape
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


@dataclass(frozen=True)
class ReverseImager:
    """Turns magnitude images of one sequence into maps.

    Attributes:
        prior: the spin prior.
        sequence: how the images were acquired.
        sampler: draws the maps.
        seed: of the noise.
        batch: slices that pass the network together.
        noise_level: standard deviation of noise and model errors as a share of `model_brightness`.
    """

    prior: SpinPrior
    sequence: Sequence
    sampler: Sampler = field(default_factory=ProximalSampler)
    seed: int = 0
    batch: int = 8
    noise_level: float = 0.015

    @cached_property
    def model_brightness(self) -> float:
        """`bright_level` of the sequence's signal over the prior's reference voxels; sets each image's gain."""
        return float(bright_level(self.sequence(SpinMaps.unstack(self.prior.reference)).abs()))

    @torch.no_grad()
    def __call__(
        self, image: np.ndarray, pixel_mm: tuple[float, float], key: str
    ) -> Iterator[tuple[slice, SpinMaps, torch.Tensor]]:
        """Infer maps of a volume, batch by batch.

        Args:
            image: magnitude image (slices, rows, columns), any unit. One gain serves all slices.
            pixel_mm: row and column spacing.
            key: names the volume; its slices' noise derives from it.

        Yields:
            The slices done, their maps on the image's own grid (T1 and T2 in ms, float32, CPU), and the
            re-synthesis error (slices, rows, columns) as a share of `model_brightness`.

        Raises:
            ValueError: the field of view is too small for the prior.
        """
        prior = self.prior
        coarse = tuple(round(n * mm / prior.pixel_mm) for n, mm in zip(image.shape[1:], pixel_mm, strict=True))
        if min(coarse) < prior.minimum:
            raise ValueError(
                f"a field of view of {image.shape[1] * pixel_mm[0]:.0f} x {image.shape[2] * pixel_mm[1]:.0f} mm is "
                f"smaller than the prior's minimum of {prior.minimum * prior.pixel_mm:.0f} mm"
            )
        native = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)).clamp(min=0)
        saturated = saturation_mask(native)
        native = native * (self.model_brightness / bright_level(native))
        for start in range(0, len(native), self.batch):
            part = slice(start, min(start + self.batch, len(native)))
            keys = [f"{key}/{z}" for z in range(part.start, part.stop)]
            fine = self._likelihood(native[part], saturated[part])
            u = self._sample(fine, coarse, SliceNoise(keys, self.seed))
            u = fine.correct(upsample_guided(u, fine), self._final_variance(), iterations=4)
            maps = self.prior.scaling.decode(u).map(lambda m: m.float().cpu())
            yield part, maps, fine.residual(u).cpu() / self.model_brightness

    def _likelihood(
        self, image: torch.Tensor, saturated: torch.Tensor, observed: torch.Tensor | None = None
    ) -> Likelihood:
        device = self.prior.device
        observed = torch.ones_like(saturated) if observed is None else observed
        sigma = self.noise_level * self.model_brightness
        return Likelihood(
            self.sequence, image.to(device), sigma, observed.to(device), saturated.to(device), self.prior.scaling
        )

    def _sample(self, fine: Likelihood, shape: tuple[int, int], noise: SliceNoise) -> torch.Tensor:
        """Scaled maps on the prior's grid (slices, 3, *shape): resample, pad, sample, crop."""
        image = interpolate(fine.image[:, None], shape, mode="bilinear", antialias=True)[:, 0]
        saturated = interpolate(fine.saturated[:, None].float(), shape, mode="bilinear", antialias=True)[:, 0] > 0.5
        margins = [math.ceil(n / self.prior.multiple) * self.prior.multiple - n for n in shape]
        border = (margins[1] // 2, margins[1] - margins[1] // 2, margins[0] // 2, margins[0] - margins[0] // 2)
        observed = pad(torch.ones_like(saturated), border)
        image = pad(image, border, mode="replicate")
        coarse = self._likelihood(image, pad(saturated, border), observed)
        prior = self.prior
        if SEQUENCES.get(prior.guide_sequence) is type(self.sequence):
            prior = prior.guided(image / self.model_brightness)
        u = self.sampler(prior, coarse, noise)
        return u[..., border[2] : border[2] + shape[0], border[0] : border[0] + shape[1]]

    def _final_variance(self) -> torch.Tensor:
        """Belief of the last correction: the prior's errors near zero noise; a gain-like rest goes to PD."""
        last = int((self.prior.alphas_cumprod >= _LAST_ABAR).sum()) - 1
        variance = self.prior.denoising_error[last].clone()
        variance[0] = 10 * variance.max()
        return variance.view(1, 3, 1, 1)


def upsample_guided(u: torch.Tensor, fine: Likelihood) -> torch.Tensor:
    """Bring scaled maps to the grid of a finer image, keeping tissue edges where the image has them.

    Joint bilateral upsampling (Kopf et al., ACM TOG 26:96, 2007): each fine pixel mixes the 3x3 coarse pixels around
    it, weighted by distance and by how well each one's signal explains the fine image, so that T1 and T2 switch at the
    image's edge rather than half a coarse pixel beside it.

    Args:
        u: scaled maps (slices, 3, rows, columns).
        fine: likelihood of the image on the fine grid, which spans the same field of view.

    Returns:
        Scaled maps (slices, 3, fine rows, fine columns).
    """
    shape, coarse = fine.image.shape[1:], u.shape[2:]
    positions = [(torch.arange(n, device=u.device) + 0.5) * (m / n) - 0.5 for n, m in zip(shape, coarse, strict=True)]
    nearest = [p.round().long() for p in positions]
    tolerance = 4 * fine.sigma
    total, weights = torch.zeros_like(fine.image)[:, None], torch.zeros_like(fine.image)[:, None]
    for dr in (-1, 0, 1):
        rows = (nearest[0] + dr).clamp(0, coarse[0] - 1)
        for dc in (-1, 0, 1):
            columns = (nearest[1] + dc).clamp(0, coarse[1] - 1)
            candidate = u[:, :, rows][..., columns]
            away = (positions[0] - nearest[0] - dr)[:, None] ** 2 + (positions[1] - nearest[1] - dc)[None] ** 2
            fit = -0.5 * (fine.residual(candidate) / tolerance) ** 2
            weight = torch.exp((fit - away / 0.5).clamp(min=-40.0))[:, None]
            total, weights = total + weight * candidate, weights + weight
    return total / weights
