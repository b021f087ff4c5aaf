"""Are papillary muscles still muscle when labels say that a cavity is blood?

Maps of cine of digital hearts are made with and without labels. Printed is the share of pixels well inside papillary
muscles, and well inside the LV's blood, whose T2 is that of muscle (below 90 ms), and the median T1 in the muscles.

    python benchmarks/papillary_muscles.py
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.ndimage import binary_erosion

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.heart_scanner import noisy_magnitude
from nnunet_phys.precomputed_spin.label_names import structure_codes
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.map_inference import infer_maps
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import BSSFP
from nnunet_phys.tissues import TISSUE_NAMES

SHAPE, PIXEL_MM, SLICES, SEED = (144, 144), 1.6, 4, 7_100_000
CINE = BSSFP(flip_angle_deg=45.0)
MUSCLE_T2_MS = 90.0
"""Between muscle (about 50 ms) and blood (above 150 ms)."""


def main() -> None:
    """Print one line without and one with labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-hearts", type=int, default=6, help="digital hearts (default %(default)s)")
    parser.add_argument("-prior", default="digital_heart")
    args = parser.parse_args()
    prior, pixel_mm = SpinPrior.load(args.prior), (PIXEL_MM, PIXEL_MM)
    hearts = [digital_heart(SEED + k, SLICES, SHAPE, PIXEL_MM) for k in range(args.hearts)]
    for title, labelled in (("without labels", False), ("with labels", True)):
        scans = []
        for k, heart in enumerate(hearts):
            image = noisy_magnitude(np.random.default_rng(SEED + k), CINE(heart.maps).numpy(), 0.006)
            weights = tissue_weights(heart.labels, structure_codes(dict(LABELS)), pixel_mm) if labelled else None
            scans.append(Scan(str(k), (Series(CINE, image[None]),), pixel_mm, weights))
        t1, t2 = {"myocardium": [], "blood": []}, {"myocardium": [], "blood": []}
        for heart, inferred in zip(hearts, infer_maps(scans, prior), strict=True):
            for tissue in t1:
                inside = (heart.labels == LABELS["LV"]) & (heart.tissue == TISSUE_NAMES.index(tissue))
                inside = binary_erosion(inside, np.ones((1, 3, 3)))
                t1[tissue].append(inferred.maps.t1.numpy()[inside])
                t2[tissue].append(inferred.maps.t2.numpy()[inside])
        muscle, blood = (np.concatenate(t2[tissue]) for tissue in ("myocardium", "blood"))
        print(
            f"{title}: T2 of muscle in {100 * (muscle < MUSCLE_T2_MS).mean():.1f} % of {muscle.size} pixels of "
            f"papillary muscles (T1 {np.median(np.concatenate(t1['myocardium'])):.0f} ms in the median) and in "
            f"{100 * (blood < MUSCLE_T2_MS).mean():.2f} % of {blood.size} pixels of blood"
        )


if __name__ == "__main__":
    main()
