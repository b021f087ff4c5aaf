"""The network that removes noise from the latents of the wanted channel, or from what they have beyond a regression."""

from __future__ import annotations

from math import isqrt

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from nnunet_phys.completion.conditions import Conditions, TokenProjection

COARSEST = 8
"""Rows of an image per row of the U-Net's finest level: what a CPU can afford. Latents with more rows are folded:
blocks of pixels become channels."""


def new_denoiser(
    channels: int, latent_channels: int, reduction: int, tokens: int, widths: tuple[int, ...] = (64, 96, 128)
) -> UNet2DConditionModel:
    """An untrained U-Net with cross-attention at all levels but the finest.

    Args:
        channels: number of channels of a case.
        latent_channels: channels of the latents.
        reduction: rows of an image per row of its latents.
        tokens: length of a token.
        widths: channels of the U-Net's levels.
    """
    fold = max(1, COARSEST // reduction)
    coarser = len(widths) - 1
    return UNet2DConditionModel(
        in_channels=fold**2 * latent_channels * (2 + channels) + channels,
        out_channels=fold**2 * latent_channels,
        block_out_channels=widths,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * coarser),
        up_block_types=(*("CrossAttnUpBlock2D",) * coarser, "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=tokens,
        attention_head_dim=4,
        norm_num_groups=16,
        num_class_embeds=channels,
    )


def fold_of(unet: UNet2DConditionModel, latent_channels: int) -> int:
    """Rows of latents per row of the U-Net's finest level."""
    return isqrt(unet.config["out_channels"] // latent_channels)


def multiple_of(unet: UNet2DConditionModel, latent_channels: int, reduction: int) -> int:
    """Rows and columns of images must be multiples of this."""
    levels = len(unet.config["block_out_channels"])
    return reduction * fold_of(unet, latent_channels) * int(2 ** (levels - 1))


def predict_velocity(
    unet: UNet2DConditionModel,
    projection: TokenProjection,
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    conditions: Conditions,
) -> torch.Tensor:
    """The velocity v (Salimans and Ho, ICLR 2022) of noisy latents.

    The noisy latents are concatenated with those that a regression expects, with those of the given channels, zeros
    where one is not given, and with planes that tell which are.

    Args:
        unet: the denoiser.
        projection: makes the tokens.
        noisy: (slices, latent channels, rows, columns).
        timesteps: int64 (slices,).
        conditions: of the same slices.

    Returns:
        float32 tensor of the shape of `noisy`.
    """
    fold = fold_of(unet, noisy.shape[1])
    given = conditions.given[:, :, None, None]
    shown = (conditions.latents * given[..., None]).flatten(1, 2)
    folded = pixel_unshuffle(torch.cat((noisy, conditions.regressed, shown), 1), fold)
    planes = given.to(folded).expand(-1, -1, *folded.shape[2:])
    output = unet(
        torch.cat((folded, planes), 1),
        timesteps,
        projection(conditions.features, conditions.given),
        class_labels=conditions.wanted,
    ).sample
    return pixel_shuffle(output, fold).float()
