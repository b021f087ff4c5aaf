"""Train a completion model: autoencoder, image encoder, regressor and denoiser in turn; a killed run goes on."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn

from nnunet_phys.completion.autoencoder import new_autoencoder, normalise_latents, reconstruction_loss, reduction
from nnunet_phys.completion.conditions import TokenProjection
from nnunet_phys.completion.denoiser import new_denoiser, predict_velocity
from nnunet_phys.completion.heat_map import HeatMap
from nnunet_phys.completion.image_encoder import ImageEncoder, contrastive_loss, feature_length
from nnunet_phys.completion.latent_bank import Encoders, LatentBank
from nnunet_phys.completion.model_files import check_vacant, save_model
from nnunet_phys.completion.pipeline import CompletionPipeline
from nnunet_phys.completion.regressor import RegressionTask, new_regressor, regression_loss
from nnunet_phys.completion.schedule import CompletionSchedule
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.completion.training_run import Learner, TrainingData, TrainingRun
from nnunet_phys.precomputed_spin.prior import new_scheduler
from nnunet_phys.training_checkpoint import Checkpoint

TOKENS = 128
"""Length of the tokens for cross-attention."""
_NORMALISED_VIEWS = 64  # views on which the scale of the latents is measured


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
    decisive = {name: value for name, value in asdict(schedule).items() if name != "checkpoint_minutes"}
    checkpoint = Checkpoint.of(folder.absolute(), {**record, "schedule": decisive, "data": data.sha256(), "seed": seed})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trains_autoencoder, trains_encoder = autoencoder is None, image_encoder is None
        autoencoder = autoencoder or new_autoencoder()
        image_encoder = image_encoder or ImageEncoder()
        torch.manual_seed(seed)  # the other networks begin alike, whether these two are pretrained or not
        projection = TokenProjection(len(data.channels), feature_length(image_encoder), TOKENS)
        unet = new_denoiser(len(data.channels), autoencoder.config["latent_channels"], reduction(autoencoder), TOKENS)
        regressor = new_regressor(len(data.channels)) if schedule.regressor_steps else None
    trained = {autoencoder: trains_autoencoder, image_encoder: trains_encoder, projection: True, unet: True}
    if regressor is not None:
        trained[regressor] = True
    for network in trained:
        network.to(device)
    training = TrainingRun(data, schedule, checkpoint, device, seed, bf16)
    training.check_disk([network for network, learns in trained.items() if learns])
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
    regressors: dict[str, UNet2DModel] = {}
    if regressor is not None:
        for suffix, slices, share in stages:
            training.run(
                f"regressor{suffix}",
                {"regressor": regressor},
                schedule.learning_rate,
                math.ceil(share * schedule.regressor_steps),
                partial(_regression_loss, regressor, slices, training),
            )
            regressors[suffix] = deepcopy(regressor).eval().requires_grad_(False)
        regressor.eval().requires_grad_(False)

    # 4. The denoiser, likewise, beside the regressor that has learned from the same slices
    scheduler, heat_map = new_scheduler(), HeatMap(torch.ones(data.slices.regions.shape[1]))
    for suffix, slices, share in stages:
        encoders = Encoders(autoencoder, image_encoder, regressors.get(suffix))
        bank = cache(  # which a resumed training does not make for a phase that is done
            partial(LatentBank.encode, slices, schedule.views, schedule.view, data.pixel_mm, encoders, seed, bf16)
        )
        name, heated = f"residual scale{suffix}", schedule.heat and slices is data.slices
        if name not in training.numbers:
            training.numbers[name] = bank().residual_scale()
        residual_scale = training.numbers[name]
        training.run(
            f"denoiser{suffix}",
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
        list(data.channels),
        data.pixel_mm,
        schedule.view,
        list(data.dark),
        list(data.bright),
        {**record, "schedule": asdict(schedule), "seed": seed, "losses": training.losses},
    )
    save_model(pipeline, folder)
    checkpoint.remove()
    return pipeline


def _regression_loss(
    regressor: UNet2DModel, slices: ChannelSlices, training: TrainingRun, learner: Learner
) -> torch.Tensor:
    schedule, generator = training.schedule, learner.generator
    views = training.views([slices], schedule.batch, schedule.view, generator)
    return regression_loss(regressor, RegressionTask.draw(views, generator))


def _denoising_loss(
    unet: UNet2DConditionModel,
    projection: TokenProjection,
    scheduler: DDPMScheduler,
    bank: Callable[[], LatentBank],
    residual_scale: list[float],
    heated: bool,
    training: TrainingRun,
    learner: Learner,
) -> torch.Tensor:
    """Squared error of the velocity, weighted by the learner's heat map if `heated`."""
    batch, device = training.schedule.batch, training.device
    conditions, latents, regions = bank().draw(batch, learner.generator, device)
    clean = (latents - conditions.regressed) / torch.tensor(residual_scale, device=device).view(-1, 1, 1)
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
