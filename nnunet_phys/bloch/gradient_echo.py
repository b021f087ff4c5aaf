"""Spoiled gradient echo pulse by pulse: steady state, inflow, RF spoiling, after T2 preparation or saturation."""

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
    pulse,
    rotation,
    saturate,
    shorten_t2,
    t2_preparation,
    until_steady,
)


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
    """Gradient echo, spoiled ideally or by RF and gradient.

    Args:
        t1, t2: ms, arrays of one common shape.
        flip_angle_deg: a number or an array of the shape of `t1`.
        tr_ms, te_ms: repetition and echo time.
        r2_prime_hz: further transverse decay from pulse to echo, 1/s.
        pulses_seen: N, for plug flow through the slice: spins enter in equilibrium and see N pulses, and the slice
            holds the pulse ages 0 ... N-1 in equal parts. None: the steady state (with RF spoiling,
            after 6 T1 / TR pulses).
        rf_spoiling_deg: increment of the quadratic RF phase, such as 117 or 50. It multiplies time and memory by
            `isochromats`, so it suits a list of tissues but not a slice. None: ideal spoiling, where the transverse
            magnetisation vanishes before each pulse.
        isochromats: spins over which the gradient turns a full circle per TR.

    Returns:
        Signal magnitude of the shape of `t1`.
    """
    t1, t2 = np.asarray(t1, float), np.asarray(t2, float)
    to_echo = free(te_ms, t1, shorten_t2(t2, r2_prime_hz))
    recover = free(tr_ms, t1, t2)
    if rf_spoiling_deg is None:
        excite, recover = pulse(flip_angle_deg), SPOIL @ recover
        if pulses_seen is None:
            return np.abs(demodulate(apply(to_echo @ excite, fixed_point(recover @ excite))))
        magnetisation = equilibrium(t1.shape)
        total = np.zeros(t1.shape)
        for _ in range(pulses_seen):
            magnetisation = apply(excite, magnetisation)
            total = total + demodulate(apply(to_echo, magnetisation))
            magnetisation = apply(recover, magnetisation)
        return np.abs(total / pulses_seen)

    gradient = rotation((0.0, 0.0, 1.0), np.arange(isochromats) * 2 * np.pi / isochromats)
    recover, flip = gradient @ recover[..., None, :, :], np.asarray(flip_angle_deg, float)[..., None]
    magnetisation = equilibrium((*t1.shape, isochromats))
    total = np.zeros(t1.shape, complex)
    phase = 0.0
    pulses = pulses_seen or int(np.ceil(6 * t1.max() / tr_ms))
    for k in range(pulses):
        phase = (phase + k * rf_spoiling_deg) % 360.0
        magnetisation = apply(pulse(flip, phase), magnetisation)
        mean = apply(to_echo, magnetisation.mean(-2))
        signal = (mean[..., 0] + 1j * mean[..., 1]) * np.exp(-1j * np.deg2rad(phase))
        total = total + signal if pulses_seen else signal
        magnetisation = apply(recover, magnetisation)
    return np.abs(total) / (pulses_seen or 1)


def gre_train(
    t1: ArrayLike,
    t2: ArrayLike,
    magnetisation: np.ndarray,
    flip_angle_deg: ArrayLike,
    tr_ms: float,
    te_ms: float,
    pulses: int,
    centre_pulse: int,
    r2_prime_hz: ArrayLike = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Ideally spoiled train: signed signal of pulse `centre_pulse`, and magnetisation one TR after the last pulse."""
    excite, next_pulse = pulse(flip_angle_deg), SPOIL @ free(tr_ms, t1, t2)
    signal = np.zeros(np.shape(t1))
    for k in range(pulses):
        magnetisation = apply(excite, magnetisation)
        if k == centre_pulse:
            signal = demodulate(apply(free(te_ms, t1, shorten_t2(t2, r2_prime_hz)), magnetisation))
        magnetisation = apply(next_pulse, magnetisation)
    return signal, magnetisation


def t2_prepared_gre(
    t1: ArrayLike,
    t2: ArrayLike,
    t2_prep_ms: float = 0.0,
    flip_angle_deg: ArrayLike = 12.0,
    tr_ms: float = 3.0,
    te_ms: float = 1.3,
    centre_pulse: int = 20,
    r2_prime_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Signed signal of pulse `centre_pulse` (from 0) of an ideally spoiled train after a T2 preparation."""
    magnetisation = apply(t2_preparation(t2_prep_ms, t1, t2), equilibrium(np.shape(t1)))
    return gre_train(t1, t2, magnetisation, flip_angle_deg, tr_ms, te_ms, centre_pulse + 1, centre_pulse, r2_prime_hz)[
        0
    ]


def saturation_recovery_gre(
    t1: ArrayLike,
    t2: ArrayLike,
    ts_ms: float = 100.0,
    flip_angle_deg: ArrayLike = 12.0,
    tr_ms: float = 2.3,
    te_ms: float = 1.1,
    pulses: int = 50,
    centre_pulse: int = 20,
    rr_ms: float = 900.0,
    saturation_efficiency: float = 1.0,
    r2_prime_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Signed signal of a saturation and an ideally spoiled train in every heartbeat, repeated until steady.

    The echo of pulse `centre_pulse` comes `ts_ms` after the saturation.
    """
    delay = ts_ms - te_ms - centre_pulse * tr_ms
    wait, rest = free(delay, t1, t2), free(rr_ms - delay - pulses * tr_ms, t1, t2)

    def train(magnetisation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        magnetisation = apply(wait, apply(saturate(saturation_efficiency), magnetisation))
        return gre_train(t1, t2, magnetisation, flip_angle_deg, tr_ms, te_ms, pulses, centre_pulse, r2_prime_hz)

    return train(until_steady(lambda before: apply(rest, train(before)[1]), np.shape(t1)))[0]
