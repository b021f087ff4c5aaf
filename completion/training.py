"""Train a completion model: autoencoder, image encoder, regressor and denoiser in turn; a killed run goes on."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn

from nnunet_phys.completion.augmentation import random_views
from nnunet_phys.completion.autoencoder import new_autoencoder, normalise_latents, reconstruction_loss, reduction
from nnunet_phys.completion.conditions import TokenProjection
from nnunet_phys.completion.defaults import DENOISER_STEPS
from nnunet_phys.completion.denoiser import new_denoiser, predict_velocity
from nnunet_phys.completion.heat_map import HeatMap
from nnunet_phys.completion.image_encoder import ImageEncoder, contrastive_loss, feature_length
from nnunet_phys.completion.latent_bank import Encoders, LatentBank
from nnunet_phys.completion.model_files import check_vacant, save_model
from nnunet_phys.completion.pipeline import CompletionPipeline
from nnunet_phys.completion.regressor import new_regressor, regression_loss
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.averaged_optimiser import AveragedOptimiser
from nnunet_phys.precomputed_spin.prior import new_scheduler
from nnunet_phys.progress import ProgressBar
from nnunet_phys.training_checkpoint import Checkpoint

TOKENS = 128
"""Length of the tokens for cross-attention."""
_WARMUP = 0.05  # share of a phase's steps
_LOSS_MEMORY = 0.98
_COPIES_IN_CHECKPOINT = 3  # of all networks, before optimisers: pretrained, trained, averaged
_NORMALISED_VIEWS = 64  # views on which the scale of the latents is measured


@dataclass(frozen=True)
class CompletionSchedule:
    """How long and on what the networks learn.

    Attributes:
        autoencoder_steps, encoder_steps, denoiser_steps: optimiser steps.
        regressor_steps: those of the regressor; 0 for latent diffusion alone, as published.
        pretraining_share: steps on slices from maps, relative to those on the user's, of regressor and denoiser.
        view: rows and columns of a view.
        views: views that are encoded once for the denoiser.
        autoencoder_crop: rows and columns of the autoencoder's views.
        batch: views per step of the image encoder, the regressor and the denoiser.
        autoencoder_batch: views per step of the autoencoder, of one channel each.
        learning_rate: the greatest learning rate of the regressor and the denoiser.
        autoencoder_rate: that of the autoencoder and the image encoder.
        heat: whether the denoiser's loss counts more in the regions.
        slice_size: rows and columns of the slices that are kept in memory; views are not taken from beyond.
        checkpoint_minutes: minutes between two checkpoints.
    """

    autoencoder_steps: int = 3000
    encoder_steps: int = 600
    regressor_steps: int = 4000
    denoiser_steps: int = DENOISER_STEPS
    pretraining_share: float = 0.6
    view: int = 192
    views: int = 3000
    autoencoder_crop: int = 96
    batch: int = 8
    autoencoder_batch: int = 8
    learning_rate: float = 3e-4
    autoencoder_rate: float = 1e-3
    heat: bool = True
    slice_size: int = 320
    checkpoint_minutes: float = field(default=3.0, compare=False)

    def scaled(self, denoiser_steps: int, batch_factor: int) -> CompletionSchedule:
        """The same schedule with other lengths, all phases in proportion, and with more views per step.

        Args:
            denoiser_steps: optimiser steps of the denoiser.
            batch_factor: factor of the views per step. Learning rates grow by its square root, as Adam's should
                (Malladi et al., NeurIPS 2022).
        """
        share, growth = denoiser_steps / self.denoiser_steps, math.sqrt(batch_factor)
        return replace(
            self,
            autoencoder_steps=math.ceil(share * self.autoencoder_steps),
            encoder_steps=math.ceil(share * self.encoder_steps),
            regressor_steps=math.ceil(share * self.regressor_steps),
            denoiser_steps=denoiser_steps,
            batch=batch_factor * self.batch,
            autoencoder_batch=batch_factor * self.autoencoder_batch,
            learning_rate=growth * self.learning_rate,
            autoencoder_rate=growth * self.autoencoder_rate,
        )


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a model learns from.

    Attributes:
        slices: slices of the user's cases.
        synthetic: slices from maps, for pretraining; or None.
        channels: names of the channels.
        pixel_mm: pixel size of all slices.
        dark, bright: of each channel, what -1 and 1 are in images.
    """

    slices: ChannelSlices
    synthetic: ChannelSlices | None
    channels: Sequence[str]
    pixel_mm: float
    dark: Sequence[float]
    bright: Sequence[float]


