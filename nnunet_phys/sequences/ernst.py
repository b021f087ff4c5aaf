"""Spoiled gradient echo by the equation of the reverse-imaging paper, for comparison."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import ECHO_TIME, FLIP_ANGLE, REPETITION_TIME, SHARE, Range, number, span
from nnunet_phys.sequences.checks import check_echo
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.sequences.spoiled_gre import SpoiledGRE
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class Ernst(PulseSequence):
    """Eq. (6) of Zhao et al. (MICCAI 2025): the Ernst formula with T2 in place of T2*, and blood at rest.

        S = PD sin(a) (1 - E1) / (1 - E1 cos(a)) exp(-TE/T2)

    `SpoiledGRE` is the model of a real scan.

    Attributes:
        flip_angle_deg: a, a number or broadcastable to the maps.
        tr_ms, te_ms: TR and TE.

    Raises:
        ValueError: as `SpoiledGRE`.
    """

    name: ClassVar[str] = "ernst"

    flip_angle_deg: NumberOrMap = field(default=10.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=50.0, metadata=number(REPETITION_TIME))
    te_ms: float = field(default=10.0, metadata=number(ECHO_TIME))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_echo(self.tr_ms, self.te_ms)

    @property
    def _spoiled_gre(self) -> SpoiledGRE:
        return SpoiledGRE(self.flip_angle_deg, self.tr_ms, self.te_ms, r2_prime_hz=0.0)

    @property
    def dephasing_ms(self) -> float:
        return self.te_ms

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape, never negative."""
        return self._spoiled_gre(maps)


@dataclass(frozen=True)
class ErnstRanges(ProtocolRanges):
    """The ranges of the paper's published plugin."""

    sequence = Ernst

    flip_angle_deg: Range = field(default=(3.0, 15.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(15.0, 100.0), metadata=span(REPETITION_TIME, "repetition time"))
    te_of_tr: Range = field(default=(0.1, 0.8), metadata=span(SHARE, "echo time as a share of TR"))
    least_te_ms: float = field(default=5.0, metadata=number(ECHO_TIME, "shortest echo time"))

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> Ernst:
        """See `ProtocolRanges`."""
        tr_ms = rng.uniform(*self.tr_ms)
        return Ernst(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=max(self.least_te_ms, rng.uniform(*self.te_of_tr) * tr_ms),
        )
