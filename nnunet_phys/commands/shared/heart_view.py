"""What is shown of a case: the slice with most of its heart, and the heart with what lies around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nnunet_phys.pictures import heart_window

Window = tuple[slice, slice]
"""Rows and columns."""
_FOUND_MARGIN_MM = 45.0
"""What is shown around blood that the maps show, often of one ventricle alone: about the other one's width."""
_MIDDLE_MM = 180.0
"""Side of the square that is shown where no heart is found."""


@dataclass(frozen=True, eq=False)
class HeartView:
    """A heart in the slices of a case.

    Attributes:
        mask: bool (slices, rows, columns); False everywhere where no heart is found.
        pixel_mm: row and column spacing.
        labelled: whether labels show the heart; otherwise its blood was found by the maps.
    """

    mask: np.ndarray
    pixel_mm: tuple[float, float]
    labelled: bool

    @property
    def fullest_slice(self) -> int:
        """The slice that shows most of the heart; without a heart the middle one."""
        area = self.mask.sum((1, 2))
        return int(area.argmax()) if area.any() else len(area) // 2

    @property
    def window(self) -> Window:
        """What is shown of every slice: the heart and what is around it, or without one a square in the middle."""
        plane: np.ndarray = np.any(self.mask, axis=0)
        if not plane.any():
            return self._square((slice(0, plane.shape[0]), slice(0, plane.shape[1])), _MIDDLE_MM)
        return (
            heart_window(plane, self.pixel_mm)
            if self.labelled
            else heart_window(plane, self.pixel_mm, _FOUND_MARGIN_MM)
        )

    def square(self, side_mm: float) -> Window:
        """A square of this size about the middle of `window`, moved and cut to lie in the slice."""
        return self._square(self.window, side_mm)

    def _square(self, about: Window, side_mm: float) -> Window:
        def side(shown: slice, count: int, mm: float) -> slice:
            kept = min(count, max(1, round(side_mm / mm)))
            first = min(max((shown.start + shown.stop - kept) // 2, 0), count - kept)
            return slice(first, first + kept)

        rows, columns = map(side, about, self.mask.shape[1:], self.pixel_mm)
        return rows, columns
