"""How the digital heart is scanned: receive bias, off-resonance and noise, as numpy arrays with rows and columns last.

Training uses `fields` and `scanner` instead. Test images, which come from `bloch` and not from `sequences`, thus also
have a scanner model of their own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import interpolate


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

    A coil element lies at a random angle about 80-140 mm from the heart, and its sensitivity falls with distance. A
    smooth random factor represents the other elements and the scanner's own normalisation.

    Args:
        rng: source of the draw.
        shape: rows and columns.
        pixel_mm: pixel size.
        maximum: largest factor; the smallest is its inverse. A factor of 1.5-3 over the field of view is an
            assumption (no measurement at hand); in real MOLLI readouts chest-wall fat was 3-5 times as bright as the
            heart.
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
    """Off-resonance that shimming leaves: a linear ramp and a smooth remainder.

    Args:
        rng: source of the draw.
        shape: rows and columns.
        span_hz: approximate largest deviation; `fields.OffResonance` names what was measured.

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
