"""Does a computed image serve a segmentation? One nnU-Net per fold, trained on acquired images of all channels.

It segments the acquired images of the test patients, and those that each method made of them (`run`).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from generalization.test_sets import copy_cases
from generalization.training_sets import TrainingSet, write_training_set
from missing_channels.methods import METHODS
from missing_channels.protocol import FOLDERS, TASKS, Part, add_part_arguments, made_images, parts, structure_labels
from nnunet_phys.devices import torch_device
from nnunet_phys.errors import InputError
from nnunet_phys.experiments.small_training import (
    DEMO_TRAINERS,
    PLANS,
    own_folders,
    plan_and_preprocess,
    predict_and_score,
    train,
)
from nnunet_phys.file_identity import files_sha256
from nnunet_phys.whole_files import write_json

ACQUIRED = "acquired"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which folds and patients."""
    add_part_arguments(parser)
    parser.add_argument(
        "-trainer", default="nnUNetTrainerDemo", help="of `nnunet_phys demo` (default %(default)s: 1,500 iterations)"
    )


def run(args: argparse.Namespace) -> None:
    """Do what is not done.

    Raises:
        InputError: no data; no images that a method has made; masks of another trainer.
    """
    torch_device(args.device)
    for path in sorted((args.work / "segmentations").glob("*.json")):
        trainer = json.loads(path.read_text())["trainer"]
        if trainer != args.trainer:
            raise InputError(f"{path} is of -trainer {trainer}. Repeat it, or choose another -work.")
    readers = args.work.resolve() / "readers"
    own_folders(readers, DEMO_TRAINERS)
    for part in parts(args.folds, args.test):
        methods = [method for method in METHODS if (args.work / "scores" / f"{method}_{part.name}.json").is_file()]
        if not methods:
            raise InputError(f"{args.work} has no images of {part.name}. First run `missing_channels run`.")
        training = TrainingSet("reader", f"Dataset{801 + part.number}_Reader", "acquired images", "MRI")
        _train(readers, training, part, args.trainer, args.device)
        for method in (ACQUIRED, *methods):
            path = args.work / "segmentations" / f"{method}_{part.name}.json"
            images_of = {task: _test_images(args.work, part, method, task.wanted) for task in TASKS}
            names = {f"{task.name}, {case}": file for task, files in images_of.items() for case, file in files.items()}
            sha256 = files_sha256(names)
            if path.is_file() and json.loads(path.read_text()).get("images") == sha256:
                continue
            raw, tasks = readers / "nnUNet_raw" / training.dataset, {}
            for task, images in images_of.items():
                contrast = f"{method}_{FOLDERS[task.wanted]}"
                tasks[contrast] = task.name
                labels = {case.name: structure_labels(case) for case in part.tested}
                for kind, files, ending in (("images", images, "_0000.nii.gz"), ("labels", labels, ".nii.gz")):
                    folder = raw / f"{kind}Ts_{contrast}"
                    shutil.rmtree(folder, ignore_errors=True)
                    copy_cases(files, folder, ending)
            scores = predict_and_score(raw, [*tasks], args.trainer, readers / part.name, args.device)
            path.parent.mkdir(exist_ok=True)
            dice = {tasks[contrast]: of_contrast for contrast, of_contrast in scores.items()}
            record = {"method": method, "part": part.name, "trainer": args.trainer, "images": sha256, "dice": dice}
            write_json(path, record)


def _train(readers: Path, training: TrainingSet, part: Part, trainer: str, device: str) -> None:
    """Train on the acquired images of the training patients, all channels alike, unless that is done."""
    model = readers / "nnUNet_results" / training.dataset / f"{trainer}__{PLANS}__2d"
    if (model / "fold_all" / "checkpoint_final.pth").is_file():
        return
    images, labels = {}, {}
    for case in part.trained:
        for channel, name in enumerate(FOLDERS):
            images[f"{case.name}_{name}"] = case.images[channel]
            labels[f"{case.name}_{name}"] = structure_labels(case)
    if not (readers / "nnUNet_raw" / training.dataset / "dataset.json").is_file():
        write_training_set(readers / "nnUNet_raw", training, images, labels)
    plan_and_preprocess(int(training.number), (160, 160))
    train(int(training.number), trainer, device)


def _test_images(work: Path, part: Part, method: str, wanted: int) -> dict[str, Path]:
    """The acquired images of a channel by case, or those that a method has made."""
    if method == ACQUIRED:
        return {case.name: case.images[wanted] for case in part.tested}
    folder = made_images(work, part.name, method, wanted)
    return {case.name: folder / f"{case.name}_0000.nii.gz" for case in part.tested}
