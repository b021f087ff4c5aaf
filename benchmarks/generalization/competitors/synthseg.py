"""Images made from labels alone, as SynthSeg makes them: Billot et al., Med Image Anal 86:102789, 2023.

Ranges are the defaults of the published code, github.com/BBillot/SynthSeg (SynthSeg/labels_to_image_model.py and
training.py), where nothing else is said.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from scipy.ndimage import gaussian_filter
from torch.nn.functional import interpolate

BACKGROUND_CLASSES = (3, 10)
"""Fewest and most clusters into which the background is split. Assumed: labels of a heart leave out the lungs, the
chest wall and the liver."""
MEANS, DEVIATIONS = (25.0, 225.0), (5.0, 25.0)
GREATEST = 300.0
MOST_BIAS, BIAS_NODES = 0.5, 4
"""Greatest standard deviation of the logarithm of the bias field, and its nodes along an axis (0.025 of 160 pixels)."""
LOG_GAMMA = 0.4
MOST_COARSENING = 3.0
"""Largest pixel of the mimicked acquisition, in pixels of the patch. Assumed: in-plane pixels of cardiac images measure
1.2 to 4 mm."""
BOTH_AXES, SHARP = 0.1, 0.05
"""Share of images that are coarser along both axes, and share in full resolution (ext/lab2im/layers.py)."""
EMPTY, DARK = 0.05, 0.25
"""Share of images in which the background is 0, and share in which it is nearly so (SynthSeg/model_inputs.py). Here it
is the background's darkest cluster."""
DARK_MEANS, DARK_DEVIATIONS = (0.0, 15.0), (0.0, 5.0)
_CLUSTER_ROUNDS = 5


class SynthesizeFromLabels(BasicTransform):
    """Replaces the image by one whose values are drawn anew from a Gaussian per class, the background's is often dark.

    The real image decides only into which clusters of similar brightness the background is split. Then follow a bias
    field, a gamma, the blur and resampling of a coarser acquisition, and a z-score. Padding (label -1) becomes 0.
    """

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """Classes of the pixels, (rows, columns), -1 in the padding; and the class of the darkest background."""
        labels, image = data_dict["segmentation"][0].numpy(), data_dict["image"][0].numpy()
        classes = labels.astype(np.int64)
        background = labels == 0
        if background.any():
            count = np.random.randint(BACKGROUND_CLASSES[0], BACKGROUND_CLASSES[1] + 1)
            classes[background] = labels.max() + 1 + brightness_clusters(image[background], count)
        return {"classes": classes, "darkest": int(labels.max()) + 1 if background.any() else None}

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        classes = params["classes"]
        inside = classes >= 0
        if not inside.any():
            return torch.zeros_like(img)
        count = int(classes.max()) + 1
        means, deviations = np.random.uniform(*MEANS, count), np.random.uniform(*DEVIATIONS, count)
        if params["darkest"] is not None:
            means[params["darkest"]], deviations[params["darkest"]] = darkened(
                means[params["darkest"]], deviations[params["darkest"]]
            )
        image = np.random.normal(means[classes], deviations[classes])
        nodes = np.random.normal(0, np.random.uniform(0, MOST_BIAS), (1, 1, BIAS_NODES, BIAS_NODES))
        bias = interpolate(torch.from_numpy(nodes), img.shape[1:], mode="bilinear", align_corners=True)
        image = np.clip(image * np.exp(bias[0, 0].numpy()), 0, GREATEST)
        image = (image - image.min()) / max(float(np.ptp(image)), 1e-6)
        image = coarsen(image ** np.exp(np.random.normal(0, LOG_GAMMA)))
        image = (image - image[inside].mean()) / max(float(image[inside].std()), 1e-6)
        return torch.from_numpy(np.where(inside, image, 0.0))[None].to(img)

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **params: Any) -> torch.Tensor:
        return segmentation


def darkened(mean: float, deviation: float) -> tuple[float, float]:
    """Mean and deviation of the background: 0, nearly 0, or those that were drawn."""
    chance = np.random.uniform()
    if chance < EMPTY:
        return 0.0, 0.0
    if chance < EMPTY + DARK:
        return np.random.uniform(*DARK_MEANS), np.random.uniform(*DARK_DEVIATIONS)
    return mean, deviation


def brightness_clusters(values: np.ndarray, count: int) -> np.ndarray:
    """Clusters of similar brightness, by Lloyd's algorithm from quantiles.

    Args:
        values: brightness (n,).
        count: number of clusters, of which some may be empty.

    Returns:
        cluster of each value, 0 for the darkest, (n,).
    """
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(_CLUSTER_ROUNDS):
        clusters = np.searchsorted((centres[1:] + centres[:-1]) / 2, values)
        sizes = np.bincount(clusters, minlength=count)
        sums = np.bincount(clusters, values, minlength=count)
        centres = np.where(sizes > 0, sums / np.maximum(sizes, 1), centres)
    return clusters


def coarsen(image: np.ndarray) -> np.ndarray:
    """Mimic an acquisition with larger pixels, along one axis or both: blur by up to its pixel, sample, interpolate.

    Args:
        image: (rows, columns).
    """
    factors = np.random.uniform(1, MOST_COARSENING, 2)
    if np.random.uniform() >= BOTH_AXES:
        factors[np.random.randint(2)] = 1
    if np.random.uniform() < SHARP:
        factors[:] = 1
    deviations = np.where(factors > 1, 0.75 * np.random.uniform(1, factors), 0.5)
    blurred = torch.from_numpy(gaussian_filter(image, deviations))[None, None]
    sampled = interpolate(blurred, [max(2, round(n / f)) for n, f in zip(image.shape, factors, strict=True)])
    return interpolate(sampled, image.shape, mode="bilinear", align_corners=True)[0, 0].numpy()
