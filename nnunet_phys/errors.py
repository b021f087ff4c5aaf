"""The one exception for input that a user can mend, and what messages share."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(RuntimeError):
    """Faults of the input, one line each, which names case, file and remedy.

    The command line prints the lines without a traceback and exits with 1. Inside nnU-Net's commands it is a
    RuntimeError whose message is those lines.

    Args:
        faults: one line each. Line breaks and other control characters, which names and texts from files may bring, are
            written as Python writes them.

    Attributes:
        faults: these lines.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*map(_on_one_line, faults))  # as arguments: the error keeps them from process to process

    @property
    def faults(self) -> tuple[str, ...]:
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.args)

    def prefixed(self, prefix: str) -> InputError:
        """The same faults, each line after a prefix, such as the case they concern."""
        return InputError(*(f"{prefix}{fault}" for fault in self.faults))


def _on_one_line(text: str) -> str:
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown word: the nearest known word, or nothing."""
    nearest = get_close_matches(word, list(known), 1, 0.5)
    return f" (did you mean '{nearest[0]}'?)" if nearest else ""


def last_line(error: BaseException) -> str:
    """The last line of an error's message, or its class where it has no message."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun, such as "1 case" and "2 cases"; `plural` where it does not end in a plain s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
