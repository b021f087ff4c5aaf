"""What varies smoothly over the body: B1+, the off-resonance, the coils' sensitivity, a device's field, random regions.

Every field is a frozen dataclass of a few numbers and a seed, called on positions. So a draw is short and can be
recorded, and a voxel has the same value in every patch that contains it.

Positions are three tensors in mm along the axes of an array (slices, rows, columns), relative to the middle of the
case, that broadcast against each other: (n, 1, 1), (1, m, 1) and (1, 1, k) for a grid, three of shape (n,) for single
points. A field's values have the broadcast shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.functional import interpolate

from nnunet_phys.quantities import SHARE, Bounded, Quantity, number

_TRANSMITTED = 0.3, 1.5
"""Least and greatest B1+, relative to the nominal. Assumed."""
_EXCITED_HZ = 2000.0
"""About where spins are no longer excited: an assumption about the bandwidth of the pulses."""
_DEVICE_RADIUS_MM = 15.0
"""Half the size of a device, an assumption. Inside, its field is finite, and without meaning."""
_TRANSMIT_SCALE_MM, _OFF_RESONANCE_SCALE_MM, _REMAINDER_SCALE_MM = 80.0, 50.0, 100.0
"""Over these lengths B1+, the off-resonance that shimming leaves, and the coils' remainder vary. Assumed."""
_SMOOTH_SHARE = 0.35
"""Standard deviation of the smooth part of the off-resonance, as a share of its span; the rest is a ramp. Assumed."""
_RAMP_MM = 100.0
"""Distance from the middle at which the ramp reaches at most half of the span along each axis."""
_REACH = 0.6
"""Distance at which a coil's sensitivity begins to fall, as a share of that to the middle. Assumed."""
_BLOB_EDGE = 0.15
"""Width of a region's edge. A region is where smooth noise exceeds a threshold; this is in standard deviations of that
noise. Assumed."""


Positions = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def grid_positions(start: tuple[int, ...], count: tuple[int, ...], shape: tuple, spacing_mm: tuple) -> Positions:
    """Positions of a box of voxels.

    Args:
        start: index of the box's first voxel in the case, 3 numbers.
        count: voxels of the box along each axis.
        shape: voxels of the whole case along each axis.
        spacing_mm: voxel spacing along each axis.

    Returns:
        Three tensors of shape (n, 1, 1), (1, m, 1) and (1, 1, k), mm from the middle of the case.
    """
    axes = []
    for axis, (first, n, total, step) in enumerate(zip(start, count, shape, spacing_mm, strict=True)):
        line = (torch.arange(n, dtype=torch.float32) + (first - (float(total) - 1) / 2)) * float(step)
        axes.append(line.reshape([-1 if a == axis else 1 for a in range(3)]))
    return axes[0], axes[1], axes[2]


def on_coarse_grid(
    function: Callable[[Positions], torch.Tensor], positions: Positions, step_mm: float = 8.0
) -> torch.Tensor:
    """A field that varies over about 50 mm or more, computed on a grid of about `step_mm` and interpolated linearly.

    This saves most of the cost. At single points, and on grids no finer than `step_mm`, the field itself is computed.

    Args:
        function: the field, called on positions.
        positions: see the module.
        step_mm: spacing of the coarse grid; the error is about (step / scale)^2 / 8, 0.3 % for 8 and 50 mm.
    """
    if positions[0].ndim == 1:
        return function(positions)
    coarse, shape = [], []
    for axis, line in enumerate(positions):
        first, last = float(line.reshape(-1)[0]), float(line.reshape(-1)[-1])
        nodes = min(line.numel(), max(2, math.ceil((last - first) / step_mm) + 1))
        coarse.append(torch.linspace(first, last, nodes).reshape([-1 if a == axis else 1 for a in range(3)]))
        shape.append(line.numel())
    values = function((coarse[0], coarse[1], coarse[2]))
    if values.shape == tuple(shape):
        return values
    if shape[0] == values.shape[0]:  # slices far apart
        return interpolate(values[:, None], shape[1:], mode="bilinear", align_corners=True)[:, 0]
    return interpolate(values[None, None], shape, mode="trilinear", align_corners=True)[0, 0]


