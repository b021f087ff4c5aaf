"""The 17 segments of the left ventricle: Cerqueira et al., Circulation 105:539 (2002)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nnunet_phys.quantification.heart_slice import HeartSlice
from nnunet_phys.quantification.levels import LEVELS, Level

_SIXTHS = ("anterior", "anteroseptal", "inferoseptal", "inferior", "inferolateral", "anterolateral")
_QUARTERS = ("anterior", "septal", "inferior", "lateral")
SEGMENTS = {
    number: f"{level} {wall}"
    for number, (level, wall) in enumerate(
        [*(("basal", w) for w in _SIXTHS), *(("mid", w) for w in _SIXTHS), *(("apical", w) for w in _QUARTERS)], 1
    )
} | {17: "apex"}
"""Number and name of each segment."""
SEPTAL = frozenset({2, 3, 8, 9, 14})
"""The septum's segments."""
FIRST: dict[Level, int] = {"basal": 1, "mid": 7, "apical": 13, "apex": 17}
"""Number of the first segment of each level."""


def segment_map(heart: HeartSlice, level: Level) -> np.ndarray:
    """The segment of each pixel of the myocardium; 0 elsewhere, and everywhere if the insertion points are unknown.

    Basal and mid: the insertion points separate the septum from the free wall; the septum is halved, the free wall
    quartered. Apical: quarters, of which the septal one is centred between the points. Apex: one segment.

    Args:
        heart: the slice.
        level: its level; the apex needs no insertion points.

    Returns:
        uint8 (rows, columns).
    """
    segments = np.zeros(heart.myo.shape, np.uint8)
    septum = heart.septum
    if level == "apex":
        segments[heart.myo] = FIRST[level]
    elif septum is not None:
        pixels = np.argwhere(heart.myo)
        angles = septum.angles(heart.from_centre(pixels))
        borders = segment_borders(level, septum.width_deg)
        order = (np.searchsorted(np.sort(borders), angles, side="right") - 1) % len(borders)
        wall = np.argsort(borders)[order]
        segments[tuple(pixels.T)] = FIRST[level] + wall
    return segments


def segment_borders(level: Level, width_deg: float) -> np.ndarray:
    """Where the segments of a level begin, in degrees from the anterior insertion point through the septum, 0 to 360.

    Args:
        level: not the apex.
        width_deg: angle between the insertion points.

    Returns:
        one angle per segment, in the order of their numbers.
    """
    if level == "apical":
        return (width_deg / 2 + np.array((-135, -45, 45, 135))) % 360
    free = (360 - width_deg) / 4
    half = width_deg / 2
    return np.array((360 - free, 0, half, width_deg, width_deg + free, width_deg + 2 * free))


def levels_of(positions_mm: Sequence[float]) -> list[Level]:
    """Basal, mid or apical: thirds of the length that slices cover, each with half the distance to its neighbours.

    Args:
        positions_mm: positions along the long axis, ascending from the base to the apex.

    Returns:
        one level per position; a single slice is mid.
    """
    if len(positions_mm) == 1:
        return ["mid"]
    margin = (positions_mm[-1] - positions_mm[0]) / (len(positions_mm) - 1) / 2
    start, end = positions_mm[0] - margin, positions_mm[-1] + margin
    thirds = [int(3 * (position - start) / (end - start) + 1e-6) for position in positions_mm]
    return [LEVELS[third] for third in thirds]
