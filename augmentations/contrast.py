"""SynthesizeContrast: from an image with its maps to an image of another contrast, anew for each sample."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import ImageOnlyTransform

from nnunet_phys.augmentations.recipe import ContrastDraw, ContrastRecipe
from nnunet_phys.spin import SpinMaps

BRIGHT = 0.95  # quantile of the case's signal that noise is measured by
SMALLEST_DEVIATION = 1e-8  # as in nnU-Net's ZScoreNormalization


class SynthesizeContrast(ImageOnlyTransform):
    """Replace the real image by one synthesised from the case's maps, normalised as inference does.

    Comes first in the pipeline, before the spatial transform: signals mix where voxels mix, so the image may
    be interpolated and T1 may not. Takes `image` with five channels (image, PD, T1, T2, case index + 1; see
    `precomputed_spin.dataset`) of any spatial dimension and returns the one channel that the network sees.
    nnU-Net z-scores the whole cropped case, of which a patch is a part: mean and deviation come from the
    case's reservoir, run through the same draw. Padding stays 0, nnU-Net's value for it.

    Draws from np.random; nnU-Net's workers fork with one and the same torch generator.

    Args:
        recipe: what to draw.
        reservoirs: by case index, PD, T1 (ms), T2 (ms) of a few voxels of the cropped case, float32 (3, n).
        masked: the configuration normalises within the nonzero mask only (use_mask_for_norm); voxels outside,
            labelled -1, stay 0.
    """

    def __init__(self, recipe: ContrastRecipe, reservoirs: Sequence[np.ndarray], masked: bool = False) -> None:
        super().__init__()
        self.recipe, self.reservoirs, self.masked = recipe, reservoirs, masked

    def __repr__(self) -> str:
        return f"SynthesizeContrast({self.recipe}, {len(self.reservoirs)} cases, masked={self.masked})"

    def get_parameters(self, image: torch.Tensor, segmentation: torch.Tensor | None = None, **_) -> dict:
        """The draw (None: the real image), and where the image must stay 0."""
        outside = segmentation[0] < 0 if self.masked and segmentation is not None else None
        return {"draw": self.recipe.draw(np.random), "outside": outside}

    def _apply_to_image(
        self, img: torch.Tensor, draw: ContrastDraw | None = None, outside: torch.Tensor | None = None
    ) -> torch.Tensor:
        if draw is None:
            return img[:1].clone()
        result = torch.zeros_like(img[:1])
        case, box = content(img[-1])
        if case is not None:
            reservoir = torch.from_numpy(self.reservoirs[case])
            result[(0, *box)] = synthesize(img[(slice(1, 4), *box)], reservoir, draw)
        if outside is not None:
            result[0, outside] = 0
        return result


def content(index: torch.Tensor) -> tuple[int | None, tuple[slice, ...]]:
    """Whose case fills a patch, and where.

    Args:
        index: case index + 1 in a box, 0 in the padding around it.

    Returns:
        case index and box; None and an empty tuple where all is padding.
    """
    plane = index.numpy()
    corner = np.unravel_index(plane.argmax(), plane.shape)  # the first of equal values
    case = int(plane[corner]) - 1
    if case < 0:
        return None, ()
    box = []
    for axis, start in enumerate(corner):
        line = plane[(*corner[:axis], slice(None), *corner[axis + 1 :])]
        box.append(slice(int(start), int(start) + int(np.count_nonzero(line))))
    return case, tuple(box)


def synthesize(maps: torch.Tensor, reservoir: torch.Tensor, draw: ContrastDraw) -> torch.Tensor:
    """A magnitude image of the drawn contrast, z-scored by the reservoir's mean and deviation.

    Args:
        maps: PD, T1 (ms), T2 (ms), shape (3, ...).
        reservoir: the same for voxels of the whole case, shape (3, n).
        draw: the contrast.

    Returns:
        tensor of shape (...).
    """
    count = reservoir.shape[1]
    voxels = reservoir.new_empty((3, count + maps[0].numel()))  # one pass through the equation for both
    for channel, factor in enumerate((1.0, draw.t1_factor, draw.t2_factor)):
        torch.mul(reservoir[channel], factor, out=voxels[channel, :count])
        torch.mul(maps[channel], factor, out=voxels[channel, count:].view(maps.shape[1:]))
    signal = draw.sequence(SpinMaps.unstack(voxels))
    bright = signal[:count].abs().kthvalue(max(1, round(BRIGHT * count))).values
    real = standard_normal(len(signal), draw.seed) * (draw.noise * bright)
    imaginary = real.roll(len(signal) // 2)  # independent in each voxel
    magnitude = real.add_(signal).square_().add_(imaginary.square_()).sqrt_()
    deviation, mean = torch.std_mean(magnitude[:count], correction=0)
    image = magnitude[count:].sub_(mean).div_(deviation.clamp_min(SMALLEST_DEVIATION))
    return image.reshape(maps.shape[1:])


@cache
def _normal_bank() -> torch.Tensor:
    return torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))


def standard_normal(count: int, seed: int) -> torch.Tensor:
    """Standard normal numbers that the seed decides.

    Up to a million are a stretch of one fixed bank, which begins where the seed says: drawing them anew was a third of
    a 2D sample's cost. More of them, as in 3D, are drawn.
    """
    bank = _normal_bank()
    if count > len(bank):
        return torch.randn(count, generator=torch.Generator().manual_seed(seed))
    start = seed % (len(bank) - count + 1)
    return bank[start : start + count]
