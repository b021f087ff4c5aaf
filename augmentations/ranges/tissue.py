"""Ranges of the state of the tissue: contrast agent and random regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnunet_phys.augmentations.ranges.values import Range, integer
from nnunet_phys.fields import Region
from nnunet_phys.tissue_state import ContrastAgent, TissueState


@dataclass(frozen=True)
class AgentRanges:
    """Contrast agent; see `ContrastAgent`.

    Attributes:
        probability: share of images with it.
        blood_mmol_l: concentration in blood.
        tissue_of_blood: that in tissue, relative to blood's.
    """

    probability: float
    blood_mmol_l: Range
    tissue_of_blood: Range

    def draw(self, rng: Any) -> ContrastAgent:
        """Concentrations, zero where there is none."""
        if rng.uniform() >= self.probability:
            return ContrastAgent(0.0, 0.0)
        blood = rng.uniform(*self.blood_mmol_l)
        return ContrastAgent(blood, blood * rng.uniform(*self.tissue_of_blood))


@dataclass(frozen=True)
class RegionRanges:
    """Random regions in another state: scars, oedema, and blood that the bolus has not reached.

    Attributes:
        probability: share of images with them.
        share, scale_mm: see `fields.Region`.
        t1_factor, t2_factor, uptake: of tissue like myocardium there; see `TissueState`.
        blood_factor: of the contrast agent in blood there.
    """

    probability: float
    share: Range
    scale_mm: Range
    t1_factor: Range
    t2_factor: Range
    uptake: Range
    blood_factor: Range

    def draw(self, rng: Any, tissue: TissueState) -> tuple[Region, TissueState] | tuple[None, None]:
        """Where, and in which state."""
        if rng.uniform() >= self.probability:
            return None, None
        region = Region(rng.uniform(*self.share), rng.uniform(*self.scale_mm), integer(rng, 0, 2**31 - 1))
        return region, TissueState(
            t1_factor=tissue.t1_factor,
            t2_factor=tissue.t2_factor,
            agent=ContrastAgent(tissue.agent.blood * rng.uniform(*self.blood_factor), tissue.agent.tissue),
            muscle_t1_factor=rng.uniform(*self.t1_factor),
            muscle_t2_factor=rng.uniform(*self.t2_factor),
            muscle_uptake=rng.uniform(*self.uptake),
        )
