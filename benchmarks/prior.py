"""How good spin priors are: a row per prior in each of four tables, from held-out digital hearts whose maps are known.

Distance: sliced Wasserstein distance between distributions of (log T1, log T2): the distance of the projections on a
line, averaged over lines of all directions; 0.01 is about 1 %. By tissue, true values are compared with those of
posterior samples inferred from a cine of each heart (as `reverse -samples` draws them), over the pixels of that tissue.
"draws" are maps drawn from noise, without an image or a guide, and compared with the maps of the hearts, over all
pixels with bright PD. The first row compares the maps of other hearts instead: what few hearts leave open.

Denoising: root mean square error of log T1 / log T2 in the heart after noise of a cumulative alpha abar was added to
scaled maps and removed by the prior, guided by a cine if it takes a guide. Priors of different scalings see different
noise at one abar.

Covered: percentage of a tissue's pixels whose true T1 / T2 lies between the least and the greatest of 19 samples. A
calibrated prior covers 90 %.

Contrasts: PSNR in the heart, dB, of contrasts made from maps of a cine (`reverse_imaging.py`).

    python benchmarks/prior.py                              # the shipped prior, a few minutes on 2 CPU cores
    python benchmarks/prior.py -prior digital_heart MINE -hearts 24
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch

from nnunet_phys.errors import InputError
from nnunet_phys.map_plausibility import BRIGHT_SHARE
from nnunet_phys.precomputed_spin.guide_images import draw_guide
from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation
from nnunet_phys.precomputed_spin.prior import DEFAULT_PRIOR, SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import DPS, ProximalMean, ProximalSampler, SliceNoise
from nnunet_phys.spin import SpinMaps
from reverse_imaging import CINE, CONTRASTS, PIXEL_MM, SHAPE, TEST_SEED, Heart, cine_scans, draw_heart, measure

SAMPLES = 19
"""The least and the greatest of n exchangeable values enclose another one with probability (n - 1) / (n + 1): 90 %."""
NOISE_LEVELS = (0.9, 0.5, 0.1)
SIZE = 128
"""Rows and columns of the maps that are denoised and drawn."""
DRAW_STEPS = 100
OTHER_SEED = 6_800_000
_DIRECTIONS, _QUANTILES = 32, 1000

Columns = dict[str, str]
"""Figures of a prior by the column's title."""


