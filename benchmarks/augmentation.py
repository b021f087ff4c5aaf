"""Cost of contrast synthesis compared with nnU-Net's own augmentation, on one core and in the same run.

    OMP_NUM_THREADS=1 python benchmarks/augmentation.py

First the transforms alone. nnU-Net passes them a patch larger than the network's, since rotation needs a margin; the
image fills this patch, or only the network's patch size. Then `generate_train_batch` of nnU-Net's loader as a whole,
with reading from disk, without and with the maps; in 2d and 3d. Cases are random blocks of tissue, written to a
temporary folder as nnU-Net and `nnunet_phys preprocess` write them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnunet_phys.augmentations.contrast import AcquireImage, SynthesizeContrast
from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.infarct import blood_distance
from nnunet_phys.precomputed_spin.dataset import SpinDataset
from nnunet_phys.precomputed_spin.spin_copies import save_copy
from nnunet_phys.reservoir import draw_reservoir
from nnunet_phys.spin import SpinMaps

# patch, case, spacing, batch, rotation, mirrored axes, and whether nnU-Net rotates within the plane alone
TWO_D = ((256, 224), (10, 400, 360), (10.0, 1.4, 1.4), 10, (-np.pi, np.pi), (0, 1), False)
THREE_D = ((64, 192, 160), (80, 224, 192), (1.5, 1.5, 1.5), 2, (-np.pi / 6, np.pi / 6), (0, 1, 2), False)
PROBABILITY = load_recipe("default").probability
DEFAULT = replace(load_recipe("default"), probability=1.0)
QUIET = replace(DEFAULT, scanner=tuple(effect for effect in DEFAULT.scanner if effect.name == "noise"))


def write_cases(
    folder: Path, shape: tuple[int, ...], spacing: tuple[float, ...], patch: tuple[int, ...]
) -> SpinDataset:
    """Write three cases of random blocks of tissue, preprocessed as by nnU-Net and `nnunet_phys preprocess`."""
    images, maps_folder = folder / "images", folder / "images_spin"
    images.mkdir(parents=True)
    maps_folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(3):
        blocks = rng.uniform(0, 1, (3, *(-(-n // 9) for n in shape)))
        for axis in (1, 2, 3):
            blocks = blocks.repeat(9, axis)
        blocks = blocks[:, : shape[0], : shape[1], : shape[2]]
        blocks += rng.normal(0, 0.02, blocks.shape)
        offset, span = np.array([0.3, 300.0, 40.0]), np.array([0.7, 1500.0, 200.0])
        maps = (offset[:, None, None, None] + span[:, None, None, None] * np.abs(blocks)).astype(np.float32)
        image = (maps[:1] / (1 + maps[1:2] / maps[2:3])).astype(np.float32)
        labels = (4 * np.clip(blocks[:1], 0, 0.99)).astype(np.int8)
        places = {code: np.argwhere(labels == code)[::199] for code in (1, 2, 3)}
        blocks, chunks = comp_blosc2_params(image.shape, patch, image.itemsize)
        layout = {"chunks": chunks, "blocks": blocks, "chunks_seg": chunks, "blocks_seg": blocks}
        properties = {"class_locations": places}
        nnUNetDatasetBlosc2.save_case(image, labels, properties, str(images / f"case{index}"), **layout)
        reservoir = draw_reservoir(maps, None, spacing, index)
        slice_mm, row_mm, column_mm = spacing
        blood_mm = blood_distance(SpinMaps(*torch.from_numpy(maps)), (slice_mm, row_mm, column_mm)).numpy()
        channels = np.concatenate((maps, blood_mm[None]))
        save_copy(maps_folder, f"case{index}", channels, reservoir, list(patch), {"maps": {}})
    return SpinDataset(nnUNetDatasetBlosc2(str(images)))


def transforms_of(
    patch: tuple[int, ...], rotation: tuple[float, float], mirrored: tuple[int, ...], dummy: bool
) -> ComposeTransforms:
    """nnU-Net's default training transforms."""
    scales = [[1 / 2**i] * len(patch) for i in range(5)]
    return nnUNetTrainer.get_training_transforms(patch, rotation, scales, mirrored, dummy)


def with_synthesis(theirs: ComposeTransforms, recipe: ContrastRecipe, dataset: SpinDataset) -> ComposeTransforms:
    """nnU-Net's transforms with those of this package, in the places where `PhysMixin` puts them."""
    spatial, *others = theirs.transforms
    return ComposeTransforms([SynthesizeContrast(recipe, dataset.cases), spatial, AcquireImage(), *others])


class _Between(AcquireImage):
    """`AcquireImage` on the crop that the spatial transform would pass on, so that our transforms are timed alone."""

    def __init__(self, patch: tuple[int, ...]) -> None:
        super().__init__()
        self.box = (slice(None), *(slice(0, n) for n in patch))

    def apply(self, data_dict: dict, **_) -> dict:
        return super().apply({**data_dict, "image": data_dict["image"][self.box]})


