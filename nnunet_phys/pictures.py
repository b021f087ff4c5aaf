"""Pictures: a figure as PNG, the mark that it carries, and the colour scales of maps."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MADE_BY = "made by nnunet_phys"
"""Mark near the beginning of every page and picture: files without it are never replaced."""

MAP_WINDOWS = {"PD": 1.5, "T1, ms": 2000.0, "T2, ms": 250.0}
"""Title and upper end of the colours of each map."""


def png(figure: Figure, dpi: int) -> bytes:
    """A figure as PNG; dpi in pixels per inch."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": MADE_BY})
    return buffer.getvalue()
