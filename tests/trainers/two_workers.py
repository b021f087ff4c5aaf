"""Started by test_workers.py: two real workers of nnU-Net draw contrasts; prints each worker's draws as JSON.

python two_workers.py START_METHOD FOLDER
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from nnunetv2.paths import nnUNet_preprocessed

from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.trainers.nnUNetTrainerPhys import nnUNetTrainerPhys

FEWEST_DRAWS = 4
LIMIT_S = 120


class RecordDraws(BasicTransform):
    """Append a worker's draws to a file of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def apply(self, data_dict: dict, **_) -> dict:
        with (self.folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(json.dumps(data_dict["contrast"].describe()) + "\n")
        return data_dict


class Recording(nnUNetTrainerPhys):
    """Synthesises each sample and records what was drawn."""

    recipe = replace(load_recipe("default"), probability=1.0)

    def get_training_transforms(self, *args, **kwargs) -> BasicTransform:
        transforms = super().get_training_transforms(*args, **kwargs)
        transforms.transforms.append(RecordDraws(Path(sys.argv[2])))
        return transforms


def recorded(folder: Path) -> list[list[dict]]:
    """Draws by worker; a line that is still being written is left out."""
    texts = [file.read_text() for file in sorted(folder.glob("*.jsonl"))]
    return [[json.loads(line) for line in text.split("\n")[:-1]] for text in texts]


def main() -> None:
    """Draw batches until both workers have drawn enough."""
    multiprocessing.set_start_method(sys.argv[1])
    preprocessed = Path(nnUNet_preprocessed) / "Dataset900_Tiny"
    plans, description = (
        json.loads((preprocessed / f"{name}.json").read_text()) for name in ("nnUNetPlans", "dataset")
    )
    trainer = Recording({**plans, "continue_training": False}, "2d", 0, description, torch.device("cpu"))
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        next(training)
        draws = recorded(Path(sys.argv[2]))
        if len(draws) == 2 and min(map(len, draws)) >= FEWEST_DRAWS:
            break
    for loader in (training, validation):
        loader._finish()
    print(json.dumps(recorded(Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
