"""Do labels decide about the tissue? How much of the labelled cavities and wall gets T1 or T2 of another tissue.

Makes maps of labelled cine with and without `nnunet_phys reverse --labels`, and reads them one pixel inside each
structure, where the contour leaves no doubt. Prints the share of pixels with T1 of fat (below 700 ms), the number of
volumes where this share exceeds a twentieth and a tenth, medians of T1 and T2, and the share of pixels with T2 of
muscle (below 90 ms; in the left cavity, papillary muscles and trabeculae). Also prints how much T1 changes across
edges of labels where the image hardly changes, which shows whether labels leave their outline in the maps.

    NNUNET_PHYS_DATA=... python benchmarks/labelled_tissue.py -work FOLDER
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion

from generalization.processes import run_command
from nnunet_phys.experiments.small_training import DEMO_TRAINERS, own_folders
from nnunet_phys.image_files import read_image

DATASET = "Dataset027_ACDC"
STRUCTURES = {"RV": 1, "MYO": 2, "LV": 3}
FAT_T1_MS, MUSCLE_T2_MS = 700.0, 90.0
"""Between fat (below 400 ms) and blood or muscle (above 900 ms); between muscle (about 50 ms) and blood (above 150)."""
INVISIBLE = 0.05
"""Share of the heart's mean brightness. Assumed: neighbours that differ by less show no edge."""


def main() -> None:
    """Make the maps that are missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-work", type=Path, required=True, help="folder for all files; a rerun continues")
    parser.add_argument("-every", type=int, default=1, help="take every n-th volume (default %(default)s: all)")
    parser.add_argument("-cases", nargs="*", help="take these volumes instead")
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    work, source = args.work.resolve(), Path(os.environ["NNUNET_PHYS_DATA"]) / DATASET
    own_folders(work, DEMO_TRAINERS)
    raw = work / "nnUNet_raw" / DATASET
    everything = sorted(p.name.removesuffix("_0000.nii.gz") for p in (source / "imagesTr").iterdir())
    cases = args.cases or everything[:: args.every]
    if not raw.is_dir():
        link_cases(source, raw, cases)
    options = ("-d", "27", "-device", args.device, "-prior", args.prior)
    maps = {"with labels": raw / "spinTr_labels", "without": raw / "spinTr"}
    run_command("nnunet_phys", "reverse", *options, "-o", str(maps["with labels"]), "--labels")
    run_command("nnunet_phys", "reverse", *options, "-o", str(maps["without"]))
    for title, folder in maps.items():
        print(f"\nmaps {title}")
        print(table(raw, folder, cases))


def link_cases(source: Path, raw: Path, cases: list[str]) -> None:
    """Make a data set of these volumes, as links to the source's files."""
    for folder, ending in (("imagesTr", "_0000.nii.gz"), ("labelsTr", ".nii.gz")):
        (raw / folder).mkdir(parents=True, exist_ok=True)
        for case in cases:
            (raw / folder / f"{case}{ending}").symlink_to(source / folder / f"{case}{ending}")
    description = json.loads((source / "dataset.json").read_text()) | {"numTraining": len(cases)}
    (raw / "dataset.json").write_text(json.dumps(description, indent=2))


def table(raw: Path, maps: Path, cases: list[str]) -> str:
    """T1 and T2 in the maps, with one row per structure, and the worst volumes."""
    cells: dict[str, list[dict[str, float]]] = {name: [] for name in STRUCTURES}
    steps, fat_pixels, pixels = [], dict.fromkeys(STRUCTURES, 0), dict.fromkeys(STRUCTURES, 0)
    for case in cases:
        labels = read_image(raw / "labelsTr" / f"{case}.nii.gz")
        image = read_image(raw / "imagesTr" / f"{case}_0000.nii.gz")
        t1, t2 = (read_image(maps / f"{case}_{name}.nii.gz") for name in ("T1map", "T2map"))
        steps.append(edge_steps(labels, image, t1))
        for name, code in STRUCTURES.items():
            inside = binary_erosion(labels == code, np.ones((1, 3, 3)))
            fat = t1[inside] < FAT_T1_MS
            fat_pixels[name] += int(fat.sum())
            pixels[name] += fat.size
            if fat.size:
                medians = {"T1": np.median(t1[inside]), "T2": np.median(t2[inside])}
                muscle = 100 * (t2[inside] < MUSCLE_T2_MS).mean()
                cells[name].append({"case": case, "fat": 100 * fat.mean(), "muscle": muscle} | medians)
    lines = [f"{'':<6}{'fat %':>7}{'> 5 %':>7}{'> 10 %':>8}{'worst':>7}{'T1':>7}{'T2':>6}{'muscle %':>10}   worst"]
    for name, values in cells.items():
        shares = np.array([v["fat"] for v in values])
        worst = sorted(values, key=lambda v: -v["fat"])[:3]
        t1, t2, muscle = (np.median([v[key] for v in values]) for key in ("T1", "T2", "muscle"))
        lines.append(
            f"{name:<6}{100 * fat_pixels[name] / pixels[name]:>7.2f}{(shares > 5).sum():>7}{(shares > 10).sum():>8}"
            f"{shares.max():>7.1f}{t1:>7.0f}{t2:>6.0f}{muscle:>10.1f}   "
            + ", ".join(f"{v['case']} {v['fat']:.0f} %" for v in worst)
        )
    change = np.concatenate(steps)
    lines.append(
        f"across label edges that the image does not show: T1 changes by {100 * np.median(np.expm1(change)):.1f} % in "
        f"the median, by more than 30 % in {100 * (change > np.log(1.3)).mean():.1f} % of {len(change)} pairs"
    )
    return "\n".join(lines)


def edge_steps(labels: np.ndarray, image: np.ndarray, t1: np.ndarray) -> np.ndarray:
    """|Change of log T1| between neighbours with different labels and nearly equal brightness."""
    steps = []
    for axis in (1, 2):
        first, second = (
            [np.take(a, range(start, a.shape[axis] - 1 + start), axis) for a in (labels, image, t1)] for start in (0, 1)
        )
        alike = np.abs(first[1] - second[1]) < INVISIBLE * image[labels > 0].mean()
        pairs = (first[0] != second[0]) & alike
        steps.append(np.abs(np.log(first[2][pairs] / second[2][pairs])))
    return np.concatenate(steps)


if __name__ == "__main__":
    main()
