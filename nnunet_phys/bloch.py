"""The slow, independent truth: rotations and relaxation, event by event (numpy, float64).

No formula is shared with `sequences`, whose closed forms are tested against this module and whose test images
come from it. An event is a matrix (..., 4, 4) that acts on (Mx, My, Mz, 1), one per voxel; the 1 carries the
recovery to equilibrium. A sequence is a product of events.

All functions take T1 and T2 in ms as arrays of any one shape (or numbers) and PD = 1. Flip angles (degrees)
and off-resonance (Hz) may be arrays of that shape, too. Times are in ms. Pulses are instantaneous.
"""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import ArrayLike

SPOIL = np.diag([0.0, 0.0, 1.0, 1.0])
"""Event: the transverse magnetisation is gone."""


def rotation(axis: ArrayLike, angle: ArrayLike) -> np.ndarray:
    """Event: precession dM/dt = M x B about the unit vector `axis` (3,) by an angle (radians, any shape)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    cosine, sine = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
    event = np.zeros((*np.shape(angle), 4, 4))
    event[..., :3, :3] = cosine * np.eye(3) + (1 - cosine) * np.outer(axis, axis) - sine * cross
    event[..., 3, 3] = 1
    return event


def pulse(flip_angle_deg: ArrayLike, phase_deg: float = 0.0) -> np.ndarray:
    """Event: a hard pulse. With phase 0 it tips Mz towards +y."""
    phase = np.deg2rad(phase_deg)
    return rotation((np.cos(phase), np.sin(phase), 0.0), np.deg2rad(flip_angle_deg))


def free(time_ms: float, t1: ArrayLike, t2: ArrayLike, off_resonance_hz: ArrayLike = 0.0) -> np.ndarray:
    """Event: relaxation and precession for a time.

    Raises:
        ValueError: the time is negative: events overlap.
    """
    if time_ms < -1e-9:
        raise ValueError(f"events overlap by {-time_ms:g} ms")
    t1, t2, off_resonance_hz = np.broadcast_arrays(*(np.asarray(x, float) for x in (t1, t2, off_resonance_hz)))
    relaxation = np.zeros((*t1.shape, 4, 4))
    relaxation[..., 0, 0] = relaxation[..., 1, 1] = np.exp(-time_ms / t2)
    relaxation[..., 2, 2] = np.exp(-time_ms / t1)
    relaxation[..., 2, 3] = 1 - relaxation[..., 2, 2]
    relaxation[..., 3, 3] = 1
    return relaxation @ rotation((0.0, 0.0, 1.0), 2e-3 * np.pi * off_resonance_hz * time_ms)


def equilibrium(shape: tuple[int, ...]) -> np.ndarray:
    """Magnetisation (*shape, 4) at rest."""
    return np.broadcast_to(np.array([0.0, 0.0, 1.0, 1.0]), (*shape, 4))


def apply(event: np.ndarray, magnetisation: np.ndarray) -> np.ndarray:
    """Magnetisation (..., 4) after the event."""
    return (event @ magnetisation[..., None])[..., 0]


def fixed_point(event: np.ndarray) -> np.ndarray:
    """Magnetisation (..., 4) that the event leaves as it is: a 3x3 linear system per voxel."""
    steady = np.linalg.solve(np.eye(3) - event[..., :3, :3], event[..., :3, 3:])[..., 0]
    return np.concatenate([steady, np.ones_like(steady[..., :1])], -1)


def demodulate(magnetisation: np.ndarray) -> np.ndarray:
    """Signed signal: the transverse magnitude, with the sign of its part in phase with the receiver (+y)."""
    return np.copysign(np.hypot(magnetisation[..., 0], magnetisation[..., 1]), magnetisation[..., 1])


def _bssfp_events(
    t1: ArrayLike, t2: ArrayLike, flip_angle_deg: ArrayLike, tr_ms: float, off_resonance_hz: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events of a bSSFP train: catalyst to first echo, echo to echo, half a TR. Echoes at TR/2.

    Pulses alternate in sign; the frame (and so the receiver) turns with them.
    """
    half = free(tr_ms / 2, t1, t2, off_resonance_hz)
    excite = pulse(flip_angle_deg)
    start = half @ excite @ half @ pulse(np.asarray(flip_angle_deg) / 2, 180.0)
    next_echo = half @ excite @ rotation((0.0, 0.0, 1.0), np.pi) @ half
    return start, next_echo, half


