"""Training sets in nnU-Net's raw format, each of one sequence."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from generalization.test_sets import STRUCTURES, cases_in, copy_cases, hash_of_cases, new_folder
from nnunet_phys.errors import InputError


@dataclass(frozen=True)
class TrainingSet:
    """A labelled data set of one sequence.

    Attributes:
        name: names it in options and results.
        dataset: its name in nnU-Net's folders.
        title: its name in tables.
        channel: the contrast, in words.
        protocol: description of the sequence for `nnunet_phys reverse -protocol`.
        true_maps: it has maps known to be true, in `trueTr`.
    """

    name: str
    dataset: str
    title: str
    channel: str
    protocol: dict[str, Any] = field(default_factory=lambda: {"sequence": "bssfp"})
    true_maps: bool = False

    @property
    def number(self) -> str:
        """nnU-Net's id of the data set."""
        return self.dataset[len("Dataset") :].partition("_")[0]

    def images(self, raw: Path) -> dict[str, Path]:
        """Its images by case; `raw` is the folder of all training sets."""
        return cases_in(raw / self.dataset / "imagesTr", "_0000.nii.gz")

    def sha256(self, raw: Path) -> str:
        """Hash of all images and labels with their cases' names."""
        return hash_of_cases(self.images(raw), cases_in(raw / self.dataset / "labelsTr", ".nii.gz"))


_TRAINING_SETS = (
    TrainingSet("acdc", "Dataset701_BenchACDC", "ACDC cine, ED and ES", "bSSFP cine"),
    TrainingSet("myops_c0", "Dataset702_BenchMyoPSC0", "MyoPS bSSFP (single source)", "bSSFP"),
    TrainingSet("myops_lge", "Dataset703_BenchMyoPSLGE", "MyoPS LGE (single source)", "LGE", {"sequence": "lge_gre"}),
    TrainingSet("digital", "Dataset704_BenchDigital", "digital hearts, cine", "bSSFP cine", true_maps=True),
    TrainingSet(
        "digital_varied", "Dataset705_BenchVaried", "digital hearts of all shapes, cine", "bSSFP cine", true_maps=True
    ),
)
TRAINING_SETS: dict[str, TrainingSet] = {training.name: training for training in _TRAINING_SETS}
"""All training sets by name."""


def write_training_set(raw: Path, training: TrainingSet, images: dict[str, Path], labels: dict[str, Path]) -> None:
    """Copy images and labels, by case, into a raw data set that appears only when it is complete.

    Raises:
        InputError: a case lacks labels, or the set cannot be written.
    """
    faults = [f"{training.name}: {case} has no labels." for case in images if case not in labels]
    if faults:
        raise InputError(*faults)
    with new_folder(raw / training.dataset) as work:
        copy_cases(images, work / "imagesTr", "_0000.nii.gz")
        copy_cases({case: labels[case] for case in images}, work / "labelsTr", ".nii.gz")
        description = {
            "channel_names": {"0": training.channel},
            "labels": {"background": 0, **STRUCTURES},
            "numTraining": len(images),
            "file_ending": ".nii.gz",
            "overwrite_image_reader_writer": "SimpleITKIO",
        }
        (work / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")
