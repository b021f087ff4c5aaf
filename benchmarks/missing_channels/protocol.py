"""The data, the folds and the tasks."""

from __future__ import annotations

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
        InputError: a folder or a file is missing.
    """
    for name in (*FOLDERS, "pathology"):
        if not (folder / name).is_dir():
            raise InputError(f"{folder} has no folder {name}. Give a folder with {', '.join(FOLDERS)}, pathology.")
    cases = []
    for path in sorted((folder / FOLDERS[0]).glob("*_0000.nii.gz")):
        name = path.name.removesuffix("_0000.nii.gz")
        images = {number: folder / channel / path.name for number, channel in enumerate(FOLDERS)}
        (label,) = (folder / "pathology").glob(f"{name}*")
        missing = [str(image) for image in images.values() if not image.is_file()]
        if missing:
            raise InputError(f"{missing[0]} is missing.")
        cases.append(ChannelCase(name, images, label))
    return cases


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


def label_codes(case: ChannelCase) -> np.ndarray:
    """A case's codes (slices, rows, columns)."""
    return sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
