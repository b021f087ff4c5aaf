"""Pictures of the report: Dice of all methods, Dice per readout, and the worst cases."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from generalization.bed import Bed
from generalization.comparisons import mean_interval
from generalization.methods import METHODS
from generalization.page import OURS
from generalization.results import Results, by_inversion_time, worst_cases
from generalization.test_sets import TestFolder
from nnunet_phys.experiments.comparison import Row, draw_rows, save_small
from nnunet_phys.image_files import read_image

_MARKERS = "osD^vP*Xph<>8d"


def draw_summary(results: Results, training: str, figure_file: Path) -> None:
    """Draw the mean Dice of every method on every test set, with its interval."""
    plt.rcdefaults()
    tests, methods = results.tests(training), results.methods(training)
    height = 0.8 + len(tests) * (0.35 + 0.14 * len(methods))
    figure, axis = plt.subplots(figsize=(9, height), layout="constrained")
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for column, method in enumerate(methods):
        points = []
        for row, test in enumerate(tests):
            scores = results.scores(training, method, test)
            if scores is not None:
                values = list(scores.groups.values())
                mean = 100 * float(np.nanmean(values))
                low, high = mean_interval(values) or (mean / 100, mean / 100)
                y = row + 0.8 * (column + 0.5) / len(methods) - 0.4
                points.append((mean, y, max(0.0, mean - 100 * low), max(0.0, 100 * high - mean)))
        if points:
            means, heights, below, above = zip(*points, strict=True)
            axis.errorbar(
                means,
                heights,
                xerr=(below, above),
                fmt=_MARKERS[column % len(_MARKERS)],
                color="black" if method == OURS else colours[column % 20],
                label=METHODS[method].title,
                markersize=5,
                linewidth=1,
            )
    axis.set(xlabel="mean Dice, %", xlim=(0, 100), ylim=(len(tests) - 0.5, -0.5))
    axis.set_yticks(range(len(tests)), [test.title for test in tests.values()])
    for row in range(len(tests) - 1):
        axis.axhline(row + 0.5, color="0.85", linewidth=0.8)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    save_small(figure, figure_file)


def draw_readouts(results: Results, training: str, test: str, figure_file: Path) -> None:
    """Draw the mean Dice of every method over the readouts of a series, in the order of their inversion times."""
    plt.rcdefaults()
    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    colours = plt.get_cmap("tab20").colors  # type: ignore[attr-defined]
    for column, method in enumerate(results.methods(training)):
        scores = results.scores(training, method, test)
        if scores is not None:
            curve = 100 * np.array(by_inversion_time(scores, results.tests(training)[test]))
            marker = _MARKERS[column % len(_MARKERS)]
            colour = "black" if method == OURS else colours[column % 20]
            axis.plot(np.arange(1, len(curve) + 1), curve, marker=marker, color=colour, label=METHODS[method].title)
    axis.set(xlabel="readout, by inversion time", ylabel="mean Dice, %", ylim=(0, 100))
    axis.set_title(results.tests(training)[test].title, fontsize=10)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(color="0.9")
    axis.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    save_small(figure, figure_file)


def draw_worst(
    bed: Bed, results: Results, training: str, test: TestFolder, methods: list[str], figure_file: Path
) -> bool:
    """Draw the worst cases of the last of some methods, in the slice with most wrong pixels, as all of them see it.

    Returns:
        False where a segmentation is no longer there.
    """
    scores = results.scores(training, methods[-1], test.name)
    if scores is None:
        return False
    rows = []
    for case in worst_cases(scores):
        paths = {method: _segmentation(bed, results, training, method, test, case) for method in methods}
        if any(path is None for path in paths.values()):
            return False
        masks = {method: read_image(path) for method, path in paths.items() if path is not None}
        truth, image = read_image(test.labels[case]), read_image(test.images[case])
        z = int((masks[methods[-1]] != truth).sum((1, 2)).argmax())
        titled = {METHODS[method].title: mask[z] for method, mask in masks.items()}
        rows.append(Row(f"{case}, slice {z + 1}", image[z], truth[z], titled))
    draw_rows(rows, figure_file, dpi=64)
    return True


def _segmentation(bed: Bed, results: Results, training: str, method: str, test: TestFolder, case: str) -> Path | None:
    """A case's segmentation by the first seed, under its own name or its series'; None if there is none."""
    runs = [record for record in results.of(training, method) if test.name in record.tests]
    if not runs:
        return None
    folder = bed.predictions(runs[0].name, test.name)
    paths = [folder / f"{name}.nii.gz" for name in (case, test.test_set.group_of(case))]
    return next((path for path in paths if path.is_file()), None)
