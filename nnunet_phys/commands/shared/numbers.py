"""Types of numbers on the command line: argparse refuses what is out of bounds before any work starts.

`parser.add_argument("-np", type=whole_number(1, MOST_PROCESSES))` makes `-np 0` end in
"argument -np: 0 is less than 1".
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TypeVar

_Number = TypeVar("_Number", int, float)

MOST_PROCESSES = 512
"""Worker processes. Assumed: more than the cores of the largest common servers; each worker takes about 0.5 GB."""
GREATEST_SEED = 2**32 - 1
"""The greatest seed that NumPy's legacy generator and torch's both take."""


def whole_number(least: int, greatest: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `least` to `greatest`, both included."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        return _within(value, least, greatest)

    return parse


def number(least: float, greatest: float) -> Callable[[str], float]:
    """An argparse type: a finite number from `least` to `greatest`, both included."""

    def parse(text: str) -> float:
        return _within(finite(text), least, greatest)

    return parse


def finite(text: str) -> float:
    """An argparse type: a finite number, whose bounds the sequence checks."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number")
    return value


def _within(value: _Number, least: float, greatest: float) -> _Number:
    if value < least:
        raise argparse.ArgumentTypeError(f"{value} is less than {least}")
    if value > greatest:
        raise argparse.ArgumentTypeError(f"{value} is more than {greatest}")
    return value


PROCESSES = whole_number(1, MOST_PROCESSES)
"""The type of `-np`."""
SEED = whole_number(0, GREATEST_SEED)
"""The type of `-seed`."""