class _Learner:
    """Everything that changes while one phase runs, and that a checkpoint keeps.

    Attributes:
        step: optimiser steps that are done.
        loss: running mean of the loss.
        generator: random generator of the phase, on the CPU.
        heat_map: running errors of the regions.
    """

    def __init__(self, modules: nn.ModuleDict, rate: float, steps: int, seed: int, heat_map: HeatMap) -> None:
        self.modules, self.step, self.loss, self.heat_map = modules, 0, math.nan, heat_map
        self.generator = torch.Generator().manual_seed(seed)
        self._optimiser = AveragedOptimiser(modules.parameters(), rate, int(_WARMUP * steps), steps)

    def learn(self, loss: torch.Tensor) -> None:
        """One optimiser step."""
        self._optimiser.zero_gradients()
        loss.backward()
        self._optimiser.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError("The loss is not finite. Look for images with extreme values, or use --fp32.")
        self.loss = value if math.isnan(self.loss) else _LOSS_MEMORY * self.loss + (1 - _LOSS_MEMORY) * value
        self.step += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "step": self.step,
            "loss": self.loss,
            "generator": self.generator.get_state(),
            "modules": self.modules.state_dict(),
            **self._optimiser.state(),
            "ratios": self.heat_map.ratios,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The reverse of `state`."""
        self.step, self.loss, self.heat_map.ratios = state["step"], state["loss"], state["ratios"]
        self.generator.set_state(state["generator"].cpu())
        self.modules.load_state_dict(state["modules"])
        self._optimiser.restore(state)

    def use_average(self) -> None:
        """Replace the weights by their average."""
        self._optimiser.use_average()
        self.modules.eval().requires_grad_(False)


def train_completion(
    data: TrainingData,
    folder: Path,
    schedule: CompletionSchedule,
    device: torch.device,
    seed: int,
    bf16: bool,
    record: dict[str, Any],
    autoencoder: AutoencoderKL | None = None,
    image_encoder: nn.Module | None = None,
) -> CompletionPipeline:
    """Train the networks and write the model.

    Args:
        data: what it learns from.
        folder: new folder for the model; FOLDER.checkpoint.pt lies beside it until the model is done.
        schedule: how long.
        device: where it is trained.
        seed: of weights, views and noise.
        bf16: compute in bfloat16 (autocast).
        record: how it is made; kept with the model, and compared with the checkpoint's.
        autoencoder, image_encoder: pretrained ones, which are not trained further; None: train small ones.

    Raises:
        InputError: the folder cannot be written; the disk has no room for checkpoints; the checkpoint belongs to
            another training; the loss is not finite.
    """
    check_vacant(folder)
    checkpoint = Checkpoint.of(folder.absolute(), repr((asdict(schedule), seed, record)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trains_autoencoder, trains_encoder = autoencoder is None, image_encoder is None
        autoencoder = autoencoder or new_autoencoder()
        image_encoder = image_encoder or ImageEncoder()
        projection = TokenProjection(len(data.channels), feature_length(image_encoder), TOKENS)
        unet = new_denoiser(len(data.channels), autoencoder.config["latent_channels"], reduction(autoencoder), TOKENS)
        regressor = new_regressor(len(data.channels)) if schedule.regressor_steps else None
    parts = (autoencoder, image_encoder, projection, unet, regressor)
    modules = [part.to(device) for part in parts if part is not None]
    training = _Training(data, schedule, checkpoint, device, seed, bf16)
    training.check_disk(modules)
    everything = [data.slices] if data.synthetic is None else [data.slices, data.synthetic]

    # 1. The autoencoder, and the scale of its latents
    if trains_autoencoder:
        training.run(
            "autoencoder",
            {"autoencoder": autoencoder},
            schedule.autoencoder_rate,
            schedule.autoencoder_steps,
            lambda learner: reconstruction_loss(
                autoencoder, training.channel_views(everything, learner.generator), learner.generator
            ),
        )
        views = training.views(everything, _NORMALISED_VIEWS, schedule.view, torch.Generator().manual_seed(seed))
        normalise_latents(autoencoder, views.flatten(0, 1))
    autoencoder.eval().requires_grad_(False)

    # 2. The image encoder
    if trains_encoder:
        training.run(
            "image encoder",
            {"encoder": image_encoder},
            schedule.autoencoder_rate,
            schedule.encoder_steps,
            lambda learner: contrastive_loss(image_encoder, training.pairs(everything, learner.generator)),
        )
    image_encoder.eval().requires_grad_(False)

    # 3. The regressor: on slices from maps, then on the user's
    stages = [("", data.slices, 1.0)]
    if data.synthetic is not None:
        stages.insert(0, (", pretraining", data.synthetic, schedule.pretraining_share))
    if regressor is not None:
        for suffix, slices, share in stages:
            training.run(
                f"regressor{suffix}",
                {"regressor": regressor},
                schedule.learning_rate,
                math.ceil(share * schedule.regressor_steps),
                partial(_regression_loss, regressor, slices, training),
            )
        regressor.eval().requires_grad_(False)

    # 4. The denoiser, likewise
    scheduler, heat_map = new_scheduler(), HeatMap(torch.ones(data.slices.regions.shape[1]))
    encoders, residual_scale = Encoders(autoencoder, image_encoder, regressor), 1.0
    for suffix, slices, share in stages:
        name, heated = f"denoiser{suffix}", schedule.heat and slices is data.slices
        if training.is_done(name):
            continue
        bank = LatentBank.encode(slices, schedule.views, schedule.view, data.pixel_mm, encoders, seed, bf16)
        residual_scale = bank.residual_scale()
        training.run(
            name,
            {"unet": unet, "projection": projection},
            schedule.learning_rate,
            math.ceil(share * schedule.denoiser_steps),
            partial(_denoising_loss, unet, projection, scheduler, bank, residual_scale, heated, training),
            heat_map,
        )

    # 5. The model
    pipeline = CompletionPipeline(
        autoencoder.cpu(),
        image_encoder.cpu(),
        projection.cpu(),
        unet.cpu(),
        scheduler,
        None if regressor is None else regressor.cpu(),
        residual_scale,
        data.channels,
        data.pixel_mm,
        data.dark,
        data.bright,
        {**record, "schedule": asdict(schedule), "seed": seed, "losses": training.losses},
    )
    save_model(pipeline, folder)
    checkpoint.remove()
    return pipeline


@dataclass(eq=False)
class _Training:
    """The phases of a training, of which a checkpoint keeps the finished ones' networks and the state of one.

    Attributes:
        losses: final loss of each finished phase.
    """

    data: TrainingData
    schedule: CompletionSchedule
    checkpoint: Checkpoint
    device: torch.device
    seed: int
    bf16: bool
    losses: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        loaded = self.checkpoint.load(self.device)
        self._is_new = loaded is None
        self._saved: dict[str, Any] = loaded or {"done": {}, "phase": None, "state": None}
        self.losses |= {name: done["loss"] for name, done in self._saved["done"].items()}

    def check_disk(self, networks: list[nn.Module]) -> None:
        """Make sure, before a new training begins, that its checkpoints will have room.

        Raises:
            InputError: they have not.
        """
        if self._is_new:
            room = _COPIES_IN_CHECKPOINT * [network.state_dict() for network in networks]
            self.checkpoint.check_disk({**self._saved, "room": room})  # a run can go on from it, if killed meanwhile

    def is_done(self, name: str) -> bool:
        """Whether the checkpoint holds the networks of a finished phase and of a later one."""
        return name in self._saved["done"] and self._saved["phase"] not in (None, name)

    def run(
        self,
        name: str,
        networks: dict[str, nn.Module],
        rate: float,
        steps: int,
        loss_of: Callable[[_Learner], torch.Tensor],
        heat_map: HeatMap | None = None,
    ) -> None:
        """Run a phase, or take its networks from the checkpoint if it was finished before."""
        modules = nn.ModuleDict(networks)
        if name in self._saved["done"]:
            modules.load_state_dict(self._saved["done"][name]["modules"])
            modules.eval().requires_grad_(False)
            return
        modules.train().requires_grad_(True)
        learner = _Learner(modules, rate, steps, self.seed, heat_map or HeatMap())
        if self._saved["phase"] == name:
            learner.restore(self._saved["state"])
        saved = time.monotonic()
        with ProgressBar(total=steps, initial=learner.step, desc=name, mininterval=5) as bar:
            while learner.step < steps:
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    loss = loss_of(learner)
                learner.learn(loss)
                bar.set_postfix(loss=f"{learner.loss:.4f}", refresh=False)
                bar.update()
                if time.monotonic() - saved > 60 * self.schedule.checkpoint_minutes:
                    self._save(name, learner.state())
                    saved = time.monotonic()
        learner.use_average()
        self.losses[name] = learner.loss
        self._saved["done"][name] = {"modules": modules.state_dict(), "loss": learner.loss}
        self._save(None, None)

    def _save(self, phase: str | None, state: dict[str, Any] | None) -> None:
        self._saved = {"done": self._saved["done"], "phase": phase, "state": state}
        self.checkpoint.save(self._saved)

    def views(
        self, sources: Sequence[ChannelSlices], count: int, size: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Random views (count, channels, size, size) on the device, of all sources equally often."""
        parts = []
        for slices, share in zip(sources, torch.arange(count).tensor_split(len(sources)), strict=True):
            chosen = torch.randint(len(slices), (len(share),), generator=generator)
            parts.append(random_views(slices, chosen, size, self.data.pixel_mm, generator).images)
        return torch.cat(parts).to(self.device)

    def channel_views(self, sources: Sequence[ChannelSlices], generator: torch.Generator) -> torch.Tensor:
        """A batch for the autoencoder: one random channel of each view, (views, rows, columns)."""
        batch = self.schedule.autoencoder_batch
        views = self.views(sources, batch, self.schedule.autoencoder_crop, generator)
        channels = torch.randint(views.shape[1], (batch,), generator=generator).to(views.device)
        return views[torch.arange(batch, device=views.device), channels]

    def pairs(self, sources: Sequence[ChannelSlices], generator: torch.Generator) -> torch.Tensor:
        """A batch for the image encoder: two random channels of each view, (views, 2, rows, columns)."""
        views = self.views(sources, 2 * self.schedule.batch, self.schedule.view, generator)
        order = torch.rand(views.shape[:2], generator=generator).argsort(1)[:, :2].to(views.device)
        return views[torch.arange(len(views), device=views.device)[:, None], order]


