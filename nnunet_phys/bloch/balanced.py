"""bSSFP pulse by pulse: the steady state, spins that flow in, a train after inversion, a single shot."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnunet_phys.bloch.events import (
    SPOIL,
    apply,
    demodulate,
    equilibrium,
    fixed_point,
    free,
    longitudinal,
    pulse,
    rotation,
    t2_preparation,
)


def bssfp_events(
    t1: ArrayLike, t2: ArrayLike, flip_angle_deg: ArrayLike, tr_ms: float, off_resonance_hz: ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Events of a bSSFP train: from catalyst to first echo, from echo to echo, and half a TR. Echoes are at TR/2.

    Pulses alternate in sign; the frame (and so the receiver) turns with them.
    """
    half = free(tr_ms / 2, t1, t2, off_resonance_hz)
    excite = pulse(flip_angle_deg)
    start = half @ excite @ half @ pulse(np.asarray(flip_angle_deg) / 2, 180.0)
    next_echo = half @ excite @ rotation((0.0, 0.0, 1.0), np.pi) @ half
    return start, next_echo, half


def steady_state_bssfp(
    t1: ArrayLike,
    t2: ArrayLike,
    flip_angle_deg: ArrayLike,
    tr_ms: float,
    off_resonance_hz: ArrayLike = 0.0,
    pulses_seen: int | None = None,
) -> np.ndarray:
    """Signed bSSFP signal at TE = TR/2, of the shape of `t1`.

    It is that of the steady state, or with `pulses_seen` = N that of plug flow through the slice: spins enter in
    equilibrium, without a half-angle pulse, see N pulses, and the slice holds the pulse ages 0 ... N-1 in equal parts.
    """
    _, next_echo, half = bssfp_events(t1, t2, flip_angle_deg, tr_ms, off_resonance_hz)
    if pulses_seen is None:
        return demodulate(fixed_point(next_echo))
    magnetisation = apply(half @ pulse(flip_angle_deg), equilibrium(np.shape(t1)))
    total = np.zeros_like(magnetisation)
    for _ in range(pulses_seen):
        total = total + magnetisation / pulses_seen
        magnetisation = apply(next_echo, magnetisation)
    return demodulate(total)


def inversion_recovery_bssfp(
    t1: ArrayLike,
    t2: ArrayLike,
    flip_angle_deg: ArrayLike,
    tr_ms: float,
    pulses: int,
    off_resonance_hz: ArrayLike = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Perfect inversion, immediately followed by a continuous bSSFP train with a half-angle catalyst.

    Returns:
        Times of the echoes after the inversion in ms, (pulses,), and their signed signals, (pulses, *shape).
    """
    start, next_echo, _ = bssfp_events(t1, t2, flip_angle_deg, tr_ms, off_resonance_hz)
    magnetisation = apply(start @ SPOIL @ pulse(180.0), equilibrium(np.shape(t1)))
    signals = []
    for _ in range(pulses):
        signals.append(demodulate(magnetisation))
        magnetisation = apply(next_echo, magnetisation)
    return (np.arange(pulses) + 1) * tr_ms, np.stack(signals)


def shot_events(
    t1: ArrayLike,
    t2: ArrayLike,
    flip_angle_deg: ArrayLike,
    tr_ms: float,
    pulses: int,
    centre_pulse: int,
    off_resonance_hz: ArrayLike,
) -> tuple[np.ndarray, np.ndarray]:
    """Events of a single shot: from its start to the centre echo, and from there to its spoiled end."""
    start, next_echo, half = bssfp_events(t1, t2, flip_angle_deg, tr_ms, off_resonance_hz)
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
    prepare = t2_preparation(t2_prep_ms, t1, t2, off_resonance_hz)
    magnetisation = apply(prepare, longitudinal(mz, np.shape(t1)))
    to_centre, to_end = shot_events(t1, t2, flip_angle_deg, tr_ms, pulses, centre_pulse, off_resonance_hz)
    centre = apply(to_centre, magnetisation)
    return demodulate(centre), apply(to_end, centre)[..., 2]
