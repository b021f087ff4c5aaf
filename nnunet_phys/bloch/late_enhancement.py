"""Late enhancement in its steady state: an inversion every few heartbeats, and a segmented read-out."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from nnunet_phys.bloch.balanced import shot_events
from nnunet_phys.bloch.events import (
    SPOIL,
    apply,
    demodulate,
    fixed_point,
    free,
    invert,
    pulse,
    shorten_t2,
)


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
    prepare = free(delay, t1, t2) @ invert(inversion_efficiency)
    rest = free(beats * rr_ms - delay - pulses * tr_ms, t1, t2)
    excite, recover = pulse(flip_angle_deg), SPOIL @ free(tr_ms, t1, t2)
    train = np.linalg.matrix_power(recover @ excite, pulses)
    steady = fixed_point(rest @ train @ prepare)
    before_centre = np.linalg.matrix_power(recover @ excite, centre_pulse) @ prepare
    return demodulate(apply(free(te_ms, t1, shorten_t2(t2, r2_prime_hz)) @ excite @ before_centre, steady))


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
    prepare = free(delay, t1, t2, off_resonance_hz) @ invert(inversion_efficiency)
    rest = free(beats * rr_ms - delay - (pulses + 0.5) * tr_ms, t1, t2, off_resonance_hz)
    to_centre, to_end = shot_events(t1, t2, flip_angle_deg, tr_ms, pulses, centre_pulse, off_resonance_hz)
    steady = fixed_point(rest @ to_end @ to_centre @ prepare)
    return demodulate(apply(to_centre @ prepare, steady))