def smooth_noise(seed: int, positions: Positions, scale_mm: float) -> torch.Tensor:
    """A smooth random field: a sum of 16 plane waves of random direction, length and phase (spectral method).

    Args:
        seed: decides the waves.
        positions: see the module.
        scale_mm: standard deviation of the Gaussian that the field's correlation follows.

    Returns:
        float32 tensor; over seeds, its mean is about 0 and its variance about 1.
    """
    rng = np.random.default_rng(seed)
    waves = 16
    wave_vectors = torch.from_numpy((rng.standard_normal((3, waves)) / scale_mm).astype(np.float32))
    phases = torch.from_numpy(rng.uniform(0, 2 * np.pi, waves).astype(np.float32))
    if positions[0].ndim == 1:
        angles = torch.addmm(phases, torch.stack(positions, 1), wave_vectors)
        return angles.cos_().sum(-1).mul_(math.sqrt(2 / waves))
    phases_along = [axis[..., None] * wave for axis, wave in zip(positions, wave_vectors, strict=True)]
    # exp(i (a + b + c)) factorises: on a grid, the sum over waves is one product of matrices
    planes, rows, columns = (torch.polar(torch.ones_like(a), a).reshape(-1, waves) for a in phases_along)
    planes = planes * torch.polar(torch.ones(waves), phases)
    left = (planes[:, None] * rows[None]).reshape(-1, waves)
    real = torch.cat((left.real, -left.imag), 1) @ torch.cat((columns.real, columns.imag), 1).T
    return math.sqrt(2 / waves) * real.reshape(len(planes), len(rows), len(columns))


@dataclass(frozen=True)
class TransmitField(Bounded):
    """B1+ relative to the nominal flip angle.

    Attributes:
        mean: mean over places and seeds; `variation` moves the mean of one heart up or down. In the heart at 3 T it is
            0.81 +- 0.13 over people, 0.89 +- 0.15 with local shimming (Krishnamurthy et al., JCMR 15:68, 2013).
        variation: standard deviation within the case, relative to the mean; 0.1 is an assumption.
        seed: decides its shape.
    """

    mean: float = field(
        metadata=number(Quantity("", *_TRANSMITTED), "actual over nominal flip angle (B1+), mean over the case")
    )
    variation: float = field(metadata=number(SHARE, "its standard deviation within the case, relative to the mean"))
    seed: int

    def __call__(self, positions: Positions) -> torch.Tensor:
        """Factor of the flip angle, within `_TRANSMITTED`."""
        varied = 1 + self.variation * smooth_noise(self.seed, positions, _TRANSMIT_SCALE_MM)
        return (self.mean * varied).clamp_(*_TRANSMITTED)


@dataclass(frozen=True)
class OffResonance(Bounded):
    """Off-resonance that shimming leaves: a linear ramp and a smooth remainder.

    Attributes:
        span_hz: approximate largest deviation within 100 mm of the middle; some draws reach twice that. Within 50 mm,
            the field spans about 1.1 times it. Across the heart it varies by 62 +- 16 Hz at 1.5 T and 125 +- 41 Hz at
            3 T (Kellman et al., JCMR 15:63, 2013).
        seed: decides its shape.
    """

    span_hz: float = field(metadata=number(Quantity("Hz", 0, 1e4), "approximate largest deviation near the middle"))
    seed: int

    def __call__(self, positions: Positions) -> torch.Tensor:
        """Off-resonance in Hz."""
        slope = np.random.default_rng(self.seed).uniform(-0.5, 0.5, 3)
        slices, rows, columns = positions
        per_mm = [float(change) / _RAMP_MM for change in slope]
        ramp = slices * per_mm[0] + rows * per_mm[1] + columns * per_mm[2]
        return (smooth_noise(self.seed, positions, _OFF_RESONANCE_SCALE_MM) * _SMOOTH_SHARE + ramp) * self.span_hz


