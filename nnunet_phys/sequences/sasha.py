"""Saturation recovery with a single-shot bSSFP read-out: SASHA, and mSASHA with its T2 preparation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import (
    COUNT,
    EFFICIENCY,
    FLIP_ANGLE,
    PREPARATION_TIME,
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
    decay,
    recovery,
    saturation,
    single_shot_bssfp,
    t2_preparation,
)
from nnunet_phys.sequences.checks import check_centre
from nnunet_phys.sequences.protocol_ranges import (
    LONGEST_T1_MS,
    ProtocolRanges,
    Rng,
    chance,
    log_uniform,
    whole_number,
)
from nnunet_phys.sequences.pulse_sequence import BalancedSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class SASHA(BalancedSequence):
    """One image of SASHA: saturation, recovery for TS, optionally T2 preparation, then `single_shot_bssfp`.

    Chow et al. 2014, Magn Reson Med 71:2082. `MSASHA` is the same without a read-out. Agrees with `bloch` within 0.05 %
    of M0 (T2 > 25 ms, 35-80 degrees).

    Attributes:
        ts_ms: TS, from the saturation to the T2 preparation, or without that to the start of the shot (a convention;
            the shot reaches the centre of k-space t2_prep_ms + (centre_pulse + 1) TR later). None: no
            saturation (the anchor image, fully recovered). Infinity is stored as None.
        t2_prep_ms: echo time of the T2 preparation, right before the shot; 0: none.
        flip_angle_deg: a number or broadcastable to the maps.
        tr_ms: echo spacing.
        pulses: pulses of the shot.
        centre_pulse: the pulse, from 0, at the centre of k-space.
        saturation_efficiency: 1 is a perfect saturation. Below 1, spins are assumed in equilibrium before it.

    Raises:
        ValueError: a negative time, a flip angle outside 0-180 degrees or looking like radians, a centre outside the
            shot, an efficiency outside (0, 1].
    """

    name: ClassVar[str] = "sasha"

    ts_ms: float | None = field(default=600.0, metadata=number(RECOVERY_TIME))
    t2_prep_ms: float = field(default=0.0, metadata=number(PREPARATION_TIME))
    flip_angle_deg: NumberOrMap = field(default=70.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=2.7, metadata=number(REPETITION_TIME))
    pulses: int = 60
    centre_pulse: int = 25
    saturation_efficiency: float = field(default=1.0, metadata=number(EFFICIENCY))

    def __post_init__(self) -> None:
        if self.ts_ms == math.inf:
            object.__setattr__(self, "ts_ms", None)
        super().__post_init__()
        check_centre(self.pulses, self.centre_pulse)

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape, never negative."""
        r1, r2 = 1 / maps.t1, 1 / maps.t2
        mz: NumberOrMap = 1.0
        if self.ts_ms is not None:
            mz = recovery(saturation(mz, self.saturation_efficiency), decay(r1, self.ts_ms))
        if self.t2_prep_ms > 0:
            mz = t2_preparation(mz, r2, self.t2_prep_ms)
        echo, _ = single_shot_bssfp(r1, r2, self.flip_angle_deg, self.tr_ms, self.pulses, self.centre_pulse)
        return maps.pd * echo(mz)


@dataclass(frozen=True)
class SASHARanges(ProtocolRanges):
    """SASHA and mSASHA images."""

    sequence = SASHA

    ts_ms: Range = field(default=(80.0, 1000.0), metadata=span(SATURATION_TIME, "saturation time, log-uniform"))
    anchor: float = field(default=0.15, metadata=number(SHARE, "share of images without saturation"))
    prepared: float = field(
        default=0.3, metadata=number(SHARE, "share of images with T2 preparation (mSASHA), of those with saturation")
    )
    t2_prep_ms: Range = field(default=(30.0, 80.0), metadata=span(PREPARATION_TIME, "echo time of the T2 preparation"))
    flip_angle_deg: Range = field(default=(40.0, 75.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(2.3, 3.0), metadata=span(REPETITION_TIME, "echo spacing of the shot"))
    pulses: Whole = field(default=(45, 75), metadata=span(COUNT, "pulses of the shot"))
    centre_pulse: Whole = field(default=(10, 30), metadata=span(COUNT, "the pulse at the centre of k-space, from 0"))

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> SASHA:
        """See `ProtocolRanges`."""
        ts_ms = None if chance(rng, self.anchor) else log_uniform(rng, self.ts_ms)
        prepared = ts_ms is not None and chance(rng, self.prepared)
        return SASHA(
            ts_ms=ts_ms,
            t2_prep_ms=rng.uniform(*self.t2_prep_ms) if prepared else 0.0,
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            pulses=whole_number(rng, *self.pulses),
            centre_pulse=whole_number(rng, *self.centre_pulse),
        )
