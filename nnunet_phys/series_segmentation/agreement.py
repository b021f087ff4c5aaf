"""How far the masks of the images of a series agree with the one mask made of them."""

from __future__ import annotations

import numpy as np


def label_dice(masks: np.ndarray, reference: np.ndarray, labels: int) -> np.ndarray:
    """Dice of each label in each slice.

    Args:
        masks: label codes, (images, slices, rows, columns).
        reference: label codes, (slices, rows, columns).
        labels: number of labels, background included.

    Returns:
        (images, slices, labels - 1), without the background; NaN where neither holds the label.
    """
    dice = np.full((*masks.shape[:2], labels - 1), np.nan)
    for code in range(1, labels):
        ours, theirs = masks == code, (reference == code)[None]
        both, all_of_them = (ours & theirs).sum((2, 3)), ours.sum((2, 3)) + theirs.sum((2, 3))
        found = all_of_them > 0
        dice[found, code - 1] = 2 * both[found] / all_of_them[found]
    return dice


def agreement(dice: np.ndarray) -> np.ndarray:
    """Mean Dice over the labels that are there, (images, slices); 1 where there is none, as all agree on that."""
    found = np.isfinite(dice)
    mean = np.where(found, dice, 0.0).sum(-1) / np.maximum(found.sum(-1), 1)
    return np.where(found.any(-1), mean, 1.0)
