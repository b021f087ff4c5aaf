"""`nnunet_phys gallery`: all contrasts of one case, as a self-contained page or one compact figure."""

from __future__ import annotations

import argparse
import html
import logging
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.numbers import SEED, number, whole_number
from nnunet_phys.commands.shared.pages import picture, write_bytes, write_page
from nnunet_phys.commands.shared.targets import check_file_target, named_path
from nnunet_phys.errors import InputError, counted
from nnunet_phys.pictures import MAP_WINDOWS, png

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from nnunet_phys.augmentations.contrast_draw import ContrastDraw
    from nnunet_phys.commands.shared.gallery_rows import Row
    from nnunet_phys.spin import SpinMaps

logger = logging.getLogger(__name__)

_PHANTOM_SEED = 3_000_000  # beyond those of the shipped prior's hearts and of `nnunet_phys phantom`
_FIGURE_CROP_MM = 190.0
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
        "-slice", type=whole_number(0, MOST_SLICES), metavar="Z", help="slice, from 0 (default: the middle slice)"
    )
    parser.add_argument(
        "-image", type=named_path, metavar="FILE", help="the case's image (default: looked up beside the maps)"
    )
    parser.add_argument(
        "-crop",
        type=number(*CROP_MM),
        metavar="MM",
        help="show a square of this size about the middle (default for .png: 190)",
    )
    parser.add_argument(
        "-seed", type=SEED, default=0, help="seed of infarcts, fields and the phantom (default %(default)s)"
    )
    parser.add_argument("--disable_progress_bar", action="store_true")


@dataclass(frozen=True)
class Case:
    """One slice of one case.

    Attributes:
        name: name in the heading.
        maps: maps of shape (1, rows, columns).
        voxel_mm: slice, row and column spacing.
        image: the image, (rows, columns), or None.
        crop_mm: side of the square that is shown; None: the whole slice is shown.
        centre_mm: row and column of the square's middle, relative to the middle of the slice.
    """

    name: str
    maps: SpinMaps
    voxel_mm: tuple[float, float, float]
    image: np.ndarray | None
    crop_mm: float | None
    centre_mm: tuple[float, float] = (0.0, 0.0)

    @property
    def aspect(self) -> float:
        """Height over width of what is shown."""
        height, width = (n * mm for n, mm in zip(self.maps.shape[1:], self.voxel_mm[1:], strict=True))
        return height / width if self.crop_mm is None else min(self.crop_mm, height) / min(self.crop_mm, width)

    def show(self, axis: Axes, values: np.ndarray, title: str, size: int = 8, **options: Any) -> None:
        """Draw an image of the slice as it lies in the file, rows downwards."""
        if self.crop_mm is not None:
            for n, mm, centre in zip(values.shape, self.voxel_mm[1:], self.centre_mm, strict=True):
                kept = min(n, round(self.crop_mm / mm))
                first = min(max(round((n - kept) / 2 + centre / mm), 0), n - kept)
                values = values[first : first + kept].T  # rows, then columns
        options = {"cmap": "gray", "aspect": self.voxel_mm[1] / self.voxel_mm[2], **options}
        mappable = axis.imshow(values, **options)
        axis.set_title(title, fontsize=size)
        axis.axis("off")
        if options["cmap"] != "gray":
            axis.figure.colorbar(mappable, ax=axis, fraction=0.046, pad=0.02).ax.tick_params(labelsize=7)

    def show_image(self, axis: Axes, values: np.ndarray, title: str, size: int = 8) -> None:
        """Draw an image in grey from 0, or from its 0.5th percentile if that is negative, to its 99.5th percentile."""
        import numpy as np

        low, high = np.quantile(values, (0.005, 0.995))
        self.show(axis, values, title, size, vmin=min(0.0, float(low)), vmax=max(float(high), 1e-6))

    def show_source(self, axes: list[Axes], size: int = 8) -> None:
        """Draw image, PD, T1 and T2 into four axes; without an image, the maps into three."""
        if self.image is not None:
            self.show_image(axes[0], self.image, "image", size)
        for axis, (title, top), values in zip(axes[-3:], MAP_WINDOWS.items(), self.maps.stack(), strict=True):
            self.show(axis, values[0].numpy(), title, size, cmap="viridis", vmin=0, vmax=top)

    def show_draw(self, axis: Axes, draw: ContrastDraw, title: str, size: int = 8) -> None:
        """Draw the image that a contrast draw makes of the slice."""
        self.show_image(axis, draw.scan(self.maps.stack(), self.voxel_mm)[0].numpy(), title, size)


def run(args: argparse.Namespace) -> None:
    """Write the page or the figure."""
    ending = args.o.suffix.lower()
    check_file_target(args.o, (".html", ".htm", ".png"))
    if args.crop is None and ending == ".png":
        args.crop = _FIGURE_CROP_MM
    case = _phantom(args) if args.i == "phantom" else _load(args)
    (_write_figure if ending == ".png" else _write_gallery)(args, case)
    logger.info(
        f"{args.o}: {case.name}"
        + (" (without its image, which was not found; name it with -image)" if case.image is None else "")
    )


