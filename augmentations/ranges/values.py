"""Kinds of values in a recipe, and how they are drawn."""

from __future__ import annotations

import math
from typing import Any

Range = tuple[float, float]
"""(Least, greatest), drawn uniformly unless it says so."""
Whole = tuple[int, int]
"""A range of whole numbers, both ends included."""
Names = tuple[str, ...]
"""One of these."""


def integer(rng: Any, lowest: int, highest: int) -> int:
    """Uniform whole number, both ends included; np.random and Generator name their own methods differently."""
    return min(int(rng.uniform(lowest, highest + 1)), highest)


def log_uniform(rng: Any, ends: Range) -> float:
    """Number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))