def milliseconds(calls: dict[str, Callable[[dict], object]], inputs: dict, repeats: int) -> dict[str, float]:
    """Mean time of a call of each function, ms. They are called in turn, so that other load affects all equally.

    It is the mean and not the median, since most transforms are applied by chance. The first tenth of the calls is a
    warm-up and not counted.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            fresh = {key: value.clone() for key, value in inputs.items()}
            start = time.perf_counter()
            call(fresh)
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.fmean(spent[repeats // 10 :]) for name, spent in times.items()}


def show(title: str, times: dict[str, float]) -> None:
    """Print one block of the table; percentages are relative to its first line."""
    print(title)
    base = next(iter(times.values()))
    for name, spent in times.items():
        print(f"  {name:34s} {spent:8.2f} ms {100 * spent / base:6.0f} %")


def transforms_alone(dataset: SpinDataset, repeats: int) -> None:
    """Time nnU-Net's 2d transforms, and ours for each sequence and for all sequences."""
    patch, _, _, _, rotation, mirrored, dummy = TWO_D
    large = tuple(int(n) for n in get_patch_size(patch, rotation, rotation, rotation, (0.85, 1.25)))
    theirs = transforms_of(patch, rotation, mirrored, dummy)
    for title, size in (("image fills the large patch", large), ("image of the network's patch size", patch)):
        case = dataset.load_case("case0")
        box = (slice(None), slice(4, 5), *(slice(0, n) for n in size))
        widths = [(0, 0), *((0, full - n) for n, full in zip(size, large, strict=True))]
        image = torch.from_numpy(np.pad(case[0][box][:, 0], widths))  # with its index plane
        labels = torch.from_numpy(np.pad(case[1][box][:, 0].astype(np.int16), widths, constant_values=-1))

        def ours(recipe: ContrastRecipe) -> Callable[[dict], object]:
            steps = ComposeTransforms([SynthesizeContrast(recipe, dataset.cases), _Between(patch)])
            return lambda sample: steps(**sample)

        calls = {"nnU-Net's transforms": lambda sample: theirs(**{**sample, "image": sample["image"][:1]})}
        calls["reading the maps alone"] = lambda _, size=size: dataset.cases[0].maps((slice(4, 5), *map(slice, size)))
        for entry in QUIET.sequences:
            alone = replace(entry, region=None, infarct=None)
            calls[f"signal and z-score, {entry.name}"] = ours(replace(QUIET, sequences=(alone,)))
        calls["signal and z-score, default recipe"] = ours(QUIET)
        calls["  the same at its probability"] = ours(replace(QUIET, probability=PROBABILITY))
        calls["all its effects"] = ours(DEFAULT)
        calls["  all its effects at its probability"] = ours(replace(DEFAULT, probability=PROBABILITY))
        times = milliseconds(calls, {"image": image, "segmentation": labels}, repeats)
        show(f"{title}: {size[0]}x{size[1]} in {large[0]}x{large[1]}", times)


def whole_batches(name: str, dataset: SpinDataset, setting: tuple, repeats: int) -> None:
    """Time `generate_train_batch` of nnU-Net's loader, without and with the synthesis."""
    patch, _, _, batch, rotation, mirrored, dummy = setting
    angles = (rotation,) * 3 if len(patch) == 3 else (rotation, rotation, rotation)
    large = get_patch_size(patch, *angles, (0.85, 1.25))
    labels = LabelManager({"background": 0, "a": 1, "b": 2, "c": 3}, None)
    theirs = transforms_of(patch, rotation, mirrored, dummy)
    recipe = load_recipe("default")
    loaders = {
        "nnU-Net": nnUNetDataLoader(dataset.images, batch, large, patch, labels, transforms=theirs),
        "with Phys": nnUNetDataLoader(
            dataset, batch, large, patch, labels, transforms=with_synthesis(theirs, recipe, dataset)
        ),
    }
    calls = {name: lambda _, loader=loader: loader.generate_train_batch() for name, loader in loaders.items()}
    times = milliseconds(calls, {}, repeats)
    show(f"generate_train_batch, {name}: {batch} patches of {'x'.join(map(str, patch))}", times)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-repeats", type=int, default=200, help="calls of each transform (default %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    np.random.seed(0)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        flat = write_cases(Path(folder) / "2d", TWO_D[1], TWO_D[2], TWO_D[0])
        transforms_alone(flat, args.repeats)
        whole_batches("2d", flat, TWO_D, max(10, args.repeats // 10))
        deep = write_cases(Path(folder) / "3d", THREE_D[1], THREE_D[2], THREE_D[0])
        whole_batches("3d", deep, THREE_D, max(10, args.repeats // 5))


if __name__ == "__main__":
    main()
