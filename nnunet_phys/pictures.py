"""Pictures: a figure as PNG or WebP, the mark of ours, the colour scales of maps, and what of a slice is shown."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

MADE_BY = "made by nnunet_phys"
"""Mark near the beginning of every page and picture: files without it are never replaced."""

MAP_WINDOWS = {"PD": 1.5, "T1, ms": 2500.0, "T2, ms": 250.0}
"""Title and upper end of the colours of each map."""
MAP_COLOURS = "viridis"
"""Matplotlib's name of the colours of maps."""
ECV_WINDOW = 80.0
"""Upper end of the colours of extracellular volume, percent."""
_MARGIN_MM = 25.0
"""What is shown around a heart."""
_WEBP_QUALITY = 80
"""Pillow's default. Seen: contours and text stay sharp, at a third of the size of PNG."""
_BRIGHTEST = 0.995
"""The quantile that is shown as white."""


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG; dpi in pixels per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": MADE_BY})
    return buffer.getvalue()


def webp(figure: Figure, dpi: int) -> bytes:
    """A figure as WebP, with losses that do not show; dpi in pixels per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=dpi, pil_kwargs={"quality": _WEBP_QUALITY})
    return buffer.getvalue()


def webp_of_pixels(pixels: np.ndarray, longer_side: int, quality: int) -> bytes:
    """Pixels as WebP.

    Args:
        pixels: uint8, (rows, columns), or (rows, columns, 3) for red, green and blue.
        longer_side: the image is made smaller where its longer side has more pixels.
        quality: 0 to 100, as Pillow takes it.
    """
    from PIL import Image

    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    image.thumbnail((longer_side, longer_side))
    image.save(buffer, format="webp", quality=quality)
    return buffer.getvalue()


def grey_limits(*images: np.ndarray) -> tuple[float, float]:
    """What is shown as black and as white: 0, or of signed images the 0.5th percentile, and the 99.5th percentile.

    Of several images that share a grey scale, the darkest one's and the brightest one's.
    """
    import numpy as np

    black, white = np.transpose([np.quantile(image, (1 - _BRIGHTEST, _BRIGHTEST)) for image in images])
    return min(0.0, float(black.min())), max(float(white.max()), 1e-6)


def heart_window(mask: np.ndarray, pixel_mm: tuple[float, float], margin_mm: float = _MARGIN_MM) -> tuple[slice, slice]:
    """Rows and columns of a slice that show a heart and what is around it.

    Args:
        mask: the heart, bool (rows, columns), True somewhere.
        pixel_mm: row and column spacing.
        margin_mm: what is shown around it.
    """

    def window(axis: int) -> slice:
        places, margin = mask.sum(1 - axis).nonzero()[0], round(margin_mm / pixel_mm[axis])
        return slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + 1 + margin, mask.shape[axis]))

    return window(0), window(1)
