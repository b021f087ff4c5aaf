"""Does a training step of a small nnU-Net on patches of nnUNetTrainerPhys agree with the CPU's?"""

from __future__ import annotations

import math
import os
from pathlib import Path

from gpu.heart_training import new_trainer, prepare
from gpu.stages import Report, Settings
from gpu.training_steps import COLUMNS, Step, compare, gradient_norms
from nnunet_phys.errors import InputError

__all__ = ["COLUMNS", "measure"]
MOST_LOSS, MOST_NORM = 1.0, 5.0
"""Largest differences in percent. On CUDA, nnU-Net computes in float16, of 10 bits. Assumed."""
_MOST_TRIES = 16
"""The loss is scaled for float16, at first by 2 ** 16. A gradient that is not finite changes no weights and halves
that factor."""


def measure(settings: Settings, report: Report, folder: Path, seconds: float) -> None:
    """Take one step on each device, from the same weights and on the same batch."""
    prepare(folder, 2, 2, 1)
    os.environ["nnUNet_n_proc_DA"] = "0"  # draw the batch in this process
    on_cpu = new_trainer("Phys", "cpu")
    batch = next(on_cpu.get_dataloaders()[0])
    expected = step(on_cpu, batch)
    compare(report, "nnU-Net", step(new_trainer("Phys", settings.device), batch), expected, MOST_LOSS, MOST_NORM)


def step(trainer, batch: dict) -> Step:
    """The first step of a trainer whose gradient is finite.

    Raises:
        InputError: there is none.
    """
    trainer.network.train()
    with gradient_norms() as norms:
        for _ in range(_MOST_TRIES):
            loss = float(trainer.train_step(batch)["loss"])
            if math.isfinite(norms[-1]):
                return Step(loss, norms[-1])
    raise InputError(f"nnU-Net's gradient on {trainer.device} is not finite.")
