"""What the sequences share: events on the longitudinal magnetisation, and how trains of pulses change it.

`mz` is the longitudinal magnetisation per unit PD, 1 at equilibrium: a tensor of the maps' shape, or a float as long as
it is the same in all voxels. `r1` and `r2` are 1/T1 and 1/T2 in 1/ms, computed once per signal.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from nnunet_phys.spin import NumberOrMap
from nnunet_phys.tissue_kinds import flowing_blood


class Affine(NamedTuple):
    """The map mz -> offset + slope * mz."""

    offset: torch.Tensor
    slope: torch.Tensor

    def __call__(self, mz: NumberOrMap) -> torch.Tensor:
        if isinstance(mz, torch.Tensor):
            return torch.addcmul(self.offset, self.slope, mz)  # one pass
        return self.offset + self.slope * mz

    def then(self, following: Affine) -> Affine:
        """This map followed by another."""
        return Affine(following(self.offset), following.slope * self.slope)

    @property
    def steady(self) -> torch.Tensor:
        """The fixed point, to which repeating the map converges for a slope between -1 and 1."""
        return self.offset / (1 - self.slope)


def decay(rate: torch.Tensor, time_ms: NumberOrMap) -> torch.Tensor:
    """exp(-time * rate), with the rate (1/T1, 1/T2, ...) in 1/ms."""
    return torch.exp(rate * -time_ms)


def recovery(mz: NumberOrMap, e1: torch.Tensor) -> torch.Tensor:
    """Free recovery for a time t, given as `e1` = exp(-t/T1)."""
    return (mz - 1) * e1 + 1


def recovering(e1: torch.Tensor) -> Affine:
    """`recovery` as a map, to be chained."""
    return Affine(1 - e1, e1)


def inversion(mz: NumberOrMap, efficiency: float = 1.0) -> NumberOrMap:
    """Inversion pulse and spoiler; an efficiency of 1 turns mz into -mz."""
    return -efficiency * mz


def saturation(mz: NumberOrMap, efficiency: float = 1.0) -> NumberOrMap:
    """Saturation pulse and spoiler; an efficiency of 1 leaves nothing."""
    return (1 - efficiency) * mz


def t2_preparation(mz: NumberOrMap, r2: torch.Tensor, echo_time_ms: float) -> torch.Tensor:
    """T2 preparation (90 - refocusing - 90 back, ideal pulses), after which mz is weighted by exp(-TE/T2)."""
    return mz * decay(r2, echo_time_ms)


def sine_cosine(angle_deg: NumberOrMap) -> tuple[NumberOrMap, NumberOrMap]:
    """Sine and cosine of an angle in degrees: floats for a number, tensors for a tensor."""
    if isinstance(angle_deg, torch.Tensor):
        radians = torch.deg2rad(angle_deg)
        return torch.sin(radians), torch.cos(radians)
    return math.sin(math.radians(angle_deg)), math.cos(math.radians(angle_deg))


def bssfp_approach(
    r1: torch.Tensor, r2: torch.Tensor, flip_angle_deg: NumberOrMap
) -> tuple[NumberOrMap, NumberOrMap, torch.Tensor, torch.Tensor]:
    """How a bSSFP train approaches its steady state on resonance, for TR << T2 and TE = TR/2.

    After an a/2 - TR/2 catalyst, the signal per unit PD goes, at a time t into the train, as

        S(t) = sin(a/2) (m_ss + (mz - m_ss) exp(-t rate)),
        rate = 1/T1* = cos^2(a/2)/T1 + sin^2(a/2)/T2,   m_ss = cos(a/2) / (T1 rate)

    (Schmitt et al. 2004, Magn Reson Med 51:661, rearranged so that nothing is divided by the sine).

    Args:
        r1: 1/T1 in 1/ms, any shape.
        r2: 1/T2 in 1/ms, same shape.
        flip_angle_deg: a in degrees, a number or broadcastable to the maps.

    Returns:
        sin(a/2), cos(a/2), m_ss and rate (1/ms).
    """
    sine, cosine = sine_cosine(flip_angle_deg * 0.5)
    longitudinal = cosine * cosine * r1
    rate = longitudinal + sine * sine * r2
    return sine, cosine, cosine * r1 / rate, rate


def effective_flip_angle(flip_angle_deg: NumberOrMap, tr_ms: float, off_resonance_hz: NumberOrMap) -> NumberOrMap:
    """The flip angle of the bSSFP train on resonance that acts as this train does off resonance.

    With alternating pulses and echoes at TR/2, the rotation from echo to echo consists of phi/2 + 90 degrees about z, a
    about x, and phi/2 + 90 degrees about z again, where phi = 2 pi df TR. Its axis is tilted from z by theta,

        tan(theta) = tan(a/2) / |cos(phi/2)|

    (derived here, confirmed by `bloch`). To first order in TR/T1 and TR/T2, magnetisation along the axis relaxes as
    on resonance, where theta = a/2. The sign flip from band to band is left out.

    The steady state is within 0.1 % of M0 of `bloch` for |phi| < 0.7 pi, 0.4 % for 0.9 pi, 4 % at the edge, pi. A
    single shot is prepared for the axis on resonance, and the part of its magnetisation across the tilted axis turns
    and fades with about T2: within 4 % of M0 for |phi| < 0.3 pi, 12 % for 0.5 pi, 26 % for 0.7 pi in the worst voxel,
    about half as wrong as without the effective angle. (T2 > 25 ms, 25-70 degrees, TR 2.3-3.5 ms, pulse 20.)

    Args:
        flip_angle_deg: a in degrees, a number or a map.
        tr_ms: TR in ms.
        off_resonance_hz: df, a number or a map that broadcasts against the flip angle's.

    Returns:
        2 theta in degrees, from a to 180 (the edge of a band, no signal): a number for numbers, else a map.
    """
    sine, cosine = sine_cosine(flip_angle_deg * 0.5)
    _, band = sine_cosine(off_resonance_hz * (0.18 * tr_ms))  # of phi/2 in degrees
    along = cosine * (band.abs() if isinstance(band, torch.Tensor) else abs(band))
    if not isinstance(along, torch.Tensor):
        return math.degrees(2 * math.atan2(sine, along))
    across = torch.as_tensor(sine, dtype=along.dtype, device=along.device)
    return torch.rad2deg(2 * torch.atan2(across, along)).clamp(max=180.0)


def single_shot_bssfp(
    r1: torch.Tensor,
    r2: torch.Tensor,
    flip_angle_deg: NumberOrMap,
    tr_ms: float,
    pulses: int,
    centre_pulse: int,
) -> tuple[Affine, Affine]:
    """Single-shot bSSFP: a/2 - TR/2 catalyst, then `pulses` pulses, TE = TR/2, spoiled after the last echo.

    Both results follow from `bssfp_approach`: the echo at t = (centre_pulse + 1) TR, and the magnetisation
    cos(a/2) S(t) / sin(a/2) at the last echo, t = pulses TR, from where it recovers freely. The second has no
    published source: it is an assumption that `bloch` confirms. Both agree with `bloch` within 0.1 % of M0 (T2 > 15 ms,
    15-80 degrees).

    Args:
        r1: 1/T1 in 1/ms, any shape.
        r2: 1/T2 in 1/ms, same shape.
        flip_angle_deg: degrees, a number or broadcastable to the maps.
        tr_ms: repetition time in ms.
        pulses: pulses in the shot, without the catalyst.
        centre_pulse: the pulse, from 0, whose echo is at the centre of k-space and decides the image's contrast.

    Returns:
        echo: mz before the shot -> signal per unit PD.
        remainder: mz before the shot -> mz at the last echo, pulses TR after the shot's start.
    """
    sine, cosine, steady, rate = bssfp_approach(r1, r2, flip_angle_deg)
    to_centre = decay(rate, (centre_pulse + 1) * tr_ms)
    to_end = decay(rate, pulses * tr_ms)
    echo = Affine(sine * (steady - steady * to_centre), sine * to_centre)
    remainder = Affine(cosine * (steady - steady * to_end), cosine * to_end)
    return echo, remainder


def spoiled_gre_train(
    r1: torch.Tensor, flip_angle_deg: NumberOrMap, tr_ms: float
) -> tuple[NumberOrMap, NumberOrMap, torch.Tensor, torch.Tensor]:
    """How an ideally spoiled gradient-echo train approaches its steady state.

    Before pulse k the longitudinal magnetisation is m_ss + (mz - m_ss) q^k, with q = E1 cos(a),
    m_ss = (1 - E1)/(1 - q) and E1 = exp(-TR/T1): one pulse and one recovery, iterated.

    Args:
        r1: 1/T1 in 1/ms, any shape.
        flip_angle_deg: a in degrees, a number or broadcastable to the maps.
        tr_ms: repetition time in ms.

    Returns:
        sin(a), cos(a), m_ss and q.
    """
    sine, cosine = sine_cosine(flip_angle_deg)
    e1 = decay(r1, tr_ms)
    q = cosine * e1
    return sine, cosine, (1 - e1) / (1 - q), q


def single_shot_gre(
    r1: torch.Tensor, flip_angle_deg: NumberOrMap, tr_ms: float, pulses: int, centre_pulse: int
) -> tuple[Affine, Affine]:
    """A train of spoiled gradient echoes, from `spoiled_gre_train`; exact.

    Args:
        r1: 1/T1 in 1/ms, any shape.
        flip_angle_deg: degrees, a number or broadcastable to the maps.
        tr_ms: repetition time in ms.
        pulses: pulses in the train.
        centre_pulse: the pulse, from 0, whose echo is at the centre of k-space.

    Returns:
        echo: mz before the train -> signal per unit PD at TE = 0.
        remainder: mz before the train -> mz one TR after its last pulse.
    """
    sine, _, steady, q = spoiled_gre_train(r1, flip_angle_deg, tr_ms)
    to_centre, to_end = q**centre_pulse, q**pulses
    echo = Affine(sine * (steady - steady * to_centre), sine * to_centre)
    return echo, Affine(steady - steady * to_end, to_end)


def t2_star_decay(r2: torch.Tensor, r2_prime_hz: NumberOrMap, te_ms: float) -> torch.Tensor:
    """exp(-TE/T2*) with 1/T2* = 1/T2 + R2'; `r2` in 1/ms, R2' in 1/s."""
    return decay(r2 + r2_prime_hz * 1e-3, te_ms)


def blood_share(t1: torch.Tensor, t2: torch.Tensor, blood: NumberOrMap | None) -> NumberOrMap:
    """The share of blood; if it is None, an estimate from T1 and T2 in ms (`tissue_kinds.flowing_blood`)."""
    return flowing_blood(t1, t2) if blood is None else blood
