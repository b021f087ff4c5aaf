"""Latents and features of random views of slices, computed once: the denoiser trains on them without images."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import nn

from nnunet_phys.completion.augmentation import random_views, with_random_gains
from nnunet_phys.completion.autoencoder import latents_of
from nnunet_phys.completion.conditions import Conditions, some_available
from nnunet_phys.completion.heat_map import smooth_masks
from nnunet_phys.completion.image_encoder import features_of
from nnunet_phys.completion.regressor import regress
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.progress import ProgressBar

BATCH = 16
"""Views encoded at a time."""


class Encoders(NamedTuple):
    """The networks that are trained before the denoiser.

    Attributes:
        autoencoder: images to latents and back.
        image_encoder: images to features.
        regressor: given images to the wanted one; or None.
    """

    autoencoder: AutoencoderKL
    image_encoder: nn.Module
    regressor: UNet2DModel | None


@dataclass(frozen=True, eq=False)
class LatentBank:
    """Views of slices, encoded.

    Attributes:
        latents: float16 (views, channels, latent channels, rows, columns), of images as they are wanted.
        shown: likewise, of images as they are given, which differ in brightness.
        features: float16 (views, channels, places, length).
        regions: float16 (views, regions, rows, columns), smooth masks.
        given: bool (views, wanted channels, channels): which channels are given where one is wanted.
        regressed: float16 (views, wanted channels, latent channels, rows, columns), latents of the regression's image;
            zeros without one.
    """

    latents: torch.Tensor
    shown: torch.Tensor
    features: torch.Tensor
    regions: torch.Tensor
    given: torch.Tensor
    regressed: torch.Tensor

    @classmethod
    @torch.inference_mode()
    def encode(
        cls, slices: ChannelSlices, views: int, size: int, pixel_mm: float, encoders: Encoders, seed: int, bf16: bool
    ) -> LatentBank:
        """Encode random views, every slice equally often.

        Args:
            slices: the slices.
            views: number of views.
            size: rows and columns of a view.
            pixel_mm: pixel size.
            encoders: the encoders.
            seed: of the views; the same seed makes the same bank.
            bf16: compute in bfloat16.
        """
        generator = torch.Generator().manual_seed(seed)
        parts = []
        for indices in ProgressBar(slices.shuffled(views, generator).split(BATCH), desc="encoding", unit="batch"):
            seen = random_views(slices, indices, size, pixel_mm, generator)
            parts.append(cls._of_views(seen, encoders, generator, bf16))
        return cls(*(torch.cat([getattr(part, of.name) for part in parts]) for of in fields(cls)))

    @classmethod
    def _of_views(cls, views: ChannelSlices, encoders: Encoders, generator: torch.Generator, bf16: bool) -> LatentBank:
        """A bank of a few views."""
        device, (count, channels) = encoders.autoencoder.device, views.images.shape[:2]
        wanted = torch.arange(channels).expand(count, -1)
        given = some_available(wanted.flatten(), channels, generator)
        images = with_random_gains(views.images, generator).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            latents = latents_of(encoders.autoencoder, views.images.to(device).flatten(0, 1))
            shown = latents_of(encoders.autoencoder, images.flatten(0, 1))
            features = features_of(encoders.image_encoder, images.flatten(0, 1))
            regressed = torch.zeros_like(latents)
            if encoders.regressor is not None:
                repeated = images.repeat_interleave(channels, 0)
                image = regress(encoders.regressor, repeated, given.to(device), wanted.flatten().to(device))
                regressed = latents_of(encoders.autoencoder, image.clamp(-1, 1))

        def by_view(values: torch.Tensor) -> torch.Tensor:
            return values.view(count, channels, *values.shape[1:])

        return cls(
            latents=by_view(latents).half().cpu(),
            shown=by_view(shown).half().cpu(),
            features=by_view(features).half().cpu(),
            regions=smooth_masks(views.regions, (latents.shape[2], latents.shape[3])).half(),
            given=by_view(given),
            regressed=by_view(regressed).half().cpu(),
        )

    def residual_scale(self) -> list[float]:
        """Root mean square, by latent channel, of what latents have beyond the regression; of all without one."""
        squares = (self.latents.float() - self.regressed.float()).square()
        return [max(value, 1e-6) for value in squares.mean((0, 1, 3, 4)).sqrt().tolist()]

    def draw(
        self, views: int, generator: torch.Generator, device: torch.device
    ) -> tuple[Conditions, torch.Tensor, torch.Tensor]:
        """Random views, with a random channel wanted of each and the others given but for what is hidden by chance.

        Args:
            views: their number.
            generator: on the CPU.
            device: where the tensors go.

        Returns:
            The conditions; latents of the wanted channel (views, latent channels, rows, columns); the smooth masks.
        """
        chosen = torch.randint(len(self.latents), (views,), generator=generator)
        wanted = torch.randint(self.latents.shape[1], (views,), generator=generator)
        latents, shown, features, regions, regressed = (
            values.float().to(device)
            for values in (
                self.latents[chosen, wanted],
                self.shown[chosen],
                self.features[chosen],
                self.regions[chosen],
                self.regressed[chosen, wanted],
            )
        )
        given = self.given[chosen, wanted].to(device)
        conditions = Conditions(shown, features, given, wanted.to(device), regressed).with_some_dropped(generator)
        return conditions, latents, regions
