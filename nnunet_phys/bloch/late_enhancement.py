"""Late enhancement on one clock: an inversion every few heartbeats and a segmented read-out, until steady."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnunet_phys.bloch.balanced import shot_events
from nnunet_phys.bloch.events import apply, demodulate, free, invert, until_steady
from nnunet_phys.bloch.gradient_echo import gre_train


def late_enhancement_gre(
    t1: ArrayLike,
    t2: ArrayLike,
    inversion_time_ms: float = 300.0,
    flip_angle_deg: ArrayLike = 20.0,
    tr_ms: float = 6.0,
    te_ms: float = 2.5,
    pulses: int = 25,
    centre_pulse: int = 12,
    beats: int = 2,
    rr_ms: float = 900.0,
    inversion_efficiency: float = 1.0,
    r2_prime_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Signed signal of an ideally spoiled read-out, of the shape of `t1`.

    The echo of pulse `centre_pulse` (from 0) comes `inversion_time_ms` after the inversion.
    """
    delay = inversion_time_ms - te_ms - centre_pulse * tr_ms
    wait, rest = free(delay, t1, t2), free(beats * rr_ms - delay - pulses * tr_ms, t1, t2)

    def train(magnetisation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        magnetisation = apply(wait, apply(invert(inversion_efficiency), magnetisation))
        return gre_train(t1, t2, magnetisation, flip_angle_deg, tr_ms, te_ms, pulses, centre_pulse, r2_prime_hz)

    return train(until_steady(lambda before: apply(rest, train(before)[1]), np.shape(t1)))[0]


def late_enhancement_bssfp(
    t1: ArrayLike,
    t2: ArrayLike,
    inversion_time_ms: float = 300.0,
    flip_angle_deg: ArrayLike = 50.0,
    tr_ms: float = 2.8,
    pulses: int = 40,
    centre_pulse: int = 20,
    beats: int = 2,
    rr_ms: float = 900.0,
    inversion_efficiency: float = 1.0,
    off_resonance_hz: ArrayLike = 0.0,
) -> np.ndarray:
    """Signed signal of a bSSFP read-out with a half-angle catalyst; otherwise as `late_enhancement_gre`."""
    delay = inversion_time_ms - (centre_pulse + 1) * tr_ms
    wait = free(delay, t1, t2, off_resonance_hz)
    rest = free(beats * rr_ms - delay - (pulses + 0.5) * tr_ms, t1, t2, off_resonance_hz)
    to_centre, to_end = shot_events(t1, t2, flip_angle_deg, tr_ms, pulses, centre_pulse, off_resonance_hz)

    def centre(magnetisation: np.ndarray) -> np.ndarray:
        return apply(to_centre, apply(wait, apply(invert(inversion_efficiency), magnetisation)))

    steady = until_steady(lambda before: apply(rest, apply(to_end, centre(before))), np.shape(t1))
    return demodulate(centre(steady))
