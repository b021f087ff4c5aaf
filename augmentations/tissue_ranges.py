"""Ranges of the state of the tissue: contrast agent, slow blood, and infarcts and random regions in another state."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nnunet_phys.fields import Region, SlowFlow
from nnunet_phys.infarct import DEPTH, INFARCTED_SHARE, WIDTH, Infarct
from nnunet_phys.quantities import SHARE, Mistake, Quantity, Range, number, span
from nnunet_phys.sequences.protocol_ranges import Rng, chance, whole_number
from nnunet_phys.tissue_state import RELAXATION_FACTOR, UPTAKE, ContrastAgent, TissueState

DOSE = Quantity("mmol/l", 0, 50, mistakes=(Mistake(20, 1e9, "umol/l"),))
FILLED_SHARE = span(SHARE, "share of the volume that they fill")
SIZE = span(Quantity("mm", 0.5, 1000), "size of the regions")


@dataclass(frozen=True)
class AgentRanges:
    """Contrast agent; see `ContrastAgent`."""

    probability: float = field(metadata=number(SHARE, "share of images with contrast agent"))
    blood_mmol_l: Range = field(metadata=span(DOSE, "concentration in blood"))
    tissue_of_blood: Range = field(metadata=span(Quantity("", 0, 10), "concentration in tissue, relative to blood"))

    def draw_agent(self, rng: Rng) -> ContrastAgent:
        """Draw concentrations; both are 0 if there is no agent."""
        if not chance(rng, self.probability):
            return ContrastAgent(0.0, 0.0)
        blood = rng.uniform(*self.blood_mmol_l)
        return ContrastAgent(blood, blood * rng.uniform(*self.tissue_of_blood))


@dataclass(frozen=True)
class SlowFlowRanges:
    """Regions where blood hardly moves while the image is made.

    There, black blood is not black: bright stagnant blood beside the endocardium is a known fault of dark-blood TSE
    (Kellman et al., MRM 57:891, 2007, PMC2396276). Nor does such blood show inflow. Where the regions lie and how large
    they are is random, an assumption.
    """

    probability: float = field(metadata=number(SHARE, "share of images with such regions"))
    share: Range = field(metadata=FILLED_SHARE)
    scale_mm: Range = field(metadata=SIZE)
    at_rest: Range = field(metadata=span(SHARE, "share of the blood in these regions that is at rest"))

    def draw_slow_flow(self, rng: Rng) -> SlowFlow | None:
        """Draw the regions, or none."""
        if not chance(rng, self.probability):
            return None
        places = rng.uniform(*self.share), rng.uniform(*self.scale_mm)
        return SlowFlow(*places, whole_number(rng, 0, 2**31 - 1), rng.uniform(*self.at_rest))


@dataclass(frozen=True)
class RegionRanges:
    """Random regions anywhere, in another state: fibrosis, oedema, and blood that the bolus has not reached."""

    probability: float = field(metadata=number(SHARE, "share of images with such regions"))
    share: Range = field(metadata=FILLED_SHARE)
    scale_mm: Range = field(metadata=SIZE)
    t1_factor: Range = field(
        metadata=span(RELAXATION_FACTOR, "factor of T1 in the regions, for tissue like myocardium")
    )
    t2_factor: Range = field(
        metadata=span(RELAXATION_FACTOR, "factor of T2 in the regions, for tissue like myocardium")
    )
    uptake: Range = field(
        metadata=span(
            UPTAKE, "uptake of contrast agent by tissue like myocardium in the regions, relative to other tissue"
        )
    )
    blood_factor: Range = field(
        metadata=span(Quantity("", 0, 10), "factor of the agent's concentration in blood in the regions")
    )

    def draw_region(self, rng: Rng, tissue: TissueState) -> tuple[Region, TissueState] | tuple[None, None]:
        """Draw a region and the state of its tissue, or neither."""
        if not chance(rng, self.probability):
            return None, None
        region = Region(rng.uniform(*self.share), rng.uniform(*self.scale_mm), whole_number(rng, 0, 2**31 - 1))
        return region, TissueState(
            t1_factor=tissue.t1_factor,
            t2_factor=tissue.t2_factor,
            agent=ContrastAgent(tissue.agent.blood * rng.uniform(*self.blood_factor), tissue.agent.tissue),
            muscle_t1_factor=rng.uniform(*self.t1_factor),
            muscle_t2_factor=rng.uniform(*self.t2_factor),
            muscle_uptake=rng.uniform(*self.uptake),
        )


@dataclass(frozen=True)
class InfarctRanges:
    """Infarcts, which lie next to blood; see `Infarct`."""

    probability: float = field(metadata=number(SHARE, "share of images with infarcts"))
    depth_mm: Range = field(metadata=span(DEPTH, "greatest distance from blood"))
    share: Range = field(metadata=span(INFARCTED_SHARE, "share of the surface of blood from which infarcts start"))
    scale_mm: Range = field(metadata=span(WIDTH, "mean width of an infarct"))
    t1_factor: Range = field(metadata=span(RELAXATION_FACTOR, "factor of T1 in infarcted myocardium"))
    t2_factor: Range = field(metadata=span(RELAXATION_FACTOR, "factor of T2 in infarcted myocardium"))
    uptake: Range = field(
        metadata=span(UPTAKE, "uptake of contrast agent by infarcted myocardium, relative to other tissue")
    )

    def draw_infarct(self, rng: Rng, tissue: TissueState) -> tuple[Infarct, TissueState] | tuple[None, None]:
        """Draw infarcts and the state of their tissue, or neither."""
        if not chance(rng, self.probability):
            return None, None
        places = rng.uniform(*self.depth_mm), rng.uniform(*self.share), rng.uniform(*self.scale_mm)
        return Infarct(*places, whole_number(rng, 0, 2**31 - 1)), replace(
            tissue,
            muscle_t1_factor=rng.uniform(*self.t1_factor),
            muscle_t2_factor=rng.uniform(*self.t2_factor),
            muscle_uptake=rng.uniform(*self.uptake),
        )


TISSUE_PARTS: dict[str, type] = {
    "contrast_agent": AgentRanges,
    "slow_flow": SlowFlowRanges,
    "region": RegionRanges,
    "infarct": InfarctRanges,
}
"""What a sequence of a recipe may say of the state of the tissue: the ranges of each part, by its name."""
