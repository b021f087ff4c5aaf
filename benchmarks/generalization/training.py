"""One schedule for all methods: iterations, seed and number format of a training.

nnU-Net imports trainers from nnUNet_extTrainer and then forgets their modules, so the mixin lies here, where trainers
of several files import it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.errors import InputError
from nnunet_phys.json_files import read_json

if TYPE_CHECKING:  # the class with which the mixin is combined
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as _Trainer
else:
    _Trainer = object

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


class BenchTraining(_Trainer):
    """Gives any nnU-Net trainer the schedule in force: `class Mine(BenchTraining, nnUNetTrainer): pass`.

    On CPUs with AVX512-BF16, the network computes in bfloat16 autocast and returns float32, so losses are in float32;
    this holds wherever `self.network` is called, also in a train step of a subclass. On CUDA, nnU-Net's own float16
    autocast stays. Where the variable OMP_NUM_THREADS is set, it holds (two trainings with one thread each take less
    time than one after the other with two). No validation follows the training, since the bed predicts other patients.
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
        """The parent's, from the schedule's seed, and with bfloat16 where this CPU has it."""
        if self.was_initialized:
            return
        with torch.random.fork_rng(devices=[]):  # the network is made on the CPU; afterwards, randomness is as before
            torch.manual_seed(self.schedule.seed)
            super().initialize()
        bfloat16 = self.device.type == "cpu" and computes_in_bfloat16(self.device)
        if bfloat16:
            self.network.forward = in_bfloat16(self.network.forward)
        self.print_to_log_file(f"{self.schedule}, {'bfloat16 autocast' if bfloat16 else 'no autocast on CPU'}")

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Nothing: see the class."""


def in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A network's forward function in the CPU's bfloat16 autocast, whose output (a tensor or a list) is float32."""

    @wraps(forward)
    def autocast_forward(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = forward(*args, **kwargs)
        return _as_float(output)

    return autocast_forward


def _as_float(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return {name: _as_float(value) for name, value in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(_as_float(value) for value in output)
    return output
