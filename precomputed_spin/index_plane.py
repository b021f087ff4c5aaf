"""An extra channel of a patch that records which case the patch was cut from, and where in that case it lies.

nnU-Net hands its transforms a patch without the case's name or the patch's position. It crops and pads all channels
alike, so that one more channel can carry both.
"""

from __future__ import annotations

import numpy as np


def index_plane(case: int, start: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """Make the index plane of a patch.

    Its first values, in C order, are case + 1 and start + 1 along each axis; all others are 1. nnU-Net pads with 0, so
    that the nonzero part of the plane is the patch without its padding.

    Args:
        case: index of the case.
        start: first voxel of the patch in the case, per axis.
        shape: the patch's shape.

    Returns:
        float32 array of that shape. A patch with too few voxels for all of the first values holds those that fit.
    """
    plane = np.ones(shape, np.float32)
    header = np.asarray((case, *start), np.float32) + 1
    plane.reshape(-1)[: len(header)] = header[: plane.size]
    return plane


def read_index_plane(plane: np.ndarray) -> tuple[int, tuple[int, int, int], tuple[slice, ...]] | None:
    """Read the case and the position from an index plane: the reverse of `index_plane`.

    The plane may have been padded with zeros, and an axis of length 1 may have been removed.

    Args:
        plane: (slices, rows, columns) or (rows, columns).

    Returns:
        index of the case, start in the case (3 axes) and the box that the patch fills in the plane; None if the plane
        is all padding.

    Raises:
        ValueError: the patch has fewer than four voxels.
    """
    corner = tuple(int(n) for n in np.unravel_index(int(np.argmax(plane != 0)), plane.shape))
    if plane[corner] == 0:
        return None
    box = []
    for axis, low in enumerate(corner):
        key: tuple[int | slice, ...] = (*corner[:axis], slice(None), *corner[axis + 1 :])
        line = plane[key]
        box.append(slice(low, low + int(np.count_nonzero(line))))
    header = plane[tuple(box)].reshape(-1)[:4].astype(np.int64) - 1
    if len(header) < 4:
        raise ValueError(
            f"a patch of {len(header)} voxels is too small to record where it lies: choose a larger patch size"
        )
    case, slices, rows, columns = (int(value) for value in header)
    return case, (slices, rows, columns), tuple(box)
