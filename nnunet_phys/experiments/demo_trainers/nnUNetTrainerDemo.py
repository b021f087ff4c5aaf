"""The demo's short schedule, with and without contrast synthesis: an example of PhysMixin on another trainer."""

import torch
from nnunetv2.training.nnUNetTrainer.variants.optimizer.nnUNetTrainerAdam import nnUNetTrainerAdam1en3

from nnunet_phys.cpu_autocast import CPUAutocastMixin
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin


class nnUNetTrainerDemo(CPUAutocastMixin, nnUNetTrainerAdam1en3):
    """15 epochs of 100 iterations, no validation at the end.

    AdamW, since nnU-Net's SGD is made for 250,000 iterations: in the demo's 1,500 it stops far from the optimum.

    Attributes:
        epochs: epochs of the training.
        iterations: iterations of an epoch.
    """

    epochs = 15
    iterations = 100

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = self.epochs
        self.num_iterations_per_epoch = self.iterations
        self.num_val_iterations_per_epoch = 2

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: the demo measures on its own test sets."""


class nnUNetTrainerPhysDemo(PhysMixin, nnUNetTrainerDemo):
    """The same schedule on synthesised contrasts."""


class nnUNetTrainerQuick(nnUNetTrainerDemo):
    """10 iterations, for a smoke run."""

    epochs = 1
    iterations = 10


class nnUNetTrainerPhysQuick(PhysMixin, nnUNetTrainerQuick):
    """The same smoke run on synthesised contrasts."""
