"""Self-contained pages: figures embedded, no other file and no network."""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAP_WINDOWS = {"PD": 1.5, "T1, ms": 2000.0, "T2, ms": 250.0}
"""Title and upper end of the colours of each map."""

_STYLE = "body{font:14px sans-serif;max-width:1100px;margin:2em auto}h2{font-size:15px;margin:1.2em 0 .2em}"
_STYLE += ".flag{color:#b00}img{max-width:100%}td,th{padding:.1em 1em;text-align:right}"


def png(figure: Figure, dpi: int, images_only: bool = False) -> bytes:
    """A figure as PNG.

    Args:
        figure: to be drawn.
        dpi: pixels per inch.
        images_only: it holds nothing but images in grey and viridis: 128 tones of each, half the bytes.
    """
    import numpy as np
    from matplotlib import colormaps
    from PIL import Image

    buffer, small = io.BytesIO(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    if not images_only:
        return buffer.getvalue()
    pixels = Image.open(buffer).convert("RGB")
    tones = np.linspace(0, 1, 128)
    colours = b"".join(colormaps[name](tones, bytes=True)[:, :3].tobytes() for name in ("gray", "viridis"))
    palette = Image.new("P", (1, 1))
    palette.putpalette(colours)
    index = np.array(pixels.quantize(palette=palette, dither=Image.Dither.NONE))  # only nearly the nearest colour
    values = np.asarray(pixels)
    grey = (values == values[..., :1]).all(-1)
    index[grey] = values[grey, 0] // 2
    reduced = Image.fromarray(index)
    reduced.putpalette(colours)
    reduced.save(small, "png", optimize=True)
    return small.getvalue()


def picture(figure: Figure, images_only: bool = False) -> str:
    """A figure as an HTML image that holds its own data; arguments as of `png`."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png(figure, 90, images_only)).decode()}">'


def write_page(path: Path, title: str, parts: list[str]) -> None:
    """Write a page, whole or not at all.

    Args:
        path: where to.
        title: plain text.
        parts: HTML, one below the other.

    Raises:
        InputError: it cannot be written.
    """
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{_STYLE}</style>"
    write_bytes(path, (head + "\n".join(parts) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    from nnunet_phys.precomputed_spin.image_files import whole_file

    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(f"-o {path} cannot be written ({error.strerror}). Is the disk full?") from None
