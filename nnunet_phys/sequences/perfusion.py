"""First-pass perfusion: saturation recovery with a gradient-echo read-out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import (
    COUNT,
    DEPHASING_RATE,
    ECHO_TIME,
    EFFICIENCY,
    FLIP_ANGLE,
    HEARTBEAT,
    RECOVERY_TIME,
    REPETITION_TIME,
    SATURATION_TIME,
    SHARE,
    Range,
    Whole,
    number,
    span,
)
from nnunet_phys.sequences.blocks import (
    Affine,
    decay,
    recovering,
    recovery,
    single_shot_gre,
    t2_star_decay,
)
from nnunet_phys.sequences.checks import check_centre, check_echo
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, whole_number
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class SaturationRecoveryGRE(PulseSequence):
    """In every heartbeat: saturation, a delay, a train of ideally spoiled gradient echoes, free recovery.

    The contrast of first-pass perfusion, where contrast agent shortens T1. A perfect saturation erases earlier beats;
    with a lower efficiency, the signal is that of the cycle's steady state, as if T1 stayed constant. One slice per
    saturation. Exact against `bloch`.

    Attributes:
        ts_ms: time from the saturation to the echo at the centre of k-space.
        flip_angle_deg: a number or broadcastable to the maps.
        tr_ms, te_ms: TR and TE.
        pulses: pulses of the train.
        centre_pulse: the pulse, from 0, at the centre of k-space.
        rr_ms: time from one saturation to the next.
        saturation_efficiency: 1 is a perfect saturation.
        r2_prime_hz: R2', as in `SpoiledGRE`.

    Raises:
        ValueError: a flip angle outside 0-180 degrees or looking like radians, a time out of range, a centre outside
            the train, an efficiency outside (0, 1], or a read-out that does not fit into the heartbeat.
    """

    name: ClassVar[str] = "perfusion"

    ts_ms: float = field(default=100.0, metadata=number(RECOVERY_TIME))
    flip_angle_deg: NumberOrMap = field(default=12.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=2.3, metadata=number(REPETITION_TIME))
    te_ms: float = field(default=1.1, metadata=number(ECHO_TIME))
    pulses: int = 50
    centre_pulse: int = 20
    rr_ms: float = field(default=900.0, metadata=number(HEARTBEAT))
    saturation_efficiency: float = field(default=1.0, metadata=number(EFFICIENCY))
    r2_prime_hz: NumberOrMap = field(default=11.0, metadata=number(DEPHASING_RATE))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_echo(self.tr_ms, self.te_ms)
        check_centre(self.pulses, self.centre_pulse)
        if not self._delay_ms >= 0:
            raise ValueError(
                f"ts_ms = {self.ts_ms:g} is too early: from the start of the read-out to centre_pulse it takes "
                f"{self.ts_ms - self._delay_ms:g} ms"
            )
        if not self._rest_ms >= 0:
            raise ValueError(f"ts_ms = {self.ts_ms:g} is too late: the read-out ends after rr_ms = {self.rr_ms:g}")

    @property
    def _delay_ms(self) -> float:
        """From the saturation to the first pulse."""
        return self.ts_ms - self.te_ms - self.centre_pulse * self.tr_ms

    @property
    def _rest_ms(self) -> float:
        """From the end of the train to the next saturation."""
        return self.rr_ms - self._delay_ms - self.pulses * self.tr_ms

    @property
    def dephasing_ms(self) -> float:
        return self.te_ms

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape, never negative."""
        r1 = 1 / maps.t1
        echo, remainder = single_shot_gre(r1, self.flip_angle_deg, self.tr_ms, self.pulses, self.centre_pulse)
        e1 = decay(r1, self._delay_ms)
        if self.saturation_efficiency < 1:
            prepare = Affine(recovery(0.0, e1), (1 - self.saturation_efficiency) * e1)
            mz = prepare(prepare.then(remainder).then(recovering(decay(r1, self._rest_ms))).steady)
        else:
            mz = recovery(0.0, e1)
        return maps.pd * (echo(mz) * t2_star_decay(1 / maps.t2, self.r2_prime_hz, self.te_ms))


@dataclass(frozen=True)
class SaturationRecoveryGRERanges(ProtocolRanges):
    """First-pass perfusion."""

    sequence = SaturationRecoveryGRE

    ts_ms: Range = field(
        default=(60.0, 150.0),
        metadata=span(SATURATION_TIME, "saturation time; later where the train itself takes longer to its centre"),
    )
    flip_angle_deg: Range = field(default=(8.0, 20.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(2.0, 2.6), metadata=span(REPETITION_TIME, "repetition time"))
    te_of_tr: Range = field(default=(0.4, 0.6), metadata=span(SHARE, "echo time as a share of TR"))
    pulses: Whole = field(default=(40, 70), metadata=span(COUNT, "pulses of the train"))
    centre_pulse: Whole = field(default=(10, 30), metadata=span(COUNT, "the pulse at the centre of k-space, from 0"))
    rr_ms: Range = field(default=(600.0, 1200.0), metadata=span(HEARTBEAT, "heartbeat"))
    saturation_efficiency: Range = field(
        default=(0.95, 1.0), metadata=span(EFFICIENCY, "efficiency of the saturation; 1 is perfect")
    )
    r2_prime_hz: Range = field(default=(5.0, 40.0), metadata=span(DEPHASING_RATE, "1/T2* - 1/T2"))

    def draw_sequence(
        self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS
    ) -> SaturationRecoveryGRE:
        """See `ProtocolRanges`."""
        tr_ms = rng.uniform(*self.tr_ms)
        centre_pulse = whole_number(rng, *self.centre_pulse)
        return SaturationRecoveryGRE(
            ts_ms=max(rng.uniform(*self.ts_ms), (centre_pulse + 1) * tr_ms),
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=rng.uniform(*self.te_of_tr) * tr_ms,
            pulses=whole_number(rng, *self.pulses),
            centre_pulse=centre_pulse,
            rr_ms=rng.uniform(*self.rr_ms),
            saturation_efficiency=rng.uniform(*self.saturation_efficiency),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
        )
