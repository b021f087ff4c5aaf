"""Contrasts for any pipeline: one callable on a dictionary of tensors, as in MONAI, TorchIO and plain torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import load_recipe


class ContrastFromMaps:
    """Replace a sample's image by one synthesised from its maps, z-scored as a whole.

    Nothing of nnU-Net's is needed: no reservoir, no index plane. Put it before cropping and spatial transforms; they
    then move one image, and the z-score is that of the volume.

    Args:
        recipe: name, JSON file or `ContrastRecipe`.
        spacing_mm: of slices, rows and columns.
        image, maps: keys of the image, (1, slices, rows, columns), and of PD, T1 (ms) and T2 (ms), (3, slices, ...).
        rng: source of the draws; np.random by default, which torch's DataLoader does not seed anew for each worker
            unless its `worker_init_fn` does.

    Raises:
        InputError: no such recipe, or faults in it.
    """

    def __init__(
        self,
        recipe: str | Path | ContrastRecipe = "default",
        spacing_mm: tuple[float, float, float] = (10.0, 1.5, 1.5),
        image: str = "image",
        maps: str = "maps",
        rng: Any = np.random,
    ) -> None:
        self.recipe = recipe if isinstance(recipe, ContrastRecipe) else load_recipe(recipe)
        self.spacing_mm, self.image, self.maps, self.rng = spacing_mm, image, maps, rng

    def __call__(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        """The sample with another image, and `contrast`: the draw as plain JSON, None where the image is kept."""
        draw = self.recipe.draw(self.rng)
        changed = {**sample, "contrast": None if draw is None else draw.describe()}
        if draw is not None:
            image = draw.scan(torch.as_tensor(sample[self.maps]), self.spacing_mm)
            deviation, mean = torch.std_mean(image)
            changed[self.image] = ((image - mean) / deviation.clamp_min(1e-8))[None]
        return changed
