"""Models compared on the same test images: a table of Dice, and a picture with their segmentations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image

from nnunet_phys.digital_heart import LABELS
from nnunet_phys.image_files import read_image

_COLOURS = {"RV": "#4cc9f0", "MYO": "#ffd166", "LV": "#ef476f"}
_MARGIN = 1.45
"""Side of the square that is shown, relative to the heart's largest extent."""


@dataclass(frozen=True)
class Example:
    """A test image to show.

    Attributes:
        contrast: what follows the underscore in imagesTs_<contrast> and labelsTs_<contrast>; names the folder of its
            predictions.
        case: name of the case in these folders.
        title: its title in the picture.
    """

    contrast: str
    case: str
    title: str


def dice_table(scores: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Dice as text: a row per contrast and structure, a column per model, and the means.

    Args:
        scores: Dice by model, contrast and structure.
    """
    models = list(scores)
    lines = [f"{'Dice':<12}" + "".join(f"{model:>16}" for model in models)]
    for contrast, structures in scores[models[0]].items():
        for structure in structures:
            values = [scores[model][contrast][structure] for model in models]
            lines.append(f"{contrast + ' ' + structure:<12}" + "".join(f"{value:>16.3f}" for value in values))
        means = [float(np.mean(list(scores[model][contrast].values()))) for model in models]
        lines.append(f"{contrast + ' mean':<12}" + "".join(f"{mean:>16.3f}" for mean in means))
    return "\n".join(lines)


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Mean Dice over the structures of the truth, integer arrays of one shape; NaN where the truth has none."""
    values = []
    for code in np.unique(truth[truth > 0]):
        predicted, true = mask == code, truth == code
        values.append(2 * (predicted & true).sum() / (predicted.sum() + true.sum()))
    return float(np.mean(values)) if values else float("nan")


@dataclass(frozen=True, eq=False)
class Row:
    """A slice to show with its segmentations.

    Attributes:
        title: stands at its left.
        image: (rows, columns).
        truth: label codes, of that shape; 0 everywhere if nothing is labelled.
        masks: segmentations by the model's title, of that shape.
    """

    title: str
    image: np.ndarray
    truth: np.ndarray
    masks: Mapping[str, np.ndarray]


def draw_comparison(
    raw: Path, predictions: Mapping[str, Path], examples: Sequence[Example], z: int, figure_file: Path
) -> None:
    """Draw a row per example: the image, the truth, and each model's segmentation with its Dice in that slice.

    Args:
        raw: raw data set, with imagesTs_<contrast> and labelsTs_<contrast>.
        predictions: by the model's title, the folder that holds a folder of segmentations per contrast.
        examples: the rows.
        z: slice to show, from 0.
        figure_file: the picture to write, a .png, 250 pixels wide per column.
    """
    rows = []
    for example in examples:
        image = read_image(raw / f"imagesTs_{example.contrast}" / f"{example.case}_0000.nii.gz")[z]
        truth = read_image(raw / f"labelsTs_{example.contrast}" / f"{example.case}.nii.gz")[z]
        masks = {
            model: read_image(folder / example.contrast / f"{example.case}.nii.gz")[z]
            for model, folder in predictions.items()
        }
        rows.append(Row(example.title, image, truth, masks))
    draw_rows(rows, figure_file)


def draw_rows(rows: Sequence[Row], figure_file: Path, dpi: int = 100) -> None:
    """Draw rows of one image, its truth, and the segmentations by the same models, each with its Dice.

    Args:
        rows: at least one.
        figure_file: the picture to write, a .png.
        dpi: pixels per inch; a column is 2.5 inches wide.
    """
    columns = ["image", "truth", *rows[0].masks]
    plt.rcdefaults()  # nnU-Net's progress plot sets large fonts for all figures
    size = (2.5 * len(columns), 2.44 * len(rows) + 0.55)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size, layout="constrained", squeeze=False)
    for row_axes, row in zip(axes, rows, strict=True):
        window = _window(row.truth)
        labelled = row.image[row.truth > 0] if row.truth.any() else row.image
        white = 1.15 * float(np.quantile(labelled, 0.99))
        for axis, title in zip(row_axes, columns, strict=True):
            _show(axis, row.image, window, white)
            if title == "truth":
                _outline(axis, row.truth)
            if title in row.masks:
                _outline(axis, row.masks[title])
                score = f"Dice {dice(row.masks[title], row.truth):.2f}"
                box = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 2}
                axis.text(0.04, 0.96, score, transform=axis.transAxes, va="top", color="white", fontsize=11, bbox=box)
        row_axes[0].set_ylabel(row.title, fontsize=11)
    for axis, title in zip(axes[0], columns, strict=True):
        axis.set_title(title, fontsize=11)
    handles = [Line2D([], [], color=colour, linewidth=2, label=name) for name, colour in _COLOURS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=11)
    save_small(figure, figure_file, dpi)


def save_small(figure: Figure, figure_file: Path, dpi: int = 100) -> None:
    """Write a figure as a .png of 256 colours, less than half the size, and close it."""
    buffer = BytesIO()
    figure.savefig(buffer, dpi=dpi)
    Image.open(buffer).convert("RGB").quantize(256).save(figure_file, optimize=True)
    plt.close(figure)


def _window(truth: np.ndarray) -> tuple[slice, slice]:
    """A square around the heart, rows and columns."""
    rows, columns = np.nonzero(truth) if truth.any() else np.indices(truth.shape).reshape(2, -1)
    half = round(_MARGIN * max(np.ptp(rows), np.ptp(columns)) / 2)
    starts = [max(0, int(n.min() + n.max()) // 2 - half) for n in (rows, columns)]
    return slice(starts[0], starts[0] + 2 * half), slice(starts[1], starts[1] + 2 * half)


def _show(axis: Axes, image: np.ndarray, window: tuple[slice, slice], white: float) -> None:
    """The image in a window, grey, from 0 to a value that is white."""
    rows, columns = window
    axis.imshow(image, cmap="gray", vmin=0, vmax=white, interpolation="bicubic")
    axis.set(xlim=(columns.start - 0.5, columns.stop - 0.5), ylim=(rows.stop - 0.5, rows.start - 0.5))
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _outline(axis: Axes, mask: np.ndarray) -> None:
    """Contours of the three structures, lightly filled."""
    for name, colour in _COLOURS.items():
        structure = (mask == LABELS[name]).astype(float)
        if structure.any():
            axis.contourf(structure, levels=[0.5, 2], colors=[colour], alpha=0.25)
            axis.contour(structure, levels=[0.5], colors=[colour], linewidths=1.6)
