"""Balanced steady-state free precession: the contrast of cardiac cine."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import FLIP_ANGLE, PULSES_SEEN, REPETITION_TIME, SHARE, Range, number, span
from nnunet_phys.sequences.blocks import (
    blood_share,
    bssfp_approach,
    decay,
    effective_flip_angle,
    sine_cosine,
)
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, log_uniform
from nnunet_phys.sequences.pulse_sequence import BalancedSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class BSSFP(BalancedSequence):
    """Steady-state bSSFP signal at TE = TR/2, optionally with inflowing blood.

    On resonance, for TR << T2 (within 0.5 % of a Bloch simulation; no further exp(-TE/T2) belongs here):

        S = PD sin(a) / (1 + cos(a) + (1 - cos(a)) T1/T2)

    At any off-resonance df, phi = 2 pi df TR, with pulses of alternating sign (Freeman and Hill,
    J Magn Reson 4:366, 1971; exact against `bloch`):

        |S| = PD (1 - E1) sin(a) |1 + E2 exp(i phi)| exp(-TE/T2) / d,
        d = (1 - E1 cos(a)) (1 + E2 cos(phi)) - E2 (E1 - cos(a)) (E2 + cos(phi))

    Blood enters the slice in equilibrium, without a half-angle pulse, and sees N pulses on its way. In plug flow, the
    slice holds the pulse ages 0 ... N-1 in equal parts. Along the axis of the train, at theta from z (a/2 on resonance,
    see `effective_flip_angle`), its magnetisation starts at cos(theta) and tends to m_ss (see `bssfp_approach`). With
    E = exp(-TR rate), the mean over the echoes of all ages is

        S = PD sin(theta) (m_ss + (cos(theta) - m_ss) sqrt(E) (1 - E^N) / (N (1 - E)))

    (derived here). Across the axis, magnetisation turns from echo to echo; little of it is left in the mean over ages,
    and it is neglected. On resonance this agrees with `bloch` within 2 % of M0 for even N and within 0.5/N for odd N;
    for |phi| < 0.7 pi, within 0.75/N.

    Attributes:
        flip_angle_deg: a, a number or broadcastable to the maps.
        tr_ms: TR; matters off resonance and with inflow only.
        off_resonance_hz: df, a number or broadcastable to the maps. The second equation is used unless this is the
            number 0.
        inflow_pulses: N >= 1, whole or not: slice thickness / (velocity TR). None: blood is at rest.
        blood: share of flowing blood in each voxel, a number or broadcastable to the maps. None:
            `tissue_kinds.flowing_blood`.

    Raises:
        ValueError: flip angle outside 0-180 degrees or looking like radians; TR not positive; N below 1; a share of
            blood outside 0-1; off-resonance not finite.
    """

    name: ClassVar[str] = "bssfp"

    flip_angle_deg: NumberOrMap = field(default=45.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=3.0, metadata=number(REPETITION_TIME))
    off_resonance_hz: NumberOrMap = 0.0
    inflow_pulses: float | None = field(default=None, metadata=number(PULSES_SEEN))
    blood: NumberOrMap | None = field(default=None, metadata=number(SHARE))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.off_resonance_hz, torch.Tensor) and not math.isfinite(self.off_resonance_hz):
            raise ValueError(f"off_resonance_hz must be finite, got {self.off_resonance_hz:g}")

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape, never negative: the sign flip from band to band is left out."""
        r1, r2 = 1 / maps.t1, 1 / maps.t2
        if self._off_resonance:
            signal = self._freeman_hill(r1, r2)
        else:
            sine, _, steady, _ = bssfp_approach(r1, r2, self.flip_angle_deg)
            signal = sine * steady
        if self.inflow_pulses is not None:
            fresh = self._inflow(r1, r2, self.inflow_pulses)
            signal = signal + blood_share(maps.t1, maps.t2, self.blood) * fresh
        return maps.pd * signal

    @property
    def _off_resonance(self) -> bool:
        return isinstance(self.off_resonance_hz, torch.Tensor) or self.off_resonance_hz != 0

    def _inflow(self, r1: torch.Tensor, r2: torch.Tensor, pulses: float) -> torch.Tensor:
        """Signal per unit PD above the steady state, of blood that sees this many pulses."""
        flip = self.flip_angle_deg
        if self._off_resonance:
            flip = effective_flip_angle(flip, self.tr_ms, self.off_resonance_hz)
        sine, cosine, steady, rate = bssfp_approach(r1, r2, flip)
        fading = rate * -self.tr_ms
        mean_age = torch.expm1(pulses * fading) / (pulses * torch.expm1(fading))
        return sine * (cosine - steady) * torch.exp(fading / 2) * mean_age

    def _freeman_hill(self, r1: torch.Tensor, r2: torch.Tensor) -> torch.Tensor:
        """Steady-state signal per unit PD at any off-resonance."""
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


@dataclass(frozen=True)
class BSSFPRanges(ProtocolRanges):
    """bSSFP cine."""

    sequence = BSSFP

    flip_angle_deg: Range = field(default=(30.0, 70.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(2.5, 4.0), metadata=span(REPETITION_TIME, "repetition time"))
    inflow_pulses: Range | None = field(
        default=(200.0, 20000.0),
        metadata=span(PULSES_SEEN, "pulses that blood sees on its way through the slice, log-uniform; null: at rest"),
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> BSSFP:
        """See `ProtocolRanges`."""
        return BSSFP(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            inflow_pulses=None if self.inflow_pulses is None else log_uniform(rng, self.inflow_pulses),
        )