@dataclass(frozen=True)
class ReceiveBias(Bounded):
    """Sensitivity of a surface-coil array, about 1 in the middle.

    One coil element lies in the plane at a random angle. Around it, sensitivity falls with a power of
    1 + (distance / reach)^2 that `factor` determines. A smooth random factor represents the other elements and the
    scanner's own normalisation.

    Attributes:
        factor: sensitivity at the coil element. The shipped recipes draw 1-7: in real MOLLI readouts chest-wall fat was
            3-5 times as bright as the heart.
        distance_mm: distance from the middle to the coil element; 80-140 is an assumption.
        remainder: standard deviation of the smooth factor's logarithm, an assumption.
        seed: decides the angle and the smooth factor.
    """

    factor: float = field(
        metadata=number(Quantity("", 0.1, 100), "sensitivity at the coil element over that in the middle")
    )
    distance_mm: float = field(
        metadata=number(Quantity("mm", 10, 1000), "distance from the middle to the coil element")
    )
    remainder: float = field(
        metadata=number(Quantity("", 0, 2), "standard deviation of a smooth random factor's logarithm")
    )
    seed: int

    def __call__(self, positions: Positions) -> torch.Tensor:
        """Factor of the signal, positive."""
        angle = np.random.default_rng(self.seed).uniform(0, 2 * np.pi)
        _, rows, columns = positions
        squared = (rows - self.distance_mm * math.sin(angle)) ** 2 + (columns - self.distance_mm * math.cos(angle)) ** 2
        reach = _REACH * self.distance_mm
        at_middle = math.log1p((self.distance_mm / reach) ** 2)
        exponent = math.log(self.factor) / at_middle
        remainder = smooth_noise(self.seed, positions, _REMAINDER_SCALE_MM)
        profile = torch.log1p(squared / reach**2)
        return remainder.mul_(self.remainder).sub_(profile, alpha=exponent).add_(exponent * at_middle).exp_()


