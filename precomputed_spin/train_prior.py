"""Learn a spin prior from maps: digital hearts, or PD, T1 and T2 maps on disk."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from diffusers.training_utils import EMAModel
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate, pad
from tqdm import tqdm

from nnunet_phys.errors import InputError
from nnunet_phys.phantom import digital_heart
from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation, Sequence, bright_level, signals
from nnunet_phys.precomputed_spin.prior import SpinPrior, SpinScaling, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.store import MAP_NAMES
from nnunet_phys.scanner import receive_bias
from nnunet_phys.sequences import BSSFP, MOLLI, MSASHA, SpoiledGRE, T2PreparedBSSFP
from nnunet_phys.spin import T1_MAX_MS, T1_MIN_MS, T2_MAX_MS, T2_MIN_MS, SpinMaps

SLICES_PER_HEART = 4
_SCHEMES = {"5(3)3": (120.0, 200.0), "4(1)3(1)2": (100.0, 180.0, 260.0), "3(3)3(3)5": (120.0, 200.0, 280.0)}


def _molli(rng: np.random.Generator, readout: int | None) -> MOLLI:
    scheme = str(rng.choice(list(_SCHEMES)))
    pulses, centre, tr_ms = int(rng.integers(45, 76)), int(rng.integers(10, 31)), rng.uniform(2.3, 3.0)
    earliest = (centre + 1) * tr_ms
    return MOLLI(
        scheme=scheme,
        flip_angle_deg=rng.uniform(25, 50),
        tr_ms=tr_ms,
        pulses=pulses,
        centre_pulse=centre,
        rr_ms=rng.uniform(600, 1200),
        first_inversion_times_ms=tuple(max(t + rng.uniform(-10, 10), earliest) for t in _SCHEMES[scheme]),
        inversion_efficiency=rng.uniform(0.88, 1.0),
        readout=readout,
    )


def _t2_prepared(rng: np.random.Generator, times: tuple[float, ...]) -> T2PreparedBSSFP:
    return T2PreparedBSSFP(times, flip_angle_deg=rng.uniform(40, 70), tr_ms=rng.uniform(2.3, 3.0))


GUIDES: dict[str, tuple[float, Callable[[np.random.Generator], Sequence]]] = {
    "bssfp": (0.5, lambda rng: BSSFP(flip_angle_deg=rng.uniform(25, 80), tr_ms=rng.uniform(2.5, 4.0))),
    "gre": (
        0.12,
        lambda rng: SpoiledGRE(
            flip_angle_deg=rng.uniform(8, 25),
            tr_ms=rng.uniform(4, 10),
            te_ms=rng.uniform(1.2, 4),
            r2_prime_hz=rng.uniform(5, 40),
            inflow_pulses=math.exp(rng.uniform(math.log(20), math.log(300))),
        ),
    ),
    "molli readout": (0.13, lambda rng: _molli(rng, int(rng.integers(8)))),
    "molli series": (0.08, lambda rng: _molli(rng, None)),
    "t2 prepared": (0.07, lambda rng: _t2_prepared(rng, (rng.uniform(20, 80),))),
    "t2 series": (0.05, lambda rng: _t2_prepared(rng, (0.0, rng.uniform(20, 35), rng.uniform(45, 80)))),
    "sasha": (0.05, lambda rng: MSASHA(ts_ms=rng.uniform(80, 1000), t2_prep_ms=rng.choice([0.0, 55.0]))),
}
"""What a prior learns to be guided by: how often, and a draw of the protocol. The shares are a choice: most training
images are cine."""


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


def _phantom_slices(seed: int, shape: tuple[int, int], pixel_mm: float) -> np.ndarray:
    """Maps of one digital heart, (slices, 3, rows, columns) float32, each slice with its own receive bias in PD."""
    rng = np.random.default_rng([seed, 1])
    systole = bool(rng.random() < 0.4)
    heart = digital_heart(seed, SLICES_PER_HEART, shape, pixel_mm, systole, hidden_walls=True)
    stacked = heart.maps.stack(1).numpy()
    for one in stacked:
        one[0] *= receive_bias(rng, shape, pixel_mm, centre_mm=heart.centre_mm)
    return stacked


def phantom_maps(hearts: int, pixel_mm: float, first_seed: int = 0, processes: int = 2) -> torch.Tensor:
    """Maps of digital hearts to learn from.

    Args:
        hearts: how many; each gives `SLICES_PER_HEART` slices.
        pixel_mm: pixel size.
        first_seed: seeds are consecutive from here.
        processes: worker processes.

    Returns:
        float32 (slices, 3, 144, 144): PD with a random receive bias, T1 and T2 in ms.
    """
    work = partial(_phantom_slices, shape=(144, 144), pixel_mm=pixel_mm)
    seeds = range(first_seed, first_seed + hearts)
    with get_context("spawn").Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        parts = list(tqdm(pool.imap(work, seeds, chunksize=16), total=hearts, desc="digital hearts"))
    return torch.from_numpy(np.concatenate(parts))


def folder_maps(folder: Path, pixel_mm: float, size: int = 144) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps on disk to learn from, named as `nnunet_phys reverse` names them.

    Args:
        folder: holds *_PDmap, *_T1map (ms) and *_T2map (ms) of any file ending that SimpleITK reads.
        pixel_mm: slices are resampled to this pixel size (nearest neighbour: relaxation times must not be mixed).
        size: and cropped or padded with air to this many rows and columns.

    Returns:
        float32 (slices, 3, size, size) to learn from, and one of `size` 128 for the denoising error: a tenth of the
        cases, at least one.

    Raises:
        InputError: no such folder, fewer than two cases, a map missing, unreadable, of another shape or not finite.
    """
    if not folder.is_dir():
        raise InputError(f"-i {folder}: no such folder. Give a folder of maps, or the word phantom.")
    first = sorted(folder.glob("*_PDmap.*"))
    if len(first) < 2:
        raise InputError(f"-i {folder}: {len(first)} files named CASE_PDmap.*; at least 2 cases are needed.")
    cases = []
    for path in first:
        parts = [_read(path.with_name(path.name.replace("_PDmap.", f"_{name}."))) for name in MAP_NAMES]
        arrays, (row_mm, column_mm) = [array for array, _ in parts], parts[0][1]
        if len({a.shape for a in arrays}) > 1:
            raise InputError(f"{path}: the case's maps differ in shape. Make them again.")
        maps = torch.from_numpy(np.stack(arrays, 1))
        maps[:, 1].clamp_(T1_MIN_MS, T1_MAX_MS)
        maps[:, 2].clamp_(T2_MIN_MS, T2_MAX_MS)
        shape = [round(n * mm / pixel_mm) for n, mm in zip(maps.shape[2:], (row_mm, column_mm), strict=True)]
        cases.append(_fit(interpolate(maps, shape, mode="nearest-exact"), size))
    held_out = max(1, len(cases) // 10)
    return torch.cat(cases[held_out:]), _fit(torch.cat(cases[:held_out]), 128)


def _read(path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """A map as (slices, rows, columns), and its row and column spacing in mm."""
    try:
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    except RuntimeError:
        raise InputError(f"{path} is missing or cannot be read. Make the case's maps again.") from None
    array = sitk.GetArrayFromImage(image)
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite values. Make the case's maps again.")
    return array.reshape(-1, *array.shape[-2:]), image.GetSpacing()[1::-1]


def _fit(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Crop or pad slices about their centre: PD with 0, T1 and T2 with their edge values."""
    margins = [size - n for n in maps.shape[-2:]]
    border = [half for m in reversed(margins) for half in (m // 2, m - m // 2)]
    fitted = pad(maps, [max(0, b) for b in border], mode="replicate")
    if max(margins) > 0:
        fitted[:, 0] = pad(maps[:, 0], [max(0, b) for b in border])
    left, _, top, _ = (max(0, -b) for b in border)
    return fitted[..., top : top + size, left : left + size]


def observe(maps: SpinMaps, sequence: Sequence, reference: torch.Tensor, rng: np.random.Generator) -> Observation:
    """Images of maps as a scanner might deliver them and a user describe them, for the prior to learn from.

    Gain off by up to a third, flip angle by up to 15 %, blur up to 0.8 pixels, noise up to 5 % of the bright level,
    clipping of a third of the magnitude images somewhere in the brightest 3 %. Series keep their sign.

    Args:
        maps: (slices, rows, columns); PD holds the receive bias.
        sequence: how they are imaged.
        reference: voxels, (3, n), over which the images' level is known.
        rng: source of the draws.
    """
    images = signals(sequence, maps)
    signed, shape = len(images) > 1, images.shape
    images = images.numpy() if signed else images.abs().numpy()
    level = float(bright_level(torch.from_numpy(images).abs()))
    images = gaussian_filter(images, rng.uniform(0.0, 0.8), axes=(-2, -1))
    images += rng.uniform(0, 0.05) * level * rng.standard_normal(shape, dtype=np.float32)
    images = torch.from_numpy(images if signed else np.abs(images))
    saturated = torch.zeros(shape, dtype=torch.bool)
    if not signed and rng.random() < 1 / 3:
        images = images.clamp(max=float(torch.quantile(images, rng.uniform(0.97, 1.0))))
        saturated = images >= images.max()
    assumed = sequence
    if hasattr(sequence, "flip_angle_deg"):
        assumed = replace(sequence, flip_angle_deg=sequence.flip_angle_deg * rng.uniform(0.85, 1.15))
    expected = float(bright_level(signals(assumed, SpinMaps.unstack(reference)).abs()))
    images = images * (expected / level * math.exp(rng.uniform(-0.3, 0.3)))
    return Observation(assumed, images, expected, 0.0, saturated, signed)


def _guide(
    scaled: torch.Tensor,
    prior: SpinPrior,
    sequence: Sequence,
    rng: np.random.Generator,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> torch.Tensor:
    """What images of a slice of scaled maps (3, rows, columns) say about a window of it, (6, rows, columns)."""
    seen = observe(prior.scaling.decode(scaled[None]), sequence, prior.reference, rng)
    seen = replace(seen, images=seen.images[(..., *window)], saturated=seen.saturated[(..., *window)])
    everywhere = torch.ones(seen.images.shape[1:], dtype=torch.bool)
    return Likelihood((seen,), everywhere, prior.scaling).pixelwise_posterior(prior.library)[0]


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
            guide = _guide(pool[index], prior, sequence, rng, window)
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
    prior = prior.guided(torch.stack([_guide(one.cpu(), prior, draw(rng), rng) for one in maps]).to(maps))
    steps = np.linspace(0, prior.scheduler.config.num_train_timesteps - 1, knots).round().astype(int)
    errors = []
    for step in steps:
        noise = torch.randn(maps.shape, generator=generator).to(maps)
        timesteps = torch.full((len(maps),), int(step), device=maps.device)
        noisy = prior.scheduler.add_noise(maps, noise, timesteps)
        errors.append((prior.denoise(noisy, int(step)) - maps).square().mean((0, 2, 3)).cpu().numpy())
    every = np.arange(prior.scheduler.config.num_train_timesteps)
    return torch.from_numpy(np.stack([np.interp(every, steps, e) for e in np.array(errors).T], 1)).float()


def reference_voxels(maps: torch.Tensor, count: int = 4096) -> torch.Tensor:
    """A few of the voxels of maps (slices, 3, rows, columns), evenly from all slices, as (3, count)."""
    slices, area = len(maps), maps[0, 0].numel()
    index = torch.arange(count) * (slices * area) // count
    return maps.flatten(2)[index // area, :, index % area].T.contiguous()


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
