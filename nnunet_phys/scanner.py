"""What a scanner adds to the signal: receive bias, off-resonance and noise. Arrays in numpy, last two axes in plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch.nn.functional import grid_sample, interpolate


def smooth_field(rng: np.random.Generator, shape: tuple[int, int], knots: int) -> np.ndarray:
    """A smooth random field in a plane.

    Args:
        rng: source of the draw.
        shape: rows and columns.
        knots: number of random control points along each axis; more of them vary faster.

    Returns:
        float32 array (rows, columns), about zero mean and unit variance at the control points, cubic between them.
    """
    coarse = torch.from_numpy(rng.standard_normal((1, 1, knots, knots), dtype=np.float32))
    return interpolate(coarse, shape, mode="bicubic", align_corners=True)[0, 0].numpy()


def receive_bias(
    rng: np.random.Generator,
    shape: tuple[int, int],
    pixel_mm: float,
    maximum: float = 4.0,
    centre_mm: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    """Sensitivity of a surface-coil array, 1 at the heart.

    A coil element sits at a random angle some 80-140 mm from the heart and its sensitivity falls with distance; a
    smooth random factor stands for the other elements and for the scanner's own normalisation.

    Args:
        rng: source of the draw.
        shape: rows and columns.
        pixel_mm: pixel size.
        maximum: greatest factor, and its inverse the least. A factor of 1.5-3 over the field of view is an
            assumption (no measurement at hand); chest-wall fat 3-5 times the heart was seen in real MOLLI.
        centre_mm: the heart's position (row, column) relative to the image centre.

    Returns:
        float32 array (rows, columns), positive.
    """
    rows, columns = ((np.arange(n, dtype=np.float32) - (n - 1) / 2) * pixel_mm for n in shape)
    rows, columns = rows[:, None] - centre_mm[0], columns[None] - centre_mm[1]
    angle, distance, reach = rng.uniform(0, 2 * np.pi), rng.uniform(80, 140), rng.uniform(45, 110)
    squared = (rows - distance * np.sin(angle)) ** 2 + (columns - distance * np.cos(angle)) ** 2
    coil = (1 + distance**2 / reach**2) / (1 + squared / reach**2)
    log_bias = rng.uniform(0.0, 1.3) * np.log(coil) + rng.uniform(0.0, 0.25) * smooth_field(rng, shape, 3)
    return np.exp(np.clip(log_bias, -np.log(maximum), np.log(maximum))).astype(np.float32)


def off_resonance_hz(rng: np.random.Generator, shape: tuple[int, int], span_hz: float) -> np.ndarray:
    """A shimmed field map: a linear ramp and a smooth remainder.

    Args:
        rng: source of the draw.
        shape: rows and columns.
        span_hz: about the largest deviation; +-60-130 Hz over the heart at 3 T is an assumption.

    Returns:
        float32 array (rows, columns) in Hz.
    """
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    slope = rng.uniform(-0.5, 0.5, 2)
    ramp = slope[0] * rows[:, None] + slope[1] * columns[None]
    return (span_hz * (ramp + 0.35 * smooth_field(rng, shape, 4))).astype(np.float32)


def noisy_magnitude(rng: np.random.Generator, signal: np.ndarray, sigma: float) -> np.ndarray:
    """Magnitude of the signal with complex Gaussian noise (Rician; Gudbjartsson and Patz, MRM 34:910, 1995).

    Args:
        rng: source of the draw.
        signal: signed or complex signal, any shape.
        sigma: standard deviation of the real and of the imaginary part, in the signal's unit.

    Returns:
        float32 array of the signal's shape, >= 0.
    """
    real, imaginary = sigma * rng.standard_normal((2, *signal.shape), dtype=np.float32)
    return np.hypot(signal.real + real, signal.imag + imaginary).astype(np.float32)


# ---- on the signed signal of an image, rows and columns last


@dataclass(frozen=True)
class PartialVolume:
    """Blur within the plane, of the signed signal: where it changes sign, the magnitude shows a dark rim.

    Attributes:
        sigma_pixels: standard deviation; a point spread of 1-1.5 pixels full width (0.4-0.65) comes with any k-space of
            finite extent, motion within the read-out adds to it (an assumption).
    """

    sigma_pixels: float

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
class ZeroFilling:
    """K-space acquired up to a fraction of its extent, zero beyond: coarser, with Gibbs ringing.

    Attributes:
        kept: fraction along each axis. 0.6-0.85 of the phase-encoding extent is common in single shots (from memory:
            an assumption); here it holds for both axes.
    """

    kept: float

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """Image of the same shape."""
        spectrum = torch.fft.rfft2(signal)
        rows, columns = signal.shape[-2:]
        spectrum = spectrum * (torch.fft.fftfreq(rows).abs() <= self.kept / 2)[:, None]
        spectrum = spectrum * (torch.fft.rfftfreq(columns) <= self.kept / 2)
        return torch.fft.irfft2(spectrum, s=(rows, columns))


@dataclass(frozen=True)
class Ghost:
    """Respiration: faint copies of the image, displaced along one axis on both sides.

    Attributes:
        amplitude: of each copy, relative to the image; up to some 0.1 where breath-holding fails (an assumption).
        displacement: in fractions of the image's extent: that of the field of view over which one breath is spread.
        along_rows: the displacement goes from row to row, or else from column to column.
    """

    amplitude: float
    displacement: float
    along_rows: bool

    def __call__(self, signal: torch.Tensor) -> torch.Tensor:
        """Image of the same shape."""
        axis = -2 if self.along_rows else -1
        pixels = max(1, round(self.displacement * signal.shape[axis]))
        copies = signal.roll(pixels, axis) + signal.roll(-pixels, axis)
        return signal + self.amplitude * copies


@dataclass(frozen=True)
class Noise:
    """Complex Gaussian noise; the magnitude is Rician (Gudbjartsson and Patz, MRM 34:910, 1995).

    Attributes:
        fraction: standard deviation of real and of imaginary part, relative to the case's bright signal. Blood over
            sigma of 10-40 is an assumption, so 0.025-0.1.
        seed: of the noise.
    """

    fraction: float
    seed: int

    def __call__(self, signal: torch.Tensor, bright: float, phase_sensitive: bool = False) -> torch.Tensor:
        """Magnitude; with the phase known (PSIR), the signed real part. Changes `signal`."""
        normal = standard_normal(signal.numel(), self.seed).view(signal.shape)
        if phase_sensitive:
            return signal.add_(normal, alpha=self.fraction * bright)
        flat = normal.reshape(-1)
        imaginary = flat.roll(len(flat) // 2).view(signal.shape)  # independent in each voxel
        sigma = self.fraction * bright
        return torch.hypot(signal.add_(normal, alpha=sigma), imaginary.mul_(sigma))


def displace(signal: torch.Tensor, pixels: torch.Tensor | float, along_rows: bool) -> torch.Tensor:
    """Where off-resonance or breathing moved things: the value at x is read at x - pixels, the edge's beyond the edge.

    Args:
        signal: (..., rows, columns).
        pixels: displacement, a number or broadcastable to the signal.
        along_rows: from row to row, or else from column to column.
    """
    planes = signal.reshape(-1, 1, *signal.shape[-2:])
    moved = torch.broadcast_to(torch.as_tensor(pixels, dtype=signal.dtype), signal.shape).reshape(planes[:, 0].shape)
    lines = [torch.linspace(-1, 1, n) for n in planes.shape[-2:]]
    rows, columns = torch.meshgrid(*lines, indexing="ij")
    rows, columns = rows.expand(moved.shape), columns.expand(moved.shape)
    if along_rows:
        rows = rows - moved * (2 / (signal.shape[-2] - 1))
    else:
        columns = columns - moved * (2 / (signal.shape[-1] - 1))
    grid = torch.stack((columns, rows), -1)
    return grid_sample(planes, grid, padding_mode="border", align_corners=True).reshape(signal.shape)


@cache
def _normal_bank() -> torch.Tensor:
    return torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))


def standard_normal(count: int, seed: int) -> torch.Tensor:
    """Standard normal numbers that the seed decides; not to be written to.

    Up to a million are a stretch of one fixed bank, which begins where the seed says: drawing them anew was a third of
    a 2D sample's cost. More of them, as in 3D, are drawn.
    """
    bank = _normal_bank()
    if count > len(bank):
        return torch.randn(count, generator=torch.Generator().manual_seed(seed))
    start = seed % (len(bank) - count + 1)
    return bank[start : start + count]
