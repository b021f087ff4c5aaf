"""What a GPU makes of reverse imaging: do its maps agree with a CPU's, and how many slices a second does it do.

Maps of held-out digital hearts are made on the CPU and on the GPU, there with the network in fp32 and in bf16 and with
several batch sizes. Printed are how far T1 and T2 differ (median and 99th percentile over the body), slices per second,
memory, and the hours or minutes that the 1,902 slices of ACDC would take. A GPU machine without the package needs
diffusers, cattrs, nibabel and SimpleITK beside torch; the repository's root then goes into PYTHONPATH.

    PYTHONPATH=. python benchmarks/gpu.py
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.heart_scanner import noisy_magnitude
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.scan import Inferred, Scan, Series
from nnunet_phys.sequences import BSSFP

SHAPE, PIXEL_MM, SEED = (224, 224), 1.5, 6_800_000
CINE = BSSFP(flip_angle_deg=45.0)
ACDC_SLICES = 1902


def draw_scans(volumes: int, slices: int) -> list[Scan]:
    """Cine images of digital hearts."""
    scans = []
    for seed in range(SEED, SEED + volumes):
        maps, rng = digital_heart(seed, slices, SHAPE, PIXEL_MM).maps, np.random.default_rng(seed)
        image = noisy_magnitude(rng, CINE(maps).numpy(), 0.005)
        scans.append(Scan(str(seed), (Series(CINE, image[None]),), (PIXEL_MM, PIXEL_MM)))
    return scans


def timed(imager: ReverseImager, scans: list[Scan]) -> tuple[list[Inferred], float]:
    """Maps of scans, and slices per second."""
    start = time.perf_counter()
    results = list(imager(scans))
    return results, sum(scan.shape[0] for scan in scans) / (time.perf_counter() - start)


def difference(results: list[Inferred], expected: list[Inferred]) -> str:
    """How far T1 and T2 are from the expected ones where the body gives signal."""
    cells = []
    for name in ("t1", "t2"):
        ratios = [
            (getattr(a.maps, name) / getattr(b.maps, name)).log().abs()[b.maps.pd > 0.1]
            for a, b in zip(results, expected, strict=True)
        ]
        percent = 100 * torch.cat(ratios).expm1()
        cells.append(f"{float(percent.median()):.2f} / {float(percent.quantile(0.99)):.1f}")
    return ", ".join(cells)


def main() -> None:
    """Print one line per setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-device", default="cuda")
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-batches", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("-volumes", type=int, default=32, help="volumes to time (default %(default)s)")
    args = parser.parse_args()
    few = draw_scans(1, 8)
    many = [replace(few[0], case=f"{few[0].case}/{k}") for k in range(args.volumes)]
    expected, per_second = timed(ReverseImager(SpinPrior.load(args.prior)), few)
    print(f"CPU, {torch.get_num_threads()} threads: {per_second:.2f} slices/s", flush=True)
    prior = SpinPrior.load(args.prior, args.device)
    for bf16 in (False, True):
        for batch in args.batches:
            imager = ReverseImager(replace(prior, bf16=bf16), batch=batch)
            results, _ = timed(imager, few)  # also warms up
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()
            _, per_second = timed(imager, many)
            memory = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
            print(
                f"{args.device} {'bf16' if bf16 else 'fp32'}, batch {batch}: T1, T2 differ by "
                f"{difference(results, expected)} % (median / 99 %); {per_second:.1f} slices/s, {memory:.2f} GiB; "
                f"ACDC in {ACDC_SLICES / per_second / 60:.1f} min",
                flush=True,
            )


if __name__ == "__main__":
    main()
