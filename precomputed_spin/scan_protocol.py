"""How a user describes the imaging protocol, and which sequence made which of a case's images according to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnunet_phys.errors import InputError, counted, did_you_mean
from nnunet_phys.json_files import load_json, read_json, structure
from nnunet_phys.precomputed_spin.molli_order import acquisition_order
from nnunet_phys.precomputed_spin.scan_files import ScanFiles, scans_of_files
from nnunet_phys.sequences import MOLLI
from nnunet_phys.sequences.description import describe_sequence, make_sequence
from nnunet_phys.sequences.molli import parse_scheme

if TYPE_CHECKING:
    from nnunet_phys.sequences.pulse_sequence import PulseSequence

_TIMING = ("inversion_times_ms", "first_inversion_times_ms")
_LEAST_LONGEST_MS = 30.0
"""Inversion times that stay below this are in seconds: a MOLLI's longest is at least a second."""
_SAME_MS = 1.0
"""Largest difference of an inversion time from that in a file name, which may be rounded to whole milliseconds."""
_IMPORTED = 'Write {"protocol": [{"sequence": "bssfp", "flip_angle_deg": 50}]}, as `nnunet_phys import` does.'
_DESCRIBE = 'Write an object such as {"sequence": "bssfp", "flip_angle_deg": 50}, or a list of them.'


@dataclass(frozen=True)
class _GainSchema:
    """What `SequenceDescription` itself reads of a description."""

    same_gain: bool = False


@dataclass(frozen=True)
class _TimesSchema:
    """CASE.json with a MOLLI's inversion times."""

    inversion_times_ms: tuple[float, ...]


@dataclass(frozen=True)
class _ProtocolSchema:
    """CASE.json with the protocol of the case."""

    protocol: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class SequenceDescription:
    """One sequence as a user describes it.

    Attributes:
        parameters: what `make_sequence` takes: the sequence's name as `sequence`, and its attributes.
        same_gain: its images share the gain of the first sequence's images.
    """

    parameters: dict[str, Any]
    same_gain: bool = False

    @classmethod
    def of(cls, content: Mapping[str, Any], where: str) -> SequenceDescription:
        """Make a description from plain JSON.

        Args:
            content: the parameters and, optionally, `same_gain`.
            where: where the JSON comes from; begins the line about a fault.

        Raises:
            InputError: it is not an object, names no sequence, or `same_gain` is neither true nor false.
        """
        gain = structure(content, _GainSchema, where, _DESCRIBE, extra=True)
        if "sequence" not in content:
            raise InputError(f"{where}: 'sequence' is missing{did_you_mean('sequence', content)}. {_DESCRIBE}")
        return cls({key: value for key, value in content.items() if key != "same_gain"}, gain.same_gain)

    @property
    def needs_times(self) -> bool:
        """Whether it is a MOLLI whose inversion times come from each case's JSON or file names."""
        return self.parameters.get("sequence") == MOLLI.name and not any(key in self.parameters for key in _TIMING)


def read_descriptions(path: Path) -> list[SequenceDescription]:
    """Sequences as a JSON file describes them: one object or a list of them.

    Raises:
        InputError: it is something else.
    """
    content = load_json(path, _DESCRIBE)
    entries = content if isinstance(content, list) else [content]
    if not entries:
        raise InputError(f"{path} is an empty list. Describe at least one sequence.")
    return [SequenceDescription.of(entry, str(path)) for entry in entries]


def with_flip_angle(
    descriptions: Sequence[SequenceDescription], flip_angle_deg: float | None
) -> tuple[SequenceDescription, ...]:
    """The same descriptions, the first one with another flip angle unless that is None."""
    first, *more = descriptions
    if flip_angle_deg is not None:
        first = replace(first, parameters={**first.parameters, "flip_angle_deg": flip_angle_deg})
    return (first, *more)


