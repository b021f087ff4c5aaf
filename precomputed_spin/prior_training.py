"""Train a spin prior on maps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.guide_images import GUIDES, draw_guide
from nnunet_phys.precomputed_spin.guided_crops import GuidedCrops
from nnunet_phys.precomputed_spin.prior import SpinPrior, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.prior_checkpoint import Checkpoint
from nnunet_phys.precomputed_spin.prior_files import check_vacant, interpolate_knots
from nnunet_phys.precomputed_spin.prior_maps import TrainingMaps
from nnunet_phys.precomputed_spin.prior_schedule import Schedule
from nnunet_phys.precomputed_spin.reference import reference_voxels
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.spin import SpinMaps

_WEIGHT_DECAY = 1e-4
_GREATEST_GRADIENT = 1.0  # norm to which gradients are clipped, the usual value for diffusion models
_AVERAGE_DECAY = 0.999  # largest decay of the averaged weights: about the last 1000 steps
_AVERAGE_POWER = 0.75  # of the decay's warm-up; EMAModel advises it for long trainings
_LOSS_MEMORY = 0.98  # decay of the running mean of the loss that is shown: about the last 50 steps
_MEASURED_TIMESTEPS = 24  # at which the denoising error is measured; it is smooth, and interpolated linearly


class _Learner:
    """Everything that changes while a prior learns, and that a checkpoint keeps.

    Attributes:
        prior: the prior whose network learns.
        step: optimiser steps done.
        loss: running mean of the loss, NaN before the first step.
        generator: random generator of the noise and the timesteps.
    """

    def __init__(self, prior: SpinPrior, schedule: Schedule, seed: int) -> None:
        self.prior = prior
        self.step = 0
        self.loss = math.nan
        self.generator = torch.Generator().manual_seed(seed)
        weights = list(prior.unet.parameters())
        self._optimiser = torch.optim.AdamW(weights, lr=schedule.learning_rate, weight_decay=_WEIGHT_DECAY)
        self._rate = get_cosine_schedule_with_warmup(self._optimiser, schedule.warmup_steps, schedule.steps)
        self._average = EMAModel(weights, decay=_AVERAGE_DECAY, use_ema_warmup=True, power=_AVERAGE_POWER)

    def state(self) -> dict[str, Any]:
        """The state that a checkpoint keeps."""
        return {
            "step": self.step,
            "loss": self.loss,
            "generator": self.generator.get_state(),
            "unet": self.prior.unet.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "rate": self._rate.state_dict(),
            "average": self._average.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step, self.loss = state["step"], state["loss"]
        self.generator.set_state(state["generator"].cpu())
        self.prior.unet.load_state_dict(state["unet"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._rate.load_state_dict(state["rate"])
        self._average.load_state_dict(state["average"])

    def learn(self, clean: torch.Tensor, guide: torch.Tensor) -> None:
        """One optimiser step on scaled maps (batch, 3, rows, columns) and their guides (batch, 6, rows, columns).

        Raises:
            InputError: the loss is not finite.
        """
        scheduler, unet = self.prior.scheduler, self.prior.unet

        # 1. Noise of a random level for each crop
        noise = torch.randn(clean.shape, generator=self.generator).to(clean)
        levels = torch.randint(len(scheduler.alphas_cumprod), (len(clean),), generator=self.generator)
        timesteps = cast(torch.IntTensor, levels.to(unet.device))
        noisy = scheduler.add_noise(clean, noise, timesteps)

        # 2. The error of the velocity, weighted so that it is the error of the denoised maps: it then counts most where
        # noise is strong, which is where tissues are decided
        target = scheduler.get_velocity(clean, noise, timesteps)
        weight = (1 - self.prior.alphas_cumprod[timesteps]).view(-1, 1, 1, 1)
        loss = (weight * (self.prior.guided(guide).velocity(noisy, timesteps) - target).square()).mean()

        # 3. Step, and average the weights
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), _GREATEST_GRADIENT)
        self._optimiser.step()
        self._rate.step()
        self._average.step(unet.parameters())

        # 4. Book-keeping
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(f"The loss of step {self.step} is {value}. Train with another -seed or from other maps.")
        self.loss = value if self.step == 0 else _LOSS_MEMORY * self.loss + (1 - _LOSS_MEMORY) * value
        self.step += 1

    def use_average(self) -> None:
        """Replace the network's weights by their average over the steps."""
        self._average.copy_to(self.prior.unet.parameters())
        self.prior.unet.eval().requires_grad_(False)


@torch.inference_mode()
def measure_denoising_error(prior: SpinPrior, maps: torch.Tensor, knots: int = _MEASURED_TIMESTEPS) -> torch.Tensor:
    """Mean squared error of held-out maps that the prior denoises, guided by cine images, by timestep and channel.

    Args:
        prior: the prior to measure.
        maps: scaled maps (slices, 3, rows, columns).
        knots: number of timesteps at which the error is measured; it is linear in between.

    Returns:
        float32 (timesteps, 3).
    """
    generator = torch.Generator().manual_seed(0)
    rng, draw_protocol = np.random.default_rng(0), GUIDES["bssfp"][1]
    guides = [
        draw_guide(slice_maps.cpu(), prior.scaling, prior.reference, draw_protocol(rng), rng) for slice_maps in maps
    ]
    prior = prior.guided(torch.stack(guides).to(maps))
    timesteps = len(prior.scheduler.alphas_cumprod)
    measured = np.linspace(0, timesteps - 1, knots).round().astype(int).tolist()
    errors = []
    for timestep in measured:
        noise = torch.randn(maps.shape, generator=generator).to(maps)
        level = torch.tensor([timestep], device=maps.device)
        noisy = prior.scheduler.add_noise(maps, noise, cast(torch.IntTensor, level))
        errors.append((prior.denoise(noisy, timestep) - maps).square().mean((0, 2, 3)).cpu().numpy())
    return interpolate_knots(measured, np.array(errors), timesteps)


