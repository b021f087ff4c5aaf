"""A short-axis slice with its mask: where the right ventricle is attached, and what follows about front and apex."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt, label

from nnunet_phys.quantification.planes import SlicePlane

_ANTERIOR = np.array((0.0, -1.0, 1.0))
"""Roughly from the inferior to the anterior insertion point, in the patient (left, posterior, superior): in the usual
position of the heart, the anterior one lies in front of and above the inferior one."""
_LEAST_ANTERIOR = 0.34
"""Least cosine between that direction and the line through both points; below it (70 degrees) they cannot be told."""
_FARTHEST_RV_MM = 6.0
"""Farthest that the cavity of an attached right ventricle lies from the wall. Assumed: fat and trabeculae between."""
_REACH = 1.5
"""Pixels beyond the nearest at which the wall still counts as attached, as contours leave gaps of a pixel. A choice."""


@dataclass(frozen=True)
class Septum:
    """The part of the wall to which the right ventricle is attached. Angles lie in the plane, in degrees about the left
    ventricle's centre: 0 is where columns grow, 90 where rows grow.

    Attributes:
        anterior_deg: the anterior insertion point.
        turn: 1 if the angle grows from there to the inferior insertion point through the septum, else -1.
        width_deg: angle between the points.
        clear: the image's orientation tells clearly which point is the anterior one.
    """

    anterior_deg: float
    turn: int
    width_deg: float
    clear: bool

    def angles(self, in_plane_mm: np.ndarray) -> np.ndarray:
        """Angles from the anterior insertion point along the septum, 0 to 360 degrees, of vectors (..., 2)."""
        return self.turn * (_angles(in_plane_mm) - self.anterior_deg) % 360

    def direction(self, angle_deg: float) -> np.ndarray:
        """The vector in the plane, (2,), that lies at such an angle."""
        angle = np.deg2rad(self.anterior_deg + self.turn * angle_deg)
        return np.array((np.sin(angle), np.cos(angle)))


@dataclass(frozen=True, eq=False)
class HeartSlice:
    """A slice of a case with its mask.

    Attributes:
        case: the case's name.
        index: the slice's number, from 0.
        plane: where it lies.
        rv, myo, lv: cavity of the right ventricle, myocardium and cavity of the left one, bool (rows, columns).
    """

    case: str
    index: int
    plane: SlicePlane
    rv: np.ndarray
    myo: np.ndarray
    lv: np.ndarray

    @property
    def title(self) -> str:
        """Case and slice, as flags and headings name them."""
        return f"{self.case}, slice {self.index}"

    @cached_property
    def centre(self) -> np.ndarray:
        """Row and column number of the left ventricle's centre, (2,): of its cavity where there is one."""
        return np.argwhere(self.lv if self.lv.any() else self.myo).mean(0)

    @cached_property
    def place(self) -> np.ndarray:
        """The centre's position in the patient, (3,), mm."""
        return self.plane.place(self.centre)

    @property
    def is_apex(self) -> bool:
        """Whether the slice shows muscle without a cavity."""
        return not self.lv.any()

    def from_centre(self, pixels: np.ndarray) -> np.ndarray:
        """Vectors from the centre, mm along rows and columns, of pixels' row and column numbers, (..., 2)."""
        return (pixels - self.centre) * self.plane.pixel_mm

    @cached_property
    def septum(self) -> Septum | None:
        """Where the right ventricle is attached; None where there is none, or none that touches the wall.

        The insertion points are the ends of the arc of the wall's outer border that lies next to the largest piece of
        the right ventricle; networks leave stray ones.
        """
        ventricle = self.myo | self.lv
        if not self.rv.any() or self.is_apex:
            return None
        border = np.argwhere(ventricle & ~binary_erosion(ventricle))
        distance = distance_transform_edt(~largest_piece(self.rv), sampling=self.plane.pixel_mm)[tuple(border.T)]
        if distance.min() > _FARTHEST_RV_MM:
            return None
        attached = border[distance <= distance.min() + _REACH * max(self.plane.pixel_mm)]
        angles = np.sort(_angles(self.from_centre(attached)))
        gaps = np.diff(angles, append=angles[0] + 360)
        widest = int(gaps.argmax())
        first, width = angles[(widest + 1) % len(angles)], 360 - gaps[widest]
        forwards, backwards = (
            Septum(float(end % 360), turn, float(width), True) for end, turn in ((first, 1), (first + width, -1))
        )
        to_anterior = forwards.direction(0) - forwards.direction(width)
        front = self.plane.directions @ _ANTERIOR
        cosine = to_anterior @ front / max(np.linalg.norm(to_anterior) * np.linalg.norm(front), 1e-9)
        chosen = forwards if cosine >= 0 else backwards
        return Septum(chosen.anterior_deg, chosen.turn, chosen.width_deg, bool(abs(cosine) >= _LEAST_ANTERIOR))

    @property
    def to_apex(self) -> np.ndarray | None:
        """Unit vector across the plane towards the apex, (3,), as the septum tells; None without it.

        Seen from the apex, the anterior wall follows the septum clockwise.
        """
        if self.septum is None:
            return None
        middle = self.septum.width_deg / 2
        septal, anterior = self.septum.direction(middle), self.septum.direction(middle - 90)
        return np.cross(*self.plane.patient(np.stack((anterior, septal))))


def _angles(in_plane_mm: np.ndarray) -> np.ndarray:
    return np.rad2deg(np.arctan2(in_plane_mm[..., 0], in_plane_mm[..., 1]))


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask that is not empty, bool (rows, columns); corners connect."""
    pieces, _ = label(mask, np.ones((3, 3)))
    return pieces == np.bincount(pieces[mask]).argmax()
