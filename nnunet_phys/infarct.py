"""Infarcts: where scar and oedema of a coronary territory lie, as tissue and its distance to blood decide.

An infarct grows from the cavity outwards, so it is contiguous with blood and reaches from the subendocardium to, at
most, the outer surface. It is found from T1 and T2 alone. No label is read, so no outline of a label can get into an
image. The right ventricle's blood counts, too: T1 and T2 do not separate the ventricles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from scipy.ndimage import uniform_filter1d

from nnunet_phys.fields import Positions, smooth_noise
from nnunet_phys.quantities import Bounded, Quantity, number
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_kinds import flowing_blood

DEPTH = Quantity("mm", 0.5, 20)
WIDTH = Quantity("mm", 5, 200)
INFARCTED_SHARE = Quantity("", 0.01, 0.99)

_POOL_MM = 3.0
"""Blood counts where it fills most of the square that reaches this far in the plane. So vessels up to about twice as
wide, trabeculae and single voxels do not count, and the edge of a cavity stays where it is; assumed."""
_SHALLOWEST = 0.35
"""Depth at an infarct's edge, relative to its greatest depth; assumed."""
_DEEPENING = 0.6
"""By how many standard deviations the random field must exceed its threshold for the greatest depth; assumed."""


def blood_distance(
    maps: SpinMaps, spacing_mm: tuple[float, float, float], within_mm: float = DEPTH.greatest
) -> torch.Tensor:
    """Distance of each voxel to the nearest pool of blood.

    Args:
        maps: maps of shape (slices, rows, columns), without contrast agent.
        spacing_mm: spacing of slices, rows and columns.
        within_mm: greatest distance that matters.

    Returns:
        float32 tensor of that shape: mm between the middles of voxels, 0 in blood, infinite where there is none within
        `within_mm` along any axis.
    """
    blood = flowing_blood(maps.t1, maps.t2) > 0.5
    share = blood.numpy().astype("float32")
    for axis in (1, 2):
        share = uniform_filter1d(share, 2 * round(_POOL_MM / spacing_mm[axis]) + 1, axis, mode="nearest")
    pool = blood & (torch.from_numpy(share) > 0.5)
    squared = torch.full(maps.shape, math.inf).masked_fill_(pool, 0)
    for axis, mm in enumerate(spacing_mm):
        squared = _nearest_along(squared, axis, mm, within_mm)
    return squared.sqrt_()


def _nearest_along(squared: torch.Tensor, axis: int, mm: float, within_mm: float) -> torch.Tensor:
    """One axis of a distance transform: the least of d^2 + (k mm)^2 over all voxels k steps away along the axis.

    The axes of a squared Euclidean distance separate. For these short distances, this takes a third to a half of the
    time of scipy's distance_transform_edt.
    """
    total, nearest = squared.shape[axis], squared.clone()
    for steps in range(1, min(math.floor(within_mm / mm + 1e-6), total - 1) + 1):
        for here, there in ((0, steps), (steps, 0)):
            part = nearest.narrow(axis, here, total - steps)
            torch.minimum(part, squared.narrow(axis, there, total - steps) + (steps * mm) ** 2, out=part)
    return nearest


@dataclass(frozen=True)
class Infarct(Bounded):
    """Infarcts of random coronary territories.

    Attributes:
        depth_mm: greatest distance from blood. Within an infarct, depth grows from about a third of it at the edge to
            all of it in the middle, as infarcts spread through the wall and sideways at the same time (Lorca et al.,
            Rev Esp Cardiol 74:870, 2021, on 220 patients). In a thinner wall the infarct is transmural.
        share: share of the surface of blood from which infarcts start. Of the layer up to `depth_mm`, it is four fifths
            of that, as infarcts are shallower at their edges.
        scale_mm: mean width of an infarct along a straight line.
        seed: decides the places.
    """

    depth_mm: float = field(metadata=number(DEPTH, "greatest distance from blood"))
    share: float = field(metadata=number(INFARCTED_SHARE, "share of the surface of blood from which infarcts start"))
    scale_mm: float = field(metadata=number(WIDTH, "mean width of an infarct"))
    seed: int

    def __call__(self, positions: Positions, blood_mm: torch.Tensor) -> torch.Tensor:
        """Where infarcts lie: 1 in them, else 0, also in blood.

        The random field exceeds its threshold in the given share of space. Its correlation length follows from the mean
        width by Rice's formula (Bell Syst Tech J 23:282, 1944): a stationary Gaussian process with correlation
        exp(-(d / s)^2 / 2) upcrosses u standard deviations exp(-u^2 / 2) / (2 pi s) times per length.

        Args:
            positions: see `fields`; they broadcast to the shape of `blood_mm`.
            blood_mm: distance to blood.
        """
        threshold = math.sqrt(2) * float(torch.erfinv(torch.tensor(1 - 2 * self.share)))
        correlation_mm = self.scale_mm * math.exp(-(threshold**2) / 2) / (2 * math.pi * self.share)
        excess = smooth_noise(self.seed, positions, correlation_mm) - threshold
        deepening = (excess / _DEEPENING).clamp_(max=1)
        depth_mm = self.depth_mm * (_SHALLOWEST + (1 - _SHALLOWEST) * deepening)
        return ((excess > 0) & (blood_mm > 0) & (blood_mm <= depth_mm)).float()
