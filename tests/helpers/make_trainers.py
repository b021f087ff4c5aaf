"""Trainers on the CPU, made as nnU-Net makes them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

import nnunet_phys.trainers
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin

OURS = str(Path(nnunet_phys.trainers.__file__).parent)
"""The folder of this package's trainers, for nnUNet_extTrainer."""


class Always(PhysMixin, nnUNetTrainer):
    """Synthesises each sample."""

    recipe = replace(load_recipe("default"), probability=1.0)


def make(tiny, trainer_class, configuration="2d", plans=None, fold=0, **changes):
    """A trainer on the CPU."""
    description = json.loads((tiny.preprocessed / "dataset.json").read_text())
    plans = tiny.plans() if plans is None else plans
    trainer = trainer_class(
        {**plans, "continue_training": False},
        configuration,
        fold,
        {**description, **changes},
        torch.device("cpu"),
    )
    trainer.initialize()
    return trainer


def batch_of(trainer) -> dict:
    training, validation = trainer.get_dataloaders()
    assert next(validation)["data"].shape[1] == next(training)["data"].shape[1]
    return next(training)
