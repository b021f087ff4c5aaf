"""Turbo spin echo pulse by pulse."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnunet_phys.bloch.events import SPOIL, apply, demodulate, free, invert, pulse, until_steady


def turbo_spin_echo(
    t1: ArrayLike,
    t2: ArrayLike,
    echo: int = 8,
    tr_ms: float = 1800.0,
    echo_spacing_ms: float = 6.0,
    echo_train_length: int = 20,
    inversion_time_ms: float | None = None,
    off_resonance_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Signed signal of one echo of a train with ideal 90 and 180 degree pulses, repeated until steady.

    Args:
        t1, t2: ms, arrays of one common shape.
        echo: number of the echo that is read, from 1.
        tr_ms: time from one excitation to the next.
        echo_spacing_ms, echo_train_length: the train; spoiled after its last echo.
        inversion_time_ms: time from a perfect inversion to the next excitation; None: no inversion.
        off_resonance_hz: a number or an array of the shape of `t1`.

    Returns:
        Signed signal of the shape of `t1`.
    """
    inversion_ms = inversion_time_ms or 0.0
    half = free(echo_spacing_ms / 2, t1, t2, off_resonance_hz)
    refocus = half @ pulse(180.0, 90.0) @ half
    rest = free(tr_ms - echo_train_length * echo_spacing_ms - inversion_ms, t1, t2)
    if inversion_time_ms is not None:
        rest = free(inversion_ms, t1, t2) @ invert() @ rest

    def train(magnetisation: np.ndarray, echoes: int) -> np.ndarray:
        magnetisation = apply(pulse(90.0), magnetisation)
        for _ in range(echoes):
            magnetisation = apply(refocus, magnetisation)
        return magnetisation

    steady = until_steady(lambda before: apply(rest @ SPOIL, train(before, echo_train_length)), np.shape(t1))
    return demodulate(train(steady, echo))
