"""Checks of all images before hours of work are spent: whether maps can be inferred from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.scan_loading import MOST_NEGATIVE, ImageReader, may_be_signed, negative_share

if TYPE_CHECKING:
    from nnunet_phys.image_files import Geometry
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.scan_files import ScanFiles
    from nnunet_phys.precomputed_spin.scan_protocol import ScanJob

FEWEST_VALUES = 17
"""Fewest different values of an image. Assumed: a file with fewer is a label image."""
LARGEST_VALUE = 1e9
"""Largest value of an image: scanners store 16 bits, and squares of values far above this overflow float32."""
SMALLEST_PEAK = 1e-9
"""Smallest maximum of an image: squares of values far below this underflow float32."""
LARGEST_VIEW_MM = 1000.0
"""Largest field of view in plane: the bore of a scanner is 600 or 700 mm wide."""
MOST_ANISOTROPY = 3.0
"""Largest ratio of the row and column spacing. Above it, one of them is the slice spacing (8 mm against 1.5 mm)."""
MOST_PRIOR_PIXELS = 4_000_000
"""Most pixels of a slice on the prior's grid: the largest field of view at 0.5 mm. In the network a pixel takes about a
kilobyte."""


def check_images(jobs: list[ScanJob], prior: SpinPrior, reader: ImageReader, faults: list[str] | None = None) -> None:
    """Check every image, and report all that cannot be used in one error.

    Args:
        jobs: cases and their sequences.
        prior: the prior that the maps will be inferred with.
        reader: reads the images, and keeps some for the inference.
        faults: lines about faults from earlier checks, which are reported with those of the images.

    Raises:
        InputError: `faults`, and images that are unreadable; hold NaN, no signal, values out of bounds or labels; are
            signed although the sequence gives magnitudes; differ in their grids; are too small or too large; or have
            their slices along a row or column.
    """
    faults = list(faults or ())
    for job in jobs:
        try:
            grid_faults = list(_grid_faults(job.files, prior))
            if not grid_faults:
                images = reader.look(job.files)
                signed = [may_be_signed(sequence) for sequence in job.sequences for _ in range(sequence.image_count)]
                grid_faults = list(value_faults(job.files, images, signed))
            faults.extend(f"{job.case}: {fault}" for fault in grid_faults)
        except InputError as error:
            faults.extend(error.of_case(job.case).faults)
    if faults:
        raise InputError(*faults)


def _grid_faults(files: ScanFiles, prior: SpinPrior) -> Iterator[str]:
    """A line for each fault of a scan's grid."""
    geometry, path = files.geometry, files.paths[0]
    pixel_mm = geometry.pixel_mm
    if max(pixel_mm) > MOST_ANISOTROPY * min(pixel_mm):
        yield (
            f"{path} has pixels of {pixel_mm[0]:g} x {pixel_mm[1]:g} mm: its slices seem to lie along a row or column. "
            "Reorder its axes so that the last axis counts the slices."
        )
        return
    view = _view_mm(geometry)
    minimum = prior.minimum * prior.pixel_mm
    if min(view) < minimum:
        yield (
            f"{path} spans only {min(view):.3g} mm in plane, the prior needs {minimum:.0f} mm. Check the spacing in "
            "its header, or use images that were not cropped."
        )
    elif max(view) > LARGEST_VIEW_MM:
        yield f"{path} spans {max(view):.0f} mm in plane, more than a scanner. Check the spacing in its header (mm)."
    elif math.prod(length / prior.pixel_mm for length in view) > MOST_PRIOR_PIXELS:
        yield f"{path} has too many pixels at the prior's {prior.pixel_mm:g} mm. Use a prior with larger pixels."


def _view_mm(geometry: Geometry) -> tuple[float, float]:
    """Field of view along a column and along a row, mm."""
    columns, rows = geometry.size[:2]
    return rows * geometry.pixel_mm[0], columns * geometry.pixel_mm[1]


def value_faults(files: ScanFiles, images: np.ndarray, signed: Sequence[bool]) -> Iterator[str]:
    """A line for each fault of the values of a scan's images.

    Args:
        files: where the images are.
        images: (images, ...).
        signed: for each image, whether it may have negative values.
    """
    paths = files.paths if len(files.paths) > 1 else files.paths * len(images)
    for path, may_be_negative, image in zip(paths, signed, images, strict=True):
        peak, largest = float(image.max()), float(np.abs(image).max())
        if peak <= 0:
            yield f"{path} has no signal above 0. Correct or remove the case."
        elif largest > LARGEST_VALUE or peak < SMALLEST_PEAK:
            yield (
                f"{path} holds values up to {largest:.3g}, expected {SMALLEST_PEAK:g} to {LARGEST_VALUE:g}. "
                "Correct the pixels, or scale the image."
            )
        elif (values := _value_count(image)) < FEWEST_VALUES:
            yield f"{path} holds only {values} different values, as label images do. Give the MR image."
        elif not may_be_negative and (share := negative_share(image)) > MOST_NEGATIVE:
            yield (
                f"{path}: {100 * share:.0f} % of its pixels are clearly negative, as after a z-score or in a signed "
                "image, but its sequence gives magnitudes. Give the image as the scanner made it."
            )


def _value_count(image: np.ndarray) -> int:
    """How many different values an image holds; counted in a sample of its voxels if that shows enough of them."""
    in_sample = len(np.unique(image.ravel()[::97]))
    return in_sample if in_sample >= FEWEST_VALUES else len(np.unique(image))
