"""Self-contained pages: figures embedded, no other file and no network."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.pictures import MADE_BY, png
from nnunet_phys.whole_files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = "body{font:14px sans-serif;max-width:1100px;margin:2em auto;padding:0 .8em}"
_STYLE += (
    "h2{font-size:15px;margin:1.2em 0 .2em}.flag{color:#b00}img{max-width:100%}td,th{padding:.1em 1em;text-align:right}"
)


def picture(figure: Figure) -> str:
    """A figure as an HTML image that holds its own data."""
    return f'<img src="data:image/png;base64,{base64.b64encode(png(figure, 90)).decode()}">'


def fault_lines(faults: Iterable[str]) -> str:
    """Faults as HTML, one line per fault, escaped."""
    return "".join(f"<div class=flag>{html.escape(fault)}</div>" for fault in faults)


def write_page(path: Path, title: str, parts: list[str], style: str = "") -> None:
    """Write a page, whole or not at all.

    Args:
        path: where to.
        title: plain text.
        parts: HTML, one below the other.
        style: CSS beside that of all pages.

    Raises:
        InputError: it cannot be written.
    """
    head = f'<!doctype html><meta charset=utf-8><meta name=generator content="{MADE_BY}">'
    head += '<meta name=viewport content="width=device-width">'
    head += f"<title>{html.escape(title)}</title><style>{_STYLE}{style}</style>"
    write_bytes(path, (head + "\n".join(parts) + "\n").encode())
