"""Ranges of black-blood turbo spin echo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nnunet_phys.augmentations.ranges.values import Range, Whole, integer
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.sequences import BlackBloodTSE
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class BlackBloodRanges:
    """Black-blood turbo spin echo.

    Attributes:
        tr_beats: heartbeats between excitations.
        stir: share with an inversion that nulls fat.
        stir_inversion_time_ms: of these.
        residual_blood: share of blood's signal that double inversion leaves.
    """

    name: ClassVar[str] = "black_blood"

    te_ms: Range
    rr_ms: Range
    tr_beats: Whole
    echo_spacing_ms: Range
    stir: float
    stir_inversion_time_ms: Range
    residual_blood: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> BlackBloodTSE:
        """One protocol."""
        te_ms, spacing = rng.uniform(*self.te_ms), rng.uniform(*self.echo_spacing_ms)
        return BlackBloodTSE(
            te_ms=te_ms,
            tr_ms=rng.uniform(*self.rr_ms) * integer(rng, *self.tr_beats),
            echo_spacing_ms=spacing,
            echo_train_length=max(2, 2 * round(te_ms / spacing)),
            inversion_time_ms=rng.uniform(*self.stir_inversion_time_ms) if rng.uniform() < self.stir else None,
            residual_blood=rng.uniform(*self.residual_blood),
        )
