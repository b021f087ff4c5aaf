"""A drawn left and right ventricle in any orientation of the image, with known insertion points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from nnunet_phys.image_files import Geometry
from nnunet_phys.quantification.heart_slice import HeartSlice
from nnunet_phys.quantification.planes import slice_planes

APEX = np.array((0.6, -0.6, -0.53)) / np.linalg.norm((0.6, -0.6, -0.53))
UP = np.array((0.0, 0.0, 1.0))
ANTERIOR = (UP - UP @ APEX * APEX) / np.linalg.norm(UP - UP @ APEX * APEX)
LATERAL = -np.cross(APEX, ANTERIOR)
CENTRE = np.array((31.0, -17.0, 44.0))
CAVITY_MM, WALL_MM, RV_MM, RV_AWAY_MM = 22.0, 32.0, 28.0, 35.0
HALF_SEPTUM_DEG = np.rad2deg(np.arccos((RV_AWAY_MM**2 + WALL_MM**2 - RV_MM**2) / (2 * RV_AWAY_MM * WALL_MM)))


@dataclass(frozen=True)
class DrawnHeart:
    """Slices at positions from the base, in mm, as the image of one orientation shows them.

    Attributes:
        geometry: of the volume.
        hearts: the slices in the image's order.
        angles: of each pixel about the centre, degrees from the middle of the septum towards inferior, -180 to 180.
    """

    geometry: Geometry
    hearts: list[HeartSlice]
    angles: np.ndarray


def draw(
    turn_deg: float = 0.0, mirrored: bool = False, from_apex: bool = False, scales: tuple[float, ...] = (1.0,)
) -> DrawnHeart:
    """Draw slices from base to apex, whose sizes are `scales`; `from_apex` puts the last one first."""
    n, mm, t = 96, 1.5, np.deg2rad(turn_deg)
    column = np.cos(t) * LATERAL + np.sin(t) * ANTERIOR
    row = (np.sin(t) * LATERAL - np.cos(t) * ANTERIOR) * (-1 if mirrored else 1)
    through = -APEX if from_apex else APEX
    shift = 10.0 * (len(scales) - 1) if from_apex else 0.0
    origin = CENTRE + shift * APEX - (column + row) * mm * (n - 1) / 2
    direction = np.stack((column, row, through), axis=1)
    geometry = Geometry((n, n, len(scales)), (mm, mm, 10.0), tuple(origin), tuple(direction.ravel()))
    offsets = (np.arange(n) - (n - 1) / 2) * mm
    vectors = offsets[:, None, None] * row + offsets[None, :, None] * column
    lateral, anterior = vectors @ LATERAL, vectors @ ANTERIOR
    hearts = []
    for z, plane in enumerate(slice_planes(geometry)):
        size = scales[len(scales) - 1 - z if from_apex else z]
        radius = np.hypot(lateral, anterior)
        ventricle = radius < WALL_MM * size
        lv = radius < CAVITY_MM * size
        rv = (np.hypot(lateral + RV_AWAY_MM * size, anterior) < RV_MM * size) & ~ventricle
        hearts.append(HeartSlice("heart", z, plane, rv, ventricle & ~lv, lv))
    return DrawnHeart(geometry, hearts, np.rad2deg(np.arctan2(-anterior, -lateral)))


@pytest.fixture
def drawn_heart():
    """`draw`."""
    return draw


@pytest.fixture
def half_septum_deg() -> float:
    """Half of the angle between the insertion points that are drawn."""
    return float(HALF_SEPTUM_DEG)
