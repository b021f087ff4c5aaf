"""The folder that `segment` fills, case by case; segment.json names its files with their hashes, to go on later."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnunet_phys.case_records import package_versions
from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import HashedFile, file_sha256, hashed, inside
from nnunet_phys.image_files import read_image
from nnunet_phys.json_files import load_json, structure
from nnunet_phys.pictures import MADE_BY
from nnunet_phys.precomputed_spin.dicom.image_set import REFERENCES
from nnunet_phys.whole_files import remove_leftovers, working_folder, write_json, writing_alone

_RECORD, _LABELS, _MASKS = "segment.json", "dataset.json", "masks/"
_CHOOSE = "Remove it, or choose another folder with -o."
_AGAIN = "Add --overwrite to make everything again, or choose another folder with -o."


@dataclass(frozen=True)
class SegmentedFiles:
    """What is read of a case's entry in segment.json.

    Attributes:
        images: the images that its results were made from, and their CASE.json.
        files: its results, named by their path in the folder.
        flags: what is doubtful about them.
    """

    images: tuple[HashedFile, ...]
    files: tuple[HashedFile, ...]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegmentRecord:
    """What is read of segment.json.

    Attributes:
        generator: the mark of what this package made.
        settings: what decided about the masks, beside the images.
        versions: of packages, by their names.
        files: files that belong to no case.
        cases: the cases, by name.
    """

    generator: str
    settings: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    files: tuple[HashedFile, ...] = ()
    cases: dict[str, SegmentedFiles] = field(default_factory=dict)

    @property
    def named(self) -> list[str]:
        """Names of all files."""
        return [entry.file for entry in (*self.files, *(file for case in self.cases.values() for file in case.files))]

    @classmethod
    def read(cls, folder: Path) -> SegmentRecord | None:
        """What segment.json in a folder says; None where there is none.

        Raises:
            InputError: it cannot be read.
        """
        path = folder / _RECORD
        if not path.is_file():
            return None
        return structure(load_json(path, _CHOOSE), cls, str(path), _CHOOSE, extra=True)


@dataclass(frozen=True, eq=False)
class SegmentationResults:
    """The folder of results.

    Attributes:
        folder: the folder.
        settings: what decides about the masks, beside the images; plain JSON.
    """

    folder: Path
    settings: dict[str, Any]

    def check(self, overwrite: Collection[str]) -> None:
        """Refuse a folder that holds anything but results of these settings, or of others if they are all replaced.

        Args:
            overwrite: names of the cases that are made again.

        Raises:
            InputError: it is refused.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"-o {self.folder} is a file. Name a folder.")
        if not self.folder.is_dir():
            return
        remove_leftovers(self.folder)
        record = SegmentRecord.read(self.folder)
        if record is None:
            if any(not path.is_dir() for path in self.folder.rglob("*")):
                raise InputError(f"-o {self.folder} is not empty, and nnunet_phys segment did not fill it. {_CHOOSE}")
            return
        if record.generator != MADE_BY:
            raise InputError(f"-o {self.folder}: nnunet_phys did not make {_RECORD} there. {_CHOOSE}")
        differing = [name for name, value in self.settings.items() if record.settings.get(name) != value]
        kept = sorted(record.cases.keys() - set(overwrite))
        if differing and kept:
            listed = ", ".join(differing)
            of_cases = f" of {kept[0]}{' and others' if len(kept) > 1 else ''}" if overwrite else ""
            raise InputError(f"-o {self.folder} holds results{of_cases} of other settings ({listed}). {_AGAIN}")

    def cases(self) -> set[str]:
        """Names of the cases that segment.json holds; none where there is none.

        Raises:
            InputError: it cannot be read.
        """
        record = SegmentRecord.read(self.folder)
        return set() if record is None else set(record.cases)

    def is_finished(self, case: str, sources: tuple[Path, ...]) -> bool:
        """Whether a case has results. A mask that was corrected by hand stays as it is.

        Args:
            case: the case's name.
            sources: its images, and CASE.json where there is one.

        Raises:
            InputError: they were made from other files, a mask cannot be read, or a result is missing where a mask was
                corrected by hand, which making the case again would undo.
        """
        record = SegmentRecord.read(self.folder)
        entry = None if record is None else record.cases.get(case)
        if entry is None:
            return False
        if missing := [file.file for file in entry.files if not inside(self.folder, file.file).is_file()]:
            corrected = [file.file for file in entry.files if file.file.startswith(_MASKS) and self._differs(file)]
            if corrected:
                raise InputError(
                    f"{case}: {self.folder / missing[0]} is gone, and {self.folder / corrected[0]} was corrected, "
                    "which making the case again would undo. Bring the file back, or keep a copy of the mask and add "
                    "--overwrite."
                )
            return False
        if [source.sha256 for source in entry.images] != [file_sha256(path) for path in sources]:
            raise InputError(
                f"{case}: its results in {self.folder} were made from other images or another {case}.json. {_AGAIN}"
            )
        for file in entry.files:
            if file.file.startswith(_MASKS) and self._differs(file):
                self._check_readable(case, self.folder / file.file)
        return True

    @staticmethod
    def _check_readable(case: str, mask: Path) -> None:
        """Refuse a mask that differs from what was made because it is cut short, not because it was corrected.

        Raises:
            InputError: it cannot be read.
        """
        try:
            read_image(mask)
        except InputError as error:
            raise InputError(*(f"{case}: {fault} Remove it to make it again." for fault in error.faults)) from None

    def _differs(self, file: HashedFile) -> bool:
        """Whether a file of the folder is there and has changed since it was made."""
        return inside(self.folder, file.file).is_file() and not file.is_unchanged(self.folder)

    def check_room(self, case: str, names: Iterable[str]) -> None:
        """Refuse to replace files that are not this folder's.

        Args:
            case: the case's name.
            names: the files that will be written for it, relative to the folder.

        Raises:
            InputError: there is such a file.
        """
        record = SegmentRecord.read(self.folder)
        ours = set() if record is None else set(record.named)
        for name in names:
            if name not in ours and os.path.lexists(inside(self.folder, name)):
                raise InputError(f"{case}: {self.folder / name} is there, and segment did not make it. {_CHOOSE}")

    def lacks(self, references: tuple[Path, ...]) -> bool:
        """Whether references/ differs from these files, but for what was corrected there, or dataset.json is gone."""
        record = SegmentRecord.read(self.folder)
        if record is not None and not (self.folder / _LABELS).is_file():
            return True
        known = {} if record is None else {file.file: file for file in record.files}
        for path in references:
            file = known.get(f"{REFERENCES}/{path.name}")
            if file is None or not (self.folder / file.file).is_file():
                return True
            if file.sha256 != file_sha256(path) and not self._differs(file):
                return True
        return False

    def begin(self, overwrite: Collection[str], description: Mapping[str, Any], references: tuple[Path, ...]) -> None:
        """Make room, and write dataset.json and what the scanner computed.

        Args:
            overwrite: names of the cases whose results are removed first; others stay.
            description: content of dataset.json.
            references: files to copy into references/, where a file that was corrected there stays.

        Raises:
            InputError: a file cannot be written.
        """
        with writing_alone(self.folder):
            record = SegmentRecord.read(self.folder)
            cases = {} if record is None else self._content()["cases"]
            if record is not None:
                for name in record.cases.keys() & set(overwrite):
                    for file in record.cases[name].files:
                        inside(self.folder, file.file).unlink(missing_ok=True)
                    del cases[name]
                if not cases:  # nothing stays: what the scanner computed belonged to the cases that are gone
                    for file in record.files:
                        inside(self.folder, file.file).unlink(missing_ok=True)
            with working_folder(self.folder, "segment") as scratch:
                new = scratch / "new"
                (new / REFERENCES).mkdir(parents=True)
                write_json(new / _LABELS, dict(description))
                corrected = [file for file in (record.files if record and cases else ()) if self._differs(file)]
                kept = {file.file for file in corrected if file.file.startswith(f"{REFERENCES}/")}
                for path in references:
                    if f"{REFERENCES}/{path.name}" not in kept:
                        shutil.copyfile(path, new / REFERENCES / path.name)
                content = {"generator": MADE_BY, "versions": package_versions(), "settings": self.settings}
                files = [*_hashed(new), *(asdict(file) for file in corrected if file.file in kept)]
                self._publish(new, {**content, "files": files, "cases": cases})

    def save(self, case: str, sources: tuple[Path, ...], new: Path, entry: Mapping[str, Any]) -> None:
        """Write a case's entry, then move its files into the folder.

        The entry comes first: so the files of a killed process are known as ours, and the case is not finished.

        Args:
            case: the case's name.
            sources: the images that its results were made from, and CASE.json where there is one.
            new: holds its files in their sub-folders, and nothing else.
            entry: what segment.json says about it; plain JSON.

        Raises:
            InputError: segment.json cannot be written.
        """
        with writing_alone(self.folder):
            content = self._content()
            hashes = [hashed(path, path.name) for path in sources]
            content["cases"][case] = {"images": hashes, "files": _hashed(new), **entry}
            self._publish(new, content)

    def flags(self) -> list[str]:
        """What is doubtful about all cases that are finished."""
        return [flag for entry in self._content()["cases"].values() for flag in entry["flags"]]

    def _content(self) -> dict[str, Any]:
        """segment.json as plain JSON."""
        return load_json(self.folder / _RECORD, _CHOOSE)

    def _publish(self, new: Path, content: dict[str, Any]) -> None:
        """Write the record, then move the new files."""
        write_json(self.folder / _RECORD, content)
        for path in sorted(path for path in new.rglob("*") if path.is_file()):
            target = self.folder / path.relative_to(new)
            target.parent.mkdir(exist_ok=True)
            os.replace(path, target)


def flags_of_masks(folder: Path) -> list[str]:
    """What `segment` found doubtful about the masks in a folder that it filled, but for those corrected since.

    Raises:
        InputError: segment.json cannot be read.
    """
    record = SegmentRecord.read(folder)
    if record is None:
        return []
    flags: list[str] = []
    for case in record.cases.values():
        masks = [file for file in case.files if file.file.startswith(_MASKS)]
        if all(file.is_unchanged(folder) for file in masks):
            flags += case.flags
    return flags


def _hashed(folder: Path) -> list[dict[str, str]]:
    """Entries of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [hashed(path, path.relative_to(folder).as_posix()) for path in files]