def _regression_loss(
    regressor: UNet2DModel, slices: ChannelSlices, training: _Training, learner: _Learner
) -> torch.Tensor:
    schedule, generator = training.schedule, learner.generator
    return regression_loss(regressor, training.views([slices], schedule.batch, schedule.view, generator), generator)


def _denoising_loss(
    unet: UNet2DConditionModel,
    projection: TokenProjection,
    scheduler: DDPMScheduler,
    bank: LatentBank,
    residual_scale: float,
    heated: bool,
    training: _Training,
    learner: _Learner,
) -> torch.Tensor:
    """Squared error of the velocity, weighted by the learner's heat map if `heated`."""
    batch, device = training.schedule.batch, training.device
    conditions, latents, regions = bank.draw(batch, learner.generator, device)
    clean = (latents - conditions.expected) / residual_scale
    noise = torch.randn(clean.shape, generator=learner.generator).to(device)
    levels = torch.randint(len(scheduler.alphas_cumprod), (batch,), generator=learner.generator)
    timesteps = cast(torch.IntTensor, levels.to(device))
    noisy = scheduler.add_noise(clean, noise, timesteps)
    velocity = predict_velocity(unet, projection, noisy, timesteps, conditions)
    errors = (velocity - scheduler.get_velocity(clean, noise, timesteps)).square()
    if not heated:
        return errors.mean()
    weights = learner.heat_map.weights(regions)
    learner.heat_map.learn(errors, regions)
    return (weights * errors).mean()
