"""Cost of contrast synthesis beside nnU-Net's own training transforms: one core, one 2D sample.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py

nnU-Net hands its transforms a patch larger than the network's (rotation needs the margin); an image that ends
within it is padded. Both are shown: an image that fills the large patch, and one of the network's patch size,
as in cine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnunet_phys.augmentations.contrast import SynthesizeContrast
from nnunet_phys.augmentations.recipe import DEFAULT, BSSFPRanges, ContrastRecipe, GRERanges, MOLLIRanges

PATCH = (256, 224)
ROTATION = (-np.pi, np.pi)
REPEATS = 200


def sample(image_size: tuple[int, int], patch_size: tuple[int, int]) -> dict:
    """Image, maps and index plane of random tissue in a patch padded as nnU-Net pads it; and labels."""
    rng = np.random.default_rng(0)
    content = np.empty((5, *image_size), dtype=np.float32)
    content[0] = rng.normal(size=image_size)
    content[1] = rng.uniform(0, 1, image_size)
    content[2] = rng.uniform(300, 1800, image_size)
    content[3] = rng.uniform(40, 250, image_size)
    content[4] = 1
    margins = [(p - n) // 2 for p, n in zip(patch_size, image_size, strict=True)]
    widths = [(m, p - n - m) for m, p, n in zip(margins, patch_size, image_size, strict=True)]
    labels = rng.integers(0, 4, (1, *image_size)).astype(np.int16)
    return {
        "image": torch.from_numpy(np.pad(content, [(0, 0), *widths])),
        "segmentation": torch.from_numpy(np.pad(labels, [(0, 0), *widths], constant_values=-1)),
    }


def milliseconds(transforms: dict[str, tuple[Callable, int]], case: dict) -> dict[str, float]:
    """Mean time of one call of each, in turns so that other load falls on all alike.

    The mean, not the median: most transforms are applied by chance. `transforms` holds each with the number of
    channels that it takes.
    """
    times: dict[str, list[float]] = {name: [] for name in transforms}
    for _ in range(REPEATS):
        for label, (transform, channels) in transforms.items():
            fresh = {name: value.clone() for name, value in case.items()}
            fresh["image"] = fresh["image"][:channels]
            start = time.perf_counter()
            transform(**fresh)
            times[label].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.fmean(spent[REPEATS // 10 :]) for name, spent in times.items()}


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    np.random.seed(0)
    large = tuple(int(n) for n in get_patch_size(PATCH, ROTATION, ROTATION, ROTATION, (0.85, 1.25)))
    scales = [[1 / 2**i] * 2 for i in range(6)]
    theirs = nnUNetTrainer.get_training_transforms(PATCH, ROTATION, scales, (0, 1), False)
    always = replace(DEFAULT, probability=1.0)
    recipes: dict[str, ContrastRecipe] = {
        "bSSFP": replace(always, sequences=(BSSFPRanges(),)),
        "MOLLI": replace(always, sequences=(MOLLIRanges(),)),
        "GRE": replace(always, sequences=(GRERanges(),)),
        "default recipe": DEFAULT,
    }
    reservoir = sample((64, 64), (64, 64))["image"][1:4].reshape(3, -1).numpy()
    ours = {name: (SynthesizeContrast(recipe, [reservoir]), 5) for name, recipe in recipes.items()}
    for name, size in (("image fills the patch", large), ("image of the network's patch size", PATCH)):
        print(f"{name}: {size[0]}x{size[1]} in a patch of {large[0]}x{large[1]}")
        times = milliseconds({"nnU-Net transforms": (theirs, 1), **ours}, sample(size, large))
        for label, spent in times.items():
            print(f"  {label:20s} {spent:6.2f} ms  {100 * spent / times['nnU-Net transforms']:5.0f} %")


if __name__ == "__main__":
    main()
