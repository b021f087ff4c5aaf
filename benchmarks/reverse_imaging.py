"""How well maps made from one cine image reproduce other contrasts, on held-out digital hearts whose maps are known.

Every method gets the same images (bSSFP, receive bias in PD, noise, an unknown gain, another pixel size than the
prior's) and the same steps around it (gain, resampling, last correction on the image's own grid), which favours methods
without such steps. What counts is the contrasts: MOLLI over its readouts, GRE and T2-prepared bSSFP made from the
estimated maps, compared with those from the true maps after one gain per image.

    python benchmarks/reverse_imaging.py
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from generalization.competitors.look_up import TissueLookup
from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.forward import signals
from nnunet_phys.heart_scanner import noisy_magnitude, receive_bias
from nnunet_phys.precomputed_spin.likelihood import Likelihood
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import DPS, ProximalMean, ProximalSampler, Sampler, SliceNoise
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import BSSFP, MOLLI, SpoiledGRE, T2PreparedBSSFP
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissues import TISSUE_NAMES

SHAPE, PIXEL_MM = (160, 160), 2.0
CINE = BSSFP(flip_angle_deg=45.0)
CONTRASTS = {"MOLLI": MOLLI(), "GRE": SpoiledGRE(inflow_pulses=50.0), "T2prep": T2PreparedBSSFP((25.0, 55.0))}
TEST_SEED, TUNING_SEED = 6_000_000, 6_500_000
XI = (0.05, 0.2, 0.8, 3.0, 12.0)


@dataclass(frozen=True)
class PriorMean(Sampler):
    """Baseline: T1 and T2 are the prior's mean everywhere; the image goes into PD."""

    uses_labels = False
    draws_samples = False

    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        return prior.library_moments[:3].expand(len(likelihood.observed), 3, *likelihood.observed.shape[1:]).clone()


@dataclass(frozen=True)
class Unguided(Sampler):
    """A sampler whose prior does not see the image, as in the paper."""

    uses_labels = True

    sampler: Sampler

    @property
    def draws_samples(self) -> bool:
        return self.sampler.draws_samples

    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        return self.sampler(replace(prior, guide=None), likelihood, noise)


@dataclass(frozen=True)
class Heart:
    """A held-out digital heart: its image, true maps, labels and tissues, (slices, rows, columns)."""

    name: str
    image: np.ndarray
    maps: SpinMaps
    labels: np.ndarray
    tissue: np.ndarray

    @property
    def regions(self) -> dict[str, np.ndarray]:
        """Where a tissue is, bool (slices, rows, columns), by its name."""
        regions = {"myocardium": self.labels == LABELS["MYO"], "LV blood": self.labels == LABELS["LV"]}
        return regions | {"RV blood": self.labels == LABELS["RV"], "fat": self.tissue == TISSUE_NAMES.index("fat")}


def draw_heart(seed: int, slices: int, shape: tuple[int, int] = SHAPE, pixel_mm: float = PIXEL_MM) -> Heart:
    """Draw a heart and its cine image."""
    heart, rng = digital_heart(seed, slices, shape, pixel_mm, hidden_walls=True), np.random.default_rng(seed)
    bias = torch.from_numpy(receive_bias(rng, shape, pixel_mm, centre_mm=heart.centre_mm))
    maps = SpinMaps(heart.maps.pd * bias, heart.maps.t1, heart.maps.t2)
    image = rng.uniform(50, 2000) * noisy_magnitude(rng, CINE(maps).numpy(), rng.uniform(0.002, 0.008))
    return Heart(str(seed), image, maps, heart.labels, heart.tissue)


def psnr(truth: torch.Tensor, estimate: torch.Tensor, region: torch.Tensor) -> float:
    """PSNR in a region after one least-squares gain per image, in dB; mean over images (images, rows, columns)."""
    values = []
    for a, b in zip(truth[:, region], estimate[:, region], strict=True):
        gain = (a * b).sum() / b.square().sum()
        values.append(20 * torch.log10(a.max() / (gain * b - a).square().mean().sqrt()))
    return float(torch.stack(values).mean())


def cine_scans(hearts: list[Heart]) -> list[Scan]:
    """The hearts' cine images, to be inverted."""
    return [Scan(h.name, (Series(CINE, h.image[None]),), (PIXEL_MM, PIXEL_MM)) for h in hearts]


