"""An nnU-Net data set of digital hearts with their maps, and trainers on it.

nnunetv2 reads its variables when it is imported, so it is imported inside functions, after `prepare` has set them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import nnunet_phys.trainers
from nnunet_phys.experiments.small_training import PLANS, own_folders, plan_and_preprocess, shrink_plan

if TYPE_CHECKING:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

_ID, _NAME = 901, "Dataset901_DigitalHeart"
TRAINERS = {"plain": "nnUNetTrainer", "Phys": "nnUNetTrainerPhys"}


@dataclass(frozen=True)
class Network:
    """The size of a 2d configuration.

    Attributes:
        pixel_mm: pixel size to which the images are resampled.
        patch_size: rows and columns.
        batch_size: patches per iteration.
        features: channels of each stage of the U-Net.
    """

    pixel_mm: float
    patch_size: tuple[int, int]
    batch_size: int
    features: tuple[int, ...]


ACDC_NETWORK = Network(1.25, (256, 224), 58, (32, 64, 128, 256, 512, 512))
"""About what nnU-Net plans for ACDC, on digital hearts of 256 x 256 pixels. Assumed."""
QUICK_NETWORK = Network(2.0, (64, 64), 2, (8, 16, 32))
"""A tiny one, to try the benchmark."""


def prepare(folder: Path, cases: int, slices: int, processes: int, network: Network | None = None) -> None:
    """Write, plan and preprocess a data set, and set nnU-Net's variables to folders inside `folder`.

    The network is not compiled, which takes a minute.

    Args:
        folder: gets nnU-Net's three folders.
        cases: number of digital hearts.
        slices: slices of each, of 128 x 128 pixels.
        processes: worker processes.
        network: size of the configuration; None: as in `nnunet_phys demo`.
    """
    trainers = Path(nnunet_phys.trainers.__file__ or "").parent
    own_folders(folder, trainers)
    os.environ["nnUNet_compile"] = "f"
    from nnunetv2.experiment_planning.plan_and_preprocess_api import plan_experiments, preprocess

    from nnunet_phys.experiments.heart_dataset import write_heart_dataset
    from nnunet_phys.precomputed_spin.map_preprocessing import preprocess_maps
    from nnunet_phys.precomputed_spin.preprocessed_dataset import open_preprocessed_dataset
    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset

    raw = folder / "nnUNet_raw" / _NAME
    write_heart_dataset(raw, cases, 0, slices, processes)
    plan_and_preprocess(_ID, (96, 96))
    if network is not None:
        plan_experiments([_ID], overwrite_target_spacing=(10.0, network.pixel_mm, network.pixel_mm))
        plans_file = folder / "nnUNet_preprocessed" / _NAME / f"{PLANS}.json"
        shrink_plan(plans_file, network.patch_size, network.batch_size, network.features)
        preprocess([_ID], PLANS, ("2d",), (processes,))
    target = open_preprocessed_dataset(_NAME, PLANS, "2d")
    preprocess_maps(open_raw_dataset(str(_ID)), [target], raw / "trueTr", processes)


def new_trainer(name: str, device: str) -> nnUNetTrainer:
    """An initialised trainer of `TRAINERS` on the data set of `prepare`, with the same weights on every device."""
    from nnunetv2.run.run_training import get_trainer_from_args

    trainer: Any = get_trainer_from_args(str(_ID), "2d", "all", TRAINERS[name], PLANS, device=torch.device(device))
    with torch.random.fork_rng(devices=[]):  # the network is made on the CPU
        torch.manual_seed(0)
        trainer.initialize()
    return trainer
