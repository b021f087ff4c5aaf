"""`nnunet_phys gallery`: all contrasts of one case, as a self-contained page or one compact figure."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.numbers import SEED, number, whole_number
from nnunet_phys.commands.shared.pages import write_page
from nnunet_phys.commands.shared.targets import check_file_target, named_path
from nnunet_phys.errors import InputError
from nnunet_phys.pictures import MAP_COLOURS, MAP_WINDOWS, grey_limits, png
from nnunet_phys.whole_files import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

    from nnunet_phys.commands.parts.gallery_case import GalleryCase

logger = logging.getLogger(__name__)

CROP_MM = (20.0, 1000.0)
"""Bounds of -crop: from a few pixels to beyond the bore of a scanner."""
MOST_SLICES = 10_000
"""Upper bound of -slice; the number of slices is checked when the maps are read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which slice of which case is shown, and where the page or figure goes."""
    parser.add_argument(
        "-i",
        required=True,
        metavar="CASE",
        help="folder of the maps and name of the case, such as spinTr/CASE; or: phantom",
    )
    parser.add_argument(
        "-o",
        required=True,
        type=named_path,
        metavar="FILE",
        help="name.html for a page, or name.png for a compact figure",
    )
    parser.add_argument(
        "-slice",
        type=whole_number(0, MOST_SLICES),
        metavar="Z",
        help="slice, from 0 (default: the one with most of the heart)",
    )
    parser.add_argument(
        "-image", type=named_path, metavar="FILE", help="the case's image (default: looked up beside the maps)"
    )
    parser.add_argument(
        "-labels",
        type=named_path,
        metavar="FILE",
        help="the case's label image, to find the heart (default: looked up in labelsTr beside the folder of the maps; "
        "without labels, the maps show where the heart is)",
    )
    parser.add_argument(
        "-crop",
        type=number(*CROP_MM),
        metavar="MM",
        help="show a square of this size about the heart (default: the heart and what is around it)",
    )
    parser.add_argument(
        "-seed", type=SEED, default=0, help="seed of infarcts, fields and the phantom (default %(default)s)"
    )
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Write the page or the figure."""
    from nnunet_phys.commands.parts.gallery_case import Shown, digital_case, load_case

    check_file_target(args.o, (".html", ".htm", ".png"))
    shown = Shown(args.slice, args.crop)
    if args.i == "phantom":
        for option, value in (("-image", args.image), ("-labels", args.labels)):
            if value is not None:
                raise InputError(f"{option}: the phantom has its own. Leave it out.")
        case = digital_case(args.seed, shown)
    else:
        case = load_case(Path(args.i), args.image, args.labels, shown)
    (_write_figure if args.o.suffix.lower() == ".png" else _write_page)(args, case)
    logger.info(
        f"{args.o}: {case.title}"
        + (" (without its image, which was not found; name it with -image)" if case.image is None else "")
    )


def _write_page(args: argparse.Namespace, case: GalleryCase) -> None:
    from nnunet_phys.commands.parts.gallery_page import STYLE, GalleryPage

    page = GalleryPage(case, args.seed, not args.disable_progress_bar)
    write_page(args.o, case.title, page.parts(), STYLE)


def _write_figure(args: argparse.Namespace, case: GalleryCase) -> None:
    from matplotlib.figure import Figure

    from nnunet_phys.commands.shared.gallery_rows import characteristic
    from nnunet_phys.commands.shared.shown_muscle import muscle_t1_t2

    contrasts = characteristic(*muscle_t1_t2(case.shown_maps, case.voxel_mm[1:]), args.seed)
    figure = Figure(figsize=(14, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.3, 1.8))[:, 0]
    image = case.shown_image
    axes = list(above.subplots(1, 3 if image is None else 4))
    if image is not None:
        _show_grey(axes[0], image, case, "image", size=11)
    for axis, (title, top), values in zip(axes[-3:], MAP_WINDOWS.items(), case.shown_maps.stack(), strict=True):
        colours = _show(axis, values[0].numpy(), case, title, size=11, cmap=MAP_COLOURS, vmin=0, vmax=top)
        above.colorbar(colours, ax=axis, fraction=0.046, pad=0.02).ax.tick_params(labelsize=7)
    for axis, (caption, draw) in zip(below.subplots(1, len(contrasts)), contrasts, strict=True):
        _show_grey(axis, case.scan(draw), case, caption, size=9)
    write_bytes(args.o, png(figure, 100))


def _show_grey(axis: Axes, values: np.ndarray, case: GalleryCase, title: str, size: int) -> None:
    """Draw an image in a grey scale of its own."""
    black, white = grey_limits(values)
    _show(axis, values, case, title, size, cmap="gray", vmin=black, vmax=white)


def _show(axis: Axes, values: np.ndarray, case: GalleryCase, title: str, size: int, **options: Any) -> AxesImage:
    """Draw an image as it lies in the file, rows downwards."""
    axis.set_title(title, fontsize=size)
    axis.axis("off")
    return axis.imshow(values, aspect=case.voxel_mm[1] / case.voxel_mm[2], **options)
