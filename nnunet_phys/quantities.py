"""Kinds of numbers: their unit, their bounds, and numbers that are probably in another unit.

A dataclass field that a user sets carries its quantity and its meaning as metadata (`number`, `span`); from them come
the checks of JSON files, their messages, and the tables in the documents.
"""

from __future__ import annotations

from dataclasses import Field, dataclass
from functools import partial
from typing import Any

from nnunet_phys.json_files import short_json

Range = tuple[float, float]
"""(Least, greatest), drawn uniformly unless its field says otherwise."""
Whole = tuple[int, int]
"""A range of whole numbers, both ends included."""


@dataclass(frozen=True)
class Mistake:
    """Numbers that are probably given in another unit.

    Attributes:
        above, below: the numbers lie between these.
        unit: the unit that they look like.
    """

    above: float
    below: float
    unit: str


@dataclass(frozen=True)
class Quantity:
    """A kind of number.

    Attributes:
        unit: its unit; empty for a ratio or a count.
        least, greatest: bounds.
        excludes_least: `least` itself is out of bounds.
        mistakes: numbers within the bounds that are probably in another unit.
    """

    unit: str
    least: float = 0.0
    greatest: float = 1e9
    excludes_least: bool = False
    mistakes: tuple[Mistake, ...] = ()

    def check(self, value: float) -> None:
        """Refuse a number.

        Raises:
            ValueError: the number is out of bounds or looks like another unit.
        """
        self._check(short_json(value), value, value)

    def check_range(self, ends: Range | None) -> None:
        """Refuse a range.

        Raises:
            ValueError: the range is reversed or out of bounds, or its upper end looks like another unit.
        """
        if ends is None:
            return
        low, high = ends
        if low > high:
            raise ValueError(f"{short_json(list(ends))} is reversed: write [{high:g}, {low:g}]")
        self._check(short_json([round(low, 12), round(high, 12)]), low, high)

    def _check(self, text: str, low: float, high: float) -> None:
        unit = f" {self.unit}" if self.unit else ""
        for mistake in self.mistakes:
            if mistake.above < high < mistake.below:
                raise ValueError(f"{text} looks like {mistake.unit}: give {self.unit}")
        if not (self.least <= low and high <= self.greatest) or (self.excludes_least and low == self.least):
            if self.greatest == Quantity.greatest:
                least = "above" if self.excludes_least else "at least"
                raise ValueError(f"{text} must be {least} {self.least:g}{unit}")
            raise ValueError(f"{text} must lie between {self.least:g} and {self.greatest:g}{unit}")


FLIP_ANGLE = Quantity("degrees", 0, 180, True, (Mistake(0, 2, "radians"),))
REPETITION_TIME = Quantity("ms", 0, 1e5, True, (Mistake(0, 0.5, "seconds"),))
ECHO_TIME = Quantity("ms", 0, 1e4, mistakes=(Mistake(0, 0.1, "seconds"),))
PREPARATION_TIME = Quantity("ms", 0, 1e4, mistakes=(Mistake(0, 1, "seconds"),))
ECHO_SPACING = Quantity("ms", 0, 1e4, True, (Mistake(0, 0.1, "seconds"),))
SATURATION_TIME = Quantity("ms", 0, 1e5, True, (Mistake(0, 5, "seconds"),))
RECOVERY_TIME = Quantity("ms", 0, 1e5, mistakes=(Mistake(0, 5, "seconds"),))
HEARTBEAT = Quantity("ms", 0, 1e4, True, (Mistake(0, 30, "seconds"), Mistake(29.999, 250, "beats per minute")))
RELAXATION_TIME = Quantity("ms", 0, 1e4, True, (Mistake(0, 5, "seconds"),))
DEPHASING_RATE = Quantity("1/s", 0, 1e4)
EFFICIENCY = Quantity("", 0, 1, True)
SHARE = Quantity("", 0, 1)
RATIO = Quantity("", 0, 100, True)
BEATS = Quantity("", 1, 100)
COUNT = Quantity("", 0, 1e6)
PULSES_SEEN = Quantity("pulses", 1, 1e9)


def number(quantity: Quantity, meaning: str = "") -> dict[str, Any]:
    """Metadata of a dataclass field that holds one number of a quantity, or a tuple of them."""
    return {"quantity": quantity, "meaning": meaning, "check": partial(_check_number, quantity)}


def span(quantity: Quantity, meaning: str) -> dict[str, Any]:
    """Metadata of a dataclass field that holds a range of a quantity, or None where its type admits that."""
    return {"quantity": quantity, "meaning": meaning, "check": quantity.check_range}


def described(meaning: str) -> dict[str, Any]:
    """Metadata of a dataclass field that is no number."""
    return {"meaning": meaning}


def _check_number(quantity: Quantity, value: Any) -> None:
    for single in value if isinstance(value, tuple) else (value,):
        if single is not None:
            quantity.check(single)


def quantity_of(entry: Field) -> Quantity | None:
    """The quantity of a dataclass field; None if it has none."""
    return entry.metadata.get("quantity")


def check_bounds(instance: Any) -> None:
    """Refuse an instance of a dataclass whose numbers are out of their quantities' bounds, or whose seed is invalid.

    Numbers that look like another unit are not refused: a recipe may have drawn them.

    Raises:
        ValueError: names the first such field.
    """
    for entry in instance.__dataclass_fields__.values():
        value, quantity = getattr(instance, entry.name), quantity_of(entry)
        if quantity is not None:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or not quantity.least <= value <= quantity.greatest:
                bounds = f"{quantity.least:g} and {quantity.greatest:g}"
                raise ValueError(f"{entry.name} must lie between {bounds}, got {value}")
        elif entry.name == "seed" and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63):
            raise ValueError(f"seed must be a whole number, 0 or more, got {value}")
