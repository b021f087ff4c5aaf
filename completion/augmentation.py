"""Random views of slices: turned, scaled and moved, the same way for all channels."""

from __future__ import annotations

import math

import torch
from torch.nn.functional import affine_grid, grid_sample

from nnunet_phys.completion.slices import ChannelSlices

DEGREES = 30.0
"""Greatest turn. A choice, as for nnU-Net's patches (180) but with the chest's usual orientation."""
ZOOM = (0.8, 1.25)
"""Range of the zoom. A choice: hearts of children to dilated ones."""
SHIFT_MM = 25.0
"""Greatest shift along each axis. A choice."""
GAIN = 0.1
"""Greatest relative change of a channel's brightness. Assumed: how far the bright percentile may miss."""


def random_views(
    slices: ChannelSlices, indices: torch.Tensor, size: int, pixel_mm: float, generator: torch.Generator
) -> ChannelSlices:
    """Views of some slices, each by its own random turn, zoom and shift about the slice's centre.

    Args:
        slices: the slices.
        indices: which of them, int64 (views,).
        size: rows and columns of a view.
        pixel_mm: pixel size of slices and views.
        generator: on the CPU.

    Returns:
        Slices (views, ..., size, size); dark where a view reaches beyond a slice.
    """
    views = len(indices)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    angle = uniform(-DEGREES, DEGREES, views) * math.pi / 180
    scale = torch.exp(uniform(math.log(ZOOM[0]), math.log(ZOOM[1]), views))
    images, regions = slices.images[indices].float(), slices.regions[indices].float()
    rows, columns = images.shape[2:]
    shift = uniform(-SHIFT_MM / pixel_mm, SHIFT_MM / pixel_mm, views, 2)

    # affine_grid counts each axis from -1 to 1 over its own length
    half = torch.tensor([columns, rows]) / 2
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos()), 1).view(views, 2, 2)
    matrix = turn * (size / 2) / scale[:, None, None] / half[:, None]
    grid = affine_grid(torch.cat((matrix, (shift / half)[:, :, None]), 2), [views, 1, size, size], align_corners=False)

    # Bicubic, since bilinear interpolation would make views blurrier than the images that networks are given later.
    bright = grid_sample(images + 1, grid, mode="bicubic", align_corners=False)  # padding is 0, which is dark
    masks = grid_sample(regions, grid, mode="nearest", align_corners=False) > 0.5
    return ChannelSlices(bright.clamp(0, 2) - 1, masks)


def with_random_gains(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images whose channels are a little brighter or darker, as given ones may be.

    The wanted channel keeps its brightness in training: nobody could foretell another.

    Args:
        images: (views, channels, rows, columns), from -1 to 1.
        generator: on the CPU.
    """
    gains = 1 - GAIN + 2 * GAIN * torch.rand((*images.shape[:2], 1, 1), generator=generator).to(images)
    return ((images + 1) * gains).clamp(max=2) - 1
