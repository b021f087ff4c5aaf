"""Plain and Phys trainers on one schedule, whose length `real_scans.py` sets."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin


class nnUNetTrainerReal(nnUNetTrainer):
    """Epochs of 100 iterations; no validation at the end, since `real_scans.py` predicts other patients."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 100, 4
        self.num_epochs = int(os.environ["NNUNET_PHYS_ITERATIONS"]) // 100
        self.save_every = 5

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: see the class."""


class nnUNetTrainerPhysReal(PhysMixin, nnUNetTrainerReal):
    """The same schedule on synthesised contrasts."""


class nnUNetTrainerPhysThreeReal(nnUNetTrainerPhysReal):
    """bSSFP, MOLLI and GRE without contrast agent, with noise as the only scanner effect."""

    recipe = Path(__file__).parents[1] / "recipes" / "three_sequences.json"


class nnUNetTrainerPhysPaperReal(nnUNetTrainerPhysReal):
    """The published plugin's contrasts."""

    recipe = "paper"


class nnUNetTrainerPhysMoreMOLLIReal(nnUNetTrainerPhysReal):
    """The default recipe with fewer real images (20 %) and more MOLLI (five of sixteen of the others)."""

    @property
    def recipe(self) -> ContrastRecipe:
        """Read only when it is used, since nnU-Net imports this file for every trainer in it."""
        default = load_recipe("default")
        weights = {"molli": 5.0}
        sequences = (replace(e, weight=weights.get(e.name, e.weight)) for e in default.sequences)
        return replace(default, name="more_molli", probability=0.8, sequences=tuple(sequences))
