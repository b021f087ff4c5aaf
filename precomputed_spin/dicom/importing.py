"""Importing a DICOM folder: which image sets it gives, how their cases are called, and writing them."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.errors import InputError, counted
from nnunet_phys.file_identity import inside
from nnunet_phys.image_files import write_volume
from nnunet_phys.precomputed_spin.dicom.folder import DicomFolder, DicomSeries, UndecodableError, read_pixels
from nnunet_phys.precomputed_spin.dicom.frame import Frame
from nnunet_phys.precomputed_spin.dicom.image_set import ImageSet, image_sets
from nnunet_phys.precomputed_spin.dicom.kinds import is_scout
from nnunet_phys.precomputed_spin.dicom.map_readouts import with_readouts
from nnunet_phys.precomputed_spin.dicom.overrides import Override, read_overrides
from nnunet_phys.precomputed_spin.dicom.source_record import SourceRecord
from nnunet_phys.whole_files import working_folder, write_json

ENDING = ".nii.gz"
"""File ending of the images."""
_LONGEST_NAME = 60
"""Characters of a description in a case's name. File systems allow 255 bytes of a file name."""
_DATE = re.compile(
    r"(19|20)\d\d[-_. ]?[01]\d[-_. ]?[0-3]\d|(?<!\d)([0-3]?\d[-_.][0-3]?\d[-_.])((19|20)?\d\d)(?!\d)"
    r"|(?<!\d)(\d{6}|[0-3]\d[0-3]\d(19|20)\d\d)(?!\d)"
)
"""Dates, year first or last, and six digits in a row."""
_WORD = re.compile(r"[^\W_]+")
_LETTERS = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})
"""Letters that are no base letter with an accent."""
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
_FEWEST_LETTERS = 3
"""Parts of a patient's name or id that are shorter, such as initials, are looked for as whole words alone."""


@dataclass(frozen=True)
class ImportPlan:
    """What an import will write.

    Attributes:
        sets: the image sets.
        left_out: a line for each series that is not imported on purpose, and one if there are other files.
        faults: a line for each fault of a series; such series are not imported.
        doubts: a line for each series that is imported and may lack images.
    """

    sets: tuple[ImageSet, ...]
    left_out: tuple[str, ...]
    faults: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def voxels(self) -> int:
        """Of all images together."""
        return sum(image_set.voxels for image_set in self.sets)


def plan_import(folder: Path, protocol: Path | None, prefix: str, keep_names: bool) -> ImportPlan:
    """Read all headers of a folder and decide what is imported.

    Args:
        folder: DICOM files of one examination, also in sub-folders.
        protocol: what the user says of series (`overrides`); None: nothing.
        prefix: begins the names of all cases.
        keep_names: names of cases begin with the patient's name, and CASE.json holds name, id and date.

    Raises:
        InputError: as `DicomFolder.read` and `read_overrides`.
    """
    read = DicomFolder.read(folder)
    overrides = {} if protocol is None else read_overrides(protocol, read.series)
    sets: list[ImageSet] = []
    left_out = [f"{counted(read.others, 'file')} without MR images ignored."] if read.others else []
    faults: list[str] = []
    doubts: list[str] = []
    for series, case in zip(read.series, case_names(read.series, prefix, keep_names), strict=True):
        override = overrides.get(series)
        if reason := _left_out(series, override):
            left_out.append(f"{series.title} is left out: {reason}.")
            continue
        try:
            if series.faults:
                raise InputError(*series.faults)
            made = image_sets(series, case, override)
        except InputError as error:
            faults += error.prefixed(f"{series.title}: ").faults
            continue
        sets += [_with_patient(image_set, series.frames[0]) for image_set in made] if keep_names else made
        if series.missing:
            numbers = ", ".join(map(str, series.missing))
            doubts.append(f"{series.title}: image {numbers} is not there, by the scanner's numbers. Copied whole?")
    return ImportPlan(tuple(with_readouts(sets)), tuple(left_out), tuple(faults), tuple(doubts))


def _left_out(series: DicomSeries, override: Override | None) -> str:
    """Why a series is not imported; empty if it is."""
    if override is not None:
        return "-protocol says so" if override.leave_out else ""
    if all(frame.colour for frame in series.frames):
        return "it holds coloured pictures"
    return "it is a scout" if is_scout(series.frames) else ""


def _with_patient(image_set: ImageSet, frame: Frame) -> ImageSet:
    patient = {"name": frame.patient_name, "id": frame.patient_id, "study_date": frame.study_date}
    return replace(image_set, content={**image_set.content, "patient": patient})


