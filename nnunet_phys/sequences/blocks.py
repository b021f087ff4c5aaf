"""What the sequences share: events on the longitudinal magnetisation, and the checks of their parameters.

`mz` is the longitudinal magnetisation per unit PD, 1 at equilibrium: a tensor of the maps' shape, or a float
while all voxels still agree. `r1` and `r2` are 1/T1 and 1/T2 in 1/ms, taken once per signal and shared by its
events.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

NumberOrMap = float | torch.Tensor
"""A number, or a tensor that broadcasts to the maps (a B1+ map times the flip angle, a field map, ...)."""


def decay(rate: torch.Tensor, time_ms: NumberOrMap) -> torch.Tensor:
    """exp(-time * rate), with the rate (1/T1, 1/T2, ...) in 1/ms."""
    return torch.exp(rate * -time_ms)


def recovery(mz: NumberOrMap, e1: torch.Tensor) -> torch.Tensor:
    """Free recovery for a time t, given as `e1` = exp(-t/T1)."""
    return (mz - 1) * e1 + 1


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


class Affine(NamedTuple):
    """The map mz -> offset + slope * mz."""

    offset: torch.Tensor
    slope: torch.Tensor

    def __call__(self, mz: NumberOrMap) -> torch.Tensor:
        if isinstance(mz, torch.Tensor):
            return torch.addcmul(self.offset, self.slope, mz)  # one pass
        return self.offset + self.slope * mz


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
    cos(a/2) S(t) / sin(a/2) at the last echo, t = pulses TR, from where it recovers freely. No source was
    found for the second: an assumption that `bloch` confirms. Both are within 0.1 % of M0 of it (T2 > 15 ms,
    15-80 degrees).

    Args:
        r1: 1/T1 in 1/ms, any shape.
        r2: 1/T2 in 1/ms, same shape.
        flip_angle_deg: degrees, a number or broadcastable to the maps.
        tr_ms: repetition time in ms.
        pulses: pulses in the shot, without the catalyst.
        centre_pulse: the pulse, from 0, whose echo is the centre of k-space and so the image's contrast.

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


def blood_likeness(t1: torch.Tensor, t2: torch.Tensor) -> torch.Tensor:
    """How much a voxel's relaxation times look like flowing native blood: 0 to 1, smooth.

    An ASSUMPTION, not a published formula: a product of logistic functions of log T2 (half at 95 ms) and of
    log T1 (half at 800 ms). About 1 for native blood (T1 1250-2000, T2 > 120 ms) and about 0 for myocardium,
    oedema, scar, muscle, liver, spleen, lung and fat. It knows no flow: fluid at rest counts as blood,
    post-contrast blood doesn't.

    Args:
        t1: ms, any shape, > 0.
        t2: ms, same shape, > 0.

    Returns:
        Weight of that shape.
    """
    return torch.sigmoid(16 * torch.log(t2 / 95)) * torch.sigmoid(12 * torch.log(t1 / 800))


def check_flip_angle(flip_angle_deg: NumberOrMap) -> None:
    """Refuse flip angles that are not degrees between 0 and 180.

    Raises:
        ValueError: a number (or a map's maximum) outside (0, 180), or below 2, which looks like radians. A
            map may be 0: there is no signal there.
    """
    is_map = isinstance(flip_angle_deg, torch.Tensor)
    largest = float(flip_angle_deg.detach().amax()) if is_map else float(flip_angle_deg)
    if 0 < largest < 2:
        raise ValueError(
            f"flip_angle_deg = {largest:g} looks like radians: give degrees ({math.degrees(largest):.4g}?)"
        )
    if not (0 < largest < 180) and not (is_map and largest == 0):
        raise ValueError(f"flip_angle_deg must lie between 0 and 180 degrees, got {largest:g}")


def check_positive(**parameters: float) -> None:
    """Refuse parameters that are not above 0, by their name.

    Raises:
        ValueError: naming the first that is not.
    """
    for name, value in parameters.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value:g}")


def check_not_negative(**parameters: float) -> None:
    """Refuse parameters that are below 0, by their name.

    Raises:
        ValueError: naming the first that is.
    """
    for name, value in parameters.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value:g}")
