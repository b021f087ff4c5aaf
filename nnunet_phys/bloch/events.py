"""Events on the magnetisation: matrices (..., 4, 4) that act on (Mx, My, Mz, 1), one per voxel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

SPOIL = np.diag([0.0, 0.0, 1.0, 1.0])
"""Event: the transverse magnetisation vanishes."""


def rotation(axis: tuple[float, float, float], angle: ArrayLike) -> np.ndarray:
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
    """Magnetisation (*shape, 4) in equilibrium."""
    return np.broadcast_to(np.array([0.0, 0.0, 1.0, 1.0]), (*shape, 4))


def apply(event: np.ndarray, magnetisation: np.ndarray) -> np.ndarray:
    """Magnetisation (..., 4) after the event."""
    return (event @ magnetisation[..., None])[..., 0]


def fixed_point(event: np.ndarray) -> np.ndarray:
    """Magnetisation (..., 4) that the event leaves unchanged: a 3x3 linear system per voxel."""
    steady = np.linalg.solve(np.eye(3) - event[..., :3, :3], event[..., :3, 3:])[..., 0]
    return np.concatenate([steady, np.ones_like(steady[..., :1])], -1)


def longitudinal(mz: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    """Magnetisation (*shape, 4) along z, of length `mz` (a number or an array of that shape)."""
    magnetisation = np.zeros((*shape, 4))
    magnetisation[..., 2] = mz
    magnetisation[..., 3] = 1
    return magnetisation


def invert(efficiency: float = 1.0) -> np.ndarray:
    """Event: a pulse that turns Mz into -efficiency Mz, spoiled."""
    return SPOIL @ pulse(np.rad2deg(np.arccos(-efficiency)))


def saturate(efficiency: float = 1.0) -> np.ndarray:
    """Event: a pulse that leaves (1 - efficiency) Mz, spoiled."""
    return SPOIL @ pulse(np.rad2deg(np.arccos(1 - efficiency)))


def shorten_t2(t2: ArrayLike, r2_prime_hz: ArrayLike) -> np.ndarray:
    """T2* in ms, from T2 in ms and a further rate of transverse decay, R2' in 1/s."""
    return 1 / (1 / np.asarray(t2, float) + np.asarray(r2_prime_hz) * 1e-3)


def until_steady(cycle: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    """Magnetisation (*shape, 4) before a cycle of events, repeated from equilibrium until it no longer changes.

    Raises:
        RuntimeError: it still changes by 1e-12 after 1000 cycles.
    """
    magnetisation = equilibrium(shape)
    for _ in range(1000):
        before, magnetisation = magnetisation, cycle(magnetisation)
        if np.abs(magnetisation - before).max() < 1e-12:
            return magnetisation
    raise RuntimeError("no steady state after 1000 cycles")


def demodulate(magnetisation: np.ndarray) -> np.ndarray:
    """Signed signal: the transverse magnitude, with the sign of its part in phase with the receiver (+y)."""
    return np.copysign(np.hypot(magnetisation[..., 0], magnetisation[..., 1]), magnetisation[..., 1])


def t2_preparation(time_ms: float, t1: ArrayLike, t2: ArrayLike, off_resonance_hz: ArrayLike = 0.0) -> np.ndarray:
    """Event: 90 - refocusing - 90 back, echo time `time_ms`, spoiled; nothing for 0 ms."""
    if time_ms == 0:
        return np.eye(4)
    half = free(time_ms / 2, t1, t2, off_resonance_hz)
    return SPOIL @ pulse(90.0, 180.0) @ half @ pulse(180.0, 90.0) @ half @ pulse(90.0)
