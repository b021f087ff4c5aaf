"""What to synthesise: which sequences, how often, in which ranges, and with which scanner effects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np

from nnunet_phys.augmentations.contrast_draw import EFFECTS, ContrastDraw, Effect
from nnunet_phys.augmentations.tissue_ranges import (
    TISSUE_PARTS,
    AgentRanges,
    InfarctRanges,
    RegionRanges,
    SlowFlowRanges,
)
from nnunet_phys.quantities import Range
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, chance, whole_number
from nnunet_phys.tissue_state import ContrastAgent, TissueState


@dataclass(frozen=True)
class EffectRanges:
    """Ranges of one scanner effect.

    Attributes:
        name: name of the effect, a key of `EFFECTS`.
        probability: share of images with the effect.
        ranges: ranges of its parameters by their names.
    """

    name: str
    probability: float
    ranges: Mapping[str, Range] = field(hash=False)

    def draw_effect(self, rng: Rng) -> Effect | None:
        """Draw the effect, or None: numbers from their ranges, seeds from 0 to 2^31 - 1, a direction by chance."""
        if not chance(rng, self.probability):
            return None
        values: dict[str, Any] = {}
        for parameter in fields(EFFECTS[self.name]):
            if parameter.name in self.ranges:
                values[parameter.name] = float(rng.uniform(*self.ranges[parameter.name]))
            elif parameter.name == "seed":
                values[parameter.name] = whole_number(rng, 0, 2**31 - 1)
            else:
                values[parameter.name] = chance(rng, 0.5)
        return EFFECTS[self.name](**values)


@dataclass(frozen=True)
class SequenceEntry:
    """One sequence of a recipe.

    Attributes:
        ranges: ranges of its protocol.
        weight: how often it is drawn, relative to the other sequences.
        contrast_agent, slow_flow, region, infarct: see `tissue_ranges`; None: never drawn.
    """

    ranges: ProtocolRanges
    weight: float
    contrast_agent: AgentRanges | None = None
    slow_flow: SlowFlowRanges | None = None
    region: RegionRanges | None = None
    infarct: InfarctRanges | None = None

    @property
    def name(self) -> str:
        """The sequence's short name."""
        return self.ranges.sequence.name


@dataclass(frozen=True)
class ContrastRecipe:
    """How training images are drawn.

    Attributes:
        name: name of the recipe, or its file.
        probability: share of synthesised samples; the others keep the real image.
        t1_factor, t2_factor: ranges of one factor for the T1 and one for the T2 of all tissues in a sample. They cover
            the spread between field strengths and between mapping methods (T1 of myocardium is 996 ms by MOLLI and
            1,170 by SASHA at 1.5 T, 1,523 by mSASHA at 3 T), since a map represents only one of these.
        sequences: the sequences that are drawn.
        scanner: the scanner effects.
        description: what the recipe is for, in a line; nothing is drawn by it.
    """

    name: str
    probability: float
    t1_factor: Range
    t2_factor: Range
    sequences: tuple[SequenceEntry, ...]
    scanner: tuple[EffectRanges, ...]
    description: str = field(default="", compare=False)

    def describe(self) -> dict[str, Any]:
        """What is drawn, as plain JSON that `recipe_files` reads; so it holds every range, but not the description."""
        sequences: list[dict[str, Any]] = []
        for entry in self.sequences:
            parts = {part: getattr(entry, part) for part in TISSUE_PARTS}
            optional = {key: asdict(part) for key, part in parts.items() if part is not None}
            protocol = asdict(entry.ranges)  # type: ignore[call-overload]
            sequences.append({"sequence": entry.name, "weight": entry.weight, **protocol, **optional})
        described = {
            "probability": self.probability,
            "t1_factor": self.t1_factor,
            "t2_factor": self.t2_factor,
            "sequences": sequences,
            "scanner": {e.name: {"probability": e.probability, **e.ranges} for e in self.scanner},
        }
        return json.loads(json.dumps(described))  # with lists for tuples

    def draw_sample(self, rng: Rng, case: Reservoir | None = None) -> ContrastDraw | None:
        """Draw a contrast, or None to keep the real image."""
        return self.draw_contrast(rng, case) if chance(rng, self.probability) else None

    def draw_contrast(self, rng: Rng, case: Reservoir | None = None) -> ContrastDraw:
        """Draw a contrast, whatever the probability."""
        weights = [entry.weight for entry in self.sequences]
        index = np.searchsorted(np.cumsum(weights), rng.uniform(0, sum(weights)), side="right")
        entry = self.sequences[min(int(index), len(weights) - 1)]
        factors = float(rng.uniform(*self.t1_factor)), float(rng.uniform(*self.t2_factor))
        agent = ContrastAgent(0.0, 0.0) if entry.contrast_agent is None else entry.contrast_agent.draw_agent(rng)
        tissue = TissueState(*factors, agent)
        longest_t1_ms = LONGEST_T1_MS if case is None else case.longest_t1_ms
        slow_flow = None if entry.slow_flow is None else entry.slow_flow.draw_slow_flow(rng)
        region, region_tissue = (None, None) if entry.region is None else entry.region.draw_region(rng, tissue)
        infarct, infarct_tissue = (None, None) if entry.infarct is None else entry.infarct.draw_infarct(rng, tissue)
        sequence = entry.ranges.draw_sequence(rng, tissue, longest_t1_ms)
        drawn: dict[str, Any] = {effect.name: effect.draw_effect(rng) for effect in self.scanner}
        return ContrastDraw(
            sequence=sequence,
            tissue=tissue,
            slow_flow=slow_flow,
            region=region,
            region_tissue=region_tissue,
            infarct=infarct,
            infarct_tissue=infarct_tissue,
            **drawn,
        )
