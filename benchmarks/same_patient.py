"""Do maps of a patient's cine predict that patient's T2-weighted image?

MyoPS has bSSFP and black-blood T2 of the same slices, on one grid, with labels and pathology (folder `myops2020` in
NNUNET_PHYS_DATA, not part of the project). Maps are made from the bSSFP alone, with and without labels, and turned into
black-blood images. Compared are medians one pixel inside the labels, and in fat as the maps' T1 shows it, relative to
healthy myocardium: predicted and real, as median with 10th and 90th percentile of patients, the share of patients in
whom it is predicted rightly which is brighter, and Spearman's correlation over patients.

    NNUNET_PHYS_DATA=... python benchmarks/same_patient.py

How well the real images suppress fat (SPAIR) is not known, so fat is predicted without suppression and with STIR. Nor
is their timing: `BlackBloodTSE`'s own values are used, and 45 degrees for the bSSFP.
"""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion
from scipy.stats import spearmanr

from nnunet_phys.forward import image_of, signals
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.map_inference import infer_maps
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import BSSFP
from nnunet_phys.sequences.black_blood import BlackBloodTSE
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_kinds import FAT_MOST_T1_MS

CODES = {"RV": 1, "MYO": 2, "LV": 3}
HEALTHY, OEDEMA, SCAR = 200, 1220, 2221
"""Codes of MyoPS in `pathology`: other myocardium, oedema, scar."""
TISSUES = {"LV blood": 3, "RV blood": 1}
PLAIN, STIR = BlackBloodTSE(), BlackBloodTSE(inversion_time_ms=170.0)
FEWEST = 20
"""Pixels of a tissue that a patient must have to count."""


def main() -> None:
    """Print one table without and one with labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-every", type=int, default=1, help="take every n-th patient (default %(default)s: all)")
    args = parser.parse_args()
    prior, root = SpinPrior.load(args.prior), Path(os.environ["NNUNET_PHYS_DATA"]) / "myops2020"
    files = [f for part in ("train", "validation") for f in sorted((root / part / "labels").glob("*.nii.gz"))]
    for title, labelled in (("maps without labels", False), ("maps with labels", True)):
        ratios = defaultdict(list)
        for file in files[:: args.every]:
            for tissue, pair in ratios_of(file, prior, labelled).items():
                ratios[tissue].append(pair)
        print(f"\n{title}\n{'tissue / healthy myocardium':28s}  n   predicted   real   right order   rank correlation")
        for tissue, pairs in ratios.items():
            predicted, real = np.array(pairs).T
            right = np.mean((predicted > 1) == (real > 1))
            print(
                f"{tissue:28s} {len(pairs):2d} {_quantiles(predicted)}   {_quantiles(real)}   {100 * right:5.0f} %   "
                f"{spearmanr(predicted, real).statistic:6.2f}"
            )


def ratios_of(file: Path, prior: SpinPrior, labelled: bool) -> dict[str, tuple[float, float]]:
    """Predicted and real brightness of each tissue over that of healthy myocardium, in one patient."""
    part, case = file.parents[1], file.name.removesuffix(".nii.gz")
    labels, cine = read_image(file), part / "C0" / f"{case}_0000.nii.gz"
    image, real = read_image(cine).astype(np.float32), read_image(part / "T2" / cine.name)
    pathology_file = part / "pathology" / file.name
    pathology = read_image(pathology_file) if pathology_file.is_file() else np.where(labels == 2, HEALTHY, 0)
    column_mm, row_mm, _ = Geometry.read(cine).spacing
    pixel_mm = (row_mm, column_mm)
    weights = tissue_weights(labels, CODES, pixel_mm) if labelled else None
    (inferred,) = infer_maps([Scan(case, (Series(BSSFP(flip_angle_deg=45.0), image[None]),), pixel_mm, weights)], prior)
    maps = inferred.maps
    plain, stir = (_image(sequence, maps) for sequence in (PLAIN, STIR))
    healthy = _core(pathology == HEALTHY)
    regions = {name: (_core(labels == code), plain) for name, code in TISSUES.items()}
    regions["oedema"] = (_core(pathology == OEDEMA), plain)
    fat = (maps.t1.numpy() < FAT_MOST_T1_MS) & (labels == 0) & (image > np.median(image[labels > 0]))
    regions |= {"fat": (_core(fat), plain), "fat, with STIR": (_core(fat), stir)}
    ratios = {}
    for name, (region, predicted) in regions.items():
        if region.sum() >= FEWEST and healthy.sum() >= FEWEST:
            ratios[name] = (
                float(np.median(predicted[region]) / np.median(predicted[healthy])),
                float(np.median(real[region]) / np.median(real[healthy])),
            )
    return ratios


def _image(sequence: BlackBloodTSE, maps: SpinMaps) -> np.ndarray:
    return image_of(sequence, signals(sequence, maps)[0]).numpy()


def _core(mask: np.ndarray) -> np.ndarray:
    """The mask without its rim, slice by slice."""
    return binary_erosion(mask, np.ones((1, 3, 3)))


def _quantiles(values: np.ndarray) -> str:
    low, middle, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{middle:.2f} ({low:.2f}-{high:.2f})"


if __name__ == "__main__":
    main()
