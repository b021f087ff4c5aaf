"""Do drawn images look like real ones, as a network sees them? Contrast, brightness, noise and fine detail of hearts.

Real images are the test sets of `benchmarks/generalization prepare`; draws are made from the maps of its run on
`acdc`. All are z-scored as by nnU-Net and brought to the training images' pixels. A recipe covers a real set if the
real values lie within the 10th to 90th percentile of its draws. Per volume:

- RV - MYO, LV - MYO: differences of mean brightness, in standard deviations of the image;
- heart: mean brightness of the labelled heart, 0 at the image's 5th percentile and 1 at the 95th;
- noise: standard deviation in the blood, from the differences between neighbouring pixels, as before;
- detail: power at 0.3-0.4 cycles per pixel around the heart, relative to that at 0.03-0.08, log10.

    python benchmarks/image_statistics.py -work W
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion, convolve, zoom

from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.map_files import find_maps, load_maps, map_paths

RV, MYO, LV = 1, 2, 3
STATISTICS = ("RV - MYO", "LV - MYO", "heart", "noise", "detail")
LAPLACE = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]]) / np.sqrt(20)
"""Filter that leaves the standard deviation of white noise as it is, and little of an image."""
WINDOW = 64
"""Pixels of the square around the heart whose spectrum is taken, 100 mm in ACDC."""
BORDER = 3
"""Pixels between the noise's place and the edge of the label."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-work", type=Path, required=True, help="folder of `benchmarks/generalization run`")
    parser.add_argument("-recipe", default="default")
    parser.add_argument("-n", type=int, default=500, help="draws (default %(default)s)")
    args = parser.parse_args()
    maps, raw = args.work / "maps" / "acdc" / "labels", args.work / "nnUNet_raw"
    cases = find_maps(maps)
    if not cases:
        parser.error(f"there are no maps in {maps}: `generalization run -methods phys -trainings acdc` makes them")
    labels = next(raw.glob("*ACDC")) / "labelsTr"
    pixel_mm = Geometry.read(map_paths(maps, *next(iter(cases.items())))["PDmap"]).voxel_mm[1]
    print(f"| images | n | {' | '.join(STATISTICS)} |\n|---|---|{'---|' * len(STATISTICS)}")
    for folder in sorted((args.work / "tests").iterdir()):
        values = [statistics(*scan, pixel_mm) for scan in real_scans(folder)]
        print(row(folder.name, values), flush=True)
    drawn = defaultdict(list)
    rng, recipe = np.random.default_rng(0), load_recipe(args.recipe)
    for _ in range(args.n):
        case = str(rng.choice(list(cases)))
        draw = recipe.draw_contrast(rng)
        tissue = load_maps(maps, case, cases[case], None).stack()
        voxel_mm = Geometry.read(map_paths(maps, case, cases[case])["PDmap"]).voxel_mm
        mask = read_image(labels / f"{case}{cases[case]}")
        image = draw.scan(tissue, voxel_mm).numpy()
        drawn[draw.sequence.name].append(statistics(image, mask, voxel_mm[1], pixel_mm))
    for name, values in sorted(drawn.items()):
        print(row(f"drawn {name}", values))


def real_scans(folder: Path) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Image, labels and pixel size (mm) of the cases of a test set."""
    for path in sorted((folder / "imagesTs").iterdir()):
        mask = read_image(folder / "labelsTs" / path.name.replace("_0000", ""))
        yield read_image(path), mask, Geometry.read(path).voxel_mm[1]


def statistics(image: np.ndarray, labels: np.ndarray, own_mm: float, pixel_mm: float) -> list[float]:
    """The values of `STATISTICS`; NaN where a structure is missing.

    Args:
        image, labels: (slices, rows, columns).
        own_mm: size of the image's pixels.
        pixel_mm: size to which they are brought.
    """
    scale = (1.0, own_mm / pixel_mm, own_mm / pixel_mm)
    if abs(scale[1] - 1) > 0.01:
        image, labels = zoom(image, scale, order=3), zoom(labels, scale, order=0)
    image = (image - image.mean()) / image.std()
    low, high = np.quantile(image, (0.05, 0.95))
    level = {k: image[labels == k].mean() if (labels == k).any() else np.nan for k in (RV, MYO, LV)}
    blood = np.stack([binary_erosion((mask == RV) | (mask == LV), iterations=BORDER) for mask in labels])
    rough = np.stack([convolve(plane, LAPLACE) for plane in image])[blood]
    noise = 1.4826 * float(np.median(np.abs(rough))) if len(rough) else np.nan
    heart = (image[labels > 0].mean() - low) / (high - low)
    return [level[RV] - level[MYO], level[LV] - level[MYO], heart, noise, detail(image, labels)]


def detail(image: np.ndarray, labels: np.ndarray) -> float:
    """Relative power of fine detail around the heart in the slice that shows most of it, log10."""
    k = int(np.argmax((labels > 0).sum(axis=(1, 2))))
    row, column = np.argwhere(labels[k] > 0).mean(axis=0).astype(int)
    part = np.pad(image[k], WINDOW // 2, mode="edge")[row : row + WINDOW, column : column + WINDOW]
    power = np.abs(np.fft.fft2((part - part.mean()) * np.hanning(WINDOW)[:, None] * np.hanning(WINDOW))) ** 2
    frequency = np.hypot(np.fft.fftfreq(WINDOW)[:, None], np.fft.fftfreq(WINDOW))
    fine, coarse = (power[(frequency >= a) & (frequency < b)].mean() for a, b in ((0.3, 0.4), (0.03, 0.08)))
    return float(np.log10(fine / coarse))


def row(name: str, values: list[list[float]]) -> str:
    """A line of the table: median (10th to 90th percentile)."""
    low, middle, high = np.nanpercentile(values, (10, 50, 90), axis=0)
    cells = (f"{m:.2f} ({a:.2f} to {b:.2f})" for m, a, b in zip(middle, low, high, strict=True))
    return f"| {name} | {len(values)} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