def train_prior(
    make_pool: Callable[[], TrainingMaps],
    held_out: Callable[[], TrainingMaps],
    folder: Path,
    pixel_mm: float,
    schedule: Schedule,
    device: str | torch.device = "cpu",
    seed: int = 0,
    record: dict[str, Any] | None = None,
    init: SpinPrior | None = None,
    processes: int = 0,
) -> SpinPrior:
    """Train a prior and write it to `folder`, which appears when the prior is done.

    Until then the state is kept beside it in `FOLDER.checkpoint.pt`, from which another run continues.

    Args:
        make_pool: gives maps to learn from.
        held_out: gives maps that training does not see, for the denoising error; rows and columns multiples of 16.
        folder: where the prior goes.
        pixel_mm: pixel size of the maps.
        schedule: how long and how fast to train.
        device: where to train.
        seed: random seed of the weights, the crops and the noise.
        record: how the prior is made, kept in its `prior.json`; a checkpoint is only continued with the same record.
        init: a prior to start from: its network, noise schedule and scaling; its record is kept, too.
        processes: worker processes that draw crops and their guides; 0 draws them in this one. The prior is the same.

    Returns:
        The trained prior (averaged weights).

    Raises:
        InputError: something is in the folder; the disk has no room for checkpoints, or for the prior; the checkpoint
            belongs to another training; the maps are smaller than the largest crop; the loss does not stay finite.
    """
    # 1. Refuse before any work what could not be written in the end
    folder, device = folder.absolute(), torch.device(device)
    check_vacant(folder)
    record = dict(record or {}) if init is None else {**(record or {}), "init": init.record}
    learner = _Learner(_start(init, pixel_mm, device, seed), schedule, seed)
    checkpoint = Checkpoint.of(folder, repr((schedule, pixel_mm, seed, record)))
    state = checkpoint.load(device)
    if state is None:
        checkpoint.check_disk(learner.state())
    else:
        learner.restore(state)

    # 2. The maps
    pool = make_pool()
    if min(pool.maps.shape[-2:]) < schedule.largest_crop:
        raise InputError(
            f"Maps of {tuple(pool.maps.shape[-2:])} pixels are smaller than the training crop of "
            f"{schedule.largest_crop}."
        )
    learner.prior = replace(learner.prior, reference=reference_voxels(pool.maps))
    crops = GuidedCrops(
        learner.prior.scaling.encode(SpinMaps.unstack(pool.maps, dim=1)),
        pool.labels,
        pixel_mm,
        learner.prior.scaling,
        learner.prior.reference,
        learner.prior.library_moments.cpu(),
        schedule,
        seed,
    )
    del pool

    # 3. Learn
    _learn(learner, crops, checkpoint, processes)
    learner.use_average()

    # 4. Measure how far the estimates may be off, and write the prior
    prior = learner.prior
    unseen = prior.scaling.encode(SpinMaps.unstack(held_out().maps, dim=1)).to(device)
    prior = replace(
        prior,
        denoising_error=measure_denoising_error(prior, unseen),
        record={**record, "schedule": asdict(schedule), "seed": seed, "final_loss": learner.loss},
    )
    prior.save(folder)
    checkpoint.remove()
    return prior


def _start(init: SpinPrior | None, pixel_mm: float, device: torch.device, seed: int) -> SpinPrior:
    """The prior before its training, with placeholders for the reference voxels and the denoising error."""
    if init is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            unet = new_unet()
        scheduler, scaling = new_scheduler(), SpinScaling()
    else:
        unet, scheduler, scaling = deepcopy(init.unet), init.scheduler, init.scaling
    unet.to(device).train().requires_grad_(True)  # type: ignore[arg-type]  # its decorator hides the method
    unknown = torch.zeros(len(scheduler.alphas_cumprod), 3)
    return SpinPrior(unet, scheduler, scaling, pixel_mm, unknown, reference=torch.ones(3, 1))


def _learn(learner: _Learner, crops: GuidedCrops, checkpoint: Checkpoint, processes: int) -> None:
    """Take all steps that are left, with a checkpoint every few minutes and at the end."""
    schedule, device, saved = crops.schedule, learner.prior.device, time.monotonic()
    steps = range(learner.step, schedule.steps)
    batches = DataLoader(crops, batch_size=None, sampler=steps, num_workers=processes, pin_memory=device.type == "cuda")
    progress = tqdm(batches, desc="prior", total=schedule.steps, initial=learner.step, mininterval=5)
    for clean, guide in progress:
        learner.learn(clean.to(device, non_blocking=True), guide.to(device, non_blocking=True))
        progress.set_postfix(loss=f"{learner.loss:.5f}", refresh=False)
        if time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
            checkpoint.save(learner.state())
            saved = time.monotonic()
    checkpoint.save(learner.state())
