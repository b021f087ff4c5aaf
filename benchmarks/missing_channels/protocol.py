"""The data, the folds and the tasks."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from missing_channels.image_scores import Regions
from nnunet_phys.completion.channel_files import ChannelCase
from nnunet_phys.errors import InputError

CHANNELS = ("bSSFP", "LGE", "T2")
FOLDERS = ("C0", "LGE", "T2")
"""MyoPS's names of the channels."""
SEQUENCES = ("bssfp", "lge_gre", "black_blood")
"""Sequences of the default recipe that make synthetic channels."""
REGIONS = Regions(myocardium=(200,), lesions=(1220, 2221))
"""Codes in MyoPS's `pathology`."""
PIXEL_MM = 1.0
FOLDS = 5
TEST = "test"
"""Names the part of other patients."""


@dataclass(frozen=True)
class Task:
    """Make one channel from the two others."""

    wanted: int

    @property
    def given(self) -> tuple[int, ...]:
        """Numbers of the given channels."""
        return tuple(number for number in range(len(CHANNELS)) if number != self.wanted)

    @property
    def name(self) -> str:
        """Such as bSSFP + T2 -> LGE."""
        return f"{' + '.join(CHANNELS[number] for number in self.given)} -> {CHANNELS[self.wanted]}"


TASKS = tuple(Task(number) for number in range(len(CHANNELS)))


def read_cases(folder: Path) -> list[ChannelCase]:
    """The cases of a folder in MyoPS's layout here: C0, LGE, T2 and pathology.

    Raises:
        InputError: a folder or a file is missing; no cases.
    """
    for name in (*FOLDERS, "pathology"):
        if not (folder / name).is_dir():
            raise InputError(f"{folder} has no folder {name}. Give a folder with {', '.join(FOLDERS)}, pathology.")
    cases = []
    for path in sorted((folder / FOLDERS[0]).glob("*_0000.nii.gz")):
        name = path.name.removesuffix("_0000.nii.gz")
        images = {number: folder / channel / path.name for number, channel in enumerate(FOLDERS)}
        label = folder / "pathology" / f"{name}.nii.gz"
        missing = [str(file) for file in (*images.values(), label) if not file.is_file()]
        if missing:
            raise InputError(f"{missing[0]} is missing.")
        cases.append(ChannelCase(name, images, label))
    if not cases:
        raise InputError(f"{folder / FOLDERS[0]} holds no CASE_0000.nii.gz.")
    return cases


@dataclass(frozen=True)
class Part:
    """Patients to train on and others to test on.

    Attributes:
        number: of the fold; `FOLDS` for other patients.
        trained, tested: the cases of either.
    """

    number: int
    trained: list[ChannelCase]
    tested: list[ChannelCase]

    @property
    def name(self) -> str:
        """Names it in files."""
        return TEST if self.number == FOLDS else f"fold{self.number}"


def parts(folds: Sequence[int], test: Path | None) -> list[Part]:
    """The folds of MyoPS's training patients; or all of them to train on, and other patients to test on.

    Args:
        folds: numbers of the folds.
        test: folder of other patients; None: cross-validate.

    Raises:
        InputError: no data.
    """
    cases = read_cases(training_patients())
    if test is not None:
        return [Part(FOLDS, cases, read_cases(test))]
    return [Part(fold, *split(cases, fold)) for fold in folds]


def add_part_arguments(parser: argparse.ArgumentParser) -> None:
    """Options for `parts`, and the folder of everything."""
    parser.add_argument("-work", type=Path, required=True, help="folder for models, images and scores")
    parser.add_argument("-folds", nargs="+", type=int, choices=range(FOLDS), default=list(range(FOLDS)))
    parser.add_argument("-test", type=Path, help="test on these patients instead, trained on all of MyoPS's")
    parser.add_argument("-device", default="cpu")


def made_images(work: Path, part: str, method: str, wanted: int) -> Path:
    """Folder of the images of one channel that a method has made."""
    return work / part / "images" / method / FOLDERS[wanted]


def training_patients() -> Path:
    """MyoPS's training patients, in the folder that NNUNET_PHYS_DATA names.

    Raises:
        InputError: the variable is not set.
    """
    if not os.environ.get("NNUNET_PHYS_DATA"):
        raise InputError("NNUNET_PHYS_DATA is not set. It names a folder with myops2020.")
    return Path(os.environ["NNUNET_PHYS_DATA"]) / "myops2020" / "train"


def split(cases: Sequence[ChannelCase], fold: int) -> tuple[list[ChannelCase], list[ChannelCase]]:
    """Training and test cases of a fold, by patient: every `FOLDS`-th case is tested."""
    tested = list(cases[fold::FOLDS])
    return [case for case in cases if case not in tested], tested


def structure_labels(case: ChannelCase) -> Path:
    """The file of a case's RV, MYO and LV, in `labels` beside `pathology`.

    Raises:
        InputError: there is none.
    """
    assert case.label is not None
    path = case.label.parent.parent / "labels" / f"{case.name}.nii.gz"
    if not path.is_file():
        raise InputError(
            f"{case.name}: {path} is missing. Add labels of RV (1), MYO (2) and LV (3), or remove the case."
        )
    return path


def label_codes(case: ChannelCase) -> np.ndarray:
    """A case's codes (slices, rows, columns)."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
