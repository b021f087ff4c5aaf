"""Multi-parametric SASHA: saturation recovery with and without T2 preparation, for T1 and T2 together."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import PREPARATION_TIME, RECOVERY_TIME, SATURATION_TIME, SHARE, Range, number, span
from nnunet_phys.sequences.blocks import decay, recovery, saturation, t2_preparation
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, chance, log_uniform
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class MSASHA(PulseSequence):
    """mSASHA signal: saturation, recovery for TS, T2 preparation, recovery for TD, read-out of Mz.

        S = PD (1 - (1 - (1 - exp(-TS/T1)) exp(-TEp/T2)) exp(-TD/T1))

    Exact for ideal pulses (confirmed by `bloch`). It is assumed to be the three-parameter model that mSASHA fits (Chow
    et al., of which only the abstract could be read). The reverse-imaging paper prints exp(-TS/T2), which `bloch`
    refutes. The read-out is assumed to scale all tissues alike; `SASHA` has a bSSFP read-out.

    Attributes:
        ts_ms: TS, from saturation to T2 preparation; None: no saturation (the anchor image). Infinity is stored as
            None.
        t2_prep_ms: TEp, the echo time of the T2 preparation; 0: none.
        delay_ms: TD, from T2 preparation to the centre of k-space.

    Raises:
        ValueError: a time is negative.
    """

    name: ClassVar[str] = "msasha"

    ts_ms: float | None = field(default=600.0, metadata=number(RECOVERY_TIME))
    t2_prep_ms: float = field(default=0.0, metadata=number(PREPARATION_TIME))
    delay_ms: float = field(default=10.0, metadata=number(PREPARATION_TIME))

    def __post_init__(self) -> None:
        if self.ts_ms == math.inf:
            object.__setattr__(self, "ts_ms", None)
        super().__post_init__()

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape, never negative."""
        r1 = 1 / maps.t1
        mz = torch.ones_like(r1)
        if self.ts_ms is not None:
            mz = recovery(saturation(mz), decay(r1, self.ts_ms))
        if self.t2_prep_ms > 0:
            mz = t2_preparation(mz, 1 / maps.t2, self.t2_prep_ms)
        return maps.pd * recovery(mz, decay(r1, self.delay_ms))


@dataclass(frozen=True)
class MSASHARanges(ProtocolRanges):
    """mSASHA images with a read-out that scales all tissues alike; `SASHARanges` has a bSSFP read-out."""

    sequence = MSASHA

    ts_ms: Range = field(default=(80.0, 1000.0), metadata=span(SATURATION_TIME, "saturation time, log-uniform"))
    anchor: float = field(default=0.15, metadata=number(SHARE, "share of images without saturation"))
    prepared: float = field(
        default=0.5, metadata=number(SHARE, "share of images with T2 preparation, of those with saturation")
    )
    t2_prep_ms: Range = field(default=(30.0, 80.0), metadata=span(PREPARATION_TIME, "echo time of the T2 preparation"))
    delay_ms: Range = field(
        default=(5.0, 80.0), metadata=span(PREPARATION_TIME, "from the T2 preparation to the centre of k-space")
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> MSASHA:
        """See `ProtocolRanges`."""
        ts_ms = None if chance(rng, self.anchor) else log_uniform(rng, self.ts_ms)
        prepared = ts_ms is not None and chance(rng, self.prepared)
        t2_prep_ms = rng.uniform(*self.t2_prep_ms) if prepared else 0.0
        return MSASHA(ts_ms=ts_ms, t2_prep_ms=t2_prep_ms, delay_ms=rng.uniform(*self.delay_ms))
