"""Images to latents and back: a small variational autoencoder for slices of any channel."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch.nn.functional import l1_loss

from nnunet_phys.errors import InputError, last_line

KL_WEIGHT = 1e-6
"""Weight of the divergence from a normal distribution: the figure of latent diffusion (Rombach et al., CVPR 2022),
whose errors are sums over pixels, not means as here."""
EDGE_WEIGHT = 1.0
"""Weight of the error of differences between neighbouring pixels. A choice: without it the autoencoder blurs."""


def new_autoencoder() -> AutoencoderKL:
    """An untrained autoencoder: latents of 4 channels with a quarter of an image's rows and columns.

    Without attention, so that slices of any size pass; small enough for a CPU.
    """
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def load_autoencoder(folder: Path) -> AutoencoderKL:
    """A pretrained autoencoder from a folder in diffusers' format, such as Stable Diffusion's.

    Raises:
        InputError: there is none, or it takes neither grey nor colour images.
    """
    try:
        autoencoder = AutoencoderKL.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise InputError(f"-vae {folder} holds no autoencoder of diffusers ({last_line(error)}).") from None
    channels = autoencoder.config["in_channels"]
    if channels not in (1, 3):
        raise InputError(f"-vae {folder} takes images of {channels} channels, expected 1 or 3.")
    return autoencoder


def reduction(autoencoder: AutoencoderKL) -> int:
    """Rows of an image per row of its latents."""
    return int(2 ** (len(autoencoder.config["block_out_channels"]) - 1))


def latents_of(autoencoder: AutoencoderKL, images: torch.Tensor) -> torch.Tensor:
    """Latents with a standard deviation of about 1.

    Args:
        autoencoder: the autoencoder.
        images: (images, rows, columns), from -1 to 1; rows and columns are multiples of `reduction`.

    Returns:
        float32 (images, latent channels, rows / reduction, columns / reduction).
    """
    grey = images[:, None].expand(-1, autoencoder.config["in_channels"], -1, -1)
    shift = autoencoder.config["shift_factor"] or 0.0
    latents: torch.Tensor = (autoencoder.encode(grey).latent_dist.mode() - shift) * autoencoder.config["scaling_factor"]
    return latents.float()


def images_of(autoencoder: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """The reverse of `latents_of`: float32 (images, rows, columns), from -1 to 1."""
    shift = autoencoder.config["shift_factor"] or 0.0
    decoded = autoencoder.decode(latents / autoencoder.config["scaling_factor"] + shift).sample
    return decoded.float().mean(1).clamp(-1, 1)


def reconstruction_loss(autoencoder: AutoencoderKL, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Absolute error of images, of the differences between their pixels, and a little of the latents' divergence.

    Args:
        autoencoder: takes grey images.
        images: (images, rows, columns), from -1 to 1.
        generator: of the latents' noise, on the CPU.
    """
    distribution = autoencoder.encode(images[:, None]).latent_dist
    decoded = autoencoder.decode(distribution.sample(generator)).sample[:, 0].float()
    edges = sum(l1_loss(decoded.diff(dim=axis), images.diff(dim=axis)) for axis in (1, 2))
    loss: torch.Tensor = l1_loss(decoded, images) + EDGE_WEIGHT * edges + KL_WEIGHT * distribution.kl().mean()
    return loss


@torch.inference_mode()
def normalise_latents(autoencoder: AutoencoderKL, images: torch.Tensor) -> None:
    """Set the scaling factor so that the latents of these images have a standard deviation of 1."""
    autoencoder.register_to_config(scaling_factor=1.0)
    autoencoder.register_to_config(scaling_factor=1 / float(latents_of(autoencoder, images).std()))
