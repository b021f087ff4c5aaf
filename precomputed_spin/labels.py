"""What labels say about tissue: blood in the cavities, myocardium in the wall, nothing at the edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST, SpinScaling
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissues import TISSUES, draw_tissue_values

LABELLED_TISSUES = ("blood", "venous blood", "myocardium")
"""Tissues that labels can make probable."""
STRUCTURES = {
    "RV": {"venous blood": 0.9, "myocardium": 0.1},
    "MYO": {"myocardium": 1.0},
    "LV": {"blood": 0.85, "myocardium": 0.15},
}
"""Shares of tissue inside a structure. Assumed: the cavities include trabeculae and papillary muscles."""
_SMOOTHING_MM = 2.5
"""Standard deviation of the smoothing of a structure, so that labels within 1.3 mm of a straight edge have no weight,
and half of it at 2.5 mm. Assumed: two readers' contours differ by a pixel or two."""
_EDGE_SHARE = 0.7
"""Value of the smoothed structure up to which labels have no weight. Assumed; an edge lies at 0.5."""
_DOUBT = 0.02
"""Probability that a label is wrong, the same everywhere (assumed)."""
_CERTAIN = 0.3
"""Weight from which labels bound T1 and T2: about two millimetres inside of a contour. Assumed."""
IMPOSSIBLE = -1e6
"""Log-probability of what a label excludes: less than any misfit of an image, and finite, so that the least improbable
remains if everything is excluded."""
_REACH = 3.0
"""Standard deviations of a labelled tissue's T1 and T2 about their mean that are possible. Assumed."""


@dataclass(frozen=True, eq=False)
class TissueLabels:
    """Probabilities of tissues according to labels, pixel by pixel. The tissues are free of contrast agent.

    Attributes:
        weights: probabilities of `LABELLED_TISSUES`, (slices, 3, rows, columns); the rest to 1 is any tissue.
        scaling: scaling of the maps.
    """

    weights: torch.Tensor
    scaling: SpinScaling

    def combine(self, mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Combine a Gaussian belief about scaled maps with the labels, by the moments of the mixture of tissues.

        Args:
            mean: the belief's mean (slices, 3, rows, columns).
            variance: the belief's variance of PD, T1 and T2, broadcastable to `mean`.

        Returns:
            Mean and variance of the shape of `mean`; those of PD are unchanged.
        """
        variance = variance.expand_as(mean)
        m, v = mean[:, None, 1:], variance[:, None, 1:]
        centres, spreads = (t.to(mean)[None, :, :, None, None] for t in tissue_moments(self.scaling))
        total = v + spreads
        log_density = -0.5 * ((m - centres).square() / total + total.log()).sum(2) - math.log(2 * math.pi)
        weights = (1 - _DOUBT) * self.weights
        anything = (1 - weights.sum(1, keepdim=True)) / (GREATEST - LEAST) ** 2
        share = torch.cat((anything, weights * log_density.exp()), 1)
        share = (share / share.sum(1, keepdim=True))[:, :, None]
        means = torch.cat((m, (m * spreads + centres * v) / total), 1)
        variances = torch.cat((v, v * spreads / total), 1)
        mixed = (share * means).sum(1)
        mean_square = (share * (variances + means.square())).sum(1)
        return torch.cat((mean[:, :1], mixed), 1), torch.cat((variance[:, :1], mean_square - mixed.square()), 1)

    @cached_property
    def labelled(self) -> torch.Tensor:
        """Pixels where labels have any weight, bool (slices, rows, columns)."""
        return self.weights.sum(1) > 0

    @cached_property
    def certain(self) -> torch.Tensor:
        """Pixels well inside of a structure, bool (slices, rows, columns)."""
        return self.weights.sum(1) >= _CERTAIN

    @cached_property
    def bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Least and greatest scaled T1 and T2 of each pixel, both (slices, 2, rows, columns).

        Well inside of a structure, they are those of the tissues that the label allows; elsewhere those of any tissue.
        """
        centres, spreads = (t.to(self.weights)[None, :, :, None, None] for t in tissue_moments(self.scaling))
        reach = _REACH * spreads.sqrt()
        certain = self.certain[:, None]
        possible = (self.weights > 0)[:, :, None]
        least = torch.where(possible, centres - reach, math.inf).amin(1).clamp(min=LEAST)
        greatest = torch.where(possible, centres + reach, -math.inf).amax(1).clamp(max=GREATEST)
        return torch.where(certain, least, LEAST), torch.where(certain, greatest, GREATEST)

    def log_likelihood(self, voxels: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
        """Log-probability of tissue values under the labels of some pixels, up to a constant per pixel.

        Args:
            voxels: scaled T1 and T2, (n, 2).
            pixels: indices of pixels among all slices * rows * columns, (pixels,).

        Returns:
            (pixels, n); `IMPOSSIBLE` outside of a pixel's bounds.
        """
        centres, spreads = (t.to(voxels) for t in tissue_moments(self.scaling))
        distance = (voxels[None] - centres[:, None]).square() / spreads[:, None]
        density = (-0.5 * distance.sum(2)).exp() / (2 * math.pi * spreads.prod(1, keepdim=True).sqrt())
        slices, rows, columns = torch.unravel_index(pixels, self.labelled.shape)
        weights = (1 - _DOUBT) * self.weights[slices, :, rows, columns]
        anything = (1 - weights.sum(1, keepdim=True)) / (GREATEST - LEAST) ** 2
        least, greatest = (bound[slices, None, :, rows, columns] for bound in self.bounds)
        possible = ((voxels >= least) & (voxels <= greatest)).all(2)
        return torch.where(possible, (weights @ density + anything).log(), IMPOSSIBLE)


@cache
def tissue_moments(scaling: SpinScaling) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of the scaled T1 and T2 of `LABELLED_TISSUES` over people and field strengths, (3, 2)."""
    rng = np.random.default_rng(0)
    people = [draw_tissue_values(rng, field) for _ in range(500) for field in TISSUES]
    values = torch.tensor([[(p[name].t1_ms, p[name].t2_ms) for name in LABELLED_TISSUES] for p in people])
    maps = SpinMaps(torch.ones(values.shape[:2]), *values.unbind(2))
    scaled = scaling.encode(maps.map(lambda m: m[None]))[0, 1:]
    return scaled.mean(1).T, scaled.var(1).T


def main_tissue(structure: str) -> str:
    """The tissue of which most of RV, MYO or LV consists."""
    shares = STRUCTURES[structure]
    return max(shares, key=lambda tissue: shares[tissue])


def tissue_weights(mask: np.ndarray, codes: dict[str, int], pixel_mm: tuple[float, float]) -> np.ndarray:
    """Probabilities of tissues according to a label image: certain inside a structure, none at its edge.

    Args:
        mask: label codes (slices, rows, columns).
        codes: codes of the structures.
        pixel_mm: row and column spacing.

    Returns:
        float32 (slices, 3, rows, columns), tissues as in `LABELLED_TISSUES`.
    """
    weights = np.zeros((len(mask), len(LABELLED_TISSUES), *mask.shape[1:]), np.float32)
    for structure, code in codes.items():
        inside = gaussian_filter((mask == code).astype(np.float32), (0, *(_SMOOTHING_MM / mm for mm in pixel_mm)))
        certain = np.clip((inside - _EDGE_SHARE) / (1 - _EDGE_SHARE), 0, 1)
        for tissue, share in STRUCTURES[structure].items():
            weights[:, LABELLED_TISSUES.index(tissue)] += share * certain
    return weights
