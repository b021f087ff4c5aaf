"""The page of `gallery`, as HTML: what is known of the case, a list of contents, its maps, and rows of contrasts.

All text from records and file names is escaped.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image

from nnunet_phys.case_records import package_versions
from nnunet_phys.commands.parts.gallery_case import GalleryCase
from nnunet_phys.commands.shared.gallery_rows import Row, effect_rows, sequence_rows
from nnunet_phys.commands.shared.pages import fault_lines
from nnunet_phys.commands.shared.record_text import made_how, residual_text, versions_text
from nnunet_phys.commands.shared.shown_muscle import muscle_t1_t2
from nnunet_phys.pictures import MAP_COLOURS, MAP_WINDOWS, grey_limits, webp_of_pixels
from nnunet_phys.precomputed_spin.quality import KINDS
from nnunet_phys.progress import ProgressBar

MOST_BYTES = 3_000_000
"""Of a page."""
_HEAD_BYTES = 2_000
"""More than the beginning of a page takes beside its style."""
_SIZES = ((256, 90), (256, 75), (256, 50), (192, 50), (128, 50))
"""Longer side of an image, pixels, and quality of WebP: the first pair with which the page has at most `MOST_BYTES`. An
image is a little less than 256 pixels wide on a desktop. Measured: real hearts and 512x512 pixels fit with the first
pair; images of noise alone, the worst case, with the last."""
_COLOUR_STOPS = 9
"""Colours between which a colour bar is interpolated, which does not show."""
_ONE_SCALE = "One grey scale for the row."
_OWN_SCALE = "Each image has its own grey scale."
_SCALES = (
    "from 0, or where signed from the 0.5th percentile, to the 99.5th percentile of what is shown; where a row shares "
    "one, those of its darkest and its brightest image"
)
STYLE = """
body{max-width:1400px}h1{font-size:22px;margin:1.2em 0 .3em}p{margin:.2em 0 .5em}
nav ul{columns:24em;margin:.2em 0;padding-left:1.2em}h2 a{text-decoration:none;margin-left:.4em}
h1,h2,figcaption,nav,p,div{overflow-wrap:anywhere}
.row{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(200px,46%),1fr));gap:.6em .5em}
figure{margin:0}figure img{display:block;width:100%;height:auto}figcaption{font-size:13px}
.bar{display:flex;justify-content:space-between;color:#fff;font-size:11px;padding:0 .3em;text-shadow:0 0 3px #000}
.scale{color:#555}.known{margin:.6em 0}
section{content-visibility:auto;contain-intrinsic-size:auto 320px;scroll-margin-top:.5em}
"""


@dataclass(frozen=True)
class _Panel:
    """An image of the page.

    Attributes:
        caption: plain text below it.
        pixels: uint8, (rows, columns), or (rows, columns, 3) for colours.
        bar: HTML of its colour bar; empty without.
    """

    caption: str
    pixels: np.ndarray
    bar: str = ""


@dataclass(frozen=True)
class _Section:
    """Images side by side under a heading.

    Attributes:
        title: plain text.
        notice: plain text, what to notice.
        scale: plain text, which values are black and white.
        panels: the images.
    """

    title: str
    notice: str
    scale: str
    panels: Sequence[_Panel]


class GalleryPage:
    """A page of a case.

    Args:
        case: the slice that is shown.
        seed: decides the places of infarcts and fields, and the noise.
        progress: whether a progress bar is shown.
    """

    def __init__(self, case: GalleryCase, seed: int, progress: bool) -> None:
        self._case, self._seed = case, seed
        self._muscle = muscle_t1_t2(case.shown_maps, case.voxel_mm[1:])
        sequences, effects = sequence_rows(*self._muscle, seed), effect_rows(seed)
        with ProgressBar(total=len(sequences) + len(effects), unit="row", disable=not progress) as bar:

            def drawn(rows: Iterable[Row]) -> list[_Section]:
                sections = []
                for row in rows:
                    sections.append(self._row(row))
                    bar.update()
                return sections

            self._chapters = {
                "Image and maps": [self._source()],
                "Sequences": drawn(sequences),
                "Scanner effects": drawn(effects),
            }

    def parts(self) -> list[str]:
        """The page's parts, one below the other, with images of the best quality that `MOST_BYTES` allow."""
        for longer_side, quality in _SIZES:
            parts = self._parts(longer_side, quality)
            if sum(len(part.encode()) for part in parts) < MOST_BYTES - len(STYLE) - _HEAD_BYTES:
                break
        return parts

    def _parts(self, longer_side: int, quality: int) -> list[str]:
        parts = [
            f"<h1>{html.escape(self._case.title)}: contrasts of its PD, T1 and T2</h1>",
            f"<div class=known>{self._flags()}</div>",
            f"<div class=known>{self._settings()}</div>",
            self._contents(),
        ]
        number = 0
        for chapter, sections in self._chapters.items():
            parts.append(f"<h1>{chapter}</h1>")
            for section in sections:
                parts.append(_section_html(section, number, longer_side, quality))
                number += 1
        return parts

    def _flags(self) -> str:
        """What is doubtful in the maps, the slice that is shown first."""
        record, z = self._case.record, self._case.z
        if record is None:
            return (
                "<p>These maps have no record of their quality, as those of <code>nnunet_phys reverse</code> have.</p>"
            )
        flags = sorted(record.quality.flags, key=lambda flag: (flag.slice != z, flag.slice))
        kinds = dict.fromkeys(flag.kind for flag in flags if flag.kind in KINDS)
        remedies = "".join(
            f"<div>What to do ({kind}): {KINDS[kind].remedy}.</div>" for kind in kinds if kind is not None
        )
        none = "" if any(flag.slice == z for flag in flags) else " This slice is not flagged."
        residual = html.escape(residual_text(record.quality, z))
        return f"<p>Slice {z}: {residual}.{none}</p>{fault_lines(map(str, flags))}{remedies}"

    def _settings(self) -> str:
        """How the maps and this page were made."""
        height, width = self._case.shown_mm
        t1_ms, t2_ms = self._muscle
        record = self._case.record
        texts = {
            "Shown": f"{height:.0f} x {width:.0f} mm around {self._case.around}",
            "Late enhancement": f"nulls muscle of T1 {t1_ms:.0f} and T2 {t2_ms:.0f} ms",
            "Infarcts, fields and noise": f"by seed {self._seed}",
            "Grey scales": _SCALES,
            "This page": versions_text(package_versions()),
        }
        lines = "".join(f"<div>{heading}: {html.escape(text)}</div>" for heading, text in texts.items())
        return ("" if record is None else made_how([record])) + lines

    def _contents(self) -> str:
        lines, number = [], 0
        for chapter, sections in self._chapters.items():
            lines.append(f"<b>{chapter}</b><ul>")
            for section in sections:
                lines.append(f"<li><a href=#row{number}>{html.escape(section.title)}</a>")
                number += 1
            lines.append("</ul>")
        return f"<nav id=contents><h1>Contents</h1>{''.join(lines)}</nav>"

    def _source(self) -> _Section:
        """The image and the maps."""
        panels = []
        if self._case.shown_image is not None:
            panels.append(_Panel("image", self._pixels(self._case.shown_image, *grey_limits(self._case.shown_image))))
        colours = colormaps[MAP_COLOURS]
        stops = ",".join(to_hex(colours(x)) for x in np.linspace(0, 1, _COLOUR_STOPS))
        for (title, top), values in zip(MAP_WINDOWS.items(), self._case.shown_maps.stack(), strict=True):
            pixels = colours(self._pixels(values[0].numpy(), 0, top), bytes=True)[..., :3]
            ends = "".join(f"<span>{value:,g}</span>" for value in (0, top / 2, top))
            bar = f"<div class=bar style='background:linear-gradient(to right,{stops})'>{ends}</div>"
            panels.append(_Panel(title, pixels, bar))
        title = "PD, T1 and T2" if self._case.image is None else "Image, PD, T1 and T2"
        notice = "Everything below is made of these three maps alone."
        scale = "The bars show the maps' colours. " + ("" if self._case.image is None else _OWN_SCALE)
        return _Section(title, notice, scale, panels)

    def _row(self, row: Row) -> _Section:
        images = [(caption, self._case.scan(draw)) for caption, draw in row.images]
        shared = grey_limits(*(image for _, image in images)) if row.one_scale else None
        panels = [_Panel(text, self._pixels(image, *(shared or grey_limits(image)))) for text, image in images]
        return _Section(row.title, row.notice, _ONE_SCALE if row.one_scale else _OWN_SCALE, panels)

    def _pixels(self, values: np.ndarray, black: float, white: float) -> np.ndarray:
        """Values as uint8 with square pixels, by cubic interpolation."""
        grey = (255 * ((values - black) / (white - black)).clip(0, 1)).round().astype(np.uint8)
        height, width = (max(1, round(_SIZES[0][0] * mm / max(self._case.shown_mm))) for mm in self._case.shown_mm)
        return np.asarray(Image.fromarray(grey).resize((width, height), Image.Resampling.BICUBIC))


def _section_html(section: _Section, number: int, longer_side: int, quality: int) -> str:
    figures = []
    for panel in section.panels:
        caption = html.escape(panel.caption)
        height, width = panel.pixels.shape[:2]
        data = base64.b64encode(webp_of_pixels(panel.pixels, longer_side, quality)).decode()
        figures.append(
            f"<figure><img decoding=async width={width} height={height} alt='{caption}' "
            f"src='data:image/webp;base64,{data}'>{panel.bar}<figcaption>{caption}</figcaption></figure>"
        )
    return (
        f"<section id=row{number}><h2>{html.escape(section.title)}<a href=#contents title=Contents>&uarr;</a></h2>"
        f"<p>{html.escape(section.notice)} <span class=scale>{section.scale}</span></p>"
        f"<div class=row>{''.join(figures)}</div></section>"
    )
