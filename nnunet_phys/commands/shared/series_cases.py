"""What `segment` reads: series of images of the same anatomy, single images, and 4-D files whose frames differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nnunet_phys.errors import InputError, counted, did_you_mean
from nnunet_phys.json_files import load_json
from nnunet_phys.precomputed_spin.dicom.image_set import REFERENCES
from nnunet_phys.precomputed_spin.image_checks import value_faults
from nnunet_phys.precomputed_spin.image_folder import ImageFolder
from nnunet_phys.precomputed_spin.map_work import find_jobs
from nnunet_phys.precomputed_spin.scan_files import ScanFiles, scans_of_files
from nnunet_phys.precomputed_spin.scan_loading import ImageReader
from nnunet_phys.precomputed_spin.scan_protocol import CaseProtocols, ScanJob
from nnunet_phys.precomputed_spin.series_times import TIME_NAMES

MOLLI_FOLDER = "molli"
"""Folder of `import` that is segmented where it is there."""
_CORRECT = "Correct it, or remove it."


@dataclass(frozen=True)
class SeriesCase:
    """A case: several images of the same anatomy, or one file, 3-D or 4-D.

    Attributes:
        files: its images.
        description: CASE.json beside them; None where there is none.
        job: how its images were made, if CASE.json describes it for a series; then it can be translated.
    """

    files: ScanFiles
    description: Path | None = None
    job: ScanJob | None = None

    @property
    def case(self) -> str:
        """The case's name."""
        return self.files.case

    @property
    def sources(self) -> tuple[Path, ...]:
        """All files that its mask is made from."""
        return self.files.paths if self.description is None else (*self.files.paths, self.description)

    @property
    def is_series(self) -> bool:
        """Whether its images show the same anatomy, so that they get one mask. The frames of a 4-D file do not."""
        return len(self.files.files) > 1


@dataclass(frozen=True, eq=False)
class SeriesFolder:
    """Cases whose images are checked.

    Attributes:
        cases: by name.
        ending: file ending of the images, with the dot.
        references: what the scanner computed; empty where there is nothing.
        reader: still holds images that were checked.
    """

    cases: tuple[SeriesCase, ...]
    ending: str
    references: tuple[Path, ...]
    reader: ImageReader

    @classmethod
    def read(cls, folder: Path, patterns: Sequence[str], translate: bool) -> SeriesFolder:
        """Find and check cases.

        Args:
            folder: what `nnunet_phys import` wrote, of which molli/ is read; or any folder of images.
            patterns: names of cases, `*` for any characters; empty: all.
            translate: read how series were made, too.

        Raises:
            InputError: no image, or no case of these names; and one line per fault: readouts of a series that are
                missing or on another grid, images without values, or a series whose description does not fit.
        """
        place = folder / MOLLI_FOLDER if (folder / MOLLI_FOLDER).is_dir() else folder
        images = ImageFolder.read(place)
        scans = _chosen(scans_of_files(images.files, series=True), patterns)
        reader, cases = ImageReader(), []
        faults: list[str] = []
        for files in scans:
            path = place / f"{files.case}.json"
            try:
                content = _described(path)
                _check(files, content, path, reader)
            except InputError as error:
                faults.extend(error.of_case(files.case).faults)
                continue
            job = None
            if translate and len(files.files) > 1 and "protocol" in content:
                described, of_protocol = CaseProtocols(place).scans(files.files)
                jobs, unfitting = find_jobs(described)
                faults.extend((*of_protocol, *unfitting))
                job = jobs[0] if len(jobs) == 1 else None
            cases.append(SeriesCase(files, path if path.is_file() else None, job))
        if faults:
            raise InputError(*faults)
        of_scanner = folder / REFERENCES
        references = sorted(path for path in of_scanner.iterdir() if path.is_file()) if of_scanner.is_dir() else []
        return cls(tuple(cases), images.ending, tuple(references), reader)


def _chosen(scans: list[ScanFiles], patterns: Sequence[str]) -> list[ScanFiles]:
    """The cases whose names fit a pattern.

    Raises:
        InputError: a pattern fits none.
    """
    names = [files.case for files in scans]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(
                f"-only {pattern}: no case has this name{did_you_mean(pattern, names)}. There are {', '.join(names)}."
            )
    return [f for f in scans if not patterns or any(fnmatchcase(f.case, pattern) for pattern in patterns)]


def _check(files: ScanFiles, content: dict[str, Any], path: Path, reader: ImageReader) -> None:
    """Refuse images that make no series, or that cannot be segmented.

    Raises:
        InputError: it is refused.
    """
    times = {name: content[name] for name in TIME_NAMES.values() if isinstance(content.get(name), list)}
    for name, values in times.items():
        if len(values) != files.count:
            raise InputError(
                f"{len(values)} {name} in {path} for {counted(files.count, 'image')}. Add the images that are missing."
            )
    if len(files.files) > 1:
        files.check_numbers()
        if not times:
            files.check_marks()
    elif times and files.count > 1:
        raise InputError(
            f"{files.paths[0]} is a series in one 4-D file, whose frames would get a mask each. Write each readout as "
            f"a file, {files.case}_ti00_0000, ..."
        )
    images = reader.look(files)
    if faults := list(value_faults(files, images, [True] * len(images))):
        raise InputError(*faults)


def _described(path: Path) -> dict[str, Any]:
    """CASE.json; empty where there is none.

    Raises:
        InputError: it is no JSON object.
    """
    if not path.is_file():
        return {}
    content = load_json(path, _CORRECT)
    if not isinstance(content, dict):
        raise InputError(f"{path} is not an object, {{...}}. {_CORRECT}")
    return content
