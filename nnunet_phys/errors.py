"""The one exception for input that a user can mend, and what its messages share."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(RuntimeError):
    """One line that names case, file and remedy; several faults found at once are one line each.

    The command line prints the lines without a traceback and exits with 1. Inside nnU-Net's commands it is a
    RuntimeError whose message is those lines.
    """


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about a word that is not known: the nearest of those that are, or nothing."""
    found = get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean '{found[0]}'?)" if found else ""
