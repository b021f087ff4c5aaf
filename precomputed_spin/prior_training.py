"""Train a spin prior on maps."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from tqdm import tqdm

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.guide_images import GUIDES, draw_guide
from nnunet_phys.precomputed_spin.prior import SpinPrior, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.prior_checkpoint import Checkpoint
from nnunet_phys.precomputed_spin.prior_files import check_vacant, interpolate_knots
from nnunet_phys.precomputed_spin.prior_maps import reference_voxels
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.spin import SpinMaps

_WEIGHT_DECAY = 1e-4
_GREATEST_GRADIENT = 1.0  # norm to which gradients are clipped, the usual value for diffusion models
_AVERAGE_DECAY = 0.999  # largest decay of the averaged weights: about the last 1000 steps
_AVERAGE_POWER = 0.75  # of the decay's warm-up; EMAModel advises it for long trainings
_LOSS_MEMORY = 0.98  # decay of the running mean of the loss that is shown: about the last 50 steps
_MEASURED_TIMESTEPS = 24  # at which the denoising error is measured; it is smooth, and interpolated linearly


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one crop size.

    Attributes:
        until: fraction of all steps at which it ends.
        crop: rows and columns of a training crop, pixels.
        batch: crops per step.
    """

    until: float
    crop: int
    batch: int


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        steps: optimiser steps.
        stages: small crops first, which saves steps; the last stage must end at 1.
        learning_rate: AdamW's learning rate after the warm-up; it then falls as a half cosine to 0.
        guided_share: share of crops that are guided by images of them.
        warmup_steps: steps over which the learning rate rises from 0.
        checkpoint_minutes: time between checkpoints.

    Raises:
        ValueError: no steps, or stages whose ends do not increase to 1.
    """

    steps: int = 6400
    stages: tuple[Stage, ...] = (Stage(0.5, 64, 16), Stage(1.0, 128, 6))
    learning_rate: float = 6e-4
    guided_share: float = 0.9
    warmup_steps: int = 100
    checkpoint_minutes: float = 4.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.steps} steps: give 1 or more")
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(ends) or ends[-1] != 1:
            raise ValueError(f"stages end at {ends}: they must increase to 1")

    @property
    def largest_crop(self) -> int:
        """Rows and columns of the largest crop."""
        return max(stage.crop for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage of a step."""
        return next(stage for stage in self.stages if step < stage.until * self.steps)


class _Learner:
    """Everything that changes while a prior learns, and that a checkpoint keeps.

    Attributes:
        prior: the prior whose network learns.
        step: optimiser steps done.
        loss: running mean of the loss, NaN before the first step.
        rng: random generator of the crops and their guides.
        generator: random generator of the noise and the timesteps.
    """

    def __init__(self, prior: SpinPrior, schedule: Schedule, seed: int) -> None:
        self.prior = prior
        self.step = 0
        self.loss = math.nan
        self.rng = np.random.default_rng(seed)
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
            "rng": json.dumps(self.rng.bit_generator.state),
            "generator": self.generator.get_state(),
            "unet": self.prior.unet.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "rate": self._rate.state_dict(),
            "average": self._average.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step, self.loss = state["step"], state["loss"]
        self.rng.bit_generator.state = json.loads(state["rng"])
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


def _draw_crops(
    pool: torch.Tensor, prior: SpinPrior, stage: Stage, guided_share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw square crops of scaled maps, rotated and mirrored at random, and guides from images of them.

    Returns:
        crops (batch, 3, rows, columns) and their guides (batch, 6, rows, columns).
    """
    shares = np.array([share for share, _ in GUIDES.values()])
    protocols = [draw for _, draw in GUIDES.values()]
    size, crops = stage.crop, []
    for index in rng.integers(len(pool), size=stage.batch):
        row, column = rng.integers(pool.shape[-2] - size + 1), rng.integers(pool.shape[-1] - size + 1)
        window = slice(row, row + size), slice(column, column + size)
        guide = prior.library_moments.cpu().expand(6, size, size)
        if rng.random() < guided_share:
            sequence = protocols[rng.choice(len(protocols), p=shares / shares.sum())](rng)
            guide = draw_guide(pool[index], prior, sequence, rng, window)
        crop = torch.cat((pool[index][:, window[0], window[1]], guide))
        crop = torch.rot90(crop, int(rng.integers(4)), (1, 2))
        crops.append(crop.flip(-1) if rng.random() < 0.5 else crop)
    stacked = torch.stack(crops)
    return stacked[:, :3], stacked[:, 3:]


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
    guides = [draw_guide(slice_maps.cpu(), prior, draw_protocol(rng), rng) for slice_maps in maps]
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
    make_pool: Callable[[], torch.Tensor],
    held_out: Callable[[], torch.Tensor],
    folder: Path,
    pixel_mm: float,
    schedule: Schedule,
    device: str | torch.device = "cpu",
    seed: int = 0,
    record: dict[str, Any] | None = None,
    init: SpinPrior | None = None,
) -> SpinPrior:
    """Train a prior and write it to `folder`, which appears when the prior is done.

    Until then the state is kept beside it in `FOLDER.checkpoint.pt`, from which another run continues.

    Args:
        make_pool: gives maps to learn from, (slices, 3, rows, columns), PD relative, T1 and T2 in ms.
        held_out: gives maps that training does not see, for the denoising error; rows and columns multiples of 16.
        folder: where the prior goes.
        pixel_mm: pixel size of the maps.
        schedule: how long and how fast to train.
        device: where to train.
        seed: random seed of the weights, the crops and the noise.
        record: how the prior is made, kept in its `prior.json`; a checkpoint is only continued with the same record.
        init: a prior to start from: its network, noise schedule and scaling; its record is kept, too.

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
    maps = make_pool()
    if min(maps.shape[-2:]) < schedule.largest_crop:
        raise InputError(
            f"Maps of {tuple(maps.shape[-2:])} pixels are smaller than the training crop of {schedule.largest_crop}."
        )
    learner.prior = replace(learner.prior, reference=reference_voxels(maps))
    pool = learner.prior.scaling.encode(SpinMaps.unstack(maps, dim=1))
    del maps

    # 3. Learn
    _learn(learner, pool, schedule, checkpoint)
    learner.use_average()

    # 4. Measure how far the estimates may be off, and write the prior
    prior = learner.prior
    unseen = prior.scaling.encode(SpinMaps.unstack(held_out(), dim=1)).to(device)
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


def _learn(learner: _Learner, pool: torch.Tensor, schedule: Schedule, checkpoint: Checkpoint) -> None:
    """Take all steps that are left, with a checkpoint every few minutes and at the end."""
    saved = time.monotonic()
    with tqdm(total=schedule.steps, initial=learner.step, desc="prior", mininterval=5) as progress:
        while learner.step < schedule.steps:
            stage = schedule.stage(learner.step)
            clean, guide = _draw_crops(pool, learner.prior, stage, schedule.guided_share, learner.rng)
            learner.learn(clean.to(learner.prior.device), guide.to(learner.prior.device))
            progress.set_postfix(loss=f"{learner.loss:.5f}", crop=stage.crop, refresh=False)
            progress.update()
            if time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
                checkpoint.save(learner.state())
                saved = time.monotonic()
    checkpoint.save(learner.state())
