"""nnU-Net's preprocessed data, and maps of each kind brought into its geometry."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from unittest.mock import patch

from generalization.bed import CONFIGURATION, Bed
from generalization.competitors.look_up import look_up_maps
from generalization.methods import Maps
from generalization.plans import REDUCED_PLANS
from generalization.processes import TQDM_STEP, run_logged
from generalization.test_sets import new_folder
from generalization.training_sets import TrainingSet
from nnunet_phys.errors import InputError
from nnunet_phys.experiments.small_training import PLANS
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import write_json

SOURCE = "made_of.json"
"""In a folder of preprocessed data: hash of the training set."""


def preprocess_images(bed: Bed, training: TrainingSet) -> None:
    """Plan and preprocess a training set for nnU-Net, unless it is done.

    Raises:
        InputError: a command failed.
    """
    target = bed.preprocessed(None) / training.dataset
    if is_made(target, bed, training):
        return
    log = bed.log(f"{training.name}__preprocess")
    with new_folder(target) as work:
        environment = bed.environment(work.parent)
        processes = ["-np", str(bed.processes)]
        fingerprint = ["nnUNetv2_extract_fingerprint", "-d", training.number, *processes]
        run_logged(fingerprint, environment, log, f"{training.name}: fingerprint")
        run_logged(["nnUNetv2_plan_experiment", "-d", training.number], environment, log, f"{training.name}: plan")
        if bed.plan in REDUCED_PLANS:
            REDUCED_PLANS[bed.plan].apply(work / f"{PLANS}.json")
        command = ["nnUNetv2_preprocess", "-d", training.number, "-c", CONFIGURATION, *processes]
        run_logged(command, environment, log, f"{training.name}: preprocessing")
        write_json(work / SOURCE, {"training_set": training.sha256(bed.raw)})


def is_made(folder: Path, bed: Bed, training: TrainingSet) -> bool:
    """Whether a folder of preprocessed data is there, made of the training set as it is now.

    Raises:
        InputError: it was made of another one.
    """
    if not folder.is_dir():
        return False
    made = read_json(folder / SOURCE, dict[str, str], f"Remove {folder}.")
    if made["training_set"] != training.sha256(bed.raw):
        raise InputError(f"{folder} was made of other images than {training.name} holds now. Choose another -work.")
    return True


def preprocess_maps(bed: Bed, training: TrainingSet, kind: Maps) -> None:
    """Make maps of a kind, and bring them into the geometry of the preprocessed images, unless it is done.

    Raises:
        InputError: a command failed, or images cannot be looked up.
    """
    preprocess_images(bed, training)
    target = bed.preprocessed(kind) / training.dataset
    if is_made(target, bed, training):
        return
    infer_maps(bed, training, kind)
    with new_folder(target) as work:
        shutil.copytree(
            bed.preprocessed(None) / training.dataset, work, copy_function=_link_or_copy, dirs_exist_ok=True
        )
        command = ["nnunet_phys", "preprocess", "-d", training.number, "-c", CONFIGURATION]
        command += ["-maps", str(bed.maps(training, kind)), "-np", str(bed.processes)]
        log = bed.log(f"{training.name}__{kind}__maps")
        run_logged(command, bed.environment(work.parent), log, f"{training.name}: maps {kind} into nnU-Net's geometry")


def infer_maps(bed: Bed, training: TrainingSet, kind: Maps) -> None:
    """Make the maps of a kind; finished cases are skipped. The time it took is added to that of earlier calls.

    Raises:
        InputError: images or labels cannot be used, or a command failed.
    """
    if kind == "true":
        return
    start, folder = time.monotonic(), bed.maps(training, kind)
    if kind == "lookup":
        with patch.dict(os.environ, bed.environment(bed.preprocessed(None))):
            look_up_maps(int(training.number), bed.device, training.protocol)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        protocol = folder.parent / "protocol.json"
        write_json(protocol, training.protocol)
        command = ["nnunet_phys", "reverse", "-d", training.number, "-o", str(folder), "-protocol", str(protocol)]
        command += ["-device", bed.device, *(["--labels"] if kind == "labels" else [])]
        log, title = bed.log(f"{training.name}__{kind}__maps"), f"{training.name}: maps {kind}"
        run_logged(command, bed.environment(bed.preprocessed(None)), log, title, step=TQDM_STEP)
    path = seconds_file(bed, training, kind)
    before = read_json(path, dict[str, float], "Remove it.")["seconds"] if path.is_file() else 0.0
    write_json(path, {"seconds": round(before + time.monotonic() - start, 1)})


def seconds_file(bed: Bed, training: TrainingSet, kind: Maps) -> Path:
    """Where the time is kept that maps took, in all calls."""
    return bed.work / "maps" / training.name / f"seconds_{kind}.json"


def _link_or_copy(source: str, target: str) -> None:
    """Link a file, which nothing changes any more; copy it where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
