"""One map of probabilities from those of the images of a series, weighted by how sure each image is of itself."""

from __future__ import annotations

import numpy as np

_MOST_CONFIDENT = 0.99
"""Upper bound of the confidence, so that no image decides alone. Measured: the surest reach 0.98."""
_FEWEST_SHOWN = 0.25
"""A label counts in a slice if at least this share of the images shows it, so that a stray pixel, or a heart that a
single image invents, decides nothing. A choice."""
_LEAST_PROBABILITY = 1e-4
"""Lower bound of a probability, so that no image excludes a label. A choice."""


def confidence(probabilities: np.ndarray) -> np.ndarray:
    """How well the mask of each image fits its own probabilities.

    It is the Dice to be expected if the probabilities hold, 2 sum(p in mask) / (sum(mask) + sum(p)), averaged over the
    labels that a quarter of the images shows in a slice; an image without such a label gets 0 for it. On digital hearts
    it follows the true Dice of a readout far better than the agreement with the other readouts does: where most
    readouts are close to their null, most masks are wrong together.

    Args:
        probabilities: (images, labels, slices, rows, columns); label 0 is the background.

    Returns:
        (images, slices), 0 to 1; 0 in a slice without such labels.
    """
    masks = probabilities.argmax(1)
    expected, shown = [], []
    for code in range(1, probabilities.shape[1]):
        inside, share = masks == code, probabilities[:, code]
        whole = inside.sum((2, 3)) + share.sum((2, 3))
        expected.append(2 * (share * inside).sum((2, 3)) / np.maximum(whole, 1e-6))
        shown.append(inside.any((2, 3)).mean(0) >= _FEWEST_SHOWN)
    count = np.sum(shown, axis=0)
    return np.where(shown, np.swapaxes(expected, 0, 1), 0.0).sum(1) / np.maximum(count, 1)


def weights(confidences: np.ndarray) -> np.ndarray:
    """Share of each image in the fused mask, (images, slices), 1 in sum over the images, from its confidence.

    The inverse square of what is missing to full confidence, as if that were the standard deviation of its error.
    """
    inverse = 1 / np.square(1 - np.minimum(confidences, _MOST_CONFIDENT))
    return inverse / inverse.sum(0)


def fuse(probabilities: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The logarithmic opinion pool (product of experts): the weighted geometric mean of the images' probabilities.

    Args:
        probabilities: (images, labels, slices, rows, columns).
        shares: as `weights` gives them, (images, slices).

    Returns:
        (labels, slices, rows, columns), 1 in sum over the labels.
    """
    logarithms = np.log(np.maximum(probabilities, _LEAST_PROBABILITY))
    pooled = np.exp(np.einsum("iz,ilzyx->lzyx", shares, logarithms))
    return pooled / pooled.sum(0)
