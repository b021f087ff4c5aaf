"""Dice and Hausdorff distance of segmentations, case by case."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from generalization.test_sets import STRUCTURES
from nnunet_phys.image_files import Geometry, read_image


@dataclass(frozen=True)
class Score:
    """How well one structure of one case was segmented.

    Attributes:
        dice: 0-1; None if neither the labels nor the segmentation hold the structure.
        hd95_mm: 95th percentile of the distances between the contours, mm; None unless both hold the structure.
    """

    dice: float | None
    hd95_mm: float | None


CaseScores = dict[str, Score]
"""Scores of a case by structure."""


def hd95(mask: np.ndarray, truth: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """95th percentile of the distances from each contour to the other, both directions together.

    A contour is a structure's outermost pixels in each slice, since a stack of thick slices, or a single slice, has no
    other surface that was segmented; distances are three-dimensional. (In MedPy's hd95, whose percentile this is, all
    pixels of the first and last slice count as surface.)

    Args:
        mask, truth: bool (slices, rows, columns).
        spacing_mm: voxel spacing along these axes.

    Returns:
        mm; NaN if either is empty.
    """
    if not mask.any() or not truth.any():
        return math.nan
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[1] = [[False, True, False], [True, True, True], [False, True, False]]
    contours = [structure & ~binary_erosion(structure, in_plane) for structure in (mask, truth)]
    distances = [distance_transform_edt(~contour, sampling=spacing_mm) for contour in contours]
    return float(np.percentile(np.concatenate((distances[1][contours[0]], distances[0][contours[1]])), 95))


def score_case(prediction: Path, labels: Path) -> CaseScores:
    """Dice by nnU-Net's evaluation, and `hd95`, of each structure.

    Raises:
        InputError: a file cannot be read.
    """
    from nnunetv2.evaluation.evaluate_predictions import compute_metrics
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    metrics = compute_metrics(str(labels), str(prediction), SimpleITKIO(), list(STRUCTURES.values()))["metrics"]
    mask, truth, spacing = read_image(prediction), read_image(labels), Geometry.read(labels).voxel_mm
    scores = {}
    for name, code in STRUCTURES.items():
        scores[name] = Score(_known(float(metrics[code]["Dice"])), _known(hd95(mask == code, truth == code, spacing)))
    return scores


def _known(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 5)


def mean_dice(scores: CaseScores) -> float:
    """Mean Dice over the structures that the case holds; NaN if there are none."""
    values = [score.dice for score in scores.values() if score.dice is not None]
    return float(np.mean(values)) if values else math.nan