def sliced_wasserstein(first: np.ndarray, second: np.ndarray) -> float:
    """Sliced Wasserstein-1 distance of two clouds of points in a plane, (n, 2) and (m, 2)."""
    angles = np.arange(_DIRECTIONS) * math.pi / _DIRECTIONS
    directions, quantiles = np.stack((np.cos(angles), np.sin(angles))), (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    difference = np.quantile(first @ directions, quantiles, 0) - np.quantile(second @ directions, quantiles, 0)
    return float(np.abs(difference).mean())


def covered(samples: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Share of true values (n, 2) between the least and the greatest of samples (samples, n, 2), for both columns."""
    return ((samples.min(0) <= truth) & (truth <= samples.max(0))).mean(0)


def log_times(maps: SpinMaps, where: np.ndarray | torch.Tensor) -> np.ndarray:
    """Log T1 and log T2 of some pixels, (pixels, 2)."""
    return torch.stack((maps.t1[where], maps.t2[where]), 1).log().numpy()


def bright_times(maps: SpinMaps) -> np.ndarray:
    """Log T1 and log T2 where PD is bright, slice by slice, (pixels, 2)."""
    greatest = torch.quantile(maps.pd.flatten(1), 0.99, dim=1)
    return log_times(maps, maps.pd > BRIGHT_SHARE * greatest[:, None, None])


def join(hearts: list[Heart]) -> SpinMaps:
    """The true maps of all hearts, (slices, rows, columns)."""
    return SpinMaps.unstack(torch.cat([h.maps.stack(1) for h in hearts]), 1)


def tissue_times(hearts: list[Heart]) -> dict[str, np.ndarray]:
    """True log T1 and log T2 of the hearts' pixels, (pixels, 2), by tissue."""
    return {name: np.concatenate([log_times(h.maps, h.regions[name]) for h in hearts]) for name in hearts[0].regions}


def draw(prior: SpinPrior, count: int) -> SpinMaps:
    """Maps drawn from noise: eq. (10) without a step towards an image."""
    nothing = torch.zeros((1, 1, SIZE, SIZE), device=prior.device)
    observation = Observation(CINE, nothing, 1.0, 1.0, nothing > 0)
    likelihood, sampler = Likelihood((observation,), nothing[0] > 0, prior.scaling), DPS(DRAW_STEPS, xi=0.0)
    drawn = [sampler(prior, likelihood, SliceNoise([f"draw {k}"])).cpu() for k in range(count)]
    return prior.scaling.decode(torch.cat(drawn))


@torch.inference_mode()
def denoising(prior: SpinPrior, hearts: list[Heart]) -> Columns:
    """The denoising error by noise level; the hearts have the prior's pixel size."""
    maps, inside = join(hearts), np.concatenate([h.labels for h in hearts]) > 0
    scaled, columns = prior.scaling.encode(maps), {}
    if prior.takes_guide:
        rng = np.random.default_rng(0)
        guides = [draw_guide(u, prior.scaling, prior.reference, CINE, rng) for u in scaled]
        prior = prior.guided(torch.stack(guides).to(prior.device))
    noise = torch.randn(scaled.shape, generator=torch.Generator().manual_seed(0))
    for abar in NOISE_LEVELS:
        timestep = prior.timesteps(2, abar)[0]
        noisy = prior.scheduler.add_noise(scaled, noise, cast(torch.IntTensor, torch.tensor([timestep])))
        clean = prior.scaling.decode(prior.denoise(noisy.to(prior.device), timestep).cpu())
        t1, t2 = np.sqrt(np.square(log_times(clean, inside) - log_times(maps, inside)).mean(0))
        columns[f"abar {abar:g}"] = f"{t1:.3f} / {t2:.3f}"
    return columns


@dataclass(frozen=True)
class Benchmark:
    """The hearts, and how they are inverted.

    Attributes:
        hearts: number of held-out hearts, one slice each.
        steps: network evaluations per sample.
        batch: slices per network call.
    """

    hearts: int
    steps: int
    batch: int

    def draw_hearts(
        self, seed: int = TEST_SEED, shape: tuple[int, int] = SHAPE, pixel_mm: float = PIXEL_MM
    ) -> list[Heart]:
        """Hearts of consecutive seeds, from `seed` on."""
        return [draw_heart(seed + i, 1, shape, pixel_mm) for i in range(self.hearts)]

    def chance(self) -> Columns:
        """Distances between the maps of the hearts and of as many others."""
        hearts, others = self.draw_hearts(), self.draw_hearts(OTHER_SEED)
        truth, other = tissue_times(hearts), tissue_times(others)
        distances = {name: f"{sliced_wasserstein(truth[name], other[name]):.3f}" for name in truth}
        bright = sliced_wasserstein(bright_times(join(hearts)), bright_times(join(others)))
        return distances | {"draws": f"{bright:.3f}"}

    def run(self, load: Callable[[], SpinPrior]) -> dict[str, Columns]:
        """The figures of a prior, by table."""
        prior, hearts, distances, shares = load(), self.draw_hearts(), {}, {}

        # 1. Posterior samples of the hearts' cine
        imager = ReverseImager(prior, ProximalSampler(self.steps), batch=self.batch, samples=SAMPLES)
        inferred = list(imager(cine_scans(hearts)))
        for name, truth in tissue_times(hearts).items():
            regions = [heart.regions[name] for heart in hearts]
            samples = [
                np.concatenate([log_times(i.samples[k], r) for i, r in zip(inferred, regions, strict=True)])
                for k in range(SAMPLES)
            ]
            distances[name] = f"{sliced_wasserstein(np.concatenate(samples), truth):.3f}"
            t1, t2 = 100 * covered(np.stack(samples), truth)
            shares[name] = f"{t1:.0f} / {t2:.0f}"

        # 2. Draws from noise, and the denoising error, on the prior's own grid
        on_grid = self.draw_hearts(TEST_SEED, (SIZE, SIZE), prior.pixel_mm)
        drawn = draw(prior, self.hearts)
        distances["draws"] = f"{sliced_wasserstein(bright_times(drawn), bright_times(join(on_grid))):.3f}"
        errors = denoising(prior, on_grid)

        # 3. Contrasts made from the maps
        figures = measure(hearts, load, ProximalMean(self.steps), self.batch)["figures"]
        contrasts = {name: f"{np.mean(figures[f'{name} heart']):.1f}" for name in CONTRASTS}
        return {"Distance": distances, "Denoising": errors, "Covered, %": shares, "Contrasts, dB": contrasts}


def print_table(title: str, rows: dict[str, Columns]) -> None:
    """Print a table in Markdown, one row per prior."""
    names = list(next(iter(rows.values())))
    print(f"\n| {title} | {' | '.join(names)} |\n|{'---|' * (len(names) + 1)}")
    for prior, columns in rows.items():
        print(f"| {prior} | {' | '.join(columns[name] for name in names)} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-prior", nargs="+", default=[DEFAULT_PRIOR], help="priors (default %(default)s)")
    parser.add_argument("-published", nargs="+", default=[], help="priors that need `reverse -scaling published`")
    parser.add_argument("-hearts", type=int, default=4, help="hearts, one slice each (default %(default)s)")
    parser.add_argument("-steps", type=int, default=12, help="network evaluations per sample (default %(default)s)")
    parser.add_argument("-device", default="cpu")
    parser.add_argument("-batch", type=int, default=4)
    parser.add_argument("-o", type=Path, help="write the tables as JSON")
    args = parser.parse_args()
    benchmark = Benchmark(args.hearts, args.steps, min(args.batch, args.hearts))  # a larger batch would be padded
    priors = {name: partial(SpinPrior.load, name, args.device) for name in args.prior}
    priors |= {name: partial(SpinPrior.load, name, args.device, "published") for name in args.published}
    try:
        for load in priors.values():
            load()
    except InputError as error:
        parser.error(str(error))

    results = {name: benchmark.run(load) for name, load in priors.items()}
    tables = {
        title: {name: tables[title] for name, tables in results.items()} for title in next(iter(results.values()))
    }
    tables["Distance"] = {"maps of other hearts": benchmark.chance(), **tables["Distance"]}
    print(f"{args.hearts} hearts, {args.steps} steps")
    for title, rows in tables.items():
        print_table(title, rows)
    if args.o:
        args.o.write_text(json.dumps(tables, indent=1) + "\n")


if __name__ == "__main__":
    main()
