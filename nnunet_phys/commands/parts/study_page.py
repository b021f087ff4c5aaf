"""The page of `quantify`: flags first, then bull's eyes, agreement with the scanner, slices and the table."""

from __future__ import annotations

import html
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nnunet_phys.commands.parts.measurement import AFTER
from nnunet_phys.commands.parts.study_figures import Panel, bland_altman, bulls_eyes, histograms, overlays
from nnunet_phys.commands.parts.study_rows import SegmentRow
from nnunet_phys.commands.shared.pages import fault_lines, picture
from nnunet_phys.pictures import ECV_WINDOW, MAP_WINDOWS
from nnunet_phys.quantification.measured_slice import MeasuredSlice

SCANNER = "scanner"
"""Method of the rows that the scanner's own map gives."""
_AFTER_MS = 1000.0
"""Upper end of the colours of T1 after contrast agent, ms. Assumed: muscle and blood have 300 to 650."""
_CONTOURS = "<p>Contours: right ventricle orange, myocardium red, left ventricle blue, segments white.</p>"
_FEWEST_TO_COMPARE = 3
"""Fewest segments whose differences are shown. A choice: of two, a standard deviation says nothing."""


@dataclass(frozen=True, eq=False)
class PageSlice:
    """A slice as the page shows it.

    Attributes:
        readouts: some images of the series, (rows, columns), by their titles.
        measured: what each method measured.
        ecv: map of extracellular volume of each method, percent; empty without.
        after: it is the partner after contrast agent of the slice before.
    """

    readouts: Mapping[str, np.ndarray]
    measured: Mapping[str, MeasuredSlice]
    ecv: Mapping[str, np.ndarray]
    after: bool = False


def page_parts(
    title: str,
    settings: Mapping[str, Any],
    flags: Sequence[str],
    slices: Sequence[PageSlice],
    rows: Sequence[SegmentRow],
    one_heart: bool,
) -> list[str]:
    """The parts of the page, as HTML.

    Args:
        title: the heading.
        settings: numbers, texts or lists of texts; None is left out.
        flags: what is doubtful.
        slices: from base to apex, each followed by its partner after contrast agent, if there is one.
        rows: the whole table.
        one_heart: no position is shown twice, so a bull's eye can show all slices.
    """
    texts = {name: ", ".join(value) if isinstance(value, list) else value for name, value in settings.items()}
    described = "; ".join(f"{name}: {text}" for name, text in texts.items() if text is not None)
    return [
        f"<h1>{html.escape(title)}: T1 per segment</h1>",
        fault_lines(flags) or "<p>No flags.</p>",
        f"<p>{html.escape(described)}.</p>",
        _bulls_eyes(rows) if one_heart else "",
        _agreement(rows),
        _histograms(slices),
        _CONTOURS,
        *map(_slice, slices),
        _table(rows),
    ]


def _by_segment(rows: Sequence[SegmentRow], value: str) -> dict[str, dict[int, float]]:
    """Method to segment to its value, over all slices that show the segment, weighted by their pixels.

    Segments most of whose pixels have no T1 are left out.
    """
    sums: dict[str, dict[int, np.ndarray]] = defaultdict(lambda: defaultdict(lambda: np.zeros(2)))
    for row in rows:
        if row.segment.isdigit() and row.is_representative and getattr(row, value) is not None:
            sums[row.method][int(row.segment)] += row.pixels * np.array((getattr(row, value), 1))
    return {
        method: {segment: total / pixels for segment, (total, pixels) in segments.items()}
        for method, segments in sums.items()
    }


def _bulls_eyes(rows: Sequence[SegmentRow]) -> str:
    parts = []
    for value, heading, unit in (("mean_ms", "T1", "ms"), ("ecv_percent", "extracellular volume", "%")):
        by_method = _by_segment(rows, value)
        if by_method:
            titles = {f"{heading}, {method}": segments for method, segments in by_method.items()}
            parts.append(picture(bulls_eyes(titles, unit)))
    return "".join(parts)


def _agreement(rows: Sequence[SegmentRow]) -> str:
    """Bland-Altman plots of the segments that the scanner's map shows, too, without those that mostly have no T1."""
    segments = [row for row in rows if row.segment.isdigit() and row.is_representative and row.mean_ms is not None]
    scanner = {(row.case, row.slice, row.segment): row.mean_ms for row in segments if row.method == SCANNER}
    pairs = defaultdict(list)
    for row in segments:
        place = row.case, row.slice, row.segment
        if row.method != SCANNER and place in scanner:
            pairs[row.method].append((row.mean_ms, scanner[place]))
    enough = {method: np.array(values).T for method, values in pairs.items() if len(values) >= _FEWEST_TO_COMPARE}
    if not enough:
        return ""
    return f"<h2>Segments against the scanner's map</h2>{picture(bland_altman(enough))}"


def _histograms(slices: Sequence[PageSlice]) -> str:
    collected: dict[str, list[np.ndarray]] = defaultdict(list)
    for shown in slices:
        for method, measured in () if shown.after else shown.measured.items():
            for region, name in (("global", "myocardium"), ("blood", "blood")):
                mask = measured.regions.masks.get(region)
                if mask is not None and (measured.t1_ms[mask] > 0).any():
                    collected[f"{name}, {method}"].append(measured.t1_ms[mask & (measured.t1_ms > 0)])
    by_title = {title: np.concatenate(values) for title, values in collected.items()}
    return f"<h2>Pixels</h2>{picture(histograms(by_title))}" if by_title else ""


def _slice(shown: PageSlice) -> str:
    regions = next(iter(shown.measured.values())).regions
    panels = [Panel(title, image) for title, image in shown.readouts.items()]
    for method, measured in shown.measured.items():
        panels.append(Panel(f"T1, {method}", measured.t1_ms, "ms", _AFTER_MS if shown.after else MAP_WINDOWS["T1, ms"]))
    for method, ecv in shown.ecv.items():
        panels.append(Panel(f"extracellular volume, {method}", ecv, "%", ECV_WINDOW))
    title = f"{AFTER if shown.after else ''}{regions.heart.title}: {regions.level}"
    return f"<h2>{html.escape(title)}</h2>{picture(overlays(regions, panels))}"


def _table(rows: Sequence[SegmentRow]) -> str:
    headings = ("case", "slice", "segment", "method", "pixels", "share of the segment, %", "T1, ms", "median")
    lines = ["<tr><th>" + "<th>".join((*headings, "after contrast", "ECV, %"))]
    for row in rows:
        name = f"{row.segment} {row.name}" if row.segment.isdigit() else row.name
        t1 = _number(row.mean_ms) if row.sd_ms is None else f"{row.mean_ms:.0f} &plusmn; {row.sd_ms:.0f}"
        ecv = "" if row.ecv_percent is None else f"{row.ecv_percent:.1f}"
        cells = (
            *(
                html.escape(row.case),
                str(row.slice),
                name,
                row.method,
                str(row.pixels),
                _number(row.valid_percent),
                t1,
                _number(row.median_ms),
            ),
            *(_number(row.post_mean_ms), ecv),
        )
        lines.append("<tr><td>" + "<td>".join(cells))
    return f"<h1>All segments</h1><table>{''.join(lines)}</table>"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"
