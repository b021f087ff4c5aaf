"""Train a spin prior on maps."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch.utils.data import DataLoader

from nnunet_phys.case_records import package_versions
from nnunet_phys.errors import InputError, last_line
from nnunet_phys.precomputed_spin.averaged_optimiser import AveragedOptimiser, running_loss
from nnunet_phys.precomputed_spin.guide_images import GUIDES, draw_guide
from nnunet_phys.precomputed_spin.guided_crops import GuidedCrops
from nnunet_phys.precomputed_spin.prior import SpinPrior, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.prior_files import check_vacant, interpolate_knots
from nnunet_phys.precomputed_spin.prior_images import Pretraining
from nnunet_phys.precomputed_spin.prior_journal import CurvePoint, Journal, model_card
from nnunet_phys.precomputed_spin.prior_maps import TrainingMaps
from nnunet_phys.precomputed_spin.prior_schedule import Schedule
from nnunet_phys.precomputed_spin.reference import reference_voxels
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST, SpinScaling
from nnunet_phys.precomputed_spin.training_processes import ALONE, TrainingProcesses
from nnunet_phys.progress import ProgressBar
from nnunet_phys.spin import SpinMaps
from nnunet_phys.training_checkpoint import Checkpoint
from nnunet_phys.whole_files import working_folder

_MEASURED_TIMESTEPS = 24  # at which the denoising error is measured; it is smooth, and interpolated linearly
_MEASURED_SLICES = 32  # that pass through the network together meanwhile
_CURVE_STEPS = 10  # between two points of the loss curve: 4,200 points in the paper's 42,000 steps
_MOST_OUTSIDE = 0.5  # share of voxels beyond the scaling of a prior to start from. Assumed: fluid and fat are fewer


class _Learner:
    """Everything that changes while a prior learns, and that a checkpoint keeps.

    Attributes:
        prior: the prior whose network learns.
        phase: what it learns from, "images" or "maps".
        curve: the loss so far, of this phase and those before.
        step: optimiser steps of the phase that are done.
        loss: running mean of the loss, NaN before the first step.
        generator: random generator of the noise and the timesteps.
        team: the processes that learn together.
    """

    def __init__(self, prior: SpinPrior, phase: str, schedule: Schedule, seed: int, team: TrainingProcesses) -> None:
        self.prior, self.phase = prior, phase
        self.curve: list[CurvePoint] = []
        self.step = 0
        self.loss = math.nan
        self.generator = torch.Generator()
        self.team, self._steps, self._seed = team, schedule.steps, seed
        self._seed_noise()
        self._optimiser = AveragedOptimiser(
            prior.unet.parameters(), schedule.learning_rate, schedule.warmup_steps, schedule.steps
        )

    def state(self) -> dict[str, Any]:
        """The state that a checkpoint keeps."""
        return {
            "phase": self.phase,
            "curve": self.curve,
            "step": self.step,
            "loss": self.loss,
            "generator": self.generator.get_state(),
            "unet": self.prior.unet.state_dict(),
            **self._optimiser.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.step, self.loss, self.curve = state["step"], state["loss"], state["curve"]
        self.generator.set_state(state["generator"].cpu())
        self._seed_noise()
        self.prior.unet.load_state_dict(state["unet"])
        self._optimiser.restore(state)

    def _seed_noise(self) -> None:
        """Seed the noise; a process that does not write checkpoints gets noise of its own, new after each restart."""
        if self.team.index > 0:
            words = np.random.SeedSequence([self._seed, self.team.index, self.step]).generate_state(1, np.uint64)
            self.generator.manual_seed(int(words[0] >> 1))
        elif self.step == 0:
            self.generator.manual_seed(self._seed)

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
        self._optimiser.zero_gradients()
        loss.backward()
        loss = loss.detach().view(1)
        self.team.average([loss, *(weights.grad for weights in unet.parameters() if weights.grad is not None)])
        self._optimiser.step()

        # 4. Book-keeping
        value = loss.item()
        if not math.isfinite(value):
            raise InputError(f"The loss of step {self.step} is {value}. Train with another -seed or from other maps.")
        self.loss = running_loss(self.loss, value)
        self.step += 1
        if self.step % _CURVE_STEPS == 0 or self.step == self._steps:
            self.curve.append((self.phase, self.step, self.loss))

    @contextmanager
    def averaged(self) -> Iterator[SpinPrior]:
        """The prior with the average of its weights over the steps, until the context ends."""
        with self._optimiser.averaged():
            yield self.prior

    def use_average(self) -> None:
        """Replace the network's weights by their average over the steps."""
        self._optimiser.use_average()
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
    timesteps = len(prior.scheduler.alphas_cumprod)
    measured = np.linspace(0, timesteps - 1, knots).round().astype(int).tolist()
    errors = torch.zeros(len(measured), maps.shape[1])
    for some, their_guides in zip(*(of.split(_MEASURED_SLICES) for of in (maps, torch.stack(guides))), strict=True):
        guided = prior.guided(their_guides.to(maps))
        for k, timestep in enumerate(measured):
            noise = torch.randn(some.shape, generator=generator).to(some)
            level = torch.tensor([timestep], device=some.device)
            noisy = prior.scheduler.add_noise(some, noise, cast(torch.IntTensor, level))
            errors[k] += (guided.denoise(noisy, timestep) - some).square().mean((2, 3)).sum(0).cpu() / len(maps)
    return interpolate_knots(measured, errors.numpy(), timesteps).to(maps.device)


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
    pretrain: Pretraining | None = None,
    bf16: bool = False,
    team: TrainingProcesses = ALONE,
) -> SpinPrior:
    """Train a prior and write it to `folder`, which appears when the prior is done.

    Until then the state is kept beside it in `FOLDER.checkpoint.pt`, from which another run continues, and
    `FOLDER.training` shows the loss and maps that the prior draws (`prior_journal`).

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
        pretrain: images to learn from first, without guides, by the same schedule but for its number of steps.
        bf16: run the network in bfloat16 (autocast); weights, optimiser and loss stay float32.
        team: the processes that train the prior together. Each draws its own crops, so a step has as many times more.

    Returns:
        The trained prior (averaged weights).

    Raises:
        InputError: something is in the folder; the disk has no room for checkpoints, or for the prior; the checkpoint
            belongs to another training; the maps or images are smaller than the largest crop; most of the tissue is
            beyond the scaling of `init`; the loss does not stay finite.
    """
    # 1. Refuse before any work what could not be written in the end
    folder, device = folder.absolute(), torch.device(device)
    check_vacant(folder)
    record = dict(record or {}) if init is None else {**(record or {}), "init": init.record}
    schedules = {"maps": schedule}
    if pretrain is not None:
        record["images_sha256"] = pretrain.sha256
        schedules = {"images": replace(schedule, steps=pretrain.steps, guided_share=0.0), **schedules}
    made_of = {
        **{f"schedule on {phase}": asdict(of_phase) for phase, of_phase in schedules.items()},
        "pixel_mm": pixel_mm,
        "seed": seed,
        **record,
        "init": None if init is None else init.sha256(),
    }
    checkpoint, journal = Checkpoint.of(folder, made_of), Journal.beside(folder)
    state = checkpoint.load(device)
    phase = next(iter(schedules)) if state is None else state["phase"]
    prior = replace(_start(init, pixel_mm, device, seed), bf16=bf16)
    learner = _Learner(prior, phase, schedules[phase], seed, team)
    team.wait()
    if state is not None:
        learner.restore(state)
    elif team.index == 0:
        checkpoint.check_disk(learner.state())

    # 2. The images and the maps
    data = {}
    if pretrain is not None and phase == "images":
        images = pretrain.make_images()
        data["images"] = images, torch.zeros(1, 1, 1, dtype=torch.uint8).expand(images[:, 0].shape)
    pool = make_pool()
    prior = learner.prior = replace(prior, reference=reference_voxels(pool.maps))
    _check_scale(prior)
    data["maps"] = _scaled(prior, pool), pool.labels
    slices = len(pool.maps)
    del pool
    for name, (values, _) in data.items():
        if min(values.shape[-2:]) < schedule.largest_crop:
            raise InputError(
                f"{name.capitalize()} of {tuple(values.shape[-2:])} pixels are smaller than the training crop of "
                f"{schedule.largest_crop}."
            )

    # 3. Learn from the images, then from the maps
    unguided = prior.library_moments.cpu()
    for name, (values, labels) in data.items():
        if name != learner.phase:
            prior.unet.train().requires_grad_(True)
            learner, curve = _Learner(prior, name, schedules[name], seed, team), learner.curve
            learner.curve = curve
        crops = GuidedCrops(
            scaled=values,
            labels=labels,
            pixel_mm=pixel_mm,
            scaling=prior.scaling,
            reference=prior.reference,
            unguided=unguided,
            schedule=schedules[name],
            seed=seed,
            team=team,
        )
        _learn(learner, crops, checkpoint, journal, processes)
        learner.use_average()

    # 4. Measure how far the estimates may be off, and write the prior
    prior = replace(prior, bf16=False)
    unseen = _scaled(prior, held_out()).to(device)
    how = {"schedule": asdict(schedule), "seed": seed, "final_loss": learner.loss}
    if pretrain is not None:
        how["pretraining_steps"] = pretrain.steps
    how |= {"slices": slices, "held_out_slices": len(unseen), "bf16": bf16, "processes": team.count}
    prior = replace(prior, denoising_error=measure_denoising_error(prior, unseen), record={**record, **how})
    if team.index == 0:
        _write(prior, folder, learner.curve)
        journal.remove()
        checkpoint.remove()
    return prior


