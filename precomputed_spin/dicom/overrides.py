"""What a user says of series instead of their headers: -protocol of `import`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from nnunet_phys.errors import InputError, did_you_mean
from nnunet_phys.json_files import read_json, structure
from nnunet_phys.precomputed_spin.dicom.folder import DicomSeries
from nnunet_phys.precomputed_spin.dicom.kinds import FOLDERS
from nnunet_phys.precomputed_spin.series_times import TIME_NAMES

_WRITE = (
    'Write {"12": {"sequence": "molli", ...}, "DESCRIPTION": {"leave_out": true}}: numbers or descriptions of series, '
    "and what they are."
)


@dataclass(frozen=True)
class _Schema:
    """What is read of an entry; everything else is a parameter of the sequence."""

    sequence: str | None = None
    readouts: int | None = None
    leave_out: bool = False
    inversion_times_ms: tuple[float, ...] | None = None
    ts_ms: tuple[float | None, ...] | None = None
    t2_prep_ms: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Override:
    """What a user says of a series.

    Attributes:
        sequence: a key of `kinds.FOLDERS`; None: as the header tells.
        readouts: keep only so many images per slice, the first ones acquired; None: all.
        leave_out: do not import it.
        times_ms: `inversion_times_ms`, `ts_ms` (None: no saturation) or `t2_prep_ms`, one per image as acquired.
        parameters: of the sequence.
    """

    sequence: str | None = None
    readouts: int | None = None
    leave_out: bool = False
    times_ms: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, content: Mapping[str, Any], where: str) -> Override:
        """Make one from plain JSON.

        Raises:
            InputError: values of another type, or a sequence that cannot be imported.
        """
        read = structure(content, _Schema, where, _WRITE, extra=True)
        if read.sequence is not None and read.sequence not in FOLDERS:
            suggestion = did_you_mean(read.sequence, FOLDERS)
            raise InputError(f"{where}: no sequence '{read.sequence}'{suggestion}. There are: {', '.join(FOLDERS)}.")
        if read.readouts is not None and read.readouts < 1:
            raise InputError(f"{where}: readouts must be 1 or more.")
        times = {name: getattr(read, name) for name in TIME_NAMES.values() if getattr(read, name) is not None}
        own = {"sequence", "readouts", "leave_out", *TIME_NAMES.values()}
        parameters = {name: value for name, value in content.items() if name not in own}
        return cls(read.sequence, read.readouts, read.leave_out, times, parameters)


def read_overrides(path: Path, series: Sequence[DicomSeries]) -> dict[DicomSeries, Override]:
    """What a JSON file says of series. A number names one; anything else is a description, with * for any characters.

    Raises:
        InputError: it is not such a file; an entry that fits no series, or a series that two entries fit.
    """
    content = read_json(path, dict[str, dict[str, Any]], _WRITE)
    found: dict[DicomSeries, Override] = {}
    faults: list[str] = []
    for name, entry in content.items():
        try:
            override = Override.of(entry, f"{path}.{name}")
        except InputError as error:
            faults += error.faults
            continue
        named = [of for of in series if name in {str(of.number), of.description} or fnmatch(of.description, name)]
        if not named:
            there = ", ".join(of.title for of in series)
            faults.append(f"{path}.{name}: there is no such series. There are: {there}.")
        faults += [f"{path}.{name}: another entry is of {of.title}, too. Merge them." for of in named if of in found]
        found.update((of, override) for of in named)
    if faults:
        raise InputError(*faults)
    return found
