"""Balanced steady-state free precession: the contrast of cardiac cine."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_phys.sequences.blocks import (
    NumberOrMap,
    bssfp_approach,
    check_flip_angle,
    check_positive,
    decay,
    sine_cosine,
)
from nnunet_phys.spin import SpinMaps


@dataclass(frozen=True)
class BSSFP:
    """Steady-state bSSFP signal at TE = TR/2.

    On resonance, for TR << T2 (within 0.5 % of a Bloch simulation; no further exp(-TE/T2) belongs here):

        S = PD sin(a) / (1 + cos(a) + (1 - cos(a)) T1/T2)

    At any off-resonance df, phi = 2 pi df TR, with pulses of alternating sign (Freeman & Hill 1971, J Magn
    Reson 4:366; cited from memory, exact against `bloch`):

        |S| = PD (1 - E1) sin(a) |1 + E2 exp(i phi)| exp(-TE/T2) / d,
        d = (1 - E1 cos(a)) (1 + E2 cos(phi)) - E2 (E1 - cos(a)) (E2 + cos(phi))

    Attributes:
        flip_angle_deg: a, a number or broadcastable to the maps.
        tr_ms: TR; matters off resonance only.
        off_resonance_hz: df, a number or broadcastable to the maps. The second form is used unless it is the
            number 0.

    Raises:
        ValueError: flip angle outside 0-180 degrees or looking like radians; TR not positive.
    """

    flip_angle_deg: NumberOrMap = 45.0
    tr_ms: float = 3.0
    off_resonance_hz: NumberOrMap = 0.0

    def __post_init__(self) -> None:
        check_flip_angle(self.flip_angle_deg)
        check_positive(tr_ms=self.tr_ms)

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape, never negative: the sign flip from band to band is left out."""
        r1, r2 = 1 / maps.t1, 1 / maps.t2
        if isinstance(self.off_resonance_hz, torch.Tensor) or self.off_resonance_hz != 0:
            return maps.pd * self._freeman_hill(r1, r2)
        sine, _, steady, _ = bssfp_approach(r1, r2, self.flip_angle_deg)
        return maps.pd * (sine * steady)

    def _freeman_hill(self, r1: torch.Tensor, r2: torch.Tensor) -> torch.Tensor:
        sine, _ = sine_cosine(self.flip_angle_deg)
        half_sine, _ = sine_cosine(self.flip_angle_deg * 0.5)
        _, half_cosine = sine_cosine(self.off_resonance_hz * (0.18 * self.tr_ms))  # of phi/2 in degrees
        # Differences from 1, never of two numbers near 1: float32 holds at band edges and small angles.
        e1_gap, e2_gap = -torch.expm1(r1 * -self.tr_ms), -torch.expm1(r2 * -self.tr_ms)
        e1, e2 = 1 - e1_gap, 1 - e2_gap
        tilt = 2 * half_sine * half_sine  # 1 - cos(a)
        band = 2 * half_cosine * half_cosine  # 1 + cos(phi)
        d = (e1_gap + e1 * tilt) * (e2_gap + e2 * band) - e2 * (tilt - e1_gap) * (band - e2_gap)
        return sine * e1_gap * torch.sqrt(e2_gap * e2_gap + 2 * e2 * band) * decay(r2, self.tr_ms / 2) / d
