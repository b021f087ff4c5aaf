"""What conventional relaxometry fits: inversion and saturation recovery, T2 preparation, and the last two together.

Each model takes the times of a series, in any order, and is a `SeparableModel`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_phys.separable_model import Axis, SeparableModel

T1_STAR_AXIS = Axis(30.0, 6000.0, 160)
"""Apparent T1, from below fat under contrast agent to beyond water. Steps of 3.4 %, which a parabola refines to 0.2 %
(`test_polarity`)."""
_T1_AXIS = Axis(40.0, 6000.0, 28)
"""A little beyond `spin`'s bounds, so that a value at a bound shows. Steps of 20 %, where Gauss-Newton steps begin."""
_T2_AXIS = Axis(4.0, 3000.0, 20)
"""As `_T1_AXIS`. Steps of 42 %."""
_T1_MS, _T2_MS = 1000.0, 50.0
"""Of myocardium."""
_FULLY_RECOVERED_MS = 1e6
"""Stands for an infinite time after saturation, so that products with exp(-time/T1) stay finite."""


def _times(times_ms: tuple[float, ...]) -> torch.Tensor:
    """Times as (K, 1), float64."""
    return torch.tensor(times_ms, dtype=torch.float64).clamp(max=_FULLY_RECOVERED_MS)[:, None]


