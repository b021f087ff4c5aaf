"""Inversion recovery under a continuous bSSFP read-out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import FLIP_ANGLE, RATIO, RECOVERY_TIME, Range, number, span
from nnunet_phys.sequences.blocks import (
    bssfp_approach,
    decay,
)
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class LookLocker(PulseSequence):
    """Look-Locker signal of IR-TrueFISP after an ideal inversion (Schmitt et al. 2004, Magn Reson Med
    51:661).

        S(t) = S_ss (1 - INV exp(-t/T1*)),   1/T1* = cos^2(a/2)/T1 + sin^2(a/2)/T2,
        INV = 1 + sin(a/2)/sin(a) (1 + cos(a) + (1 - cos(a)) T1/T2),   S_ss the bSSFP steady state.

    S_ss INV = S_ss + PD sin(a/2), so the shared building block computes it without 0/0. The read-out is continuous;
    MOLLI pauses between its images and needs another model (see `MOLLI`).

    Attributes:
        flip_angle_deg: a, a number or broadcastable to the maps.
        time_ms: t, from inversion (and start of the read-out) to the echo; a number or broadcastable to the
            maps.

    Raises:
        ValueError: flip angle outside 0-180 degrees or looking like radians; negative time.
    """

    name: ClassVar[str] = "looklocker"

    flip_angle_deg: NumberOrMap = field(default=35.0, metadata=number(FLIP_ANGLE))
    time_ms: NumberOrMap = field(default=1000.0, metadata=number(RECOVERY_TIME))

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signed signal of the maps' shape: -PD sin(a/2) at t = 0, S_ss in the end."""
        sine, _, steady, rate = bssfp_approach(1 / maps.t1, 1 / maps.t2, self.flip_angle_deg)
        return maps.pd * (sine * (steady - (steady + 1) * decay(rate, self.time_ms)))


@dataclass(frozen=True)
class LookLockerRanges(ProtocolRanges):
    """Continuous read-out after an inversion, eq. (5) in the ranges of the reverse-imaging paper's plugin."""

    sequence = LookLocker

    flip_angle_deg: Range = field(default=(4.0, 15.0), metadata=span(FLIP_ANGLE, "flip angle"))
    earliest_ms: float = field(default=180.0, metadata=number(RECOVERY_TIME, "shortest time after the inversion"))
    latest_of_t1: float = field(
        default=1.5, metadata=number(RATIO, "longest time after the inversion, as a multiple of the case's longest T1")
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> LookLocker:
        """See `ProtocolRanges`."""
        latest = max(self.earliest_ms, self.latest_of_t1 * longest_t1_ms)
        return LookLocker(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg), time_ms=rng.uniform(self.earliest_ms, latest)
        )
