"""Figures of a report on maps: a slice's image, maps and the contrasts made of them, and histograms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import color_sequences
from matplotlib.figure import Figure
from matplotlib.typing import ColorType

from nnunet_phys.commands.shared.gallery_rows import trained_contrasts
from nnunet_phys.commands.shared.shown_muscle import muscle_t1_t2
from nnunet_phys.forward import image_of, signals
from nnunet_phys.pictures import MAP_COLOURS, MAP_WINDOWS, grey_limits
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5
_PANEL, _BAR, _TITLE = 2.1, 0.42, 0.24  # inches: width of a panel, a colour bar beside it, a title above it
_LEAST_HEIGHT, _MOST_HEIGHT = 1.2, 3.2  # inches, of a panel


def colours_of(structures: Iterable[str]) -> dict[str, ColorType]:
    """A colour for each structure, the same in all figures of the same structures."""
    return dict(zip(structures, cycle(color_sequences["tab10"]), strict=False))


@dataclass(frozen=True, eq=False)
class SliceView:
    """What is shown of a slice.

    Attributes:
        image: the image, (rows, columns).
        maps: maps of that shape.
        outlines: masks of that shape, each with the colour of its contours.
        voxel_mm: slice, row and column spacing.
    """

    image: np.ndarray
    maps: SpinMaps
    outlines: Sequence[tuple[np.ndarray, ColorType]]
    voxel_mm: tuple[float, float, float]


def slice_figure(view: SliceView, sequence: PulseSequence) -> Figure:
    """Two rows: the image, the same made from the maps, and PD, T1 and T2; below, contrasts that are trained on.

    Args:
        view: the slice.
        sequence: the sequence of the image, or the series of which the image is the first.
    """
    slice_maps = view.maps.map(lambda values: values[None])
    simulated = image_of(sequence, signals(sequence, slice_maps))[0, 0].numpy()
    gain = (view.image * simulated).sum() / max(np.square(simulated).sum(), np.finfo(np.float32).tiny)
    height, width = (n * mm for n, mm in zip(view.image.shape, view.voxel_mm[1:], strict=True))
    panel_height = min(max(_PANEL * height / width, _LEAST_HEIGHT), _MOST_HEIGHT)
    size = (_COLUMNS * (_PANEL + _BAR), 2 * (panel_height + _TITLE))
    figure = Figure(figsize=size)

    def panel(row: int, column: int, title: str) -> Axes:
        left, bottom = column * (_PANEL + _BAR), size[1] - (row + 1) * (panel_height + _TITLE)
        axis = figure.add_axes((left / size[0], bottom / size[1], _PANEL / size[0], panel_height / size[1]))
        axis.set_title(title, fontsize=9, pad=3)
        axis.axis("off")
        return axis

    aspect = view.voxel_mm[1] / view.voxel_mm[2]
    black, white = grey_limits(view.image)
    grey: dict[str, Any] = {"cmap": "gray", "vmin": black, "vmax": white, "aspect": aspect}
    first_row = [panel(0, 0, "image"), panel(0, 1, "made from the maps")]
    first_row[0].imshow(view.image, **grey)
    first_row[1].imshow(gain * simulated, **grey)
    for column, ((title, top), values) in enumerate(zip(MAP_WINDOWS.items(), view.maps.stack(), strict=True), 2):
        first_row.append(panel(0, column, title))
        colours = first_row[-1].imshow(values.numpy(), cmap=MAP_COLOURS, vmin=0, vmax=top, aspect=aspect)
        place = first_row[-1].get_position()
        bar = figure.add_axes((place.x1 + 0.04 / size[0], place.y0, 0.07 / size[0], place.height))
        figure.colorbar(colours, cax=bar).ax.tick_params(labelsize=6, pad=1, length=2)
    for axis in first_row:
        _outline(axis, view.outlines)
    muscle = muscle_t1_t2(slice_maps, view.voxel_mm[1:])
    for column, (title, draw) in enumerate(trained_contrasts(*muscle)):
        made = draw.scan(slice_maps.stack(), view.voxel_mm)[0].numpy()
        black, white = grey_limits(made)
        panel(1, column, title).imshow(made, cmap="gray", vmin=black, vmax=white, aspect=aspect)
    return figure


def _outline(axis: Axes, outlines: Sequence[tuple[np.ndarray, ColorType]]) -> None:
    """Contours of masks; a mask that fills or misses the panel has none."""
    for mask, colour in outlines:
        if mask.any() and not mask.all():
            axis.contour(mask, [0.5], colors=[colour], linewidths=0.9)
            axis.set(xlim=(-0.5, mask.shape[1] - 0.5), ylim=(mask.shape[0] - 0.5, -0.5))  # as imshow left them


def histogram_figure(
    counts: Mapping[str, Mapping[str, np.ndarray]],
    edges: Mapping[str, np.ndarray],
    normal: Mapping[str, Mapping[str, tuple[float, float]]],
    colours: Mapping[str, ColorType],
) -> Figure:
    """Histograms of T1 and T2.

    Args:
        counts: structure to "t1" and "t2" to pixels per bin.
        edges: "t1" and "t2" to the bins' edges, ms.
        normal: structure to the least and greatest normal T1 and T2, which are shaded.
        colours: structure to its colour.
    """
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axis, (key, key_edges) in zip(figure.subplots(1, len(edges)), edges.items(), strict=True):
        for structure, by_time in counts.items():
            colour = colours[structure]
            share = 100 * by_time[key] / max(by_time[key].sum(), 1)
            axis.stairs(share, key_edges, label=structure, color=colour)
            if structure in normal:
                axis.axvspan(*normal[structure][key], color=colour, alpha=0.1, linewidth=0)
        axis.set_xlabel(f"{key.upper()}, ms")
        axis.set_ylabel("share of the structure's pixels, %")
        axis.set_xlim(key_edges[0], key_edges[-1])
    axis.legend()
    return figure
