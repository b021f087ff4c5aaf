"""Text files that name cases, one a line: `flagged.txt`, and lists of the user's own."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.errors import InputError, did_you_mean, last_line
from nnunet_phys.pictures import MADE_BY

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.quality_record import Flag

FLAGGED = "flagged.txt"
"""Name of the list of cases with flags."""
CASE_LIST_HELP = f"a text file with one case a line, such as {FLAGGED}; what follows a tab is ignored"


_HEADER = f"# {MADE_BY}: cases whose maps look wrong"


def flagged_list(flags: Mapping[str, Iterable[Flag]]) -> str:
    """The content of `flagged.txt`: the cases with flags, and after a tab their flags."""
    lines = [_HEADER]
    lines += [f"{case}\t{'; '.join(map(str, found))}" for case, found in flags.items()]
    return "\n".join(lines) + "\n"


def read_case_list(path: Path, known: Iterable[str], option: str) -> list[str]:
    """The cases that a text file names, each once.

    Args:
        path: the file; empty lines and lines that begin with # are ignored, as is what follows a tab.
        known: names of all cases.
        option: option that names the file, for messages.

    Raises:
        InputError: the file cannot be read, names no case (unless it is a `flagged_list` of none), or cases that do
            not exist, one line each.
    """
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"  # as PowerShell writes
        lines = content.decode(encoding).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {path} cannot be read ({last_line(error)}). Name a text file of cases.") from None
    named = dict.fromkeys(line.partition("\t")[0].strip() for line in lines if not line.startswith("#"))
    cases, known = [case for case in named if case], set(known)
    if not cases and lines[:1] == [_HEADER]:
        return []
    if not cases:
        raise InputError(f"{option} {path} names no case. Write one case a line.")
    faults = [
        f"{option} {path}: there is no case '{case}'{did_you_mean(case, known)}. Correct or remove it."
        for case in cases
        if case not in known
    ]
    if faults:
        raise InputError(*faults)
    return cases
