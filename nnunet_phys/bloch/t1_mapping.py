"""T1 mapping event by event: MOLLI and SASHA images, and the magnetisation that mSASHA reads out."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike

from nnunet_phys.bloch.balanced import shot_events
from nnunet_phys.bloch.events import apply, demodulate, equilibrium, free, invert, saturate, t2_preparation


def molli(
    t1: ArrayLike,
    t2: ArrayLike,
    scheme: str = "5(3)3",
    flip_angle_deg: ArrayLike = 35.0,
    tr_ms: float = 2.7,
    pulses: int = 60,
    centre_pulse: int = 25,
    rr_ms: float = 1000.0,
    first_inversion_times_ms: tuple[float, ...] = (120.0, 200.0),
    inversion_efficiency: float = 0.96,
    off_resonance_hz: ArrayLike = 0.0,
    rr_intervals_ms: tuple[float, ...] | None = None,
) -> np.ndarray:
    """A whole MOLLI series, event by event.

    Within a set, shots start one heartbeat apart. From the last shot of a set to the first of the next passes one
    heartbeat and the pause: '(3)' three heartbeats, '(3s)' three seconds. The inversion precedes a set so that the
    centre of k-space comes at that set's first inversion time.

    Args:
        t1, t2: ms, arrays of one common shape.
        scheme: such as '5(3)3', '5(3s)3', '4(1)3(1)2'.
        flip_angle_deg, off_resonance_hz: numbers or arrays of the shape of `t1`.
        tr_ms, pulses, centre_pulse: the single shot; `centre_pulse` counts from 0.
        rr_ms: heartbeat.
        first_inversion_times_ms: one per set.
        inversion_efficiency: 1 is a perfect inversion.
        rr_intervals_ms: intervals between neighbouring shots of a set, set after set (default: `rr_ms` each).

    Returns:
        Signed signals (readouts, *shape) in acquisition order.

    Raises:
        ValueError: events overlap, or the inversion times are fewer than the sets.
    """
    to_shot_centre = tr_ms / 2 + centre_pulse * tr_ms + tr_ms / 2
    sets = re.findall(r"(\d+)(?:\(([\d.]+)(s?)\))?", scheme)
    if len(sets) > len(first_inversion_times_ms):
        raise ValueError(f"{scheme}: first_inversion_times_ms has too few entries")
    beat_start, schedule, beats = 0.0, [], list(rr_intervals_ms or [])
    for (images, pause, unit), first_ms in zip(sets, first_inversion_times_ms, strict=False):
        schedule.append((beat_start + to_shot_centre - first_ms, "inversion"))
        for remaining in range(int(images), 0, -1):
            schedule.append((beat_start, "shot"))
            beat_start += beats.pop(0) if beats and remaining > 1 else rr_ms
        beat_start += float(pause or 0) * (1000.0 if unit else rr_ms)

    inversion = invert(inversion_efficiency)
    to_centre, to_end = shot_events(t1, t2, flip_angle_deg, tr_ms, pulses, centre_pulse, off_resonance_hz)
    magnetisation, signals, now = equilibrium(np.shape(t1)), [], schedule[0][0]
    for time, kind in schedule:
        magnetisation = apply(free(time - now, t1, t2, off_resonance_hz), magnetisation)
        now = time
        if kind == "inversion":
            magnetisation = apply(inversion, magnetisation)
        else:
            centre = apply(to_centre, magnetisation)
            signals.append(demodulate(centre))
            magnetisation = apply(to_end, centre)
            now += tr_ms / 2 + pulses * tr_ms
    return np.stack(signals)


def msasha(
    t1: ArrayLike,
    t2: ArrayLike,
    ts_ms: float | None = 600.0,
    t2_prep_ms: float = 0.0,
    delay_ms: float = 10.0,
    off_resonance_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Longitudinal magnetisation that mSASHA reads out, of the shape of `t1`.

    Saturation (none if `ts_ms` is None), recovery for `ts_ms`, T2 preparation, recovery for `delay_ms`.
    """
    magnetisation = equilibrium(np.shape(t1))
    if ts_ms is not None:
        magnetisation = apply(free(ts_ms, t1, t2) @ saturate(), magnetisation)
    magnetisation = apply(t2_preparation(t2_prep_ms, t1, t2, off_resonance_hz), magnetisation)
    return apply(free(delay_ms, t1, t2), magnetisation)[..., 2]


def sasha(
    t1: ArrayLike,
    t2: ArrayLike,
    ts_ms: float | None = 600.0,
    t2_prep_ms: float = 0.0,
    flip_angle_deg: ArrayLike = 70.0,
    tr_ms: float = 2.7,
    pulses: int = 60,
    centre_pulse: int = 25,
    saturation_efficiency: float = 1.0,
    off_resonance_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Signed signal of one SASHA image, of the shape of `t1`.

    From equilibrium: saturation (none if `ts_ms` is None), recovery for `ts_ms`, T2 preparation, single-shot bSSFP.
    """
    magnetisation = equilibrium(np.shape(t1))
    if ts_ms is not None:
        magnetisation = apply(free(ts_ms, t1, t2) @ saturate(saturation_efficiency), magnetisation)
    magnetisation = apply(t2_preparation(t2_prep_ms, t1, t2, off_resonance_hz), magnetisation)
    to_centre, _ = shot_events(t1, t2, flip_angle_deg, tr_ms, pulses, centre_pulse, off_resonance_hz)
    return demodulate(apply(to_centre, magnetisation))
