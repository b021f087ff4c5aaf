"""What a transform is told of the case that its patch is cut from: some of its voxels, and where the patch lies.

nnU-Net z-scores the whole cropped case before it resamples, and hands its transforms a patch without a name. So each
case has a `Reservoir`, a few thousand voxels whose statistics stand for all under any contrast, and each patch has one
more plane, which tells its case and its place (`index_plane`, `read_index_plane`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZE = 4096  # voxels of a case whose mean and deviation stand for the whole case's


@dataclass(frozen=True)
class Reservoir:
    """Voxels of a cropped, not resampled case.

    Attributes:
        voxels: PD, T1 (ms), T2 (ms), float32 (3, n).
        position_mm: where they lie, relative to the middle of the cropped case, along the axes of nnU-Net's arrays,
            float32 (3, n).
        shape: voxels of the case on nnU-Net's grid, 3 numbers.
        spacing_mm: of that grid, 3 numbers.
    """

    voxels: np.ndarray
    position_mm: np.ndarray
    shape: np.ndarray
    spacing_mm: np.ndarray

    @property
    def longest_t1_ms(self) -> float:
        """The 99th percentile of T1."""
        t1 = self.voxels[1]
        place = min(len(t1) - 1, round(0.99 * len(t1)))
        return float(np.partition(t1, place)[place])

    def save(self, path: str | Path) -> None:
        """Write it as .npz, whatever the file's name."""
        with open(path, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: str | Path) -> Reservoir:
        """Read what `save` wrote.

        Raises:
            KeyError, ValueError, BadZipFile: the file holds something else.
        """
        with open(path, "rb") as file, np.load(file) as arrays:
            return cls(**{name: arrays[name] for name in ("voxels", "position_mm", "shape", "spacing_mm")})


def draw_reservoir(
    maps: np.ndarray,
    inside: np.ndarray | None,
    spacing_mm: Sequence[float],
    seed: int,
    grid_shape: Sequence[int] | None = None,
    grid_spacing_mm: Sequence[float] | None = None,
) -> Reservoir:
    """A few voxels of a case whose statistics stand for the whole case's under any contrast.

    The voxels are ordered by their brightness in a bSSFP image, PD / (1 + T1/T2), and one is drawn from each of `SIZE`
    equal parts: each tissue comes in its proportion, which halves the error of plain drawing. A smaller case comes
    whole.

    Args:
        maps: PD, T1, T2 of shape (3, slices, rows, columns), not resampled.
        inside: mask of the voxels to draw from, or None for all.
        spacing_mm: of the maps.
        seed: of the draw.
        grid_shape, grid_spacing_mm: of the grid that patches are cut from; by default that of the maps.
    """
    shape = maps.shape[1:]
    candidates = np.arange(np.prod(shape)) if inside is None else np.flatnonzero(inside)
    if len(candidates) > SIZE:
        pd, t1, t2 = maps.reshape(3, -1)[:, candidates]
        order = np.argsort(pd / (1 + t1 / t2), kind="stable")
        drawn = ((np.arange(SIZE) + np.random.default_rng(seed).random(SIZE)) * (len(candidates) / SIZE)).astype(int)
        candidates = candidates[order[drawn]]
    middle, spacing = (np.array(shape)[:, None] - 1) / 2, np.array(spacing_mm, float)[:, None]
    position_mm = (np.stack(np.unravel_index(candidates, shape)) - middle) * spacing
    return Reservoir(
        voxels=np.ascontiguousarray(maps.reshape(3, -1)[:, candidates], np.float32),
        position_mm=position_mm.astype(np.float32),
        shape=np.array(shape if grid_shape is None else grid_shape),
        spacing_mm=np.array(spacing_mm if grid_spacing_mm is None else grid_spacing_mm, float),
    )


def index_plane(case: int, start: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """A plane beside a patch that tells whose patch it is and where it begins.

    Its first values, in C order, are case + 1 and start + 1 along each axis; all others are 1. nnU-Net pads with 0, so
    that the plane is the mask of the padding, too.

    Args:
        case: index of the case.
        start: first voxel of the patch in the case, per axis.
        shape: of the patch.

    Returns:
        float32 array of that shape. A patch too small for the values holds those that fit.
    """
    plane = np.ones(shape, np.float32)
    header = np.asarray((case, *start), np.float32) + 1
    plane.reshape(-1)[: len(header)] = header[: plane.size]
    return plane


def read_index_plane(plane: np.ndarray) -> tuple[int, tuple[int, ...], tuple[slice, ...]] | None:
    """The reverse of `index_plane`, also after zeros were padded around it and axes of length 1 removed.

    Args:
        plane: 2- or 3-dimensional.

    Returns:
        case, start in the case (3 axes) and the box that the patch fills in the plane; None where all is padding.

    Raises:
        ValueError: the box holds fewer than four voxels.
    """
    corner = np.unravel_index(int(np.argmax(plane != 0)), plane.shape)
    if plane[corner] == 0:
        return None
    box = []
    for axis, start in enumerate(corner):
        line = plane[(*corner[:axis], slice(None), *corner[axis + 1 :])]
        box.append(slice(int(start), int(start) + int(np.count_nonzero(line))))
    header = plane[tuple(box)].reshape(-1)[:4].astype(np.int64) - 1
    if len(header) < 4:
        raise ValueError(f"a patch of {len(header)} voxels cannot tell where it lies: choose a larger patch size")
    return int(header[0]), tuple(int(n) for n in header[1:]), tuple(box)
