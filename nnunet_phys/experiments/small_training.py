"""nnU-Net experiments small enough for a CPU: separate folders, a reduced plan, training, prediction and Dice.

nnunetv2 reads its variables when it is imported, so it is imported inside functions, after `own_folders` has set them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

PLANS = "nnUNetPlans"
DEMO_TRAINERS = Path(__file__).parent / "demo_trainers"
"""Folder of the trainers of `nnunet_phys demo`."""
_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def own_folders(folder: Path, trainers: Path) -> None:
    """Set nnU-Net's variables, for this process and those it starts, to new folders inside a folder.

    Args:
        folder: the folder that gets nnUNet_raw, nnUNet_preprocessed and nnUNet_results.
        trainers: the folder of the experiment's trainers, for nnUNet_extTrainer.
    """
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder / name)
    os.environ["nnUNet_extTrainer"] = str(trainers)
    os.environ.setdefault("nnUNet_def_n_proc", "2")
    os.environ.setdefault("nnUNet_n_proc_DA", "1")
    for variable in ("nnUNet_compile", "nnUNet_phys_recipe"):
        os.environ.pop(variable, None)


def shrink_plan(plans_file: Path, patch_size: tuple[int, int], batch_size: int, features: tuple[int, ...]) -> None:
    """Reduce the 2d configuration of a plan to what a CPU can train.

    Args:
        plans_file: nnU-Net's plans, edited in place.
        patch_size: rows and columns of a patch; multiples of 2 ** (len(features) - 1).
        batch_size: patches per iteration.
        features: channels of each stage of the U-Net.
    """
    plans = json.loads(plans_file.read_text())
    configuration = plans["configurations"]["2d"]
    configuration["patch_size"] = list(patch_size)
    configuration["batch_size"] = batch_size
    stages = len(features)
    configuration["architecture"]["arch_kwargs"].update(
        n_stages=stages,
        features_per_stage=list(features),
        kernel_sizes=[[3, 3]] * stages,
        strides=[[1, 1]] + [[2, 2]] * (stages - 1),
        n_conv_per_stage=[2] * stages,
        n_conv_per_stage_decoder=[2] * (stages - 1),
    )
    plans_file.write_text(json.dumps(plans, indent=4))


def plan_and_preprocess(dataset_id: int, patch_size: tuple[int, int]) -> None:
    """Plan a raw data set in 2d, shrink the plan to five stages and batches of 6, and preprocess the data set.

    Args:
        dataset_id: the data set's number.
        patch_size: rows and columns of a patch, multiples of 16.
    """
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )
    from nnunetv2.paths import nnUNet_preprocessed
    from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name

    extract_fingerprints([dataset_id], num_processes=2, verbose=False)
    plan_experiments([dataset_id])
    plans_file = Path(nnUNet_preprocessed) / convert_id_to_dataset_name(dataset_id) / f"{PLANS}.json"
    shrink_plan(plans_file, patch_size, 6, (16, 32, 64, 128, 128))
    preprocess([dataset_id], PLANS, ("2d",), (2,))


def train(dataset_id: int, trainer: str, device: str) -> None:
    """Train the 2d configuration on all cases of a data set.

    Args:
        dataset_id: the data set's number.
        trainer: a trainer's class name, in nnU-Net or in nnUNet_extTrainer.
        device: cpu, cuda or mps.
    """
    import torch
    from nnunetv2.run.run_training import run_training

    run_training(str(dataset_id), "2d", "all", trainer, PLANS, device=torch.device(device))


def predict_and_score(
    raw: Path, contrasts: Sequence[str], trainer: str, output: Path, device: str
) -> dict[str, dict[str, float]]:
    """Segment the test images of a data set and compare them with their labels.

    Args:
        raw: the raw data set, with imagesTs_<contrast> and labelsTs_<contrast>.
        contrasts: contrasts of the test images.
        trainer: class name of the trainer that `train` has run.
        output: the folder that gets, for each contrast, a folder of segmentations with nnU-Net's summary.json.
        device: cpu, cuda or mps.

    Returns:
        Dice by contrast and structure, mean over cases, from nnU-Net's own evaluation.
    """
    import torch
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics_on_folder2
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.paths import nnUNet_results

    model = Path(nnUNet_results) / raw.name / f"{trainer}__{PLANS}__2d"
    structures = {name: code for name, code in json.loads((raw / "dataset.json").read_text())["labels"].items() if code}
    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=device != "cpu", device=torch.device(device), verbose=False
    )
    predictor.initialize_from_trained_model_folder(str(model), ("all",))
    scores = {}
    for contrast in contrasts:
        predicted = output / contrast
        predictor.predict_from_files(
            str(raw / f"imagesTs_{contrast}"),
            str(predicted),
            num_processes_preprocessing=1,
            num_processes_segmentation_export=1,
        )
        compute_metrics_on_folder2(
            str(raw / f"labelsTs_{contrast}"),
            str(predicted),
            str(model / "dataset.json"),
            str(model / "plans.json"),
            num_processes=2,
        )
        mean = json.loads((predicted / "summary.json").read_text())["mean"]
        scores[contrast] = {name: mean[str(code)]["Dice"] for name, code in structures.items()}
    return scores