def measure(hearts: list[Heart], load: Callable[[], SpinPrior], sampler: Sampler, batch: int) -> dict:
    """Run one method over all hearts; called in a separate process, so that its memory can be measured.

    Args:
        hearts: the hearts.
        load: loads the prior on its device.
        sampler: the method.
        batch: slices per network call.

    Returns:
        Figures per slice by name, medians of T1 and T2 by structure, and the cost per slice.
    """
    calls = 0
    prior = load()
    if isinstance(sampler, PriorMean):  # all of the last correction goes into PD
        prior = replace(prior, denoising_error=prior.denoising_error * torch.tensor([1e4, 0.0, 0.0]).to(prior.device))

    def count(module: torch.nn.Module, arguments: tuple) -> None:
        nonlocal calls
        calls += len(arguments[0])

    prior.unet.register_forward_pre_hook(count)
    imager = ReverseImager(prior, sampler, batch=batch)
    start = time.perf_counter()
    results = list(imager(cine_scans(hearts)))
    seconds = time.perf_counter() - start
    figures, medians = {}, {}
    for heart, result in zip(hearts, results, strict=True):
        maps, error = result.maps, result.error
        for z in range(len(heart.image)):
            true, estimated = (m.map(lambda x, z=z: x[z]) for m in (heart.maps, maps))
            body = torch.from_numpy(heart.tissue[z] != TISSUE_NAMES.index("air"))
            inside = torch.from_numpy(heart.labels[z] > 0)
            figures.setdefault("input error %", []).append(100 * float(error[z][body].square().mean().sqrt()))
            for name, sequence in CONTRASTS.items():
                a, b = (signals(sequence, m).abs() for m in (true, estimated))
                figures.setdefault(f"{name} body", []).append(psnr(a, b, body))
                figures.setdefault(f"{name} heart", []).append(psnr(a, b, inside))
        for name, region in heart.regions.items():
            ratios = [float(m[region].median() / t[region].median()) for m, t in _times(maps, heart.maps)]
            medians.setdefault(name, []).append(ratios)
    slices = sum(len(h.image) for h in hearts)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if prior.device.type == "cuda":
        memory = torch.cuda.max_memory_allocated() / 2**30
    return {
        "figures": figures,
        "medians": medians,
        "cost": {"s": seconds / slices, "calls": calls / slices, "GiB": memory},
    }


def _times(maps: SpinMaps, truth: SpinMaps) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(maps.t1, truth.t1), (maps.t2, truth.t2)]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-hearts", type=int, default=12, help="test hearts (default %(default)s)")
    parser.add_argument("-slices", type=int, default=1, help="slices per heart (default %(default)s)")
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-device", default="cpu")
    parser.add_argument("-batch", type=int, default=4)
    parser.add_argument("-dps_steps", type=int, default=200, help="0 leaves eq. (10) out (default %(default)s)")
    parser.add_argument("-o", type=Path, help="write all figures as JSON")
    args = parser.parse_args()

    def run(hearts: list[Heart], sampler: Sampler) -> dict:
        batch = min(args.batch, sum(len(h.image) for h in hearts))  # a larger batch would be padded
        with get_context("spawn").Pool(1) as process:
            return process.apply(measure, (hearts, partial(SpinPrior.load, args.prior, args.device), sampler, batch))

    methods: dict[str, Sampler] = {"prior mean": PriorMean(), "tissue lookup": TissueLookup()}
    if args.dps_steps:
        tuning = [draw_heart(TUNING_SEED + i, 1) for i in range(2)]
        methods["eq. 10, xi as published"] = Unguided(DPS(args.dps_steps))
        for title, wrap in (("no guide", Unguided), ("guided", lambda sampler: sampler)):
            tried = {xi: run(tuning, wrap(DPS(args.dps_steps, xi)))["figures"]["MOLLI heart"] for xi in XI}
            mean_psnr = {xi: float(np.mean(values)) for xi, values in tried.items()}
            best = max(mean_psnr, key=mean_psnr.__getitem__)
            edge = ", at the edge of what was tried" if best in (XI[0], XI[-1]) else ""
            print(f"eq. (10), {title}: MOLLI in the heart, dB, by xi on other hearts:", mean_psnr, edge, flush=True)
            methods[f"eq. 10, {title}, xi {best:g}"] = wrap(DPS(args.dps_steps, best))
    for steps in (24, 12, 8, 4):
        methods[f"proximal {steps}"] = ProximalMean(steps)
    methods["proximal 12, a sample"] = ProximalSampler(12)
    methods["proximal 24, no guide"] = Unguided(ProximalMean(24))

    hearts = [draw_heart(TEST_SEED + i, args.slices) for i in range(args.hearts)]
    results = {}
    for name, sampler in methods.items():
        results[name] = run(hearts, sampler)
        print(f"{name}: done", flush=True)
    columns = list(next(iter(results.values()))["figures"])
    print(f"\n{args.hearts} hearts x {args.slices} slices, mean (worst) over slices; PSNR in dB")
    print(f"{'':<24}" + "".join(f"{c:>15}" for c in columns) + f"{'s/slice':>9}{'calls':>7}{'GiB':>6}")
    for name, result in results.items():
        cells = []
        for column in columns:
            values = result["figures"][column]
            worst = max(values) if column.startswith("input") else min(values)
            cells.append(f"{np.mean(values):.1f} ({worst:.1f})")
        cost = result["cost"]
        print(
            f"{name:<24}" + "".join(f"{c:>15}" for c in cells) + f"{cost['s']:>9.2f}{cost['calls']:>7.0f}"
            f"{cost['GiB']:>6.1f}"
        )
    print("\nmedian over true median, T1 / T2: mean over hearts (least - greatest)")
    for name, result in results.items():
        cells = []
        for structure, ratios in result["medians"].items():
            t1, t2 = np.array(ratios).T
            cells.append(
                f"{structure} {t1.mean():.2f} ({t1.min():.2f}-{t1.max():.2f}) / "
                f"{t2.mean():.2f} ({t2.min():.2f}-{t2.max():.2f})"
            )
        print(f"{name:<24}" + "  ".join(cells))
    if args.o:
        args.o.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
