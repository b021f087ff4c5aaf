"""Where slices lie in the patient. Coordinates are DICOM's: mm to the left, posterior and superior (LPS)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_phys.image_files import Geometry

_LARGEST_TILT_DEG = 10.0
"""Slices tilted less against each other belong to one stack. Assumed: planned together, they differ by rounding."""


@dataclass(frozen=True, eq=False)
class SlicePlane:
    """The plane of one slice.

    Attributes:
        origin: centre of the pixel (0, 0), (3,), mm.
        directions: unit vectors along which the row and the column number grow, (2, 3).
        pixel_mm: row and column spacing.
        spacing_mm: distance to the next slice of the volume.
    """

    origin: np.ndarray
    directions: np.ndarray
    pixel_mm: tuple[float, float]
    spacing_mm: float

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the plane, (3,); with rows and columns, it makes a right-handed frame."""
        return np.cross(*self.directions)

    def patient(self, in_plane_mm: np.ndarray) -> np.ndarray:
        """Vectors in the patient, (..., 3), of vectors in the plane, (..., 2): mm along rows and columns."""
        return in_plane_mm @ self.directions

    def place(self, pixel: np.ndarray) -> np.ndarray:
        """Position in the patient, (3,), of a pixel's row and column number."""
        return self.origin + self.patient(pixel * self.pixel_mm)

    def parallel(self, other: SlicePlane) -> bool:
        """Whether another slice may belong to the same stack."""
        return abs(self.normal @ other.normal) > np.cos(np.deg2rad(_LARGEST_TILT_DEG))


def slice_planes(geometry: Geometry) -> list[SlicePlane]:
    """The planes of a volume's slices.

    Raises:
        ValueError: a 2-D image, which does not say where it lies in the patient.
    """
    if len(geometry.size) < 3:
        raise ValueError("a 2-D image does not say where it lies in the patient")
    column, row, through = np.array(geometry.direction).reshape(3, 3).T
    step = through * geometry.spacing[2]
    return [
        SlicePlane(
            np.array(geometry.origin) + z * step, np.stack((row, column)), geometry.pixel_mm, geometry.spacing[2]
        )
        for z in range(geometry.size[2])
    ]
