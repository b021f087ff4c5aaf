"""The parts of a report's page, as HTML. All text from records is escaped."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from nnunet_phys.commands.shared.pages import picture
from nnunet_phys.errors import InputError
from nnunet_phys.forward import shown, signals
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.pictures import MAP_WINDOWS
from nnunet_phys.precomputed_spin.quality_record import InferredRecord, QualityRecord
from nnunet_phys.precomputed_spin.raw_dataset import RawDataset
from nnunet_phys.sequences.description import make_sequence
from nnunet_phys.spin import SpinMaps

_RANGES = {"t1": (0, 2500), "t2": (0, 320)}  # of the histograms, ms
_BINS = 500
_BRIGHTEST = 0.995
"""The quantile that is shown as white."""


def fault_lines(faults: Iterable[str]) -> str:
    """Faults of records, maps or labels, one line per fault."""
    return "".join(f"<div class=flag>{html.escape(fault)}</div>" for fault in faults)


def case_table(qualities: Mapping[str, QualityRecord]) -> str:
    """A table of all cases and the figures of their quality, in the order of the mapping."""
    rows = ["<tr><th>case<th>flags<th>residual, %<th>at a bound, %<th>spread of T1, %"]
    for case, quality in qualities.items():
        spread = "" if quality.t1_spread is None else f"{100 * quality.t1_spread:.1f}"
        rows.append(
            f"<tr><td>{html.escape(case)}<td>{len(quality.flags)}<td>{100 * quality.residual_rms:.2f}"
            f"<td>{100 * quality.share_at_bound:.1f}<td>{spread}"
        )
    return f"<h1>All cases</h1><table>{''.join(rows)}</table>"


class Histograms:
    """T1 and T2 by labelled structure, over cases.

    Args:
        dataset: the data set whose labels are used.
    """

    def __init__(self, dataset: RawDataset) -> None:
        self._dataset = dataset
        self._counts: dict[str, dict[str, np.ndarray]] = {}
        self._cases: Counter[str] = Counter()

    def add(self, maps: SpinMaps, case: str) -> None:
        """Count a case's voxels, where it has labels on its grid.

        Raises:
            InputError: the label image cannot be read.
        """
        path = self._dataset.labels[case]
        if not path.is_file() or not Geometry.read(path).agrees(Geometry.read(self._dataset.images[case])):
            return
        labels = read_image(path)
        for structure, code in self._dataset.codes.items():
            if not isinstance(code, int) or code == 0 or not (labels == code).any():
                continue
            self._cases[structure] += 1
            counts = self._counts.setdefault(structure, {key: np.zeros(_BINS) for key in _RANGES})
            for key, edges in _RANGES.items():
                values = getattr(maps, key).numpy()[labels == code]
                counts[key] += np.histogram(values.clip(*edges), _BINS, edges)[0]

    def page(self) -> str:
        """A table of medians, and the histograms."""
        if not self._counts:
            return "<p>No labels, so no histograms.</p>"
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        axes = dict(zip(_RANGES, figure.subplots(1, 2), strict=True))
        table = "<table><tr><th>structure<th>T1, ms (5 - 95 %)<th>T2, ms (5 - 95 %)<th>cases"
        for structure, by_time in self._counts.items():
            cells = []
            for key, counts in by_time.items():
                edges = np.linspace(*_RANGES[key], _BINS + 1)
                axes[key].stairs(counts.reshape(100, -1).sum(1) / counts.sum(), edges[:: _BINS // 100], label=structure)
                axes[key].set_xlabel(f"{key.upper()}, ms")
                axes[key].set_yticks([])
                low, mid, high = np.interp((0.05, 0.5, 0.95), counts.cumsum() / counts.sum(), edges[1:])
                cells.append(f"{mid:.0f} ({low:.0f} - {high:.0f})")
            table += f"<tr><td>{html.escape(structure)}<td>{cells[0]}<td>{cells[1]}<td>{self._cases[structure]}"
        axes["t1"].legend()
        return f"{table}</table>{picture(figure)}"


def case_pictures(case: str, record: InferredRecord, maps: SpinMaps, image_path: Path) -> str:
    """Heading, flags and one row of pictures: of the first flagged slice, or of the middle one.

    Raises:
        InputError: the image cannot be read, or the record names a slice or a sequence that does not exist.
    """
    flags, image = record.quality.flags, read_image(image_path)
    z = flags[0].slice if flags else len(image) // 2
    if not 0 <= z < len(image) or not record.sequences:
        raise InputError(
            f"{case}: its record flags slice {z} of {len(image)}, or names no sequence. Make its maps again."
        )
    slice_maps = maps.map(lambda values: values[z])
    sequence = make_sequence(dict(record.sequences[0]))
    simulated = shown(sequence, signals(sequence, slice_maps))[0].numpy()
    gain = (image[z] * simulated).sum() / max(np.square(simulated).sum(), np.finfo(np.float32).tiny)
    white = np.quantile(image[z], _BRIGHTEST)
    panels = [("image", image[z], "gray", white), ("made from the maps", gain * simulated, "gray", white)]
    for (title, top), values in zip(MAP_WINDOWS.items(), torch.unbind(slice_maps.stack()), strict=True):
        panels.append((title, values.numpy(), "viridis", top))
    figure = Figure(figsize=(11, 2.5), layout="constrained")
    for axis, (title, values, colours, top) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        axis.imshow(values, cmap=colours, vmin=0, vmax=top)
        axis.set_title(title, fontsize=8)
        axis.axis("off")
    flag_lines = fault_lines(f"slice {flag.slice}: {flag.reason}" for flag in flags)
    residuals = record.quality.residual_by_slice
    residual = residuals[z] if z < len(residuals) else None
    figures = "" if residual is None else f": residual {100 * residual:.2f} %"
    figures += f"{',' if figures else ':'} {100 * record.quality.residual_rms:.2f} % in the whole case"
    return f"<h2>{html.escape(case)}, slice {z}{html.escape(figures)}</h2>{flag_lines}{picture(figure)}"
