"""Figures of T1 per segment: overlays, bull's eye, histograms, and agreement with the scanner's map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Wedge
from matplotlib.patheffects import withStroke

from nnunet_phys.pictures import MAP_COLOURS, grey_limits, heart_window
from nnunet_phys.quantification.region_values import SliceRegions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTLINES = {"rv": "#ff9d2e", "myo": "#ff4d4d", "lv": "#4dc3ff"}
_LIMIT = 1.96
"""Standard deviations of the limits of agreement: Bland and Altman, Lancet 327:307 (1986)."""
_RINGS = ((1, 6, 120.0, 3), (7, 6, 120.0, 2), (13, 4, 135.0, 1), (17, 1, 0.0, 0))
"""Of each level, from the base: first segment, number of segments, where the second begins (degrees counter-clockwise
from the right) and inner radius. Cerqueira et al., Circulation 105:539 (2002)."""
_BINS = list(range(0, 2500, 20))
"""Edges of the histograms' bins, ms."""
_LIGHT = 0.6
"""Share of the colour scale above which black text is legible."""


@dataclass(frozen=True)
class Panel:
    """An image beside others: values (rows, columns), how they are shown, and whether segments are drawn on it."""

    title: str
    values: np.ndarray
    unit: str = ""
    top: float = 0.0

    @property
    def is_map(self) -> bool:
        """Whether it has a unit, so that it is shown in colours with a scale."""
        return bool(self.unit)


def overlays(regions: SliceRegions, panels: Sequence[Panel]) -> Figure:
    """A slice's images and, below, maps around the heart, with the mask's contours, and segments with their numbers."""
    heart = regions.heart
    rows, columns = heart_window(heart.rv | heart.myo | heart.lv, heart.plane.pixel_mm)
    images, maps = ([panel for panel in panels if panel.is_map == is_map] for is_map in (False, True))
    count = max(len(images), len(maps))
    figure = Figure(figsize=(2.7 * count, 2.7 * 2), layout="constrained")
    axes = figure.subplots(2, count, squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for axis, panel in (*zip(axes[0], images, strict=False), *zip(axes[1], maps, strict=False)):
        low, high = (0.0, panel.top) if panel.is_map else grey_limits(panel.values[heart.rv | heart.myo | heart.lv])
        shown = axis.imshow(
            panel.values,
            cmap=MAP_COLOURS if panel.is_map else "gray",
            vmin=low,
            vmax=high,
            aspect=heart.plane.pixel_mm[0] / heart.plane.pixel_mm[1],
        )
        axis.set_title(panel.title, fontsize=8)
        if panel.is_map:
            bar = figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.02)
            bar.ax.tick_params(labelsize=6)
            bar.set_label(panel.unit, fontsize=6)
        _outline(axis, regions)
        axis.set_xlim(columns.start - 0.5, columns.stop - 0.5)
        axis.set_ylim(rows.stop - 0.5, rows.start - 0.5)
    return figure


def _outline(axis: Axes, regions: SliceRegions) -> None:
    """Borders of the segments and their numbers, and contours of the mask."""
    present = [int(number) for number in np.unique(regions.segments) if number]
    for number in present:
        inside = regions.segments == number
        row, column = np.argwhere(inside).mean(0) if len(present) > 1 else regions.heart.centre
        axis.contour(inside, [0.5], colors="white", linewidths=0.8)
        number_text = axis.text(column, row, str(number), color="white", fontsize=7, ha="center", va="center")
        number_text.set_path_effects([withStroke(linewidth=1.5, foreground="black")])
    for name, colour in _OUTLINES.items():
        mask = getattr(regions.heart, name)
        if mask.any():
            axis.contour(mask, [0.5], colors=colour, linewidths=1.2)


def bulls_eyes(by_title: Mapping[str, Mapping[int, float]], unit: str) -> Figure:
    """The 17 segments as rings, one plot per title: segment to its value; anterior is up, the septum on the left."""
    figure = Figure(figsize=(3.4 * len(by_title), 3.2), layout="constrained")
    values = [value for segments in by_title.values() for value in segments.values()]
    low, high = min(values) - 1, max(values) + 1
    axes = figure.subplots(1, len(by_title), squeeze=False)[0]
    for axis, (title, segments) in zip(axes, by_title.items(), strict=True):
        shares = {segment: (value - low) / (high - low) for segment, value in segments.items()}
        for number, radius, begin, width in _wedges():
            share = shares.get(number)
            colour = "#eeeeee" if share is None else colormaps[MAP_COLOURS](share)
            axis.add_patch(
                Wedge((0, 0), radius + 1, begin, begin + width, width=1, facecolor=colour, edgecolor="white")
            )
            middle, distance = np.deg2rad(begin + width / 2), radius + 0.5 if radius else 0.0
            place = distance * np.cos(middle), distance * np.sin(middle)
            text = str(number) if share is None else f"{segments[number]:.0f}"
            colour = "#aaaaaa" if share is None else "black" if share > _LIGHT else "white"
            axis.text(*place, text, fontsize=7, ha="center", va="center", color=colour)
        axis.set(xlim=(-4.1, 4.1), ylim=(-4.1, 4.1), aspect="equal")
        axis.set_title(title, fontsize=9)
        axis.axis("off")
    scale = ScalarMappable(Normalize(low, high), colormaps[MAP_COLOURS])
    figure.colorbar(scale, ax=axes, fraction=0.03, pad=0.02).set_label(unit, fontsize=8)
    return figure


def _wedges() -> Iterator[tuple[int, int, float, float]]:
    """Number, inner radius, beginning and width (degrees counter-clockwise from the right) of each segment."""
    for first, count, start, radius in _RINGS:
        for k in range(count):
            yield first + k, radius, start + (k - 1) * 360 / count, 360 / count


def histograms(by_title: Mapping[str, np.ndarray]) -> Figure:
    """T1 of pixels, (n,) in ms, of each title."""
    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axis = figure.subplots()
    for title, values in by_title.items():
        axis.hist(values.clip(max=_BINS[-1]), bins=_BINS, histtype="step", density=True, label=title)
    axis.set(xlabel="T1, ms", yticks=[])
    axis.legend(fontsize=7)
    return figure


def bland_altman(by_method: Mapping[str, np.ndarray]) -> Figure:
    """Differences of a method from the scanner's map over their mean, with mean and limits of agreement.

    Args:
        by_method: means of the segments by the method and by the scanner, (2, segments), ms.
    """
    figure = Figure(figsize=(4.2 * len(by_method), 2.8), layout="constrained")
    axes = figure.subplots(1, len(by_method), squeeze=False)[0]
    for axis, (method, (ours, scanner)) in zip(axes, by_method.items(), strict=True):
        difference = ours - scanner
        mean, limit = difference.mean(), _LIMIT * difference.std(ddof=1)
        axis.plot((ours + scanner) / 2, difference, "o", markersize=4)
        for height, style in ((mean, "-"), (mean - limit, "--"), (mean + limit, "--")):
            axis.axhline(height, linestyle=style, linewidth=0.8, color="black")
        axis.set_title(
            f"{method} - scanner, {len(difference)} segments: {mean:+.0f} ms, limits {mean - limit:+.0f} to "
            f"{mean + limit:+.0f}",
            fontsize=8,
        )
        axis.set_xlabel("mean of both, ms")
        axis.set_ylabel("difference, ms")
    return figure
