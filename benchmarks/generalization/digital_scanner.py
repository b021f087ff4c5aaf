"""What a scan adds to the signal of a digital heart: slice profile, breathing, a device's field.

Like `nnunet_phys.heart_scanner`, it shares nothing with `nnunet_phys.fields` and `nnunet_phys.scanner`, from which
training draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nnunet_phys.heart_scanner import smooth_field

_PROFILE = ((0.0, 1 / 5), (0.25, 2 / 5), (0.5, 2 / 5))
"""Distances from the slice's centre, in slice thicknesses, and the share of the slice that each stands for."""
_DEVICE_RADIUS_MM = 15.0
"""Half the size of a device, an assumption. Its field inside is set to that at its surface."""


def through_slice(signal: Callable[[np.ndarray], np.ndarray], flip_angle_deg: np.ndarray) -> np.ndarray:
    """Signal of a slice whose flip angle falls off towards its edges, as after a Gaussian pulse: half of it at +-1/2
    slice thickness (the pulse's shape is an assumption).

    Args:
        signal: the signal for an array of flip angles in degrees.
        flip_angle_deg: flip angle in the slice's centre, of the shape of the tissue.

    Returns:
        The mean of the signal over the slice.
    """
    parts = [share * signal(flip_angle_deg * 0.5 ** (4 * distance**2)) for distance, share in _PROFILE]
    return np.sum(parts, axis=0)


def transmit_field(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Actual over nominal flip angle (B1+), float32 of shape (slices, rows, columns): a mean of 0.75-1.1, as in the
    heart at 3 T (0.81 +- 0.13 over people, Krishnamurthy et al., JCMR 15:68, 2013), and smooth variation of 8 % within
    it, an assumption."""
    plane = np.exp(0.08 * smooth_field(rng, shape[1:], 3))
    return np.broadcast_to(np.float32(rng.uniform(0.75, 1.1)) * plane, shape)


def breathing_ghosts(rng: np.random.Generator, image: np.ndarray, amplitude_pixels: float, breaths: int) -> np.ndarray:
    """Image whose lines of k-space were acquired while the body moved along the rows' axis with the breath.

    Args:
        rng: source of the phase of breathing.
        image: real or complex, (..., rows, columns).
        amplitude_pixels: largest displacement from the middle position.
        breaths: breaths during the acquisition.

    Returns:
        complex array of the image's shape.
    """
    rows = image.shape[-2]
    time = np.arange(rows) / rows
    displacement = amplitude_pixels * np.sin(2 * np.pi * (breaths * time + rng.uniform()))
    frequency = np.fft.fftfreq(rows)
    acquired = np.argsort(np.argsort(frequency))  # lines are acquired from one edge of k-space to the other
    phase = np.exp(-2j * np.pi * frequency * displacement[acquired])
    return np.fft.ifft(np.fft.fft(image, axis=-2) * phase[:, None], axis=-2)


def shifted(image: np.ndarray, rows: float, columns: float) -> np.ndarray:
    """Image displaced by a number of pixels, which need not be whole, over edges that meet; (..., rows, columns)."""
    ramp = np.exp(-2j * np.pi * rows * np.fft.fftfreq(image.shape[-2]))[:, None]
    ramp = ramp * np.exp(-2j * np.pi * columns * np.fft.fftfreq(image.shape[-1]))
    moved = np.fft.ifft2(np.fft.fft2(image) * ramp)
    return moved if np.iscomplexobj(image) else moved.real


def device_frequency_hz(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    centre_mm: tuple[float, float],
) -> np.ndarray:
    """Off-resonance of a pacemaker or defibrillator: a magnetic dipole 75-110 mm from the heart.

    A dipole of moment m along the main field shifts the frequency by m (3 cos^2 - 1) / r^3. Its strength, 100-300 Hz at
    the heart but for that factor, its distance and the direction of the main field are assumptions.

    Args:
        rng: source of the draw.
        shape: slices, rows, columns.
        spacing_mm: voxel spacing along these axes.
        centre_mm: the heart's position (row, column) relative to the image centre.

    Returns:
        float64 array of that shape, Hz.
    """
    axes = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing_mm, strict=True)), indexing="ij"
    )
    angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(75, 110)
    position = (rng.uniform(-30, 30), centre_mm[0] + distance * np.sin(angle), centre_mm[1] + distance * np.cos(angle))
    offsets = [axis - p for axis, p in zip(axes, position, strict=True)]
    field_direction = rng.standard_normal(3)
    field_direction /= np.linalg.norm(field_direction)
    radius = np.maximum(np.sqrt(sum(o**2 for o in offsets)), _DEVICE_RADIUS_MM)
    cosine = sum(o * d for o, d in zip(offsets, field_direction, strict=True)) / radius
    return rng.uniform(100, 300) * (distance / radius) ** 3 * (3 * cosine**2 - 1)


def dephasing(frequency_hz: np.ndarray, te_ms: float) -> np.ndarray:
    """Share of a gradient echo's signal that is left where the off-resonance varies linearly within each voxel.

    Args:
        frequency_hz: (slices, rows, columns), with at least two of each but the slices.
        te_ms: echo time.

    Returns:
        array of that shape: the product over the axes of |sinc(difference from edge to edge x TE)|.
    """
    left = np.ones(frequency_hz.shape)
    for axis, length in enumerate(frequency_hz.shape):
        if length > 1:
            left *= np.abs(np.sinc(np.gradient(frequency_hz, axis=axis) * te_ms * 1e-3))
    return left
