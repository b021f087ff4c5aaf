"""A test set: images and labels in nnU-Net's format, and test_set.json, which says what they are.

FOLDER/imagesTs/CASE_0000.nii.gz
FOLDER/labelsTs/CASE.nii.gz
FOLDER/test_set.json
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_phys.errors import InputError, counted
from nnunet_phys.file_identity import files_sha256
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import remove_leftovers, working_folder, write_json

DESCRIPTION = "test_set.json"
STRUCTURES = {"RV": 1, "MYO": 2, "LV": 3}
"""Codes of the labels in all training and test sets, as in ACDC."""
_REMEDY = 'Write for example {"title": "LGE, hospital A", "channel": "LGE", "groups": {"patient1": ["case1"]}}.'


@dataclass(frozen=True)
class TestSet:
    """What a test set shows; the content of its test_set.json.

    Attributes:
        title: its name in tables and figures.
        channel: the contrast, in words.
        groups: the cases of each patient or series. Groups count as independent in statistics; cases of one group do
            not. Empty: every case is a group.
        trainings: names of the training sets whose models are tested on it; empty: all of them.
        inversion_times_ms: by case, for readouts of inversion recovery; a group's readouts are one series.
        protocol: description of the sequence for `nnunet_phys translate -protocol`. Empty: images are not translated.
        protocols: the same by case, where cases differ; then `protocol` is empty.
        kind: real, digital or own.
        note: what a reader of the tables must know.
    """

    title: str
    channel: str
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    trainings: tuple[str, ...] = ()
    inversion_times_ms: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    kind: str = "own"
    note: str = ""
    protocols: dict[str, dict[str, Any]] = field(default_factory=dict)

    __test__ = False  # for pytest, no class of tests

    def __post_init__(self) -> None:
        if not self.title or not self.channel:
            raise ValueError("title and channel must not be empty")
        if self.kind not in ("real", "digital", "own"):
            raise ValueError(f"kind is real, digital or own, not '{self.kind}'")
        members = [case for cases in self.groups.values() for case in cases]
        twice = sorted({case for case in members if members.count(case) > 1})
        if twice:
            raise ValueError(f"{twice[0]} is in groups twice")

    def suits(self, training: str) -> bool:
        """Whether models of a training set are tested on it where nobody names the tests."""
        return not self.trainings or training in self.trainings

    def group_of(self, case: str) -> str:
        """The group of a case: itself, if there are no groups."""
        return next((group for group, cases in self.groups.items() if case in cases), case)


@dataclass(frozen=True)
class TestFolder:
    """A test set on disk.

    Attributes:
        name: name of its folder, which names it in options and results.
        path: the folder.
        test_set: its description.
        images: case to path of its image.
        labels: case to path of its labels.
    """

    name: str
    path: Path
    test_set: TestSet
    images: dict[str, Path]
    labels: dict[str, Path]

    __test__ = False

    @property
    def sha256(self) -> str:
        """Hash of all images and labels with their cases' names."""
        return hash_of_cases(self.images, self.labels)

    @classmethod
    def read(cls, path: Path) -> TestFolder:
        """Read and check a folder's names and description.

        Raises:
            InputError: test_set.json is missing or faulty, there are no images, or a case lacks labels.
        """
        if not (path / DESCRIPTION).is_file():
            raise InputError(f"{path / DESCRIPTION} is missing. {_REMEDY}")
        test_set = read_json(path / DESCRIPTION, TestSet, _REMEDY)
        images = cases_in(path / "imagesTs", "_0000.nii.gz")
        labels = cases_in(path / "labelsTs", ".nii.gz")
        if not images:
            raise InputError(f"{path / 'imagesTs'} holds no CASE_0000.nii.gz. Put the images there.")
        named, timed = {case for cases in test_set.groups.values() for case in cases}, set(test_set.inversion_times_ms)
        faults = [f"{case}: {path / 'labelsTs'} holds no {case}.nii.gz. Add it." for case in set(images) - set(labels)]
        if named and named != set(images):
            differing = ", ".join(sorted(named ^ set(images)))
            faults.append(f"{path / DESCRIPTION}: groups and imagesTs differ in {differing}. Name every case once.")
        if timed and timed != set(images):
            differing = ", ".join(sorted(timed ^ set(images)))
            faults.append(f"{path / DESCRIPTION}: inversion_times_ms and imagesTs differ in {differing}.")
        if faults:
            raise InputError(*sorted(faults))
        return cls(path.name, path, test_set, images, {case: labels[case] for case in images})

    def check_labels(self) -> None:
        """Check grids and codes of the labels.

        Raises:
            InputError: labels on another grid than the image, other codes than 0-3, or none of a structure in any case.
        """
        faults, codes = [], set()
        for case, path in self.labels.items():
            difference = Geometry.read(path).difference(Geometry.read(self.images[case]))
            if difference is not None:
                faults.append(f"{case}: {path} has another {difference} than its image. Resample the labels.")
                continue
            codes_here = {int(code) for code in np.unique(read_image(path))}
            codes |= codes_here
            if not codes_here <= {0, *STRUCTURES.values()}:
                faults.append(f"{case}: {path} has the codes {sorted(codes_here)}. Use 0, 1 (RV), 2 (MYO) and 3 (LV).")
        if not faults and not codes & set(STRUCTURES.values()):
            faults.append(f"{self.path}: no label holds RV, MYO or LV. Use the codes 1, 2 and 3.")
        if faults:
            raise InputError(*faults)


