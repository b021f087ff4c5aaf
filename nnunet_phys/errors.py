"""The one exception for input that a user can mend."""

from __future__ import annotations


class InputError(RuntimeError):
    """One line that names case, file and remedy; several faults found at once are one line each.

    The command line prints the lines without a traceback and exits with 1. Inside nnU-Net's commands it is a
    RuntimeError whose message is those lines.
    """
