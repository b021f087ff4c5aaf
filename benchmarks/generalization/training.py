"""One schedule for all methods: iterations, seed and number format of a training.

nnU-Net imports trainers from nnUNet_extTrainer and then forgets their modules, so the mixin lies here, where trainers
of several files import it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from nnunet_phys.cpu_autocast import CPUAutocastMixin
from nnunet_phys.errors import InputError
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import hold_until_the_end, whole_file

SCHEDULE_VARIABLE = "NNUNET_PHYS_SCHEDULE"
"""Variable that names the JSON file with the `Schedule` of a training."""


@dataclass(frozen=True)
class Schedule:
    """What is the same for all methods.

    Attributes:
        iterations: gradient steps of the training; rounded up to whole epochs.
        seed: of the network's initial weights, which it makes the same for all methods. Batches are drawn anew in every
            training, also after an interruption.
        epoch_iterations: gradient steps of an epoch; the learning rate falls from epoch to epoch.
        save_epochs: epochs between two checkpoints, from which an interrupted training continues.
    """

    iterations: int
    seed: int = 0
    epoch_iterations: int = 100
    save_epochs: int = 5

    def __post_init__(self) -> None:
        if min(self.iterations, self.epoch_iterations, self.save_epochs) < 1 or self.seed < 0:
            raise ValueError("iterations, epoch_iterations and save_epochs must be at least 1, seed at least 0")


def schedule_in_force() -> Schedule:
    """The schedule in the file that the variable NNUNET_PHYS_SCHEDULE names.

    Raises:
        InputError: the variable is not set, or the file is faulty.
    """
    path = os.environ.get(SCHEDULE_VARIABLE)
    if not path:
        raise InputError(f"{SCHEDULE_VARIABLE} is not set. Train with `python benchmarks/generalization run`.")
    return read_json(Path(path), Schedule, "Train with `python benchmarks/generalization run`, which writes this file.")


class BenchTraining(CPUAutocastMixin):
    """Gives any nnU-Net trainer the schedule in force: `class Mine(BenchTraining, nnUNetTrainer): pass`.

    On CPUs with AVX512-BF16, all train in bfloat16 (`CPUAutocastMixin`). Where the variable OMP_NUM_THREADS is set, it
    holds (two trainings with one thread each take less time than one after the other with two). No validation follows
    the training, since the bed predicts other patients.
    """

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        if "OMP_NUM_THREADS" in os.environ:  # nnUNetv2_train takes all cores
            torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"].partition(",")[0]))  # one per nested level
        self.schedule = schedule_in_force()
        self.num_iterations_per_epoch = min(self.schedule.epoch_iterations, self.schedule.iterations)
        self.num_epochs = -(-self.schedule.iterations // self.num_iterations_per_epoch)
        self.num_val_iterations_per_epoch = 2
        self.save_every = self.schedule.save_epochs

    def initialize(self) -> None:
        """The parent's, from the schedule's seed.

        Raises:
            InputError: another process trains in the same folder.
        """
        if self.was_initialized:
            return
        hold_until_the_end(Path(self.output_folder))
        with torch.random.fork_rng(devices=[]):  # the network is made on the CPU; afterwards, randomness is as before
            torch.manual_seed(self.schedule.seed)
            super().initialize()
        self.print_to_log_file(str(self.schedule))

    def save_checkpoint(self, filename: str) -> None:
        """Whole or not at all, since a final checkpoint means that the training is done."""
        with whole_file(Path(filename)) as temporary:
            super().save_checkpoint(str(temporary))

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: see the class."""
