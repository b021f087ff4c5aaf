"""Whether the heart lies elsewhere in some images of a series, and images brought back to where it lies in most.

The place follows from the probabilities of the labels, not from the images: after an inversion, blood and muscle turn
from dark to bright, so that readouts have no brightness in common, but a heart has one shape in all of them. Only
shifts in the plane are sought. Breathing between two heartbeats mostly shifts the heart; what turns or leaves the plane
shows as low agreement (`flags`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import shift
from skimage.registration import phase_cross_correlation

from nnunet_phys.series_segmentation.fusion import weights

_ITERATIONS = 3
"""Rounds of comparing each image with the mean of all. A choice: the third changes shifts by less than `_STEPS`."""
_STEPS = 10
"""Steps per pixel in which shifts are sought."""
_LEAST_OVERLAP = 0.6
"""Least overlap (soft Dice) with the mean of the series, after the shift, at which a shift is believed."""
_LEAST_CONFIDENCE = 0.9
"""Least confidence of an image at which a shift is believed. Measured on digital hearts: of surer images, shifts are
found within 0.3 pixels in the median; of less sure ones within 0.3 to 0.5."""
_MOVED_PIXELS = 1.0
"""Largest shift in pixels that is left as it is: correcting it blurs the image by interpolation."""
_FARTHEST_MM = 25.0
"""Largest shift that is believed. Assumed: the heart moves less between a breath held in and one held out."""


@dataclass(frozen=True, eq=False)
class Motion:
    """Where the heart lies in the images of a series.

    Attributes:
        shifts: rows and columns, in pixels, by which each slice of each image must be moved so that the heart lies
            where it does in most images, (images, slices, 2); 0 where that is unknown.
        known: where that is known, bool (images, slices).
    """

    shifts: np.ndarray
    known: np.ndarray

    @property
    def moved(self) -> np.ndarray:
        """Where the heart lies more than a pixel off, bool (images, slices)."""
        return np.linalg.norm(self.shifts, axis=-1) > _MOVED_PIXELS

    def registered(self, image: int, volume: np.ndarray) -> np.ndarray:
        """A volume of an image, moved to where the heart lies in most images.

        Slices that have not moved stay exactly as they are. Values beyond an edge are those at the edge, and none lies
        outside of those of the slice.

        Args:
            image: number of the image.
            volume: (slices, rows, columns), such as the image or the probability of a label in it.
        """
        moved = volume.copy()
        for z in np.flatnonzero(self.moved[image]):
            values = shift(volume[z], self.shifts[image, z], order=3, mode="nearest")
            moved[z] = np.clip(values, volume[z].min(), volume[z].max())
        return moved


def find_motion(probabilities: np.ndarray, confidences: np.ndarray, pixel_mm: tuple[float, float]) -> Motion:
    """Compare where the labels lie in the images of a series.

    Each image is compared with the mean of all, weighted by their confidence, by the cross-correlation of all labels
    together (scikit-image; Guizar-Sicairos et al., Opt Lett 33:156, 2008, without its normalisation). The mean is then
    made anew from the shifted images. The place of most images is the median, and is unknown unless most images show
    where they lie.

    Args:
        probabilities: (images, labels, slices, rows, columns); label 0 is the background.
        confidences: `fusion.confidence` of them, (images, slices).
        pixel_mm: row and column spacing.
    """
    shares = weights(confidences)
    shifts, known = np.zeros((*confidences.shape, 2)), np.zeros(confidences.shape, bool)
    for z in range(probabilities.shape[2]):
        labels = probabilities[:, 1:, z].astype(np.float32)
        moved = labels
        for _ in range(_ITERATIONS):
            mean = np.einsum("i,ilyx->lyx", shares[:, z], moved)
            offsets = np.stack([_shift(mean, masks) for masks in labels])
            overlaps = np.array([_overlap(mean, _moved(masks, by)) for masks, by in zip(labels, offsets, strict=True)])
            near = np.linalg.norm(offsets * pixel_mm, axis=1) <= _FARTHEST_MM
            known[:, z] = near & (overlaps >= _LEAST_OVERLAP) & (confidences[:, z] >= _LEAST_CONFIDENCE)
            if known[:, z].sum() <= len(labels) / 2:  # where the heart lies in most images is not known
                known[:, z], shifts[:, z] = False, 0.0
                break
            centre = np.median(offsets[known[:, z]], axis=0)
            shifts[:, z] = np.where(known[:, z, None], offsets - centre, 0.0)
            moved = np.stack([_moved(masks, by) for masks, by in zip(labels, shifts[:, z], strict=True)])
    return Motion(shifts, known)


def _shift(reference: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Rows and columns by which labels, (labels, rows, columns), must be moved to fit the reference; infinite if only
    a change of labels makes them fit."""
    if not labels.any() or not reference.any():
        return np.full(2, np.inf)
    room = ((0, len(labels)), (0, 0), (0, 0))  # labels meet at the edges as rows and columns do
    padded = np.pad(reference, room), np.pad(labels, room)
    by_label, *in_plane = phase_cross_correlation(*padded, upsample_factor=_STEPS, normalization=None)[0]
    return np.array(in_plane) if abs(by_label) < 0.5 else np.full(2, np.inf)


def _moved(labels: np.ndarray, by: np.ndarray) -> np.ndarray:
    return shift(labels, (0, *by), order=1) if np.isfinite(by).all() else np.zeros_like(labels)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Soft Dice of all labels together."""
    return float(2 * np.minimum(a, b).sum() / max((a + b).sum(), 1e-6))
