"""Kinds of numbers: their unit, their bounds, and numbers that are probably in another unit.

A dataclass field that a user sets carries its quantity and its meaning as metadata (`number`, `span`); from them come
the checks of `Bounded` classes and of JSON files, their messages, and the tables in the documents.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, fields, replace
from functools import partial
from typing import Any

import torch

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
        for mistake in self.mistakes:
            if mistake.above < high < mistake.below:
                raise ValueError(f"{text} looks like {mistake.unit}: give {self.unit}")
        if not self.contains(low, high):
            raise ValueError(f"{text} {self.bounds}")

    def contains(self, low: float, high: float) -> bool:
        """Whether numbers from `low` to `high` are within the bounds; never if one of both is NaN."""
        above = self.least < low if self.excludes_least else self.least <= low
        return above and high <= self.greatest

    @property
    def bounds(self) -> str:
        """The bounds in words, such as "must lie between 0 and 1e+04 ms"."""
        unit = f" {self.unit}" if self.unit else ""
        least = f"must be {'above' if self.excludes_least else 'at least'} {self.least:g}"
        if self.greatest == Quantity.greatest:
            return least + unit
        if self.excludes_least:
            return f"{least} and at most {self.greatest:g}{unit}"
        return f"must lie between {self.least:g} and {self.greatest:g}{unit}"


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


class Bounded:
    """A dataclass whose fields with a quantity stay within its bounds, wherever the values come from.

    A field holds a number, several in a tuple, a map (which may be 0 where the quantity excludes its least number), or
    None. A `seed` is a whole number. Numbers that look like another unit are not refused: a recipe may have drawn them.

    Raises:
        ValueError: names the first field that is out of bounds.
    """

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]
            value, quantity = getattr(self, entry.name), quantity_of(entry)
            if quantity is not None:
                _check_field(entry.name, value, quantity)
            elif entry.name == "seed" and not _is_seed(value):
                raise ValueError(f"seed must be a whole number, 0 or more, got {value}")


def _check_field(name: str, value: Any, quantity: Quantity) -> None:
    """Refuse a field's value that is out of bounds, or no number."""
    if isinstance(value, torch.Tensor):
        low, high = float(value.detach().amin()), float(value.detach().amax())
        if not replace(quantity, excludes_least=False).contains(low, high):
            raise ValueError(f"{name} {quantity.bounds}, got {low:g} to {high:g}")
        return
    for single in value if isinstance(value, tuple) else (value,):
        is_number = isinstance(single, int | float) and not isinstance(single, bool)
        if single is not None and not (is_number and quantity.contains(single, single)):
            raise ValueError(f"{name} {quantity.bounds}, got {single}")


def _is_seed(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
