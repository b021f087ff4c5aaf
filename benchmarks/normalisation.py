"""Are training patches normalised as nnU-Net normalises the same scan at inference?

For each of many draws of a recipe, the whole volume is synthesised from the maps in their own geometry and preprocessed
by nnU-Net like a test image, and a random patch is synthesised as in training. Prints how far the two differ in that
patch: their means, in standard deviations of the case, and their standard deviations, in per cent.

    python benchmarks/normalisation.py -d 27 [-c 2d] [-recipe default] [--no_image_effects]
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import blosc2
import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from tqdm import tqdm

from nnunet_phys.augmentations.contrast import acquire, synthesize
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin.preprocessed_dataset import open_preprocessed_dataset
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
from nnunet_phys.precomputed_spin.spin_copies import reservoir_path, spin_folder
from nnunet_phys.reservoir import Reservoir

IMAGE_EFFECTS = ("partial_volume", "zero_filling", "ghost")


def main() -> None:
    """Print the quantiles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", default="27", help="data set with maps, preprocessed (default %(default)s)")
    parser.add_argument("-c", default="2d")
    parser.add_argument("-p", default="nnUNetPlans")
    parser.add_argument("-recipe", default="default")
    parser.add_argument("-n", type=int, default=200, help="draws (default %(default)s)")
    parser.add_argument("--no_image_effects", action="store_true", help="without blur, cut k-space and ghosts")
    args = parser.parse_args()
    raw = open_raw_dataset(args.d)
    target = open_preprocessed_dataset(raw.name, args.p, args.c)
    plans, configuration = target.plans, target.configuration
    if list(plans.transpose_forward) != [0, 1, 2]:
        parser.error(f"the plans {args.p} transpose the axes, which this comparison does not support")
    recipe, rng = load_recipe(args.recipe), np.random.default_rng(0)
    if args.no_image_effects:
        recipe = replace(recipe, scanner=tuple(e for e in recipe.scanner if e.name not in IMAGE_EFFECTS))
    cases, means, deviations = target.cases(), [], []
    for index in tqdm(range(args.n)):
        case = cases[index % len(cases)]
        reservoir = Reservoir.load(reservoir_path(spin_folder(target.folder), case))
        draw = recipe.draw_contrast(rng, reservoir)
        reader = plans.image_reader_writer_class()
        _, properties = reader.read_images([str(raw.images[case])])
        native = load_maps(raw.maps_folder, case, raw.ending, raw.images[case], reader).stack()
        box = load_pickle(str(target.folder / f"{case}.pkl"))["bbox_used_for_cropping"]
        crop = tuple(slice(*ends) for ends in box)
        volume = torch.zeros_like(native[0])
        volume[crop] = draw.scan(native[(slice(None), *crop)], tuple(properties["spacing"])) + 1e-6
        theirs, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
            volume[None].numpy(), None, dict(properties), plans, configuration, {}
        )
        maps = torch.from_numpy(blosc2.open(str(spin_folder(target.folder) / f"{case}.b2nd"), mode="r")[:]).float()
        patch = [1] * (3 - len(configuration.patch_size)) + [int(n) for n in configuration.patch_size]
        start = [int(rng.integers(0, max(n - p, 0) + 1)) for n, p in zip(maps.shape[1:], patch, strict=True)]
        where = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
        signal, acquisition = synthesize(maps[(slice(None), *where)], tuple(start), reservoir, draw)
        ours, expected = acquire(signal[None], acquisition)[0].numpy(), theirs[0][where]
        means.append(abs(ours.mean() - expected.mean()))
        deviations.append(100 * abs(ours.std() / expected.std() - 1))
    for name, values in (("mean, SD", means), ("SD, %", deviations)):
        half, most, all_but_one, worst = np.quantile(values, (0.5, 0.95, 0.99, 1))
        within = np.mean(np.array(values) < (0.05 if name.startswith("mean") else 5))
        print(
            f"{name:<10} median {half:.3f}  95 % {most:.3f}  99 % {all_but_one:.3f}  worst {worst:.3f}  ok {within:.1%}"
        )


if __name__ == "__main__":
    main()
