"""Do the contrasts of real scans lie among those that a recipe draws? Blood over myocardium, drawn and real.

Draws are made from the maps of a data set (`nnunet_phys reverse`), whose labels define blood and myocardium. Real
ratios come from the folder in NNUNET_PHYS_DATA (not part of the project): cine and LGE by their labels, MOLLI readouts
by the mid-wall ring and what it encloses. The ratio is that of the median magnitudes, with the recipe's noise and
without receive bias, slow flow, regions and infarcts.

    NNUNET_PHYS_DATA=... python benchmarks/contrast_ratios.py -d 27 -o ratios.png
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import torch
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import convert_id_to_dataset_name
from scipy.ndimage import binary_erosion

from nnunet_phys.augmentations.recipe import ContrastRecipe, SequenceEntry
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.image_files import read_image
from nnunet_phys.reservoir import Reservoir

matplotlib.use("Agg")
import matplotlib.pyplot as plt

MYO, LV = 2, 3


def main() -> None:
    """Print the table and write the histograms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", type=int, default=27, help="data set with maps (default %(default)s)")
    parser.add_argument("-recipe", default="default")
    parser.add_argument("-n", type=int, default=400, help="draws of each sequence (default %(default)s)")
    parser.add_argument("-o", type=Path, default=Path("contrast_ratios.png"))
    args = parser.parse_args()
    recipe = load_recipe(args.recipe)
    cases = read_tissue(Path(nnUNet_raw) / convert_id_to_dataset_name(args.d))
    drawn = {entry.name: draw_ratios(recipe, entry, cases, args.n) for entry in recipe.sequences}
    real = real_ratios(Path(os.environ["NNUNET_PHYS_DATA"]))
    shown = {"cine": ("bssfp",), "MOLLI": ("molli",), "LGE": ("lge_gre", "lge_bssfp")}

    print(f"{'':<14}{'5 %':>8}{'50 %':>8}{'95 %':>8}{'least':>8}{'most':>8}   blood / myocardium, {args.n} draws each")
    for name, values in {**drawn, **{f"real {k}": v for k, v in real.items()}}.items():
        print(
            f"{name:<14}"
            + "".join(f"{x:7.2f}" for x in (*np.quantile(values, (0.05, 0.5, 0.95)), min(values), max(values)))
        )
    figure, axes = plt.subplots(1, len(shown), figsize=(12, 3.2))
    for axis, (kind, names) in zip(axes, shown.items(), strict=True):
        if not any(name in drawn for name in names):
            axis.set_axis_off()
            continue
        values = np.concatenate([drawn[name] for name in names if name in drawn])
        scans = [v for k, v in real.items() if k.startswith(kind)]
        marks = np.concatenate(scans)
        bins = np.geomspace(0.1, 20, 60)
        axis.hist(values, bins, color="0.7", label=f"drawn ({', '.join(names)})")
        axis.plot(marks, np.full(len(marks), 0.5), "|", color="tab:red", markersize=14, label="real")
        axis.set(xscale="log", xlabel="blood / myocardium", title=kind)
        axis.legend(fontsize=8)
        inside = np.mean((marks >= values.min()) & (marks <= values.max()))
        central = np.mean((marks >= np.quantile(values, 0.025)) & (marks <= np.quantile(values, 0.975)))
        print(
            f"{kind}: {len(marks)} real ratios, {inside:.0%} within the drawn range, {central:.0%} in its middle 95 %"
        )
    figure.tight_layout()
    figure.savefig(args.o, dpi=110)


def core(mask: np.ndarray) -> np.ndarray:
    """The mask without its rim, slice by slice; the mask where nothing would be left."""
    eroded = np.stack([binary_erosion(plane) for plane in mask])
    return eroded if eroded.any() else mask