def case_names(all_series: tuple[DicomSeries, ...], prefix: str, keep_names: bool) -> list[str]:
    """A name for the case of each series: number and description, the same in every call.

    Without `keep_names`, a description that holds a part of the patient's name or id is left out, and so are dates.

    Args:
        all_series: all series, in their order.
        prefix: begins all names.
        keep_names: all names begin with the patient's.
    """
    names: list[str] = []
    for series in all_series:
        first = series.frames[0]
        description = series.description
        if not keep_names:
            description = _DATE.sub("", description)
            if _tells(description, first.patient_name, first.patient_id):
                description = ""
        parts = (prefix, first.patient_name if keep_names else "", f"{series.number:03d}", description)
        name = "_".join(part for part in map(_plain, parts) if part)
        count = sum(other == name or other.startswith(f"{name}_copy") for other in names)
        names.append(f"{name}_copy{count}" if count else name)
    return names


def _tells(description: str, name: str, patient_id: str) -> bool:
    """Whether a description holds a part of a patient's name or id, or may hold it in Latin letters."""
    letters = [letter for letter in name if letter.isalpha()]
    if letters and not any(_ascii(letter.casefold().translate(_LETTERS)) for letter in letters):
        return True  # of another script, whose Latin spellings are many
    parts = {part for spelling in _spellings(f"{name} {patient_id}") for part in _WORD.findall(spelling)}
    for spelling in _spellings(name):  # parts that are too short by themselves, written together
        words = _WORD.findall(spelling)
        parts |= {"".join(words), "".join(reversed(words))}
    for spelling in _spellings(description):
        words = _WORD.findall(spelling)
        together = "".join(words)
        if any(part in together if len(part) >= _FEWEST_LETTERS else part in words for part in parts):
            return True
    return False


def _spellings(text: str) -> set[str]:
    """Text in ASCII without capitals: accents left out, and umlauts spelled as two letters."""
    small = unicodedata.normalize("NFC", text).casefold()
    return {_ascii(spelling.translate(_LETTERS)) for spelling in (small, small.translate(_UMLAUTS))}


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()


def _plain(text: str) -> str:
    """Text as part of a file name: letters, digits and underscores, and no `_ti5`, which would mean a readout."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", _ascii(text)).strip("_")[:_LONGEST_NAME].strip("_")
    return re.sub(r"(?<![A-Za-z0-9])(ti)(?=\d)", r"\1_", words, flags=re.IGNORECASE)


def write_sets(target: Path, plan: ImportPlan, advance: Callable[[], object]) -> ImportPlan:
    """Write all image sets into a folder; a series whose pixels cannot be decoded is left out.

    Args:
        target: the folder, which exists and is empty.
        plan: what to write.
        advance: called after each file.

    Returns:
        What was written, with a line for each series that was left out.

    Raises:
        InputError: a file cannot be written.
    """
    by_series: dict[str, list[ImageSet]] = {}
    for image_set in plan.sets:
        by_series.setdefault(image_set.frames[0].series, []).append(image_set)
    written: list[ImageSet] = []
    faults = list(plan.faults)
    with working_folder(target, "import") as scratch:
        work, begun = scratch / "sets", scratch / "series"
        work.mkdir()
        for of_series in by_series.values():
            begun.mkdir()
            try:
                for image_set in of_series:
                    _write_set(begun, image_set, advance)
            except UndecodableError as error:
                faults += error.prefixed(f"{of_series[0].frames[0].series_title}: ").faults
            else:
                shutil.copytree(begun, work, dirs_exist_ok=True, copy_function=os.replace)
                written += of_series
            shutil.rmtree(begun)
        for finished in sorted(work.iterdir()):
            os.replace(finished, target / finished.name)
    return replace(plan, sets=tuple(written), faults=tuple(faults))


def _write_set(work: Path, image_set: ImageSet, advance: Callable[[], object]) -> None:
    folder = work / image_set.folder
    folder.mkdir(exist_ok=True)
    for name, volumes in image_set.files.items():
        values = np.stack([[read_pixels(frame) for frame in volume] for volume in volumes])
        squeezed = torch.from_numpy(values if len(volumes) > 1 else values[0])
        write_volume(inside(folder, name + ENDING), squeezed, image_set.geometry)
        advance()
    source = {"source": asdict(SourceRecord.of(image_set.frames))}
    write_json(inside(folder, f"{image_set.case}.json"), image_set.content | source)
