"""Protocols as they vary from hospital to hospital: the ranges that recipes draw from and that priors learn from.

Every sequence has its ranges beside it, in its own file. The defaults span clinical protocols; a recipe overrides those
that it wants to differ.
"""

from __future__ import annotations

import math
import typing
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from nnunet_phys.quantities import Range
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.tissue_state import TissueState

RANGES: dict[str, type[ProtocolRanges]] = {}
"""The ranges of every sequence by the sequence's name."""

LONGEST_T1_MS = 1550.0
"""Assumed for the longest T1 of an unknown case: that of blood at 1.5 T (`tissues`)."""


class Uniform(typing.Protocol):
    """A source of random numbers: np.random, a RandomState or a Generator."""

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float: ...


class ProtocolRanges(ABC):
    """Ranges of one sequence's parameters; subclasses are frozen dataclasses.

    Attributes:
        sequence: what is drawn.
    """

    sequence: ClassVar[type[PulseSequence]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "sequence" in vars(cls):
            RANGES[cls.sequence.name] = cls

    @abstractmethod
    def draw_sequence(self, rng: Uniform, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> PulseSequence:
        """A sequence of one image.

        Args:
            rng: source of the draw.
            tissue: state of the tissue at the scan; an operator adapts the protocol to it.
            longest_t1_ms: of the case, about its 99th percentile.
        """


def whole_number(rng: Uniform, lowest: int, highest: int) -> int:
    """Uniform whole number, both ends included; np.random and Generator name their own methods differently."""
    return min(int(rng.uniform(lowest, highest + 1)), highest)


def log_uniform(rng: Uniform, ends: Range) -> float:
    """Number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))


def chance(rng: Uniform, probability: float) -> bool:
    """True with this probability."""
    return bool(rng.uniform() < probability)
