"""A regression of the wanted channel: a U-Net from images to an image, about which the diffusion's samples scatter.

A few dozen patients teach a regression sooner than a diffusion model. So the regression says what can be foretold (the
median, as it learns by absolute errors), and the denoiser learns the rest: it samples the difference between the true
latents and those of the regression's image.
The division of labour is that of CorrDiff (Mardani et al., Communications Earth & Environment 2025).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch.nn.functional import l1_loss, pixel_shuffle, pixel_unshuffle

from nnunet_phys.completion.augmentation import with_random_gains
from nnunet_phys.completion.conditions import some_available
from nnunet_phys.completion.slices import DARKEST

WIDTHS = (32, 64, 96, 128)
FOLD = 2
"""Rows of an image per row of the network's finest level, the dearest on a CPU: blocks of pixels become channels, as in
the denoiser."""
MULTIPLE = FOLD * 2 ** (len(WIDTHS) - 1)
"""Rows and columns of images must be multiples of this."""


def new_regressor(channels: int) -> UNet2DModel:
    """An untrained network for all tasks.

    Channels that are not given are dark, planes tell which are given, and an embedding tells which is wanted.

    Args:
        channels: number of channels of a case.
    """
    return UNet2DModel(
        in_channels=FOLD**2 * channels + channels,
        out_channels=FOLD**2,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(WIDTHS),
        up_block_types=("UpBlock2D",) * len(WIDTHS),
        add_attention=False,
        norm_num_groups=8,
        num_class_embeds=channels,
    )


def regress(regressor: UNet2DModel, images: torch.Tensor, given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The wanted channel of slices.

    Args:
        regressor: the network.
        images: (slices, channels, rows, columns), from -1 to 1; anything where a channel is not given.
        given: bool (slices, channels).
        wanted: number of the wanted channel, int64 (slices,).

    Returns:
        float32 (slices, rows, columns).
    """
    shown = torch.where(given[:, :, None, None], images, DARKEST)
    folded = pixel_unshuffle(shown, FOLD)
    planes = given[:, :, None, None].to(folded).expand(-1, -1, *folded.shape[2:])
    output = regressor(torch.cat((folded, planes), 1), 0, class_labels=wanted).sample
    return pixel_shuffle(output, FOLD)[:, 0].float()


class RegressionTask(NamedTuple):
    """What a network shall make from what.

    Attributes:
        images: (slices, channels, rows, columns), from -1 to 1, of random brightness.
        given: which channels are given, bool (slices, channels).
        wanted: number of the wanted channel, int64 (slices,).
        truth: the wanted channel (slices, rows, columns).
    """

    images: torch.Tensor
    given: torch.Tensor
    wanted: torch.Tensor
    truth: torch.Tensor

    @classmethod
    def draw(cls, images: torch.Tensor, generator: torch.Generator) -> RegressionTask:
        """A random channel wanted of each slice, some of the others given.

        Args:
            images: (slices, channels, rows, columns).
            generator: on the CPU.
        """
        slices, channels = images.shape[:2]
        wanted = torch.randint(channels, (slices,), generator=generator)
        given, where = some_available(wanted, channels, generator).to(images.device), wanted.to(images.device)
        truth = images[torch.arange(slices, device=images.device), where]
        return cls(with_random_gains(images, generator), given, where, truth)


def regression_loss(regressor: UNet2DModel, task: RegressionTask) -> torch.Tensor:
    """Mean absolute error."""
    return l1_loss(regress(regressor, task.images, task.given, task.wanted), task.truth)
