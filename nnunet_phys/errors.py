"""The exception for input that a user can correct, and helpers that write messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(RuntimeError):
    """Faults of the input: one line per fault, which names the case, the file and the remedy.

    The command line prints the lines without a traceback and exits with 1. Inside nnU-Net's commands it is a
    RuntimeError whose message is those lines.

    Args:
        faults: one line per fault. Line breaks and other control characters, which may come from names and texts in
            files, are escaped as in Python's repr.

    Attributes:
        faults: the escaped lines.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*map(_on_one_line, faults))  # as the exception's arguments, which pickling keeps

    @property
    def faults(self) -> tuple[str, ...]:
        """The escaped lines, one per fault."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.args)

    def of_case(self, case: str) -> InputError:
        """The same faults, each beginning with the case's name, which those may lack that concern a file."""
        return InputError(*(fault if fault.startswith(f"{case}: ") else f"{case}: {fault}" for fault in self.faults))

    def prefixed(self, prefix: str) -> InputError:
        """The same faults with a prefix before every line, such as the case that they concern."""
        return InputError(*(f"{prefix}{fault}" for fault in self.faults))


def _on_one_line(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: a suggestion of the nearest known word, or an empty string.

    Capitals do not matter, as in BSSFP for bssfp.
    """
    spelled = {name.casefold(): name for name in known}
    nearest = get_close_matches(word.casefold(), spelled, 1, 0.5)
    return f" (did you mean '{spelled[nearest[0]]}'?)" if nearest else ""


def last_line(error: BaseException) -> str:
    """The last line of an error's message, or its class where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun, such as "1 case" and "2 cases"; `plural` is needed unless it is the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