def steady_state_bssfp(
    t1: ArrayLike, t2: ArrayLike, flip_angle_deg: ArrayLike, tr_ms: float, off_resonance_hz: ArrayLike = 0.0
) -> np.ndarray:
    """Signed steady-state bSSFP signal at TE = TR/2, of the shape of `t1`."""
    _, next_echo, _ = _bssfp_events(t1, t2, flip_angle_deg, tr_ms, off_resonance_hz)
    return demodulate(fixed_point(next_echo))


def inversion_recovery_bssfp(
    t1: ArrayLike,
    t2: ArrayLike,
    flip_angle_deg: ArrayLike,
    tr_ms: float,
    pulses: int,
    off_resonance_hz: ArrayLike = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Perfect inversion and, at once, a continuous bSSFP train with a half-angle catalyst.

    Returns:
        Times of the echoes after the inversion in ms, (pulses,), and their signed signals, (pulses, *shape).
    """
    start, next_echo, _ = _bssfp_events(t1, t2, flip_angle_deg, tr_ms, off_resonance_hz)
    magnetisation = apply(start @ SPOIL @ pulse(180.0), equilibrium(np.shape(t1)))
    signals = []
    for _ in range(pulses):
        signals.append(demodulate(magnetisation))
        magnetisation = apply(next_echo, magnetisation)
    return (np.arange(pulses) + 1) * tr_ms, np.stack(signals)


def _shot(
    t1: ArrayLike,
    t2: ArrayLike,
    flip_angle_deg: ArrayLike,
    tr_ms: float,
    pulses: int,
    centre_pulse: int,
    off_resonance_hz: ArrayLike,
) -> tuple[np.ndarray, np.ndarray]:
    """Events of a single shot: from before it to the centre echo, and from there to the spoiled end."""
    start, next_echo, half = _bssfp_events(t1, t2, flip_angle_deg, tr_ms, off_resonance_hz)
    to_centre = np.linalg.matrix_power(next_echo, centre_pulse) @ start
    to_end = SPOIL @ half @ np.linalg.matrix_power(next_echo, pulses - 1 - centre_pulse)
    return to_centre, to_end


def single_shot_bssfp(
    t1: ArrayLike,
    t2: ArrayLike,
    flip_angle_deg: ArrayLike = 35.0,
    tr_ms: float = 2.7,
    pulses: int = 60,
    centre_pulse: int = 25,
    mz: ArrayLike = 1.0,
    t2_prep_ms: float = 0.0,
    off_resonance_hz: ArrayLike = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Optional T2 preparation, half-angle catalyst and `pulses` pulses, from a longitudinal `mz`.

    Returns:
        Signed signal of pulse `centre_pulse` (from 0), and longitudinal magnetisation after the shot; shape
        of `t1`.
    """
    magnetisation = np.zeros((*np.shape(t1), 4))
    magnetisation[..., 2], magnetisation[..., 3] = mz, 1
    magnetisation = apply(_t2_preparation(t2_prep_ms, t1, t2, off_resonance_hz), magnetisation)
    to_centre, to_end = _shot(t1, t2, flip_angle_deg, tr_ms, pulses, centre_pulse, off_resonance_hz)
    centre = apply(to_centre, magnetisation)
    return demodulate(centre), apply(to_end, centre)[..., 2]


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
    """A whole MOLLI series on one clock.

    Within a set, shots start one heartbeat apart. From the last shot of a set to the first of the next passes one
    heartbeat and the pause: '(3)' three heartbeats, '(3s)' three seconds. The inversion precedes a set so that the
    centre of k-space comes at that set's first inversion time.

    Args:
        t1, t2: ms, any one shape.
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
        for left in range(int(images), 0, -1):
            schedule.append((beat_start, "shot"))
            beat_start += beats.pop(0) if beats and left > 1 else rr_ms
        beat_start += float(pause or 0) * (1000.0 if unit else rr_ms)

    invert = SPOIL @ pulse(np.rad2deg(np.arccos(-inversion_efficiency)))
    to_centre, to_end = _shot(t1, t2, flip_angle_deg, tr_ms, pulses, centre_pulse, off_resonance_hz)
    magnetisation, signals, now = equilibrium(np.shape(t1)), [], schedule[0][0]
    for time, kind in schedule:
        magnetisation = apply(free(time - now, t1, t2, off_resonance_hz), magnetisation)
        now = time
        if kind == "inversion":
            magnetisation = apply(invert, magnetisation)
        else:
            centre = apply(to_centre, magnetisation)
            signals.append(demodulate(centre))
            magnetisation = apply(to_end, centre)
            now += tr_ms / 2 + pulses * tr_ms
    return np.stack(signals)


def spoiled_gre(
    t1: ArrayLike,
    t2: ArrayLike,
    flip_angle_deg: ArrayLike = 15.0,
    tr_ms: float = 6.0,
    te_ms: float = 2.5,
    r2_prime_hz: ArrayLike = 0.0,
    pulses_seen: int | None = None,
    rf_spoiling_deg: float | None = None,
    isochromats: int = 128,
) -> np.ndarray:
    """Gradient echo whose transverse magnetisation vanishes before each pulse, or is spoiled by RF and
    gradient.

    Args:
        t1, t2: ms, any one shape.
        flip_angle_deg: a number or an array of the shape of `t1`.
        tr_ms, te_ms: repetition and echo time.
        r2_prime_hz: further transverse decay from pulse to echo, 1/s.
        pulses_seen: N, for spins that flow through the slice as a plug: they enter at rest and see N pulses,
            and the slice holds the ages 0 ... N-1 in equal parts. None: the steady state.
        rf_spoiling_deg: increment of the quadratic RF phase, such as 117 or 50; None: ideal spoiling. With
            it, time and memory grow by `isochromats`: for a list of tissues, not for a slice.
        isochromats: spins over which the gradient turns a full circle per TR.

    Returns:
        Signal magnitude of the shape of `t1`.
    """
    t1, t2 = np.asarray(t1, float), np.asarray(t2, float)
    to_echo = free(te_ms, t1, 1 / (1 / t2 + np.asarray(r2_prime_hz) * 1e-3))
    recover = free(tr_ms, t1, t2)
    if rf_spoiling_deg is None:
        excite, recover = pulse(flip_angle_deg), SPOIL @ recover
        if pulses_seen is None:
            return np.abs(demodulate(apply(to_echo @ excite, fixed_point(recover @ excite))))
        magnetisation, total = equilibrium(t1.shape), 0.0
        for _ in range(pulses_seen):
            magnetisation = apply(excite, magnetisation)
            total = total + demodulate(apply(to_echo, magnetisation))
            magnetisation = apply(recover, magnetisation)
        return np.abs(total / pulses_seen)

    gradient = rotation((0.0, 0.0, 1.0), np.arange(isochromats) * 2 * np.pi / isochromats)
    recover, flip = gradient @ recover[..., None, :, :], np.asarray(flip_angle_deg, float)[..., None]
    magnetisation, total, phase = equilibrium((*t1.shape, isochromats)), 0.0, 0.0
    pulses = pulses_seen or int(np.ceil(6 * t1.max() / tr_ms))
    for k in range(pulses):
        phase = (phase + k * rf_spoiling_deg) % 360.0
        magnetisation = apply(pulse(flip, phase), magnetisation)
        mean = apply(to_echo, magnetisation.mean(-2))
        signal = (mean[..., 0] + 1j * mean[..., 1]) * np.exp(-1j * np.deg2rad(phase))
        total = total + signal if pulses_seen else signal
        magnetisation = apply(recover, magnetisation)
    return np.abs(total) / (pulses_seen or 1)


def _t2_preparation(time_ms: float, t1: ArrayLike, t2: ArrayLike, off_resonance_hz: ArrayLike = 0.0) -> np.ndarray:
    """Event: 90 - refocusing - 90 back, echo time `time_ms`, spoiled; nothing for 0 ms."""
    if time_ms == 0:
        return np.eye(4)
    half = free(time_ms / 2, t1, t2, off_resonance_hz)
    return SPOIL @ pulse(90.0, 180.0) @ half @ pulse(180.0, 90.0) @ half @ pulse(90.0)


def msasha(
    t1: ArrayLike,
    t2: ArrayLike,
    ts_ms: float | None = 600.0,
    t2_prep_ms: float = 0.0,
    delay_ms: float = 10.0,
    off_resonance_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Longitudinal magnetisation that mSASHA reads out, of the shape of `t1`.

    Saturation (not where `ts_ms` is None), recovery for `ts_ms`, T2 preparation, recovery for `delay_ms`.
    """
    magnetisation = equilibrium(np.shape(t1))
    if ts_ms is not None:
        magnetisation = apply(free(ts_ms, t1, t2) @ SPOIL @ pulse(90.0), magnetisation)
    magnetisation = apply(_t2_preparation(t2_prep_ms, t1, t2, off_resonance_hz), magnetisation)
    return apply(free(delay_ms, t1, t2), magnetisation)[..., 2]
