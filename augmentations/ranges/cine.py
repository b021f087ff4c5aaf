"""Ranges of steady states: bSSFP and GRE cine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from nnunet_phys.augmentations.ranges.values import Range, log_uniform
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.sequences import BSSFP, SpoiledGRE
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class BSSFPRanges:
    """bSSFP cine.

    Attributes:
        inflow_pulses: pulses that blood sees on its way through the slice, drawn log-uniformly.
    """

    name: ClassVar[str] = "bssfp"

    flip_angle_deg: Range
    tr_ms: Range
    inflow_pulses: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> BSSFP:
        """One protocol."""
        return BSSFP(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            inflow_pulses=log_uniform(rng, self.inflow_pulses),
        )


@dataclass(frozen=True)
class GRERanges:
    """Spoiled GRE cine, also of patients with devices.

    Attributes:
        te_ms: echo time; not drawn beyond `te_of_tr` of the repetition time, where the range admits that.
        inflow_pulses: as in `BSSFPRanges`.
        r2_prime_hz: 1/T2* - 1/T2; 11 in myocardium at 1.5 T, 18 at 3 T.
    """

    name: ClassVar[str] = "gre"

    flip_angle_deg: Range
    tr_ms: Range
    te_ms: Range
    te_of_tr: float
    inflow_pulses: Range
    r2_prime_hz: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> SpoiledGRE:
        """One protocol."""
        tr_ms = rng.uniform(*self.tr_ms)
        return SpoiledGRE(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=rng.uniform(self.te_ms[0], max(self.te_ms[0], min(self.te_ms[1], self.te_of_tr * tr_ms))),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
            inflow_pulses=log_uniform(rng, self.inflow_pulses),
        )


@dataclass(frozen=True)
class ErnstRanges:
    """GRE as in eq. (6) of the reverse-imaging paper: no inflow, T2 for T2*.

    Attributes:
        te_of_tr: echo time as a fraction of the repetition time.
        least_te_ms: it is never less.
    """

    name: ClassVar[str] = "ernst"

    flip_angle_deg: Range
    tr_ms: Range
    te_of_tr: Range
    least_te_ms: float

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> SpoiledGRE:
        """One protocol."""
        tr_ms = rng.uniform(*self.tr_ms)
        return SpoiledGRE(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=max(self.least_te_ms, rng.uniform(*self.te_of_tr) * tr_ms),
            r2_prime_hz=0.0,
        )
