"""SLAug: Su et al., Rethinking data augmentation for single-source domain generalization in medical image segmentation.

AAAI 2023. Numbers are those of the paper's published code, github.com/Kaiseem/SLAug
(dataloaders/location_scale_augmentation.py, dataloaders/saliency_balancing_fusion.py, engine.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from torch.nn.functional import adaptive_avg_pool2d

from generalization.competitors.control_points import smooth_map, to_unit_range

BACKGROUND = 0.01
"""Values up to this share of the image's range are not changed in the local view."""
SALIENCY_CELLS = 18
"""Cells along an axis over which saliency is averaged (for cardiac images: configs/efficientUnet_bSSFP_to_LEG.yaml)."""
_OFFSET_QUANTILES = (0.2, 0.8)
"""An offset takes no more than a fifth of the values out of the range, at either end."""
_CURVE_POINTS = 1000


@dataclass(frozen=True)
class ToneCurve:
    """A random map of brightness: a monotone cubic Bezier curve, then a gain and an offset.

    Attributes:
        inputs: inner control points of the curve on the axis of the values, as shares of their range.
        outputs: the same on the axis of the results.
        falling: the curve falls and so inverts the contrast.
        gain: factor on the curve's values.
        offset: added then, as far as the quantiles `_OFFSET_QUANTILES` of the curve's values stay between 0 and 1.
    """

    inputs: tuple[float, float]
    outputs: tuple[float, float]
    falling: bool
    gain: float
    offset: float

    @classmethod
    def draw(cls, falling_probability: float) -> ToneCurve:
        """Draw a curve from NumPy's random numbers."""
        inputs, outputs = np.random.uniform(size=(2, 2)).tolist()
        gain = float(np.clip(np.random.normal(1, 0.1), 0.9, 1.1))
        falling = bool(np.random.uniform() < falling_probability)
        return cls(tuple(inputs), tuple(outputs), falling, gain, float(np.random.normal(0, 0.5)))

    def bend(self, values: np.ndarray) -> np.ndarray:
        """The Bezier curve alone, from the range of the values to the same range."""
        least, greatest = float(values.min()), float(values.max())
        t = np.linspace(0, 1, _CURVE_POINTS)
        basis = np.stack([3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2])
        x, y = (np.sort(inner @ basis + t**3) for inner in (np.array(self.inputs), np.array(self.outputs)))
        bent = np.interp(values, least + x * (greatest - least), y[::-1] if self.falling else y)
        return least + bent * (greatest - least)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """New values between 0 and 1 for values in that range, any shape."""
        bent = self.bend(values)
        low, high = np.quantile(bent, _OFFSET_QUANTILES)
        return np.clip(bent * self.gain + np.clip(self.offset, -low, 1 - high), 0, 1)


class LocationScale(BasicTransform):
    """Location-scale augmentation: a global view of the image and a class-local one, as two channels.

    In the global view, one rising curve changes all values. In the local view each class has its own: the background a
    falling one, every structure a rising or a falling one. Values are taken relative to the range of the patch (that of
    the volume in the published code), and padding (label -1) stays as it is.
    """

    def get_parameters(self, **data_dict: Any) -> dict[str, Any]:
        """The curve of the global view, and a curve for each class in the patch."""
        codes = torch.unique(data_dict["segmentation"]).tolist()
        curves = {code: ToneCurve.draw(0.5 if code else 1.0) for code in codes if code >= 0}
        return {"everywhere": ToneCurve.draw(0.0), "of_class": curves, "labels": data_dict["segmentation"][0].numpy()}

    def _apply_to_image(self, img: torch.Tensor, **params: Any) -> torch.Tensor:
        """Two views of an image (1, rows, columns), (2, rows, columns)."""
        values, labels = img[0].numpy(), params["labels"]
        inside = labels >= 0
        if not inside.any():
            return img.repeat(2, 1, 1)
        least, span = float(values[inside].min()), max(float(np.ptp(values[inside])), 1e-6)
        unit = (values - least) / span
        everywhere, local = unit.copy(), unit.copy()
        everywhere[inside] = params["everywhere"](unit[inside])
        for code, curve in params["of_class"].items():
            of_class = labels == code
            local[of_class] = curve(unit[of_class])
        dark = inside & (unit <= BACKGROUND)
        local[dark] = unit[dark]
        return torch.from_numpy(np.stack([everywhere, local])).to(img) * span + least

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **params: Any) -> torch.Tensor:
        return segmentation


def fuse(everywhere: torch.Tensor, local: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """Saliency-balancing fusion: the global view where the loss depends on it, the local view elsewhere.

    Args:
        everywhere: the global views, (batch, 1, rows, columns).
        local: the local views, of that shape.
        gradient: the loss's gradient with respect to the global views, of that shape, at any scale; values that are not
            finite count as 0.
    """
    rows, columns = gradient.shape[-2:]
    magnitude = gradient.nan_to_num(0, 0, 0).square().mean(1, keepdim=True).sqrt()
    saliency = to_unit_range(smooth_map(adaptive_avg_pool2d(magnitude, SALIENCY_CELLS), (rows, columns)))
    return torch.lerp(local, everywhere, saliency)
