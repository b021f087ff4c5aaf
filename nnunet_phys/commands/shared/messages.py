"""What commands say on stderr: messages of the logger `nnunet_phys`, as many as `-v` and `-q` ask for.

What a command is asked for, such as the folder of `trainers`, is no message: it is printed to stdout.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from nnunet_phys.errors import counted

MOST_LINES = 20
"""Lines of a list that a message holds."""
LOGGER = logging.getLogger("nnunet_phys")
"""The logger of the package. Its modules log to `logging.getLogger(__name__)`, which lies below it."""


def add_message_arguments(parser: argparse.ArgumentParser) -> None:
    """Add -v and -q, whose `least_level` is left out if neither is given."""
    amount = parser.add_mutually_exclusive_group()
    for flags, level, help_text in (
        (
            ("-v", "--verbose"),
            logging.DEBUG,
            "also show versions, the files that are written, and where errors arise",
        ),
        (("-q", "--quiet"), logging.WARNING, "show only warnings and errors, and no progress bars"),
    ):
        amount.add_argument(
            *flags, dest="least_level", action="store_const", const=level, default=argparse.SUPPRESS, help=help_text
        )


@contextmanager
def messages_on_stderr() -> Iterator[None]:
    """Write messages to stderr until the context ends: information, warnings and errors, unless `show_from` changes it.

    Inside another such context, as where `demo` runs other commands, that one stays as it is.
    """
    if LOGGER.handlers:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Format())
    level, propagate = LOGGER.level, LOGGER.propagate
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    LOGGER.propagate = False  # another package may have given the root logger a handler, which would show all twice
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)
        LOGGER.propagate = propagate


def show_from(parsed: argparse.Namespace) -> None:
    """Show messages from the level on that -v or -q asked for."""
    if "least_level" in parsed:
        LOGGER.setLevel(parsed.least_level)


class _Format(logging.Formatter):
    """Warnings and errors begin with the name of the program, so that they are found among the lines of others."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"nnunet_phys: {text}" if record.levelno >= logging.WARNING else text


def skipped(finished: int, cases: int) -> str:
    """What is said of cases that need not be made again."""
    verb = "is" if finished == 1 else "are"
    return f"{finished} of {counted(cases, 'case')} {verb} finished and skipped (--overwrite makes all again)"


def indented(lines: Sequence[str], more: str = "") -> str:
    """A list below a message, one line each; of those beyond `MOST_LINES` only how many, and `more`."""
    left_out = len(lines) - MOST_LINES
    shown = [*lines[:MOST_LINES], *([f"and {left_out} more{more}"] if left_out > 0 else [])]
    return "".join(f"\n  {line}" for line in shown)
