"""What a scanner does to an image: blur, cut k-space, ghosts, noise, displacement; rows and columns last.

Every effect is a frozen dataclass of physical parameters, called on the signed signal (before the magnitude is taken)
of a slice or of any stack of slices. What varies over the body is in `fields`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import torch
from torch.nn.functional import grid_sample

from nnunet_phys.quantities import SHARE, Bounded, Quantity, number


@dataclass(frozen=True)
class PartialVolume(Bounded):
    """In-plane blur of the signed signal. Where the signal changes sign, the magnitude shows a dark rim.

    The weights are those of a Gaussian at the pixels' centres. Where it is narrow, its tails fall between them, and it
    blurs less than its width says: 0.45 pixels act as 0.38, 0.3 as 0.09.

    Attributes:
        sigma_pixels: standard deviation of the Gaussian. K-space of finite extent has a point spread of 1-1.5 pixels
            full width (sigma 0.4-0.65), to which motion during the read-out adds; the shipped recipes go to 1, since
            real MOLLI and T2 hold less fine detail than cine (docs/measured.md).
    """

    sigma_pixels: float = field(metadata=number(Quantity("pixels", 0.05, 10), "standard deviation of the blur"))

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """Image of the same shape."""
        radius = max(1, math.ceil(3 * self.sigma_pixels))
        weights = [math.exp(-0.5 * (k / self.sigma_pixels) ** 2) for k in range(radius + 1)]
        total = 2 * sum(weights) - weights[0]
        for axis in (-2, -1):
            n = signal.shape[axis]
            beyond = torch.arange(-radius, n + radius).clamp_(0, n - 1)
            wide = signal.index_select(axis, beyond)
            signal = wide.narrow(axis, radius, n) * (weights[0] / total)
            for k, weight in enumerate(weights[1:], 1):  # a dozen passes are faster than a convolution of one channel
                signal.add_(wide.narrow(axis, radius - k, n), alpha=weight / total)
                signal.add_(wide.narrow(axis, radius + k, n), alpha=weight / total)
        return signal


@dataclass(frozen=True)
class ZeroFilling(Bounded):
    """K-space acquired up to a fraction of its extent and zero beyond: lower resolution, with Gibbs ringing.

    Attributes:
        kept: fraction acquired along each axis. Assumed to be near the 78 % phase resolution of a usual single shot (J
            Cardiovasc Magn Reson 16 Suppl 1:M9, 2014), here along both axes.
    """

    kept: float = field(metadata=number(Quantity("", 0.1, 1), "share of k-space acquired along each axis"))

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """Image of the same shape."""
        spectrum = torch.fft.rfft2(signal)
        rows, columns = signal.shape[-2:]
        spectrum = spectrum * (torch.fft.fftfreq(rows).abs() <= self.kept / 2)[:, None]
        spectrum = spectrum * (torch.fft.rfftfreq(columns) <= self.kept / 2)
        return torch.fft.irfft2(spectrum, s=(rows, columns))


@dataclass(frozen=True)
class Ghost(Bounded):
    """Respiration: faint copies of the image, displaced along one axis on both sides.

    Attributes:
        amplitude: amplitude of a copy, relative to the image; up to 0.1 where breath-holding fails (an assumption).
        displacement: displacement of the copies, as a fraction of the image's extent.
        along_rows: the copies are displaced from row to row; otherwise, from column to column.
    """

    amplitude: float = field(metadata=number(SHARE, "amplitude of each copy, relative to the image"))
    displacement: float = field(
        metadata=number(SHARE, "displacement of the copies, as a fraction of the image's extent")
    )
    along_rows: bool

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """Image of the same shape."""
        axis = -2 if self.along_rows else -1
        pixels = max(1, round(self.displacement * signal.shape[axis]))
        copies = signal.roll(pixels, axis) + signal.roll(-pixels, axis)
        return signal + self.amplitude * copies


@dataclass(frozen=True)
class Noise(Bounded):
    """Complex Gaussian noise; the magnitude is Rician (Gudbjartsson and Patz, MRM 34:910, 1995).

    Attributes:
        fraction: standard deviation of the real and of the imaginary part, relative to the case's bright signal.
            The shipped recipes draw 0-0.04, with which images are about as noisy as real ones (docs/measured.md).
        seed: decides the noise.
    """

    fraction: float = field(metadata=number(SHARE, "standard deviation relative to the bright signal"))
    seed: int

    def __call__(self, signal: torch.Tensor, bright: float, phase_sensitive: bool = False) -> torch.Tensor:
        """Magnitude, or the signed real part if phase-sensitive (PSIR), with noise. Changes `signal`."""
        sigma = self.fraction * bright
        real, imaginary = standard_normal(2 * signal.numel(), self.seed).view(2, *signal.shape)
        signal.add_(real, alpha=sigma)
        return signal if phase_sensitive else torch.hypot(signal, imaginary * sigma)


def displace(signal: torch.Tensor, pixels: torch.Tensor | float, along_rows: bool) -> torch.Tensor:
    """A signal displaced by off-resonance or breathing: the value at x is that of x - pixels, or of the edge beyond it.

    Args:
        signal: (..., rows, columns).
        pixels: displacement, a number or broadcastable to the signal.
        along_rows: displace from row to row; otherwise, from column to column.

    Returns:
        tensor of the signal's shape, interpolated linearly.
    """
    planes = signal.reshape(-1, 1, *signal.shape[-2:])
    moved = torch.broadcast_to(torch.as_tensor(pixels, dtype=signal.dtype), signal.shape).reshape(planes[:, 0].shape)
    rows_less_1, columns_less_1 = (max(n - 1, 1) for n in signal.shape[-2:])
    lines = [torch.linspace(-1, 1, n) for n in planes.shape[-2:]]
    rows, columns = torch.meshgrid(*lines, indexing="ij")
    rows, columns = rows.expand(moved.shape), columns.expand(moved.shape)
    if along_rows:
        rows = rows - moved * (2 / rows_less_1)
    else:
        columns = columns - moved * (2 / columns_less_1)
    grid = torch.stack((columns, rows), -1)
    return grid_sample(planes, grid, padding_mode="border", align_corners=True).reshape(signal.shape)


@cache
def _normal_bank() -> torch.Tensor:
    """About a million standard normal numbers, drawn once."""
    return torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))


def standard_normal(count: int, seed: int) -> torch.Tensor:
    """Standard normal numbers determined by the seed, (count,); do not modify them.

    Up to half a million numbers are a section of a fixed bank of a million, whose start the seed determines: new draws
    took a third of a 2D sample's time. More numbers, as in 3D, are drawn anew.
    """
    bank = _normal_bank()
    if 2 * count > len(bank):
        return torch.randn(count, generator=torch.Generator().manual_seed(seed))
    start = seed % (len(bank) - count + 1)
    return bank[start : start + count]