def _scaled(prior: SpinPrior, maps: TrainingMaps) -> torch.Tensor:
    """Maps in the numbers of a prior's network, none below the least that inference keeps to."""
    return prior.scaling.encode(SpinMaps.unstack(maps.maps, dim=1)).clamp_(min=LEAST)


def _check_scale(prior: SpinPrior) -> None:
    """Refuse maps that a prior cannot represent, as with `init` trained on other tissue or in other units.

    Raises:
        InputError: more than half of the reference voxels with PD lie outside of its scaling in T1 or T2.
    """
    voxels = SpinMaps.unstack(prior.reference)
    scaled = prior.scaling.encode(voxels.map(lambda values: values[None, voxels.pd > 0]))[0]
    outside = ((scaled < LEAST) | (scaled > GREATEST)).float().mean(-1)
    for name, (low, high), share in zip(
        ("T1", "T2"), (prior.scaling.t1_ms, prior.scaling.t2_ms), outside[1:].tolist(), strict=True
    ):
        if share > _MOST_OUTSIDE:
            raise InputError(
                f"{100 * share:.0f} % of the maps' {name} are outside of the prior's scale of {low:g} to {high:g} ms. "
                "Give maps in ms, or another -init."
            )


def _write(prior: SpinPrior, folder: Path, curve: list[CurvePoint]) -> None:
    """Write the prior's folder with its journal and model card, whole or not at all.

    Raises:
        InputError: something is there already, or the folder cannot be written.
    """
    check_vacant(folder)
    try:
        with working_folder(folder.parent, folder.name) as work:
            new = work / folder.name
            prior.save(new)
            Journal(new / "training").write(curve, prior)
            (new / "README.md").write_text(model_card(folder.name, prior, package_versions()))
            os.replace(new, folder)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({last_line(error)}). Is the disk full?") from None


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


