"""Spoiled gradient echo: the cine for patients with devices, where inflow makes blood bright."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import (
    DEPHASING_RATE,
    ECHO_TIME,
    FLIP_ANGLE,
    PULSES_SEEN,
    REPETITION_TIME,
    SHARE,
    Range,
    number,
    span,
)
from nnunet_phys.sequences.blocks import (
    blood_share,
    decay,
    spoiled_gre_train,
    t2_star_decay,
)
from nnunet_phys.sequences.checks import check_echo
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, log_uniform
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class SpoiledGRE(PulseSequence):
    """Ideally spoiled gradient echo, the Ernst formula with T2* and optionally inflow:

        S = PD sin(a) Mz exp(-TE/T2*),   Mz = m_ss = (1 - E1)/(1 - q),   q = E1 cos(a),   1/T2* = 1/T2 + R2'

    Blood that flows through the slice arrives relaxed and sees N pulses on its way. In plug flow, the slice
    holds the pulse ages 0 ... N-1 in equal parts, and their mean is m_ss + (1 - m_ss)(1 - q^N)/(N (1 - q)):
    the geometric sum of the train (derived here, confirmed by `bloch`). Its second term is weighted by the share of
    blood.

    Attributes:
        flip_angle_deg: a, a number or broadcastable to the maps. With inflow, angles above 90 degrees in a tensor count
            as 90 for the relaxation.
        tr_ms: TR.
        te_ms: TE.
        r2_prime_hz: R2', the dephasing within a voxel, in 1/s; a number or broadcastable to the maps. The
            default is myocardium's at 1.5 T: T2 52 ms (Hanson et al., Radiology 297:344, 2020), T2* 33 ms (median of
            Singh et al., Indian J Radiol Imaging 34:54, 2024).
        inflow_pulses: N >= 1, whole or not: slice thickness / (velocity TR). None: blood is at rest.
        blood: share of flowing blood in each voxel, a number or broadcastable to the maps. None:
            `tissue_kinds.flowing_blood`.

    Raises:
        ValueError: flip angle outside 0-180 degrees (0-90 with inflow) or looking like radians; TR not
            positive; TE negative or beyond TR; R2' negative; N below 1; a share of blood outside 0-1.
    """

    name: ClassVar[str] = "gre"

    flip_angle_deg: NumberOrMap = field(default=15.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=6.0, metadata=number(REPETITION_TIME))
    te_ms: float = field(default=2.5, metadata=number(ECHO_TIME))
    r2_prime_hz: NumberOrMap = field(default=11.0, metadata=number(DEPHASING_RATE))
    inflow_pulses: float | None = field(default=None, metadata=number(PULSES_SEEN))
    blood: NumberOrMap | None = field(default=None, metadata=number(SHARE))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_echo(self.tr_ms, self.te_ms)
        inflow = self.inflow_pulses is not None
        if inflow and not isinstance(self.flip_angle_deg, torch.Tensor) and self.flip_angle_deg > 90:
            raise ValueError(f"with inflow, flip_angle_deg is at most 90, got {self.flip_angle_deg:g}")

    @property
    def dephasing_ms(self) -> float:
        return self.te_ms

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape, never negative."""
        r1 = 1 / maps.t1
        sine, cosine, mz, q = spoiled_gre_train(r1, self.flip_angle_deg, self.tr_ms)
        if self.inflow_pulses is not None:
            n = self.inflow_pulses
            # q^N without a power of a map; not defined for a negative cosine unless N is whole.
            cosine = cosine.clamp_min(0) if isinstance(cosine, torch.Tensor) else max(cosine, 0.0)
            q_to_n = cosine**n * decay(r1, n * self.tr_ms)
            weight = blood_share(maps.t1, maps.t2, self.blood) / n
            mz = mz + weight * (1 - mz) * (1 - q_to_n) / (1 - q)
        return maps.pd * (sine * mz * t2_star_decay(1 / maps.t2, self.r2_prime_hz, self.te_ms))


@dataclass(frozen=True)
class SpoiledGRERanges(ProtocolRanges):
    """Spoiled GRE cine, also of patients with devices."""

    sequence = SpoiledGRE

    flip_angle_deg: Range = field(default=(8.0, 25.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(3.0, 10.0), metadata=span(REPETITION_TIME, "repetition time"))
    te_ms: Range = field(default=(1.2, 5.0), metadata=span(ECHO_TIME, "echo time"))
    te_of_tr: float = field(
        default=0.7,
        metadata=number(SHARE, "upper limit of the echo time as a share of TR, unless its range starts above"),
    )
    inflow_pulses: Range | None = field(
        default=(30.0, 1000.0),
        metadata=span(PULSES_SEEN, "pulses that blood sees on its way through the slice, log-uniform; null: at rest"),
    )
    r2_prime_hz: Range = field(
        default=(5.0, 40.0), metadata=span(DEPHASING_RATE, "1/T2* - 1/T2: 11 in myocardium at 1.5 T, 18 at 3 T")
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> SpoiledGRE:
        """See `ProtocolRanges`."""
        tr_ms = rng.uniform(*self.tr_ms)
        return SpoiledGRE(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=rng.uniform(self.te_ms[0], max(self.te_ms[0], min(self.te_ms[1], self.te_of_tr * tr_ms))),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
            inflow_pulses=None if self.inflow_pulses is None else log_uniform(rng, self.inflow_pulses),
        )