@dataclass(frozen=True)
class Device(Bounded):
    """A pacemaker or defibrillator at the edge of the plane: a magnetic dipole along B0.

    Attributes:
        frequency_hz: off-resonance at 100 mm from the device, perpendicular to B0. Assumed: some kHz at 50-100 mm from
            a defibrillator, for which wideband inversion pulses were made (PMC4661130), and much less from a pacemaker,
            with which LGE is free of artefacts in over 94 % of segments (Eur Heart J Cardiovasc Imaging 19:1051, 2018).
        distance_mm: distance from the middle of the case.
        bandwidth_hz_per_pixel: read-out bandwidth, which decides how far off-resonant spins are displaced; 500-1,500
            for cine (an assumption). Displaced spins keep their brightness: the bright rims where a scanner piles them
            up, and the loss where it spreads them, are left out.
        seed: decides the device's place, and the direction of B0, which cannot be known from an array's axes.
    """

    frequency_hz: float = field(
        metadata=number(Quantity("Hz", 0, 1e5), "off-resonance at 100 mm from the device, perpendicular to B0")
    )
    distance_mm: float = field(metadata=number(Quantity("mm", 0, 1000), "distance from the middle of the case"))
    bandwidth_hz_per_pixel: float = field(
        metadata=number(Quantity("Hz/pixel", 10, 1e5), "read-out bandwidth, which decides how far spins are displaced")
    )
    seed: int

    def __call__(self, positions: Positions) -> torch.Tensor:
        """Off-resonance in Hz: frequency_hz (100 mm / r)^3 (1 - 3 cos^2) outside the device, finite inside."""
        _, _, along, inverse = self._geometry(positions)
        return self._scale(inverse) * (1 - 3 * along * along * inverse)

    def remaining(self, positions: Positions, voxel_mm: tuple[float, float, float], te_ms: float) -> torch.Tensor:
        """Share of the signal that a gradient echo keeps, 0 to 1.

        Along each axis, the frequency changes across a voxel by d, gradient times size, which multiplies the signal by
        sinc(d TE). Spins more than about `_EXCITED_HZ` off resonance are not excited at all.

        Args:
            positions: see the module.
            voxel_mm: voxel size along each axis.
            te_ms: how long the echo dephases.
        """
        axes, direction, along, inverse = self._geometry(positions)
        cosine_squared, scale = along * along * inverse, self._scale(inverse)
        kept = 1 / (1 + (scale * (1 - 3 * cosine_squared) / _EXCITED_HZ) ** 4)
        for axis, d, size in zip(axes, direction, voxel_mm, strict=True):
            gradient = scale * inverse * (axis * (15 * cosine_squared - 3) - 6 * d * along)
            kept = kept * torch.sinc(gradient * (size * te_ms * 1e-3))
        return kept.abs()

    def displacement(self, positions: Positions) -> torch.Tensor:
        """By how many pixels a read-out displaces spins, no further than those that are just excited."""
        return self(positions).clamp_(-_EXCITED_HZ, _EXCITED_HZ) / self.bandwidth_hz_per_pixel

    def _geometry(self, positions: Positions) -> tuple[list[torch.Tensor], list[float], torch.Tensor, torch.Tensor]:
        """Distances from the device along the axes (mm), direction of B0, distance along it, 1/r^2 (1/mm^2)."""
        rng = np.random.default_rng(self.seed)
        angle, direction = rng.uniform(0, 2 * np.pi), rng.standard_normal(3)
        unit = [float(d) for d in direction / np.linalg.norm(direction)]
        centre = (rng.uniform(-30, 30), self.distance_mm * math.sin(angle), self.distance_mm * math.cos(angle))
        axes = [axis - float(c) for axis, c in zip(positions, centre, strict=True)]
        inverse = 1 / (axes[0] ** 2 + axes[1] ** 2 + axes[2] ** 2).clamp_min(_DEVICE_RADIUS_MM**2)
        along = axes[0] * unit[0] + axes[1] * unit[1] + axes[2] * unit[2]
        return axes, unit, along, inverse

    def _scale(self, inverse: torch.Tensor) -> torch.Tensor:
        """frequency_hz (100 mm / r)^3 from 1/r^2."""
        return inverse * inverse.sqrt() * (self.frequency_hz * 1e6)


@dataclass(frozen=True)
class Region(Bounded):
    """Random soft-edged blobs, such as scars.

    Attributes:
        share: share of space that the blobs fill.
        scale_mm: size of a blob.
        seed: decides their places.
    """

    share: float = field(metadata=number(SHARE, "share of space that the blobs fill"))
    scale_mm: float = field(metadata=number(Quantity("mm", 0.5, 1000), "size of a blob"))
    seed: int

    def __call__(self, positions: Positions) -> torch.Tensor:
        """Weight of the region, 0 to 1."""
        share = min(max(self.share, 1e-6), 1 - 1e-6)
        threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * share)))
        return torch.sigmoid((smooth_noise(self.seed, positions, self.scale_mm) - threshold) / _BLOB_EDGE)


@dataclass(frozen=True)
class SlowFlow(Region):
    """Random soft-edged blobs in which a part of the blood is at rest.

    Attributes:
        at_rest: share of the blood in the blobs that is at rest.
    """

    at_rest: float = field(metadata=number(SHARE, "share of the blood in the blobs that is at rest"))

    def __call__(self, positions: Positions) -> torch.Tensor:
        """Share of blood at rest, 0 to `at_rest`."""
        return super().__call__(positions) * self.at_rest
