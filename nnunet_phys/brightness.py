"""How bright an image is where there is body, which pixels count for that, and which were clipped."""

from __future__ import annotations

import torch

_AIR_SHARE = 0.1
"""Of the 99th percentile; darker pixels count as air or lung. An assumption: lung has a tenth of muscle's signal."""
_BRIGHT_QUANTILE = 0.9
"""Of the pixels with body; blood and fat make up more than a tenth of a chest. An assumption."""
_MOST_PIXELS = 1_000_000
"""Of more, only every n-th is sorted: percentiles of a million pixels are exact to a thousandth."""
_CENTRE_WIDTH = 0.4
"""Standard deviation of `centre_weights`, in half fields of view: a heart fills about the middle third of one."""


def bright_level(signal: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Brightness of the blood and fat of an image: the 90th percentile of what stands out of air and lung.

    Of pixels above a tenth of the 99th percentile, so that the amount of air around the body does not matter.

    Args:
        signal: magnitude image, any shape.
        weights: how much each pixel counts, broadcastable to `signal` (default: all alike).

    Returns:
        A scalar tensor in the signal's unit.
    """
    weights = torch.ones_like(signal) if weights is None else weights.expand_as(signal)
    step = max(1, signal.numel() // _MOST_PIXELS)
    values, order = signal.float().flatten()[::step].sort()
    sorted_weights = weights.flatten()[::step][order]
    total = sorted_weights.cumsum(0)
    brightest = values[torch.searchsorted(total, 0.99 * total[-1])]
    start = torch.searchsorted(values, _AIR_SHARE * brightest, right=True)
    air = total[start] - sorted_weights[start]
    place = torch.searchsorted(total, air + _BRIGHT_QUANTILE * (total[-1] - air))
    return values[place.clamp(max=len(values) - 1)]


def centre_weights(rows: int, columns: int) -> torch.Tensor:
    """How much the pixels of a slice count for its gain, (rows, columns): a Gaussian about the middle.

    Scans are planned with the heart near the middle, and a surface coil may brighten the chest wall several times. Over
    30 ACDC volumes the bright level so weighted is 0.88-1.21 of the plain one, in a MOLLI without normalisation 0.41.
    """
    row, column = (torch.linspace(-1, 1, n).div(_CENTRE_WIDTH).square() for n in (rows, columns))
    return torch.exp(-0.5 * (row[:, None] + column))


def saturation_mask(image: torch.Tensor, least_share: float = 1e-3) -> torch.Tensor:
    """Pixels at the image's maximum, where so many share it that it must have been clipped; else none.

    Args:
        image: any shape, not all zero.
        least_share: of the pixels.
    """
    top = image >= image.max()
    return top if top.float().mean() > least_share else torch.zeros_like(top)
