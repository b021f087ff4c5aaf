"""Ranges of protocols, which differ from hospital to hospital: recipes draw from them, and priors are trained on them.

The ranges of a sequence are defined beside it, in its own file. The defaults span clinical protocols; a recipe may
override them.
"""

from __future__ import annotations

import math
import typing
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from nnunet_phys.quantities import Range
from nnunet_phys.sequences.pulse_sequence import PulseSequence, register
from nnunet_phys.tissue_state import TissueState

RANGES: dict[str, type[ProtocolRanges]] = {}
"""The ranges of every imported sequence by the sequence's name (`plugins.all_ranges`: of other packages', too)."""

LONGEST_T1_MS = 1550.0
"""Longest T1 that is assumed for an unknown case: that of blood at 1.5 T (`tissues`)."""


class Rng(typing.Protocol):
    """A source of random numbers: np.random, a RandomState or a Generator."""

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float: ...


class ProtocolRanges(ABC):
    """Ranges of one sequence's parameters; subclasses are frozen dataclasses.

    Attributes:
        sequence: class of the sequences that are drawn.
    """

    sequence: ClassVar[type[PulseSequence]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "sequence" in vars(cls):
            register(RANGES, cls.sequence.name, cls)

    @abstractmethod
    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> PulseSequence:
        """Draw a sequence that makes one image.

        Args:
            rng: source of the draw.
            tissue: state of the tissue at the scan; an operator adapts the protocol to it.
            longest_t1_ms: longest T1 of the case, about the 99th percentile.

        Raises:
            ValueError: the drawn parameters do not fit together.
        """


def whole_number(rng: Rng, lowest: int, highest: int) -> int:
    """A whole number, both ends included. The methods of np.random and Generator for this differ in name."""
    return min(int(rng.uniform(lowest, highest + 1)), highest)


def log_uniform(rng: Rng, ends: Range) -> float:
    """Number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))


def chance(rng: Rng, probability: float) -> bool:
    """True with this probability."""
    return bool(rng.uniform() < probability)