@dataclass(frozen=True)
class Recovery(SeparableModel):
    """A - B exp(-t/T1) after saturation, with A and B free: imperfect saturation only changes B.

    The three-parameter fit of SASHA (Chow et al. 2014, Magn Reson Med 71:2082). PD is A.

    Attributes:
        times_ms: t of each image, to the centre of k-space; infinity without saturation.
        axes: bounds of T1.
    """

    typical = ((1.0, 1.0), (_T1_MS,))

    times_ms: tuple[float, ...]
    axes: tuple[Axis, ...] = (_T1_AXIS,)

    def columns(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """1 and -exp(-t/T1)."""
        decay = torch.exp(-_times(self.times_ms) / nonlinear[0])
        return torch.stack((torch.ones_like(decay), -decay))

    def slopes(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """0 and -t/T1 exp(-t/T1)."""
        ratio = _times(self.times_ms) / nonlinear[0]
        slope = -ratio * torch.exp(-ratio)
        return torch.stack((torch.zeros_like(slope), slope))[None]

    def quantities(self, linear: torch.Tensor, nonlinear: torch.Tensor) -> dict[str, torch.Tensor]:
        """PD and T1."""
        return {"PD": linear[0], "T1": nonlinear[0]}


@dataclass(frozen=True)
class InversionRecovery(Recovery):
    """A - B exp(-t/T1*) after inversion: the three-parameter fit of MOLLI (Messroghli et al. 2004, Magn Reson Med
    52:141).

    The Look-Locker correction T1 = T1* (B/A - 1) holds for an ideal inversion under a continuous read-out of a small
    angle (tested against `sequences.LookLocker`). In MOLLI it leaves T1 biased low. PD is A, which the read-out lowers.

    Attributes:
        magnitude: the images have lost their sign. Then it changes just before or just after the smallest magnitude,
            since the signal rises along t, or at another time if that fits far better.
    """

    typical = ((1.0, 2.0), (_T1_MS,))

    magnitude: bool = True

    @property
    def lost_sign(self) -> bool:
        """See `SeparableModel`."""
        return self.magnitude

    def quantities(self, linear: torch.Tensor, nonlinear: torch.Tensor) -> dict[str, torch.Tensor]:
        """PD and T1."""
        a, b = linear
        return {"PD": a, "T1": nonlinear[0] * (b / torch.where(a.abs() > 1e-9, a, 1e-9) - 1)}

    def signs(self, pixels: torch.Tensor) -> torch.Tensor:
        """Negative up to any one time, positive after it: (K + 1, K, 1) for magnitudes."""
        if not self.magnitude:
            return super().signs(pixels)
        return self.patterns()[..., None]

    def likely_signs(self, pixels: torch.Tensor) -> torch.Tensor:
        """Negative up to just before or just after the smallest magnitude: (2, K, N) for magnitudes."""
        if not self.magnitude:
            return super().likely_signs(pixels)
        smallest = pixels[self.order()].argmin(0)  # rank along t; the earliest of several
        return self.patterns()[torch.stack((smallest, smallest + 1))].transpose(1, 2)

    def patterns(self) -> torch.Tensor:
        """Signs with the first 0 to K images in order of t negative, (K + 1, K)."""
        count = len(self.times_ms)
        in_order = 1 - 2 * torch.ones(count + 1, count, dtype=torch.float64).tril(-1)
        return in_order[:, self.order().argsort()]

    def order(self) -> torch.Tensor:
        """The images along t, (K,)."""
        return _times(self.times_ms)[:, 0].argsort()


@dataclass(frozen=True)
class NearestNullRecovery(InversionRecovery):
    """`InversionRecovery` with likely signs alone, on a fine grid."""

    axes: tuple[Axis, ...] = (T1_STAR_AXIS,)

    def signs(self, pixels: torch.Tensor) -> torch.Tensor:
        """`likely_signs`."""
        return self.likely_signs(pixels)


@dataclass(frozen=True)
class SaturationRecovery(SeparableModel):
    """A (1 - exp(-t/T1)) after perfect saturation: the two-parameter fit of SASHA, more precise and less accurate.

    Attributes:
        times_ms: t of each image, to the centre of k-space; infinity without saturation.
    """

    typical = ((1.0,), (_T1_MS,))
    axes = (_T1_AXIS,)

    times_ms: tuple[float, ...]

    def columns(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """1 - exp(-t/T1)."""
        return -torch.expm1(-_times(self.times_ms) / nonlinear[0])[None]

    def slopes(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """-t/T1 exp(-t/T1)."""
        ratio = _times(self.times_ms) / nonlinear[0]
        return (-ratio * torch.exp(-ratio))[None, None]

    def quantities(self, linear: torch.Tensor, nonlinear: torch.Tensor) -> dict[str, torch.Tensor]:
        """PD and T1."""
        return {"PD": linear[0], "T1": nonlinear[0]}


@dataclass(frozen=True)
class T2Preparation(SeparableModel):
    """A exp(-TE/T2) after T2 preparation from equilibrium. The read-out's mixture of T1 into the contrast is left out.

    Attributes:
        t2_prep_ms: TE of the preparation of each image; 0 without one.
    """

    typical = ((1.0,), (_T2_MS,))
    axes = (_T2_AXIS,)

    t2_prep_ms: tuple[float, ...]

    def columns(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """exp(-TE/T2)."""
        return torch.exp(-_times(self.t2_prep_ms) / nonlinear[0])[None]

    def slopes(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """TE/T2 exp(-TE/T2)."""
        ratio = _times(self.t2_prep_ms) / nonlinear[0]
        return (ratio * torch.exp(-ratio))[None, None]

    def quantities(self, linear: torch.Tensor, nonlinear: torch.Tensor) -> dict[str, torch.Tensor]:
        """PD and T2."""
        return {"PD": linear[0], "T2": nonlinear[0]}


@dataclass(frozen=True)
class PreparedSaturationRecovery(SeparableModel):
    """The three-parameter model of mSASHA, A (1 - (1 - (1 - exp(-TS/T1)) exp(-TE/T2)) exp(-TD/T1)).

    The equation of `sequences.MSASHA`, whose source it names.

    Attributes:
        ts_ms: TS of each image; infinity without saturation.
        t2_prep_ms: TE of each image's T2 preparation; 0 without one.
        delay_ms: TD, from the T2 preparation to the centre of k-space.
    """

    typical = ((1.0,), (_T1_MS, _T2_MS))
    axes = (_T1_AXIS, _T2_AXIS)

    ts_ms: tuple[float, ...]
    t2_prep_ms: tuple[float, ...]
    delay_ms: float

    def columns(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """The signal of A = 1."""
        t1, t2 = nonlinear
        recovered = -torch.expm1(-_times(self.ts_ms) / t1)
        prepared = torch.exp(-_times(self.t2_prep_ms) / t2)
        return (1 - (1 - recovered * prepared) * torch.exp(-self.delay_ms / t1))[None]

    def slopes(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """The chain rule, factor by factor."""
        t1, t2 = nonlinear
        saturated, echo, delay = _times(self.ts_ms) / t1, _times(self.t2_prep_ms) / t2, self.delay_ms / t1
        decay, prepared, late = torch.exp(-saturated), torch.exp(-echo), torch.exp(-delay)
        mz = (1 - decay) * prepared
        by_t1 = -saturated * decay * prepared * late - (1 - mz) * delay * late
        return torch.stack((by_t1, mz * echo * late))[:, None]

    def quantities(self, linear: torch.Tensor, nonlinear: torch.Tensor) -> dict[str, torch.Tensor]:
        """PD, T1 and T2."""
        return {"PD": linear[0], "T1": nonlinear[0], "T2": nonlinear[1]}
