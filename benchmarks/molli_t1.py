"""T1 from whole MOLLI series: the joint estimate of reverse imaging compared with the usual three-parameter fit.

On digital hearts, imaged by the Bloch simulation with noise, both are compared with the truth. If NNUNET_PHYS_DATA
names a folder of real series (not part of the project), they are compared with the scanner's map over a ring of
myocardium:

    NNUNET_PHYS_DATA=... python benchmarks/molli_t1.py
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np
import torch

from nnunet_phys import bloch
from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.heart_scanner import noisy_magnitude, receive_bias
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.polarity import fit_inversion_recovery
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import MOLLI

_FIRST_SEED = 6_000_000


def estimate(
    imager: ReverseImager, images: np.ndarray, sequence: MOLLI, pixel_mm: tuple[float, float], case: str
) -> dict[str, np.ndarray]:
    """T1 maps in ms, (slices, rows, columns), by method, from magnitudes (readouts, slices, rows, columns)."""
    fit = fit_inversion_recovery(torch.from_numpy(images), sequence.inversion_times_ms)
    (inferred,) = imager([Scan(case, (Series(sequence, images * fit.polarity.numpy(), signed=True),), pixel_mm)])
    return {"three-parameter fit": fit.t1_ms.numpy(), "joint estimate": inferred.maps.t1.numpy()}


def digital(imager: ReverseImager, hearts: int) -> None:
    """Print the errors of T1 on digital hearts."""
    errors: dict[tuple[str, str], list[float]] = {}
    sequence = MOLLI(rr_ms=900.0)
    for seed in range(_FIRST_SEED, _FIRST_SEED + hearts):
        heart, rng = digital_heart(seed, 2, hidden_walls=True), np.random.default_rng(seed)
        bias = receive_bias(rng, heart.labels.shape[1:], 2.5, centre_mm=heart.centre_mm)
        t1, t2 = heart.maps.t1.double().numpy(), heart.maps.t2.double().numpy()
        signal = heart.maps.pd.numpy() * bias * bloch.molli(t1, t2, rr_ms=900.0)
        images = 700 * noisy_magnitude(rng, signal, 0.003)
        maps = estimate(imager, images, sequence, (2.5, 2.5), str(seed))
        for structure in ("MYO", "LV", "RV"):
            inside = heart.labels == LABELS[structure]
            for method, t1_map in maps.items():
                ratio = float(np.median(t1_map[inside]) / np.median(t1[inside]))
                errors.setdefault((method, structure), []).append(100 * (ratio - 1))
    print(f"{hearts} digital hearts, median T1 off by, %: mean (least, greatest)")
    for (method, structure), values in errors.items():
        print(f"  {method:<22}{structure:<5}{np.mean(values):6.1f} ({min(values):.1f}, {max(values):.1f})")


def real(imager: ReverseImager, folder: Path) -> None:
    """Print T1 of the ring of each real series, and how far it is from the scanner's map."""
    for reference in sorted((folder / "reference").glob("*.json")):
        case = reference.stem
        times = tuple(json.loads(reference.read_text())["inversion_times_ms"])
        paths = [folder / "images" / f"{case}_ti{i:02d}_0000.nii.gz" for i in range(len(times))]
        images = np.stack([read_image(path) for path in paths])
        ring = read_image(folder / "reference" / f"{case}_ring.nii.gz") > 0
        scanner = read_image(folder / "reference" / f"{case}_T1map.nii.gz")[ring]
        sequence = MOLLI.from_inversion_times(times)
        maps = estimate(imager, images, sequence, Geometry.read(paths[0]).pixel_mm, case)
        print(f"{case}, {sequence.scheme}, ring: scanner's map {np.median(scanner):.0f} ms")
        for method, t1 in maps.items():
            deviation = np.median(np.abs(t1[ring] / scanner - 1))
            print(f"  {method:<22}{np.median(t1[ring]):6.0f} ms, {100 * deviation:.1f} % from it (median over pixels)")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-hearts", type=int, default=4, help="digital hearts (default %(default)s)")
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    imager = ReverseImager(SpinPrior.load(args.prior, args.device))
    digital(imager, args.hearts)
    if "NNUNET_PHYS_DATA" in os.environ:
        real(imager, Path(os.environ["NNUNET_PHYS_DATA"]) / "molli_t1net")


if __name__ == "__main__":
    main()
