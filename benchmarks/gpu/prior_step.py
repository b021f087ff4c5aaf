"""Does a training step of the spin prior agree with the CPU's?"""

from __future__ import annotations

from pathlib import Path

import torch

from gpu.stages import Report, Settings
from gpu.training_steps import COLUMNS, Step, compare, gradient_norms
from nnunet_phys.devices import computes_in_bfloat16, torch_device
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_maps import HELD_OUT_SIZE, MAP_SIZE, TrainingMaps
from nnunet_phys.precomputed_spin.prior_schedule import Schedule, Stage
from nnunet_phys.precomputed_spin.prior_training import train_prior

__all__ = ["COLUMNS", "measure"]
MOST_LOSS = {False: 0.2, True: 2.0}
MOST_NORM = {False: 1.0, True: 10.0}
"""Largest differences in percent, without and with bf16. Assumed: on a CPU, bf16 changed the loss of a small batch by
0.2 % and the norm by 2 %; a GPU's convolutions are in TF32, which is 8 times as precise."""


def measure(settings: Settings, report: Report, folder: Path, seconds: float) -> None:
    """Train the prior for one step on each device, from the same weights, crops and noise."""
    expected = step(settings, folder, "cpu", bf16=False)
    formats = (False, True) if computes_in_bfloat16(torch_device(settings.device)) else (False,)
    for bf16 in formats:
        on_device = step(settings, folder, settings.device, bf16)
        compare(report, "bf16" if bf16 else "fp32", on_device, expected, MOST_LOSS[bf16], MOST_NORM[bf16])


def step(settings: Settings, folder: Path, device: str, bf16: bool) -> Step:
    """The first step of `train_prior` on crops of digital hearts."""
    prior = SpinPrior.load(settings.prior, device)
    schedule = Schedule(steps=1, stages=(Stage(1.0, 64, 2 if settings.quick else 16),))
    with gradient_norms() as norms:
        trained = train_prior(
            lambda: heart_maps(0, MAP_SIZE, prior.pixel_mm),
            lambda: heart_maps(1, HELD_OUT_SIZE, prior.pixel_mm),
            folder / f"prior_{len(list(folder.iterdir()))}",
            prior.pixel_mm,
            schedule,
            torch.device(device),
            init=prior,
            bf16=bf16,
        )
    return Step(trained.record["final_loss"], norms[0])


def heart_maps(seed: int, size: int, pixel_mm: float) -> TrainingMaps:
    """Maps of a slice of a digital heart, of `size` rows and columns."""
    heart = digital_heart(seed, 1, (size, size), pixel_mm)
    return TrainingMaps(heart.maps.stack(1), torch.from_numpy(heart.labels))