def _phantom(args: argparse.Namespace) -> Case:
    """A digital heart, with its cine as the image."""
    from nnunet_phys.augmentations.contrast_draw import ContrastDraw
    from nnunet_phys.digital_heart import digital_heart
    from nnunet_phys.scanner import Noise
    from nnunet_phys.sequences import BSSFP

    if args.image is not None:
        raise InputError("-image: the phantom has none.")
    heart = digital_heart(_PHANTOM_SEED + args.seed, slices=5, shape=(160, 160), pixel_mm=1.8)
    z = _slice(args, 5)
    maps = heart.maps.map(lambda m: m[z : z + 1])
    cine = ContrastDraw(BSSFP(flip_angle_deg=50.0), noise=Noise(0.02, args.seed)).scan(maps.stack(), heart.spacing_mm)
    return Case(
        f"digital heart {args.seed}, slice {z}", maps, heart.spacing_mm, cine[0].numpy(), args.crop, heart.centre_mm
    )


def _load(args: argparse.Namespace) -> Case:
    """The case that -i names.

    Raises:
        InputError: no such maps, slice or image, or an image on another grid.
    """
    from nnunet_phys.image_files import Geometry, read_image
    from nnunet_phys.map_files import find_maps, load_maps, map_paths

    folder, name = Path(args.i).parent, Path(args.i).name
    cases = find_maps(folder)
    if name not in cases:
        example, *_ = get_close_matches(name, cases, 1) or cases
        raise InputError(
            f"-i {args.i}: {folder} holds no maps of {name}, but of {counted(len(cases), 'case')}, such as {example}."
        )
    maps = load_maps(folder, name, cases[name], None)
    grid = Geometry.read(map_paths(folder, name, cases[name])["PDmap"])
    z, image = _slice(args, len(maps.pd)), args.image or _recorded_image(folder, name)
    if image is not None and not Geometry.read(image).agrees(grid):
        raise InputError(f"-image {image} lies on another grid than the maps of {name}. Give the image of the maps.")
    pixels = None if image is None else read_image(image)[z]
    return Case(f"{name}, slice {z}", maps.map(lambda m: m[z : z + 1]), grid.voxel_mm, pixels, args.crop)


def _slice(args: argparse.Namespace, count: int) -> int:
    z = count // 2 if args.slice is None else args.slice
    if not 0 <= z < count:
        raise InputError(f"-slice {z}: the case has slices 0 to {count - 1}.")
    return z


def _recorded_image(folder: Path, case: str) -> Path | None:
    """The image that the maps were made from, if it lies beside them or in imagesTr and is unchanged; else None."""
    from nnunet_phys.case_records import load_record
    from nnunet_phys.image_files import Geometry, file_sha256

    record = load_record(folder, case)
    recorded = record.get("image") if isinstance(record, dict) else None
    if not isinstance(recorded, dict) or not isinstance(recorded.get("file"), str):
        return None
    for place in (folder, folder.absolute().parent / "imagesTr"):
        path = place / recorded["file"]
        if path.is_file() and file_sha256(path) == recorded.get("sha256") and Geometry.read(path).volumes == 1:
            return path
    return None


def _write_gallery(args: argparse.Namespace, case: Case) -> None:
    from matplotlib.figure import Figure

    from nnunet_phys.commands.shared.gallery_rows import effect_rows, muscle_t1_t2, sequence_rows
    from nnunet_phys.progress import ProgressBar

    figure = Figure(figsize=(12, 3.0), layout="constrained")
    case.show_source(list(figure.subplots(1, 3 if case.image is None else 4)))
    heading = html.escape(f"{case.name}: contrasts of its PD, T1 and T2")
    parts = [f"<h1>{heading}</h1>", picture(figure)]
    parts.append(
        "<p>Each image has its own grey scale up to its 99.5th percentile, from 0, or if signed, its 0.5th percentile."
    )
    t1_ms, t2_ms = muscle_t1_t2(case.maps, case.voxel_mm[1:])
    sections = {"Sequences": sequence_rows(t1_ms, t2_ms, args.seed), "Scanner effects": effect_rows(args.seed)}
    with ProgressBar(total=sum(map(len, sections.values())), unit="row", disable=args.disable_progress_bar) as progress:
        for title, rows in sections.items():
            parts.append(f"<h1>{title}</h1>")
            for row in rows:
                parts.append(f"<h2>{html.escape(row.title)}</h2>")
                parts.append(picture(_row_figure(case, row)))
                progress.update()
    write_page(args.o, case.name, parts)


def _row_figure(case: Case, row: Row) -> Figure:
    from matplotlib.figure import Figure

    height, above = min(3.2, 12 / len(row.images) * case.aspect), 0.25  # inches
    figure = Figure(figsize=(12, height + above))
    edges = {"left": 0, "right": 1, "bottom": 0, "top": height / (height + above), "wspace": 0.03}
    for axis, (caption, draw) in zip(figure.subplots(1, len(row.images), gridspec_kw=edges), row.images, strict=True):
        case.show_draw(axis, draw, caption)
    return figure


def _write_figure(args: argparse.Namespace, case: Case) -> None:
    from matplotlib.figure import Figure

    from nnunet_phys.commands.shared.gallery_rows import characteristic, muscle_t1_t2

    contrasts = characteristic(*muscle_t1_t2(case.maps, case.voxel_mm[1:]), args.seed)
    figure = Figure(figsize=(14, 5.2), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=(3.3, 1.8))[:, 0]
    case.show_source(list(above.subplots(1, 3 if case.image is None else 4)), size=11)
    for axis, (caption, draw) in zip(below.subplots(1, len(contrasts)), contrasts, strict=True):
        case.show_draw(axis, draw, caption, size=9)
    write_bytes(args.o, png(figure, 100))