def _learn(
    learner: _Learner,
    crops: GuidedCrops,
    checkpoint: Checkpoint,
    journal: Journal,
    processes: int,
) -> None:
    """Take all steps of a phase that are left, with checkpoint and journal every few minutes, and a last checkpoint."""
    schedule, device, saved = crops.schedule, learner.prior.device, time.monotonic()
    writes = learner.team.index == 0
    steps = range(learner.step, schedule.steps)
    batches = DataLoader(crops, batch_size=None, sampler=steps, num_workers=processes, pin_memory=device.type == "cuda")
    progress = ProgressBar(
        batches,
        desc=f"prior, on {learner.phase}",
        total=schedule.steps,
        initial=learner.step,
        mininterval=5,
        disable=not writes,
    )
    for clean, guide in progress:
        learner.learn(clean.to(device, non_blocking=True), guide.to(device, non_blocking=True))
        progress.set_postfix(loss=f"{learner.loss:.5f}", refresh=False)
        if writes and time.monotonic() - saved > 60 * schedule.checkpoint_minutes:
            checkpoint.save(learner.state())
            with learner.averaged() as prior:
                journal.write(learner.curve, prior if learner.phase == "maps" else None)
            saved = time.monotonic()
    if writes:
        checkpoint.save(learner.state())