def cases_in(folder: Path, ending: str) -> dict[str, Path]:
    """Files of a folder by case: the name without the ending, sorted; empty if there is no such folder."""
    paths = sorted(folder.glob(f"*{ending}"))
    return {path.name.removesuffix(ending): path for path in paths if not path.name.startswith(".")}


def hash_of_cases(images: dict[str, Path], labels: dict[str, Path]) -> str:
    """SHA-256 of images and labels with their cases' names, whatever folder they lie in."""
    return files_sha256({**images, **{f"{case} labels": path for case, path in labels.items()}})


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Fill a folder that appears only when it is complete; what was there before is replaced.

    Yields:
        the folder to fill.

    Raises:
        InputError: the disk is full or protected.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder.parent)
        with working_folder(folder.parent, folder.name) as scratch:
            work = scratch / folder.name
            work.mkdir()
            yield work
            if folder.exists():
                shutil.rmtree(folder)
            os.replace(work, folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error}). Is the disk full?") from None


def write_test_set(folder: Path, test_set: TestSet, images: dict[str, Path], labels: dict[str, Path]) -> None:
    """Copy images and labels, by case, into a test set that appears only when it is complete.

    Raises:
        InputError: it cannot be written, or as `TestFolder.read` and `check_labels`.
    """
    with new_folder(folder) as work:
        copy_cases(images, work / "imagesTs", "_0000.nii.gz")
        copy_cases(labels, work / "labelsTs", ".nii.gz")
        write_json(work / DESCRIPTION, asdict(test_set))
        TestFolder.read(work).check_labels()


def copy_cases(files: dict[str, Path], folder: Path, ending: str) -> None:
    """Copy files, by case, into a new folder."""
    folder.mkdir(parents=True)
    for case, path in files.items():
        shutil.copyfile(path, folder / f"{case}{ending}")


def read_test_sets(folder: Path) -> dict[str, TestFolder]:
    """The test sets that `prepare` made in a folder, by name.

    Raises:
        InputError: there are none, or one is faulty.
    """
    paths = sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    if not paths:
        raise InputError(f"{folder} holds no test sets. Run `python benchmarks/generalization prepare` first.")
    return {path.name: TestFolder.read(path) for path in paths}


def described(test: TestFolder) -> str:
    """One line on a test set."""
    groups = counted(len({test.test_set.group_of(case) for case in test.images}), "group")
    return f"{test.name}: {test.test_set.title}, {counted(len(test.images), 'case')}, {groups}"