@dataclass(frozen=True)
class ScanJob:
    """A case whose maps are to be made.

    Attributes:
        files: its images, in acquisition order.
        sequences: the sequences that made the images, in the order of the images.
        same_gain: for each sequence, whether its images share the gain of the first sequence's.
    """

    files: ScanFiles
    sequences: tuple[PulseSequence, ...]
    same_gain: tuple[bool, ...]

    @property
    def case(self) -> str:
        """The case's name."""
        return self.files.case

    def described(self) -> list[dict[str, Any]]:
        """The sequences as plain JSON (`describe_sequence`)."""
        return [describe_sequence(sequence) for sequence in self.sequences]


@dataclass(frozen=True)
class ScanProtocol:
    """How the images of all cases were made.

    Attributes:
        descriptions: one per sequence, in the order of a case's images.
        times_folder: folder of `CASE.json` with `inversion_times_ms` in acquisition order, for a MOLLI without timing;
            None if these lie beside the images.
        single: every image of a MOLLI series is a case of its own.
        sequences: the sequences as described (derived); a MOLLI without timing has the default timing.

    Raises:
        InputError: a sequence or parameter that does not exist, or `single` with anything but one MOLLI.
    """

    descriptions: tuple[SequenceDescription, ...]
    times_folder: Path | None = None
    single: bool = False
    sequences: tuple[PulseSequence, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        made = tuple(_checked_sequence(description) for description in self.descriptions)
        object.__setattr__(self, "sequences", made)
        if self.single and not (len(made) == 1 and isinstance(made[0], MOLLI)):
            raise InputError("--single is for the readouts of one MOLLI (-sequence molli).")

    @property
    def is_series(self) -> bool:
        """Whether a volume is imaged more than once."""
        return len(self.descriptions) > 1 or self.descriptions[0].needs_times or self.sequences[0].image_count > 1

    @property
    def same_gain(self) -> tuple[bool, ...]:
        """For each sequence, whether its images share the gain of the first sequence's."""
        return tuple(description.same_gain for description in self.descriptions)

    def resolve(self, files: ScanFiles) -> list[ScanJob]:
        """A case's files in acquisition order with their sequences; with `single`, each image as a case of its own.

        Raises:
            InputError: no inversion times, files that are not numbered from 0 without a gap, or another number of
                images than the sequences make.
        """
        self._check_names(files)
        sequences = list(self.sequences)
        untimed = [i for i, description in enumerate(self.descriptions) if description.needs_times]
        if len(untimed) > 1:
            raise InputError(
                "the protocol has several MOLLI without inversion times. Give the inversion_times_ms of each."
            )
        if untimed:
            (molli,) = untimed
            parameters = self.descriptions[molli].parameters
            others = sum(sequence.image_count for i, sequence in enumerate(sequences) if i != molli)
            files, times = self._times(files, files.count - others, parameters.get("scheme"))
            sequences[molli] = make_sequence({**parameters, "inversion_times_ms": list(times)})
        elif isinstance(sequences[0], MOLLI) and files.times_ms:
            files = _ordered(files, sequences[0].inversion_times_ms, "the protocol")
        expected = sum(sequence.image_count for sequence in sequences)
        if expected != files.count:
            raise InputError(
                f"{counted(files.count, 'image')} ({files.paths[0].name}, ...) where its sequences make {expected}. "
                "Give all images of the series, or inversion times for those that are there."
            )
        if not self.single:
            return [ScanJob(files, tuple(sequences), self.same_gain)]
        readouts = zip(files.apart(), sequences[0].single_images(), strict=True)
        return [ScanJob(image, (readout,), self.same_gain) for image, readout in readouts]

    def _check_names(self, files: ScanFiles) -> None:
        """Refuse names that do not show which sequence made which image."""
        if any(files.marked) and (len(self.descriptions) > 1 or (self.is_series and not all(files.marked))):
            raise InputError(
                f"{files.paths[0].name}, ...: names with _ti are for all images of a single MOLLI, and no others. "
                "Number the images of several sequences in the protocol's order: CASE_0000, CASE_0001, ..."
            )
        if self.is_series:
            files.check_numbers()

    def _times(self, files: ScanFiles, count: int, scheme: str | None) -> tuple[ScanFiles, tuple[float, ...]]:
        """The files in acquisition order and the MOLLI's `count` inversion times, from CASE.json or the file names."""
        path = (self.times_folder or files.paths[0].parent) / f"{files.case}.json"
        if path.exists():
            remedy = 'Write {"inversion_times_ms": [...]}, in ms and in acquisition order.'
            times = read_json(path, _TimesSchema, remedy, extra=True).inversion_times_ms
            if len(times) != count:
                raise InputError(
                    f"{len(times)} inversion times in {path} for {counted(count, 'image')}. Give one per image, in "
                    "acquisition order."
                )
            if files.times_ms:
                files = _ordered(files, times, str(path))
        elif files.times_ms:
            files = files.ordered(acquisition_order(files.times_ms, _images_per_inversion(scheme)))
            times = files.times_ms
        else:
            names = ", or put them into the file names (CASE_ti120_0000)" if len(self.descriptions) == 1 else ""
            raise InputError(
                f'no inversion times. Write {path} with {{"inversion_times_ms": [...]}} in acquisition order{names}.'
            )
        if max(times) < _LEAST_LONGEST_MS:
            raise InputError(f"inversion times up to {max(times):g} look like seconds: give ms.")
        return files, times


@dataclass(frozen=True)
class CaseProtocols:
    """A protocol for each case, which stands in its CASE.json.

    Attributes:
        folder: folder of CASE.json with `protocol`, a list of what a protocol file holds.
        flip_angle_deg: replaces that of the first sequence of every case; None: as described.
        times_folder, single: as for `ScanProtocol`; `times_folder` None: inversion times stand in CASE.json, too.
    """

    folder: Path
    flip_angle_deg: float | None = None
    times_folder: Path | None = None
    single: bool = False

    def of(self, case: str) -> ScanProtocol:
        """The protocol of a case.

        Raises:
            InputError: CASE.json is missing or describes no protocol; or as for `ScanProtocol`.
        """
        path = self.folder / f"{case}.json"
        content = read_json(path, _ProtocolSchema, _IMPORTED, extra=True).protocol
        if not content:
            raise InputError(f"{path}: protocol is an empty list. {_IMPORTED}")
        descriptions = [SequenceDescription.of(entry, f"{path}.protocol") for entry in content]
        times_folder = self.times_folder or self.folder
        return ScanProtocol(with_flip_angle(descriptions, self.flip_angle_deg), times_folder, self.single)

    def scans(self, files: dict[str, Path]) -> tuple[list[tuple[ScanFiles, ScanProtocol]], list[str]]:
        """Sort files into scans, each by its case's protocol.

        Args:
            files: name, without ending, to path.

        Returns:
            the scans with their protocols, and a line for each fault of a case's protocol.
        """
        found: list[tuple[ScanFiles, ScanProtocol]] = []
        faults: list[str] = []
        for together in scans_of_files(files, series=True):
            try:
                protocol = self.of(together.case)
            except InputError as error:
                faults.extend(error.of_case(together.case).faults)
                continue
            scans = [together] if protocol.is_series else scans_of_files(together.files, series=False)
            found.extend((scan, protocol) for scan in scans)
        return found, faults


def _checked_sequence(description: SequenceDescription) -> PulseSequence:
    """Make the sequence of a description; a MOLLI without timing gets the default scheme and timing."""
    if not description.needs_times:
        return make_sequence(description.parameters)
    _images_per_inversion(description.parameters.get("scheme"))
    return make_sequence({key: value for key, value in description.parameters.items() if key != "scheme"})


def _images_per_inversion(scheme: str | None) -> tuple[int, ...] | None:
    if scheme is None:
        return None
    try:
        return parse_scheme(str(scheme))[0]
    except ValueError as error:
        raise InputError(f"{error}.") from None


def _ordered(files: ScanFiles, times_ms: tuple[float, ...], where: str) -> ScanFiles:
    """Files named after inversion times, in the order of `times_ms`, which come from `where`."""
    named = files.times_ms
    order = [int(np.abs(np.subtract(named, time)).argmin()) for time in times_ms]
    complete = sorted(order) == list(range(files.count))
    if not complete or max(abs(np.subtract(times_ms, np.take(named, order)))) > _SAME_MS:
        raise InputError(f"inversion times in {where} are not those in the file names. Correct one of them.")
    return files.ordered(order)
