"""Pixels well inside of a structure: partial volume with blood, fat or lung falsifies those at its edges."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from nnunet_phys.quantification.heart_slice import HeartSlice

ROUNDED = 1 + 1e-4
"""Lengths that differ by this factor are equal: files round pixel sizes."""


def inner_wall(heart: HeartSlice, erode_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """The wall without its endocardial and epicardial edge.

    A pixel is kept if its centre lies farther than `erode_mm` from the nearest pixel of the cavity and from the
    nearest one outside of the ventricle. Where a wall is too thin to keep any, its middle is kept.

    Args:
        heart: the slice.
        erode_mm: what is removed on each side; 0 keeps the whole wall.

    Returns:
        the pixels that are kept, and those of them that are the middle of a thin wall, bool (rows, columns).
    """
    pixel_mm = heart.plane.pixel_mm
    if erode_mm == 0:
        return heart.myo, np.zeros_like(heart.myo)
    outwards = distance_transform_edt(np.pad(heart.myo | heart.lv, 1), sampling=pixel_mm)[1:-1, 1:-1]
    inwards = np.full(outwards.shape, np.inf) if heart.is_apex else distance_transform_edt(~heart.lv, sampling=pixel_mm)
    inner = heart.myo & (np.minimum(inwards, outwards) > erode_mm * ROUNDED)
    pixel = max(pixel_mm) * ROUNDED
    thin = heart.myo & (inwards + outwards <= 2 * erode_mm * ROUNDED + pixel)
    middle = thin & (np.abs(inwards - outwards) <= pixel) & ~inner
    return inner | middle, middle


def inner_cavity(heart: HeartSlice, erode_mm: float) -> tuple[np.ndarray, bool]:
    """The left ventricle's cavity without its edge.

    Returns:
        the pixels, bool (rows, columns), of a small cavity the innermost ones; whether it is so small.
    """
    depth = distance_transform_edt(np.pad(heart.lv, 1), sampling=heart.plane.pixel_mm)[1:-1, 1:-1]
    inner = depth > erode_mm * ROUNDED
    return (inner, False) if inner.any() else (heart.lv & (depth == depth.max()), True)
