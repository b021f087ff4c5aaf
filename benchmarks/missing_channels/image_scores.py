"""How near a computed image is to the acquired one, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

BOX_MARGIN_MM = 10.0
"""Margin of the heart box around the labels."""
SSIM_WINDOW = 7
"""Rows and columns of the window of SSIM, scikit-image's default."""
GREATEST_PSNR = 100.0
"""PSNR in dB of an image that equals the acquired one, so that means stay finite."""


@dataclass(frozen=True)
class Regions:
    """Codes of label images.

    Attributes:
        myocardium: of healthy myocardium.
        lesions: of oedema and scar.
    """

    myocardium: tuple[int, ...]
    lesions: tuple[int, ...]


def slice_scores(
    made: np.ndarray, real: np.ndarray, labels: np.ndarray, regions: Regions, pixel_mm: tuple[float, float]
) -> dict[str, float]:
    """Scores of one slice.

    Args:
        made, real: images (rows, columns) from 0 to 1; 1 is the 99.5th percentile of the acquired volume.
        labels: label codes (rows, columns).
        regions: codes of myocardium and lesions.
        pixel_mm: row and column spacing.

    Returns:
        PSNR (dB) and SSIM of the whole image and of the heart box; PSNR of the box after the linear change of
        brightness that fits best, since no method can foretell how bright the scanner showed it; root mean square error
        in myocardium and in lesions; sharpness, the gradient's mean magnitude in the box relative to the real image's.
        What a slice does not show is left out; so is the SSIM of a box that is smaller than its window.
    """
    scores = _similarity(made, real, "")
    if labels.any():
        box = heart_box(labels, pixel_mm)
        scores |= _similarity(made[box], real[box], "box_")
        scores["box_psnr_fitted"] = _psnr(_brightness_fitted(made[box], real[box]), real[box])
        scores["sharpness"] = _gradient(made[box]) / max(_gradient(real[box]), 1e-6)
    for name, codes in (("myocardium", regions.myocardium), ("lesions", regions.lesions)):
        inside = np.isin(labels, codes)
        if inside.any():
            scores[f"{name}_rmse"] = float(np.sqrt(np.square(made[inside] - real[inside]).mean()))
    return scores


def heart_box(labels: np.ndarray, pixel_mm: tuple[float, float]) -> tuple[slice, slice]:
    """The smallest box around all labels, with a margin of `BOX_MARGIN_MM`."""
    ranges = []
    for axis, (size, mm) in enumerate(zip(labels.shape, pixel_mm, strict=True)):
        shown = np.flatnonzero(labels.any(1 - axis))
        margin = round(BOX_MARGIN_MM / mm)
        ranges.append(slice(max(0, shown[0] - margin), min(size, shown[-1] + 1 + margin)))
    return ranges[0], ranges[1]


def flicker(made: np.ndarray, real: np.ndarray) -> float:
    """How much more a computed volume changes from slice to slice than the acquired one.

    Args:
        made, real: volumes (slices, rows, columns) of two or more slices, from 0 to 1.

    Returns:
        Ratio of the mean absolute differences between neighbouring slices.
    """
    return float(np.abs(np.diff(made, axis=0)).mean() / np.abs(np.diff(real, axis=0)).mean())


def mean_scores(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each score over the slices that have it."""
    names = dict.fromkeys(name for slice_of in scores for name in slice_of)
    return {name: float(np.mean([s[name] for s in scores if name in s])) for name in names}


def _similarity(made: np.ndarray, real: np.ndarray, prefix: str) -> dict[str, float]:
    scores = {f"{prefix}psnr": _psnr(made, real)}
    if min(real.shape) >= SSIM_WINDOW:
        scores[f"{prefix}ssim"] = float(structural_similarity(real, made, data_range=1, win_size=SSIM_WINDOW))
    return scores


def _psnr(made: np.ndarray, real: np.ndarray) -> float:
    if np.array_equal(made, real):
        return GREATEST_PSNR
    return min(GREATEST_PSNR, float(peak_signal_noise_ratio(real, made, data_range=1)))


def _brightness_fitted(made: np.ndarray, real: np.ndarray) -> np.ndarray:
    """`made`, scaled and shifted to the least squared distance from `real`."""
    centred = made - made.mean()
    scale = (centred * real).sum() / max(np.square(centred).sum(), 1e-12)
    return real.mean() + scale * centred


def _gradient(image: np.ndarray) -> float:
    return float(np.hypot(*np.gradient(image)).mean())
