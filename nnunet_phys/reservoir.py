"""A sample of a case's voxels, whose statistics represent the whole case under any contrast.

Images are z-scored over the whole case, but a contrast is made patch by patch. So every case has a `Reservoir`: a few
thousand of its voxels, from whose signals under that contrast the mean and standard deviation are computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.infarct import blood_distance
from nnunet_phys.spin import SpinMaps

SIZE = 4096
"""Number of voxels in the reservoir of a large enough case. Their standard deviation is that of the case within some
percent; more where a coil makes a small corner many times brighter than the rest, which few of them meet."""


@dataclass(frozen=True)
class Reservoir:
    """Voxels of a cropped, not resampled case.

    Attributes:
        voxels: PD, T1 (ms), T2 (ms), float32 (3, n).
        position_mm: where they lie, relative to the middle of the cropped case, along the axes of its arrays,
            float32 (3, n).
        blood_mm: their distances to blood (`infarct.blood_distance`), float32 (n,).
        shape: shape of the case on the grid that patches are cut from, 3 numbers.
        spacing_mm: voxel spacing of that grid, 3 numbers.
    """

    voxels: np.ndarray
    position_mm: np.ndarray
    blood_mm: np.ndarray
    shape: np.ndarray
    spacing_mm: np.ndarray

    @property
    def longest_t1_ms(self) -> float:
        """The 99th percentile of T1."""
        t1 = self.voxels[1]
        place = min(len(t1) - 1, round(0.99 * len(t1)))
        return float(np.partition(t1, place)[place])

    def save(self, path: str | Path) -> None:
        """Write the reservoir in .npz format, whatever the file's name."""
        with open(path, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: str | Path) -> Reservoir:
        """Read what `save` wrote.

        Raises:
            KeyError, ValueError, BadZipFile: the file holds something else.
        """
        with open(path, "rb") as file, np.load(file) as arrays:
            return cls(**{name: arrays[name] for name in ("voxels", "position_mm", "blood_mm", "shape", "spacing_mm")})


def draw_reservoir(
    maps: np.ndarray,
    inside: np.ndarray | None,
    spacing_mm: Sequence[float],
    seed: int,
    grid_shape: Sequence[int] | None = None,
    grid_spacing_mm: Sequence[float] | None = None,
) -> Reservoir:
    """Draw the reservoir of a case.

    The voxels are ordered by their brightness in a bSSFP image, PD / (1 + T1/T2), and one voxel is drawn from each of
    `SIZE` equal parts. This keeps the proportions of the tissues and halves the error of simple random sampling. A case
    with fewer voxels is taken as a whole.

    Args:
        maps: PD, T1, T2 of shape (3, slices, rows, columns), not resampled.
        inside: bool mask of the voxels to draw from, (slices, rows, columns), or None for all.
        spacing_mm: voxel spacing of the maps, 3 numbers.
        seed: decides the draw.
        grid_shape, grid_spacing_mm: shape and spacing of the grid that patches are cut from; by default those of the
            maps.
    """
    shape = maps.shape[1:]
    candidates = np.arange(np.prod(shape)) if inside is None else np.flatnonzero(inside)
    if len(candidates) > SIZE:
        pd, t1, t2 = maps.reshape(3, -1)[:, candidates]
        order = np.argsort(pd / (1 + t1 / t2), kind="stable")
        drawn = ((np.arange(SIZE) + np.random.default_rng(seed).random(SIZE)) * (len(candidates) / SIZE)).astype(int)
        candidates = candidates[order[drawn]]
    middle = (np.array(shape)[:, None] - 1) / 2
    spacing = np.array(spacing_mm, float)[:, None]
    slice_mm, row_mm, column_mm = (float(mm) for mm in spacing_mm)
    blood_mm = blood_distance(SpinMaps(*torch.from_numpy(maps)), (slice_mm, row_mm, column_mm))
    position_mm = (np.stack(np.unravel_index(candidates, shape)) - middle) * spacing
    return Reservoir(
        voxels=np.ascontiguousarray(maps.reshape(3, -1)[:, candidates], np.float32),
        position_mm=position_mm.astype(np.float32),
        blood_mm=blood_mm.numpy().reshape(-1)[candidates],
        shape=np.array(shape if grid_shape is None else grid_shape),
        spacing_mm=np.array(spacing_mm if grid_spacing_mm is None else grid_spacing_mm, float),
    )
