"""The time of nnU-Net's epochs, plain and with Phys, by number of workers."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch

from gpu.heart_training import ACDC_NETWORK, QUICK_NETWORK, TRAINERS, new_trainer, prepare
from gpu.stages import Report, Settings
from nnunet_phys.devices import torch_device

COLUMNS = ("Trainer", "Workers", "Iterations", "s per iteration", "Waiting, %", "Memory, GiB", "250 iterations, min")
WORKERS = (4, 8, 12)
EPOCH_ITERATIONS = 250
_WARM_UP = 15
"""Iterations before the measured ones: more than the batches that nnU-Net draws ahead, 6 or half the workers."""
_MEASURED = 30


def measure(settings: Settings, report: Report, folder: Path, seconds: float) -> None:
    """Time iterations of each trainer with each number of workers; nnU-Net takes at most as many as there are cores."""
    processes = os.cpu_count() or 1
    if settings.quick:
        prepare(folder, 2, 2, 1, QUICK_NETWORK)
    else:
        prepare(folder, 2 * processes, 8, processes, ACDC_NETWORK)
    warm_up, measured = (1, 2) if settings.quick else (_WARM_UP, _MEASURED)
    cuda = torch_device(settings.device).type == "cuda"
    for name in TRAINERS:
        trainer = new_trainer(name, settings.device)
        trainer.network.train()
        for workers in sorted({min(count, processes) for count in WORKERS}):
            os.environ["nnUNet_n_proc_DA"] = str(workers)
            loaders = trainer.get_dataloaders()
            iterate(trainer, loaders[0], warm_up)
            if cuda:
                torch.cuda.reset_peak_memory_stats(settings.device)
            total, waiting = iterate(trainer, loaders[0], measured)
            memory = torch.cuda.max_memory_allocated(settings.device) / 2**30 if cuda else "-"
            of_step = total / measured
            report.add(name, workers, measured, of_step, 100 * waiting / total, memory, EPOCH_ITERATIONS * of_step / 60)
            for loader in loaders:
                loader._finish()


def iterate(trainer: Any, loader: Any, count: int) -> tuple[float, float]:
    """Take training steps; a step ends with its loss on the CPU, so that the device has finished it.

    Returns:
        seconds in all, and seconds of waiting for batches.
    """
    start, waiting = time.perf_counter(), 0.0
    for _ in range(count):
        before = time.perf_counter()
        batch = next(loader)
        waiting += time.perf_counter() - before
        trainer.train_step(batch)
    return time.perf_counter() - start, waiting
