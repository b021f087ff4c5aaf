"""Contrasts for any pipeline: one callable on a dictionary of tensors, as in MONAI, TorchIO and plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_phys.augmentations.contrast_draw import SMALLEST_DEVIATION
from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.errors import InputError
from nnunet_phys.map_plausibility import map_faults
from nnunet_phys.sequences.protocol_ranges import Rng
from nnunet_phys.spin import SpinMaps


class ContrastFromMaps:
    """Replace a sample's image by one synthesised from its maps, z-scored as a whole.

    It needs nothing from nnU-Net, neither reservoir nor index plane. Put it before cropping and spatial transforms, so
    that they move only the image and the z-score is that of the volume.

    Args:
        recipe: name, JSON file or `ContrastRecipe`.
        spacing_mm: spacing of slices, rows and columns.
        image, maps: keys of the image, (1, slices, rows, columns), and of PD, T1 (ms) and T2 (ms), (3, slices, ...).
        rng: source of the draws. None is np.random, which differs from worker to worker and from epoch to epoch of a
            torch DataLoader; a Generator would be copied into each worker and repeat itself there.

    Raises:
        InputError: no such recipe, or faults in it.
    """

    def __init__(
        self,
        recipe: str | Path | ContrastRecipe = "default",
        spacing_mm: tuple[float, float, float] = (10.0, 1.5, 1.5),
        image: str = "image",
        maps: str = "maps",
        rng: Rng | None = None,
    ) -> None:
        self.recipe = recipe if isinstance(recipe, ContrastRecipe) else load_recipe(recipe)
        self.spacing_mm = spacing_mm
        self.image = image
        self.maps = maps
        self.rng = rng

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The sample with a new image, and `contrast`: the draw as plain JSON, or None if the image is kept.

        Raises:
            InputError: maps of another shape than the image, not finite, in another unit or exchanged.
        """
        maps = self._checked(sample[self.maps])
        replaced = sample.get(self.image)
        if replaced is not None and tuple(replaced.shape) != (1, *maps.shape[1:]):
            raise InputError(
                f"'{self.image}' has shape {tuple(replaced.shape)} where '{self.maps}' has {tuple(maps.shape)}: "
                "put slices first in both. MONAI and TorchIO put them last: permute(0, 3, 2, 1)."
            )
        draw = self.recipe.draw_sample(np.random if self.rng is None else self.rng)
        changed = {**sample, "contrast": None if draw is None else draw.describe()}
        if draw is not None:
            image = draw.scan(maps, self.spacing_mm)
            deviation, mean = torch.std_mean(image, correction=0)
            changed[self.image] = ((image - mean) / deviation.clamp_min(SMALLEST_DEVIATION))[None]
        return changed

    def _checked(self, maps: Any) -> torch.Tensor:
        maps = torch.as_tensor(maps).detach().float()
        if maps.ndim != 4 or len(maps) != 3:
            shape = tuple(maps.shape)
            raise InputError(f"'{self.maps}' has shape {shape}: give PD, T1, T2 as (3, slices, rows, columns).")
        spins = SpinMaps.unstack(maps)
        if maps.any() and (faults := map_faults(f"'{self.maps}'", spins)):  # all 0: a crop of air
            raise InputError(*faults)
        return spins.within_bounds().stack()