def inner_disc(ring: np.ndarray) -> np.ndarray:
    """A disc of 0.6 of the ring's inner radius around its middle, slice by slice: blood, also in an open ring."""
    disc = np.zeros_like(ring)
    for plane, out in zip(ring, disc, strict=True):
        if plane.any():
            places = np.argwhere(plane)
            rows, columns = np.indices(plane.shape)
            middle = (places.min(0) + places.max(0)) / 2
            radius = np.hypot(*(places - middle).T).min()
            out[:] = np.hypot(rows - middle[0], columns - middle[1]) < 0.6 * radius
    return disc


def read_tissue(raw: Path) -> list[tuple[Reservoir, int]]:
    """Per case, a reservoir of blood voxels followed by myocardium voxels, and the number of blood voxels."""
    cases = []
    for file in sorted((raw / "labelsTr").glob("*.nii.gz")):
        name, labels = file.name.removesuffix(".nii.gz"), read_image(file)
        maps = np.stack([read_image(raw / "spinTr" / f"{name}_{kind}.nii.gz") for kind in ("PDmap", "T1map", "T2map")])
        blood, muscle = maps[:, core(labels == LV)], maps[:, labels == MYO]
        voxels = np.concatenate((blood, muscle), 1).astype(np.float32)
        places, blood_mm = np.zeros_like(voxels), np.zeros(voxels.shape[1], np.float32)
        cases.append((Reservoir(voxels, places, blood_mm, np.ones(3), np.ones(3)), blood.shape[1]))
    return cases


def draw_ratios(
    recipe: ContrastRecipe, entry: SequenceEntry, cases: list[tuple[Reservoir, int]], count: int
) -> np.ndarray:
    """Ratios in `count` draws of one sequence."""
    rng = np.random.default_rng(0)
    ratios = []
    alone = replace(
        recipe,
        sequences=(replace(entry, slow_flow=None, region=None, infarct=None),),
        scanner=tuple(e for e in recipe.scanner if e.name == "noise"),
    )
    for i in range(count):
        case, blood = cases[i % len(cases)]
        draw = alone.draw_contrast(rng, case)
        points = tuple(torch.from_numpy(case.position_mm))
        signal = draw.tabulated_signal(draw.table(None), torch.from_numpy(case.voxels), points, None, (1, 1, 1))
        if draw.noise is not None:
            signal = draw.noise(signal, float(signal[:blood].abs().median()))
        signal = signal.abs()
        ratios.append(float(signal[:blood].median() / signal[blood:].median()))
    return np.array(ratios)


def real_ratios(data: Path) -> dict[str, np.ndarray]:
    """Ratios of the real cine and LGE volumes and of the MOLLI readouts."""
    ratios: dict[str, list[float]] = {}
    for kind, folder, part in (("cine", data / "Dataset027_ACDC", "Tr"), ("LGE", data / "mscmr_lge", "")):
        for file in sorted((folder / f"labels{part}").glob("*.nii.gz")):
            labels = read_image(file)
            image = read_image(folder / f"images{part}" / file.name.replace(".nii", "_0000.nii"))
            ratio = np.median(image[core(labels == LV)]) / np.median(image[labels == MYO])
            ratios.setdefault(kind, []).append(ratio)
    molli = data / "molli_t1net"
    for file in sorted((molli / "reference").glob("*.json")):
        ring = read_image(molli / "reference" / f"{file.stem}_ring.nii.gz") > 0
        blood = inner_disc(ring)
        for k, time in enumerate(json.loads(file.read_text())["inversion_times_ms"]):
            image = read_image(molli / "images" / f"{file.stem}_ti{k:02d}_0000.nii.gz")
            ratio = np.median(image[blood]) / np.median(image[ring])
            ratios.setdefault(f"MOLLI {file.stem}", []).append(ratio)
            print(f"real MOLLI {file.stem}, TI {time:.0f} ms: {ratio:.2f}")
    return {kind: np.array(values) for kind, values in ratios.items()}


if __name__ == "__main__":
    main()
