"""A plane beside a patch that says which case the patch is cut from, and where in it the patch lies.

nnU-Net hands its transforms a patch without a name and without a place. It cuts, pads and stacks further channels like
the image's, so that one more channel can carry both.
"""

from __future__ import annotations

import numpy as np


def index_plane(case: int, start: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    """The plane of a patch.

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


def read_index_plane(plane: np.ndarray) -> tuple[int, tuple[int, int, int], tuple[slice, ...]] | None:
    """Which case a plane names, and where: the reverse of `index_plane`.

    Also after zeros were padded around it, and axes of length 1 removed.

    Args:
        plane: 2- or 3-dimensional.

    Returns:
        case, start in the case (3 axes) and the box that the patch fills in the plane; None where all is padding.

    Raises:
        ValueError: the box holds fewer than four voxels.
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
        raise ValueError(f"a patch of {len(header)} voxels cannot tell where it lies: choose a larger patch size")
    case, slices, rows, columns = (int(value) for value in header)
    return case, (slices, rows, columns), tuple(box)
