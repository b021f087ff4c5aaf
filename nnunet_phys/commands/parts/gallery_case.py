"""The slice of a case that a gallery shows: its maps, its image, where its heart lies, and what its record says."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.case_records import read_record
from nnunet_phys.commands.shared.heart_view import HeartView, Window
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.errors import InputError, counted
from nnunet_phys.heart_location import find_heart
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.json_files import load_json
from nnunet_phys.map_files import find_maps, load_maps, map_paths
from nnunet_phys.precomputed_spin.quality_record import InferredRecord, load_inferred_record
from nnunet_phys.precomputed_spin.raw_dataset import CORRECT, DESCRIPTION, describe_dataset
from nnunet_phys.precomputed_spin.scan_files import frame_of_case
from nnunet_phys.scanner import Noise
from nnunet_phys.sequences import BSSFP
from nnunet_phys.spin import SpinMaps

_PHANTOM_SEED = 3_000_000  # beyond those of the shipped prior's hearts and of `nnunet_phys phantom`


@dataclass(frozen=True)
class Shown:
    """What is asked for of a case.

    Attributes:
        z: the slice; None: the one that shows most of the heart.
        crop_mm: side of a square about the heart; None: the heart and what is around it.
    """

    z: int | None
    crop_mm: float | None

    def slice_of(self, view: HeartView) -> int:
        """The slice.

        Raises:
            InputError: the case has no such slice.
        """
        z = view.fullest_slice if self.z is None else self.z
        if not 0 <= z < len(view.mask):
            raise InputError(f"-slice {z}: the case has slices 0 to {len(view.mask) - 1}.")
        return z

    def window(self, view: HeartView) -> Window:
        """Rows and columns."""
        return view.window if self.crop_mm is None else view.square(self.crop_mm)


@dataclass(frozen=True, eq=False)
class GalleryCase:
    """One slice of one case.

    Attributes:
        name: name of the case.
        z: the slice, from 0.
        maps: maps of shape (1, rows, columns).
        voxel_mm: slice, row and column spacing.
        image: the image, (rows, columns), or None.
        window: rows and columns that are shown.
        around: what lies in their middle, in words.
        record: the record of inferred maps; None without one.
    """

    name: str
    z: int
    maps: SpinMaps
    voxel_mm: tuple[float, float, float]
    image: np.ndarray | None
    window: Window
    around: str
    record: InferredRecord | None

    @property
    def title(self) -> str:
        """The case and its slice."""
        return f"{self.name}, slice {self.z}"

    @property
    def shown_maps(self) -> SpinMaps:
        """The part of the maps that is shown, (1, rows, columns)."""
        return self.maps.map(lambda values: values[(slice(None), *self.window)])

    @property
    def shown_image(self) -> np.ndarray | None:
        """The part of the image that is shown."""
        return None if self.image is None else self.image[self.window]

    @property
    def shown_mm(self) -> tuple[float, float]:
        """Height and width of what is shown."""
        height, width = (n * mm for n, mm in zip(self.shown_maps.shape[1:], self.voxel_mm[1:], strict=True))
        return height, width

    def scan(self, draw: ContrastDraw) -> np.ndarray:
        """The part that is shown of the image that a contrast draw makes of the whole slice."""
        return draw.scan(self.maps.stack(), self.voxel_mm)[0].numpy()[self.window]


def digital_case(seed: int, shown: Shown) -> GalleryCase:
    """A digital heart, with its cine as the image.

    Raises:
        InputError: no such slice.
    """
    heart = digital_heart(_PHANTOM_SEED + seed, slices=5, shape=(160, 160), pixel_mm=1.8)
    view = HeartView(heart.labels != 0, heart.spacing_mm[1:], labelled=True)
    z = shown.slice_of(view)
    maps = heart.maps.map(lambda values: values[z : z + 1])
    cine = ContrastDraw(BSSFP(flip_angle_deg=50.0), noise=Noise(0.02, seed)).scan(maps.stack(), heart.spacing_mm)
    window, around = shown.window(view), _around(view)
    return GalleryCase(
        name=f"digital heart {seed}",
        z=z,
        maps=maps,
        voxel_mm=heart.spacing_mm,
        image=cine[0].numpy(),
        window=window,
        around=around,
        record=None,
    )


def load_case(maps: Path, image: Path | None, labels: Path | None, shown: Shown) -> GalleryCase:
    """A case on disk.

    Args:
        maps: folder of its maps, and its name.
        image: its image; None: the one that its record names, if it lies beside the maps or in imagesTr.
        labels: its label image; None: the one in labelsTr beside the folder of the maps, if it lies on their grid.
        shown: what of it is shown.

    Raises:
        InputError: no such maps, slice, image or labels, an image or labels on another grid, or a broken record.
    """
    folder, name = maps.parent, maps.name
    cases = find_maps(folder)
    if name not in cases:
        example, *_ = get_close_matches(name, cases, 1) or cases
        raise InputError(
            f"-i {maps}: {folder} holds no maps of {name}, but of {counted(len(cases), 'case')}, such as {example}."
        )
    whole = load_maps(folder, name, cases[name], None)
    grid = Geometry.read(map_paths(folder, name, cases[name])["PDmap"])
    image = image or _recorded_image(folder, name)
    if labels is None:
        labels = folder.absolute().parent / "labelsTr" / f"{name}{cases[name]}"
        labels = labels if labels.is_file() and Geometry.read(labels).agrees(grid) else None
    for option, path in (("-image", image), ("-labels", labels)):
        if path is not None and not Geometry.read(path).agrees(grid):
            raise InputError(f"{option} {path} lies on another grid than the maps of {name}. Give that of the maps.")
    view = _heart(whole, grid, labels, folder.absolute().parent)
    z = shown.slice_of(view)
    return GalleryCase(
        name=name,
        z=z,
        maps=whole.map(lambda values: values[z : z + 1]),
        voxel_mm=grid.voxel_mm,
        image=None if image is None else read_image(image, frame_of_case(name, image))[z],
        window=shown.window(view),
        around=_around(view),
        record=load_inferred_record(folder, name),
    )


def _heart(maps: SpinMaps, grid: Geometry, labels: Path | None, dataset: Path) -> HeartView:
    """The heart that labels show, or without any, the maps; a dataset.json in `dataset` names the ignore label."""
    labelled = None
    if labels is not None:
        ignored = _ignored(dataset / DESCRIPTION)
        labelled = ~np.isin(read_image(labels), [0] if ignored is None else [0, ignored])
    if labelled is not None and labelled.any():
        return HeartView(labelled, grid.pixel_mm, labelled=True)
    return HeartView(find_heart(maps, grid.pixel_mm), grid.pixel_mm, labelled=False)


def _ignored(path: Path) -> int | list[int] | None:
    """nnU-Net's ignore label; None without one, or where no dataset.json says so."""
    return describe_dataset(load_json(path, CORRECT), str(path)).labels.get("ignore") if path.is_file() else None


def _around(view: HeartView) -> str:
    """What lies in the middle of what is shown, in words."""
    if not view.mask.any():
        return "the middle of the slice, as no heart was found"
    return "the labels" if view.labelled else "the heart that was found by the maps"


def _recorded_image(folder: Path, case: str) -> Path | None:
    """The image that the maps were made from, if it lies beside them or in imagesTr and is unchanged; else None."""
    loaded = read_record(folder, case)
    image = None if loaded is None else loaded[1].image
    if image is not None:
        for place in (folder, folder.absolute().parent / "imagesTr"):
            if image.is_unchanged(place):
                return place / image.file
    return None
