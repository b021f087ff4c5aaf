"""Latents and features of random views of slices, computed once: the denoiser trains on them without images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from nnunet_phys.completion.augmentation import random_views
from nnunet_phys.completion.autoencoder import latents_of
from nnunet_phys.completion.conditions import Conditions
from nnunet_phys.completion.heat_map import smooth_masks
from nnunet_phys.completion.image_encoder import features_of
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.progress import ProgressBar

BATCH = 16
"""Views encoded at a time."""


@dataclass(frozen=True, eq=False)
class LatentBank:
    """Views of slices, encoded.

    Attributes:
        latents: float16 (views, channels, latent channels, rows, columns).
        features: float16 (views, channels, places, length).
        regions: float16 (views, regions, rows, columns), smooth masks.
    """

    latents: torch.Tensor
    features: torch.Tensor
    regions: torch.Tensor

    @classmethod
    @torch.inference_mode()
    def encode(
        cls,
        slices: ChannelSlices,
        views: int,
        size: int,
        pixel_mm: float,
        autoencoder: AutoencoderKL,
        image_encoder: nn.Module,
        seed: int,
        bf16: bool,
    ) -> LatentBank:
        """Encode random views, every slice equally often.

        Args:
            slices: the slices.
            views: number of views.
            size: rows and columns of a view.
            pixel_mm: pixel size.
            autoencoder, image_encoder: the encoders.
            seed: of the views; the same seed makes the same bank.
            bf16: compute in bfloat16.
        """
        generator, device = torch.Generator().manual_seed(seed), autoencoder.device
        order = torch.cat([torch.randperm(len(slices), generator=generator) for _ in range(-(-views // len(slices)))])
        parts: list[tuple[torch.Tensor, ...]] = []
        for indices in ProgressBar(order[:views].split(BATCH), desc="encoding", unit="batch"):
            seen = random_views(slices, indices, size, pixel_mm, generator)
            count, channels = seen.images.shape[:2]
            images = seen.images.flatten(0, 1).to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                latents = latents_of(autoencoder, images)
                features = features_of(image_encoder, images)
            masks = smooth_masks(seen.regions, (latents.shape[2], latents.shape[3]))
            encoded = (
                latents.view(count, channels, *latents.shape[1:]),
                features.view(count, channels, *features.shape[1:]),
            )
            parts.append(tuple(values.half().cpu() for values in (*encoded, masks)))
        return cls(*(torch.cat(values).clone() for values in zip(*parts, strict=True)))

    def draw(
        self, views: int, generator: torch.Generator, device: torch.device
    ) -> tuple[Conditions, torch.Tensor, torch.Tensor]:
        """Random views, with a random channel wanted of each and the others given but for what is dropped by chance.

        Args:
            views: their number.
            generator: on the CPU.
            device: where the tensors go.

        Returns:
            The conditions; latents of the wanted channel (views, latent channels, rows, columns); the smooth masks.
        """
        channels = self.latents.shape[1]
        chosen = torch.randint(len(self.latents), (views,), generator=generator)
        wanted = torch.randint(channels, (views,), generator=generator)
        given = torch.arange(channels)[None] != wanted[:, None]
        latents, features, regions = (
            values[chosen].float().to(device) for values in (self.latents, self.features, self.regions)
        )
        conditions = Conditions(latents, features, given.to(device), wanted.to(device)).with_some_dropped(generator)
        return conditions, latents[torch.arange(views), wanted.to(device)], regions
