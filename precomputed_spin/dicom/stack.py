"""How the images of a series lie in space: slices along their normal, and the grid that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_phys.errors import InputError, counted
from nnunet_phys.image_files import SLICE_OF_2D_MM, Geometry
from nnunet_phys.precomputed_spin.dicom.frame import Frame

_SAME_DIRECTION = 1e-3
"""Largest difference of direction cosines in one grid: a twentieth of a degree, beyond what rounding does."""
_ROUNDED = 0.01
"""Largest error of the lengths of direction cosines and of the angle between them, by rounding to three digits."""
_SAME_MM = 0.05
"""Largest distance of positions that are the same. Assumed: far below a pixel, above the rounding of headers."""
_UNEVEN = 0.02
"""Largest difference of the distances of slices, as a share of their mean. Assumed: headers round them less."""


@dataclass(frozen=True)
class Slices:
    """The images of a series by their slices, all parallel and of one size.

    Attributes:
        frames: the images of each slice in the scanner's order; slices in the order of their normal.
        positions_mm: of the slices along their normal.
        faults: lines about why the slices make no even stack; empty if they do.
    """

    frames: tuple[tuple[Frame, ...], ...]
    positions_mm: tuple[float, ...]
    faults: tuple[str, ...]

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> Slices:
        """Sort images by slice.

        Raises:
            InputError: an image without position or with axes of no length, or one whose size, pixel spacing or
                orientation differs.
        """
        first = frames[0]
        for frame in frames:
            if frame.position is None or frame.orientation is None or frame.pixel_mm is None:
                raise InputError(f"{frame.file} has no position, orientation or pixel spacing. Export it again.")
            if not _has_axes(frame):
                raise InputError(f"{frame.file} has axes or pixels of no length. Export it again.")
            if what := _difference(frame, first):
                raise InputError(
                    f"{frame.file} and {first.file} differ in {what}: one series, several geometries. Move the images "
                    "of each into a folder of their own."
                )
        normal = _axes(first)[2]
        along = {frame: float(normal @ np.array(frame.position)) for frame in frames}
        groups: list[list[Frame]] = []
        for frame in sorted(frames, key=lambda frame: along[frame]):
            if groups and along[frame] - along[groups[-1][0]] < _SAME_MM:
                _check_place(frame, groups[-1][0])
                groups[-1].append(frame)
            else:
                groups.append([frame])
        positions = tuple(along[group[0]] for group in groups)
        in_order = {frame: number for number, frame in enumerate(frames)}
        ordered = tuple(tuple(sorted(group, key=in_order.__getitem__)) for group in groups)
        return cls(ordered, positions, tuple(_stack_faults(ordered, positions, normal)))

    @property
    def geometry(self) -> Geometry:
        """The grid of all slices, of which there must be one or an even stack."""
        first = self.frames[0][0]
        rows, columns = first.grid
        row_mm, column_mm = first.pixel_mm or (1.0, 1.0)
        if len(self.positions_mm) > 1:
            slice_mm = float(np.diff(self.positions_mm).mean())
        else:
            slice_mm = first.slice_mm or SLICE_OF_2D_MM
        return Geometry(
            (columns, rows, len(self.frames)),
            (column_mm, row_mm, slice_mm),
            first.position or (0.0, 0.0, 0.0),
            tuple(float(value) for value in np.stack(_axes(first), axis=1).ravel()),
        )

    def apart(self) -> list[Slices]:
        """Each slice by itself."""
        pairs = zip(self.frames, self.positions_mm, strict=True)
        return [Slices((group,), (position,), ()) for group, position in pairs]

    def check_counts(self) -> None:
        """Refuse slices with different numbers of images.

        Raises:
            InputError: there are such slices.
        """
        counts = [len(group) for group in self.frames]
        if len(set(counts)) > 1:
            raise InputError(
                f"its slices have {', '.join(map(str, counts))} images: some are missing, or there twice. Export the "
                "series again."
            )


def are_even(gaps_mm: np.ndarray) -> bool:
    """Whether the distances of neighbouring slices, if there are any, agree."""
    return len(gaps_mm) == 0 or bool(np.abs(gaps_mm - gaps_mm.mean()).max() <= _UNEVEN * gaps_mm.mean())


def by_position(frames: Sequence[Frame]) -> tuple[tuple[Frame, ...], ...]:
    """Images by the place of their first pixel; those without a position together."""
    groups: list[list[Frame]] = []
    for frame in frames:
        for group in groups:
            states = (frame.position is None, group[0].position is None)
            if all(states) or (not any(states) and _distance_mm(frame, group[0]) < _SAME_MM):
                group.append(frame)
                break
        else:
            groups.append([frame])
    return tuple(map(tuple, groups))


def same_plane(frame: Frame, other: Frame) -> bool:
    """Whether two images, which state where they lie, have their pixels at the same places."""
    return not _difference(frame, other) and _distance_mm(frame, other) < _SAME_MM


def _difference(frame: Frame, other: Frame) -> str:
    """What two images that state where they lie differ in, of size, pixel spacing and orientation; empty if nothing."""
    for what, value, expected, limit in (
        ("size", frame.grid, other.grid, 0.0),
        ("pixel spacing", frame.pixel_mm, other.pixel_mm, 1e-3),
        ("orientation", frame.orientation, other.orientation, _SAME_DIRECTION),
    ):
        if np.abs(np.subtract(value or (), expected or ())).max() > limit:
            return what
    return ""


def _distance_mm(frame: Frame, other: Frame) -> float:
    return float(np.linalg.norm(np.subtract(frame.position or (), other.position or ())))


def _check_place(frame: Frame, first: Frame) -> None:
    """Refuse an image of a slice that lies elsewhere in its plane."""
    if _distance_mm(frame, first) > _SAME_MM:
        raise InputError(
            f"{frame.file} and {first.file} lie in one plane, shifted: one series, several geometries. Move the images "
            "of each into a folder of their own."
        )


def _has_axes(frame: Frame) -> bool:
    """Whether the directions of rows and columns are unit vectors at a right angle, and pixels have a size."""
    cosines = np.reshape(frame.orientation or (), (2, 3))
    is_unit = np.abs(cosines @ cosines.T - np.eye(2)).max() < _ROUNDED
    return bool(is_unit) and min(frame.pixel_mm or ()) > 0


def _axes(frame: Frame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along increasing columns, along increasing rows, and their normal, in the patient's coordinates.

    DICOM's coordinates grow to the left, to the back and to the head, as SimpleITK's do (PS3.3 C.7.6.2.1.1).
    """
    cosines = np.array(frame.orientation)
    along_columns, along_rows = cosines[:3] / np.linalg.norm(cosines[:3]), cosines[3:] / np.linalg.norm(cosines[3:])
    return along_columns, along_rows, np.cross(along_columns, along_rows)


def _stack_faults(groups: Sequence[Sequence[Frame]], positions_mm: Sequence[float], normal: np.ndarray) -> list[str]:
    """Why slices make no even stack."""
    if len(groups) < 2:
        return []
    gaps = np.diff(positions_mm)
    if not are_even(gaps):
        listed = ", ".join(f"{gap:.2f}" for gap in gaps)
        return [
            f"its {counted(len(groups), 'slice')} lie {listed} mm apart: one is missing, or they are several stacks. "
            "Export the series again, or move each stack into a folder of its own."
        ]
    first = np.array(groups[0][0].position)
    for group in groups[1:]:
        step = np.array(group[0].position) - first
        if np.linalg.norm(step - (normal @ step) * normal) > _SAME_MM * len(groups):
            return [
                f"{group[0].file} is shifted within its plane against {groups[0][0].file}: one series, several "
                "geometries. Move the images of each into a folder of their own."
            ]
    return []
