"""Learn a spin prior from maps."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from tqdm import tqdm

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.guide_images import GUIDES, draw_guide
from nnunet_phys.precomputed_spin.prior import SpinPrior, SpinScaling, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.prior_maps import reference_voxels
from nnunet_phys.spin import SpinMaps


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
        guided_share: share of crops that come with images of them.
        learning_rate: of AdamW, after 100 steps of warm-up, falling as a half cosine to 2 % of it.
        checkpoint_minutes: how often the state is written.
    """

    steps: int = 6400
    stages: tuple[Stage, ...] = (Stage(0.5, 64, 16), Stage(1.0, 128, 6))
    learning_rate: float = 6e-4
    guided_share: float = 0.9
    checkpoint_minutes: float = 4.0

    def stage(self, step: int) -> Stage:
        """The stage of a step."""
        return next(s for s in self.stages if step < s.until * self.steps)

    def rate(self, step: int) -> float:
        """Learning rate of a step."""
        return self.learning_rate * min(1, step / 100) * (0.51 + 0.49 * math.cos(math.pi * step / self.steps))


def _crops(
    pool: torch.Tensor, prior: SpinPrior, size: int, batch: int, guided_share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Random square crops of scaled maps and guides from images of them, turned and mirrored by chance."""
    shares = np.array([share for share, _ in GUIDES.values()])
    draws = [draw for _, draw in GUIDES.values()]
    crops = []
    for index in rng.integers(len(pool), size=batch):
        row, column = rng.integers(pool.shape[-2] - size + 1), rng.integers(pool.shape[-1] - size + 1)
        window = slice(row, row + size), slice(column, column + size)
        guide = prior.library_moments.cpu().expand(6, size, size)
        if rng.random() < guided_share:
            sequence = draws[rng.choice(len(draws), p=shares / shares.sum())](rng)
            guide = draw_guide(pool[index], prior, sequence, rng, window)
        both = torch.rot90(torch.cat((pool[(index, slice(None), *window)], guide)), int(rng.integers(4)), (1, 2))
        crops.append(both.flip(-1) if rng.random() < 0.5 else both)
    crops = torch.stack(crops)
    return crops[:, :3], crops[:, 3:]


@torch.inference_mode()
def measure_denoising_error(prior: SpinPrior, maps: torch.Tensor, knots: int = 24) -> torch.Tensor:
    """Mean squared error of the prior's denoised maps, guided by cine, on held-out ones, per timestep and channel.

    Args:
        prior: the prior to measure.
        maps: scaled maps (slices, 3, rows, columns).
        knots: timesteps measured; linear in between.

    Returns:
        float32 (timesteps, 3).
    """
    generator = torch.Generator().manual_seed(0)
    rng, draw = np.random.default_rng(0), GUIDES["bssfp"][1]
    prior = prior.guided(torch.stack([draw_guide(one.cpu(), prior, draw(rng), rng) for one in maps]).to(maps))
    steps = np.linspace(0, prior.scheduler.config.num_train_timesteps - 1, knots).round().astype(int)
    errors = []
    for step in steps:
        noise = torch.randn(maps.shape, generator=generator).to(maps)
        timesteps = torch.full((len(maps),), int(step), device=maps.device)
        noisy = prior.scheduler.add_noise(maps, noise, timesteps)
        errors.append((prior.denoise(noisy, int(step)) - maps).square().mean((0, 2, 3)).cpu().numpy())
    every = np.arange(prior.scheduler.config.num_train_timesteps)
    return torch.from_numpy(np.stack([np.interp(every, steps, e) for e in np.array(errors).T], 1)).float()


def train_prior(
    make_pool: Callable[[], torch.Tensor],
    held_out: Callable[[], torch.Tensor],
    folder: Path,
    pixel_mm: float,
    schedule: Schedule,
    device: str = "cpu",
    seed: int = 0,
    record: dict | None = None,
    init: SpinPrior | None = None,
) -> SpinPrior:
    """Train a prior and write it to `folder`; a rerun goes on from the last checkpoint found there.

    Args:
        make_pool: gives maps to learn from, (slices, 3, rows, columns), PD relative, T1 and T2 in ms.
        held_out: gives maps that training does not see, for the denoising error; rows and columns multiples of 16.
        folder: where the prior and, until it is finished, its checkpoint `training.pt` go.
        pixel_mm: pixel size of the maps.
        schedule: how long and how fast.
        device: where to train.
        seed: of the weights, the crops and the noise.
        record: how it is made, kept in the prior's `prior.json`; a checkpoint goes on under the same record only.
        init: a prior to start from, whose record is kept too.

    Returns:
        The trained prior (averaged weights).

    Raises:
        InputError: the maps are smaller than the largest crop; the folder holds a finished prior, or the checkpoint
            of another training.
    """
    checkpoint, first, running = folder / "training.pt", 0, None
    if (folder / "prior.json").exists():
        raise InputError(f"{folder} holds a finished prior. Choose another folder, or remove it.")
    torch.manual_seed(seed)
    generator, rng = torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    scaling, scheduler, unet = SpinScaling(), new_scheduler(), new_unet().to(device)
    if init is not None:
        unet.load_state_dict(init.unet.state_dict())
        record = {**(record or {}), "init": init.record}
    identity = repr((schedule, pixel_mm, seed, record))
    optimiser = torch.optim.AdamW(unet.parameters(), lr=schedule.learning_rate, weight_decay=1e-4)
    average = EMAModel(unet.parameters(), decay=0.999, use_ema_warmup=True, power=0.75)
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.is_file():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["identity"] != identity:
            raise InputError(f"{checkpoint} belongs to another training: {state['identity']}. Remove it to start anew.")
        unet.load_state_dict(state["unet"])
        optimiser.load_state_dict(state["optimiser"])
        average.load_state_dict(state["average"])
        generator.set_state(state["generator"].cpu())
        rng.bit_generator.state = json.loads(state["rng"])
        first, running = state["step"], state["running"]

    maps = make_pool()
    reference, pool = reference_voxels(maps), scaling.encode(SpinMaps.unstack(maps, dim=1))
    del maps
    prior = SpinPrior(unet, scheduler, scaling, pixel_mm, torch.zeros(1000, 3), reference)
    largest = max(s.crop for s in schedule.stages)
    if min(pool.shape[-2:]) < largest:
        raise InputError(f"Maps of {tuple(pool.shape[-2:])} pixels are smaller than the training crop of {largest}.")

    def save_checkpoint(step: int) -> None:
        state = {
            "identity": identity,
            "step": step,
            "running": running,
            "unet": unet.state_dict(),
            "optimiser": optimiser.state_dict(),
            "average": average.state_dict(),
            "generator": generator.get_state(),
            "rng": json.dumps(rng.bit_generator.state),
        }
        torch.save(state, checkpoint.with_suffix(".tmp"))
        os.replace(checkpoint.with_suffix(".tmp"), checkpoint)

    saved = time.monotonic()
    progress = tqdm(range(first, schedule.steps), initial=first, total=schedule.steps, desc="prior", mininterval=5)
    for step in progress:
        stage = schedule.stage(step)
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate(step)
        crops = _crops(pool, prior, stage.crop, stage.batch, schedule.guided_share, rng)
        clean, guide = (t.to(device) for t in crops)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        timesteps = torch.randint(len(scheduler.alphas_cumprod), (stage.batch,), generator=generator).to(device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        target = scheduler.get_velocity(clean, noise, timesteps)
        # Weighted so, the error of v is that of the denoised maps: what a tissue is is decided where noise is strong.
        weight = (1 - scheduler.alphas_cumprod.to(device)[timesteps]).view(-1, 1, 1, 1)
        loss = (weight * (prior.guided(guide).velocity(noisy, timesteps) - target).square()).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimiser.step()
        average.step(unet.parameters())
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        progress.set_postfix(loss=f"{running:.5f}", crop=stage.crop, refresh=False)
        if time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
            save_checkpoint(step + 1)
            saved = time.monotonic()

    save_checkpoint(schedule.steps)
    average.copy_to(unet.parameters())
    unet.eval()
    prior = replace(
        prior,
        denoising_error=measure_denoising_error(prior, scaling.encode(SpinMaps.unstack(held_out(), dim=1)).to(device)),
        record={**(record or {}), "schedule": asdict(schedule), "seed": seed, "final_loss": running},
    )
    prior.save(folder)
    checkpoint.unlink()
    return prior
