"""Image files: their grid, and reading and writing volumes."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import SpatialImage
from scipy.linalg import block_diag

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.file_identity import file_state
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import whole_file

logger = logging.getLogger(__name__)

UNREADABLE = (RuntimeError, OSError, ValueError, EOFError, zlib.error, ImageFileError)
"""What SimpleITK and nibabel raise where a file cannot be read or written."""
TIFF = (".tif", ".tiff")
"""Endings of TIFF files, which do not hold their spacing."""
WHOLE_NUMBERS = (".png", ".bmp", ".jpg", ".jpeg")
"""Endings of files that cannot hold maps."""
SLICE_OF_2D_MM = 8.0
"""Slice spacing assumed for a 2D image, whose file does not state it; usual in the heart."""
_WRITE_SPACING = '{"spacing": [slice, row, column]} in mm'
_NOTES = "ITK_FileNotes"
"""ITK's key of the description in a header, in NIfTI's field `descrip`."""
PIXEL_MM = (0.1, 10.0)
"""Plausible pixel sizes. Assumed: a tenth of the finest clinical cardiac pixel (1 mm), five times the coarsest (2 mm of
real-time imaging). Pixels in micrometres or metres are outside by a factor of 50 or more."""
SLICE_MM = (0.1, 200.0)
"""Plausible slice spacings: a projection slab may be as thick as the chest."""


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a volume lie, in SimpleITK's order and meaning. All volumes of a 4-D file share it.

    Attributes:
        size: columns, rows, slices; columns, rows for a 2D image.
        spacing: voxel spacing along these axes, mm.
        origin: position of the first voxel, mm, of the same length.
        direction: rows of the direction matrix, one after the other.
        volumes: number of volumes in the file.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    volumes: int = 1

    @classmethod
    def read(cls, path: str | Path) -> Geometry:
        """Read the geometry of a file without its voxels.

        The spacing of a TIFF file comes from a JSON file beside it, as in nnU-Net: CASE.json for CASE_0000.tif,
        CASE_T1map.tif and CASE.tif. Without that file it is 1 mm, as in nnU-Net.

        Raises:
            InputError: the file cannot be read, holds colours or more than four dimensions, or its pixels have an
                implausible size.
        """
        path = Path(path)
        if not path.is_file():  # nor is a pipe, from which reading would wait for ever
            raise InputError(f"{path} is not a file. Give an image.")
        header = _read_header(str(path), *file_state(path))
        size = header.size
        if header.components > 1 or len(size) > 4:
            kind = f"{header.components} values per pixel, {len(size)} dimensions"
            raise InputError(f"{path} has {kind}. Give a grey image of 2 to 4 dimensions.")
        dim = min(len(size), 3)
        direction = np.array(header.direction).reshape(len(size), len(size))[:dim, :dim]
        spacing = _tiff_spacing(path, dim) if path.suffix.lower() in TIFF else header.spacing[:dim]
        _check_spacing(path, spacing if size[2:3] != (1,) else spacing[:2])
        return cls(
            size[:dim],
            spacing,
            header.origin[:dim],
            tuple(direction.ravel().tolist()),
            size[3] if len(size) > 3 else 1,
        )

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Row and column spacing."""
        return self.spacing[1], self.spacing[0]

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Slice, row and column spacing; `SLICE_OF_2D_MM` for a 2D image, or a single slice without a plausible one."""
        stated = len(self.spacing) > 2 and (self.size[2] > 1 or SLICE_MM[0] <= self.spacing[2] <= SLICE_MM[1])
        return (self.spacing[2] if stated else SLICE_OF_2D_MM), self.spacing[1], self.spacing[0]

    def difference(self, other: Geometry) -> str | None:
        """Name of the first attribute in which another geometry differs, or None."""
        for name in ("size", "spacing", "origin", "direction"):
            a, b = np.array(getattr(self, name)), np.array(getattr(other, name))
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-3):
                return name
        return None

    def agrees(self, other: Geometry) -> bool:
        """Whether another geometry is the same grid."""
        return self.difference(other) is None


@dataclass(frozen=True)
class _Header:
    """What SimpleITK reads of a file without its voxels."""

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    components: int
    notes: str


@lru_cache(maxsize=100_000)
def _read_header(path: str, *state: int) -> _Header:
    """The header of a file, which is read again only after the file has changed."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(path)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(f"{path} cannot be read ({last_line(error)}).") from None
    grid = reader.GetSize(), reader.GetSpacing(), reader.GetOrigin(), reader.GetDirection()
    notes = reader.GetMetaData(_NOTES) if reader.HasMetaDataKey(_NOTES) else ""
    return _Header(*grid, reader.GetNumberOfComponents(), notes)


def read_notes(path: Path) -> str:
    """The description in a file's header, as `write_volume` leaves it; empty where the format keeps none.

    Raises:
        InputError: the file cannot be read.
    """
    return _read_header(str(path), *file_state(path)).notes


@dataclass(frozen=True)
class _Spacing:
    """What nnU-Net keeps in a JSON file beside a TIFF file: slice, row and column spacing, mm."""

    spacing: tuple[float, float, float] | None = None


def _tiff_spacing(path: Path, dimensions: int) -> tuple[float, ...]:
    """Column, row and slice spacing of a TIFF file, mm."""
    of_file, of_case = path.with_suffix(".json"), path.with_name(f"{path.stem.rpartition('_')[0]}.json")
    spacing_file = next((file for file in (of_file, of_case) if file.is_file()), None)
    spacing = None
    if spacing_file is not None and dimensions == 3:
        spacing = read_json(spacing_file, _Spacing, f"Write {_WRITE_SPACING}.", extra=True).spacing
    if spacing is None:
        _say_unknown(path.parent)
        return (1.0,) * dimensions
    return spacing[::-1]


@cache
def _say_unknown(folder: Path) -> None:
    """Say once that spacings are assumed."""
    logger.warning(f"{folder}: TIFF files without a spacing are read as 1 mm. Write CASE.json: {_WRITE_SPACING}")


def _check_spacing(path: Path, spacing: tuple[float, ...]) -> None:
    """Refuse spacings that can only be in another unit."""
    for axis, mm in zip(("column", "row", "slice"), spacing, strict=False):
        least, greatest = SLICE_MM if axis == "slice" else PIXEL_MM
        if not least <= mm <= greatest:
            raise InputError(
                f"{path}: the {axis} spacing is {mm:g} mm, expected {least:g} to {greatest:g}. Fix its header: "
                "spacings are in mm."
            )


def read_image(image_path: str | Path, frame: int = 0) -> np.ndarray:
    """One volume as float32 of shape (z, y, x), the order that `save_maps` takes; (1, y, x) for a 2D file.

    Args:
        image_path: the file.
        frame: which volume of a 4-D file to read, from 0.

    Raises:
        InputError: the file cannot be read, is cut short or holds NaN.
    """
    volumes = Geometry.read(image_path).volumes
    try:
        volume = voxels(Path(image_path), frame if volumes > 1 else None)
    except UNREADABLE as error:
        raise InputError(f"{image_path} cannot be read, cut short? ({last_line(error)})") from None
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        volume = np.ascontiguousarray(volume.reshape(-1, *volume.shape[-2:]), dtype=np.float32)
    if not np.isfinite(volume).all():
        raise InputError(f"{image_path} holds NaN, infinite values or values beyond float32. Replace them.")
    return volume


def read_volumes(path: Path) -> np.ndarray:
    """A file's values as (volumes, z, y, x); axes that the file lacks get length 1.

    Raises:
        an error of `UNREADABLE`: the file is cut short.
    """
    values = voxels(path)
    return values.reshape((1,) * (4 - values.ndim) + values.shape)


def voxels(path: Path, frame: int | None = None) -> np.ndarray:
    """A file's values, (..., z, y, x), or those of one frame of a 4-D file.

    NIfTI is read by nibabel: SimpleITK reads NaN as 0, and half a file as if it were whole.

    Raises:
        an error of `UNREADABLE`: the file is cut short.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        image = nibabel.load(path)
        if not isinstance(image, SpatialImage):
            raise ImageFileError(f"{path} holds no image")
        proxy = image.dataobj
        return np.asanyarray(proxy if frame is None else proxy[..., frame]).T
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return values if frame is None else values[frame]


def write_volume(
    path: Path,
    values: torch.Tensor | np.ndarray,
    geometry: Geometry,
    notes: str = "",
    kind: type[np.number] = np.float32,
) -> None:
    """Write a volume, or several as a 4-D file, whole or not at all.

    Args:
        path: the file to write.
        values: (z, y, x) in SimpleITK's array order, (1, y, x) for a 2D geometry; (volumes, z, y, x) for several.
        geometry: geometry of the volumes.
        notes: description that the header keeps, where the format has one; NIfTI keeps 79 characters.
        kind: NumPy's type of the voxels.

    Raises:
        InputError: the shape is not the geometry's, the disk is full, or the format (such as .png) cannot hold voxels
            of this kind.
    """
    with volume_at_the_end(path, values, geometry, notes, kind):
        pass


@contextmanager
def volume_at_the_end(
    path: Path,
    values: torch.Tensor | np.ndarray,
    geometry: Geometry,
    notes: str = "",
    kind: type[np.number] = np.float32,
) -> Iterator[None]:
    """Write a volume as `write_volume` does, which takes its place at the end of the context.

    Raises:
        InputError: as in `write_volume`.
    """
    array, shape = np.asarray(values, dtype=kind), geometry.size[::-1]
    direction = np.array(geometry.direction).reshape(len(shape), len(shape))
    spacing, origin = geometry.spacing, geometry.origin
    if array.ndim == 4:
        shape = (geometry.volumes, *shape)
        spacing, origin = (*spacing, 1.0), (*origin, 0.0)
        direction = block_diag(direction, 1.0)
    if len(shape) == 2 and array.shape[:1] == (1,):
        array = array[0]
    if array.shape != shape:
        raise InputError(f"{path}: a volume of shape {array.shape} for a grid of shape {shape}.")
    image = sitk.GetImageFromArray(array, isVector=False)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction.ravel().tolist())
    if notes:
        image.SetMetaData(_NOTES, notes)
    with ExitStack() as writing:
        try:
            temporary = writing.enter_context(whole_file(path))
            sitk.WriteImage(image, str(temporary), True)
            if not np.array_equal(voxels(temporary), array, equal_nan=True):
                raise OSError("what was written does not read back")  # SimpleITK keeps silent when a disk fills up
        except UNREADABLE as error:
            raise InputError(
                f"{path} cannot be written ({last_line(error)}). Is the disk full? Can its format hold "
                f"{np.dtype(kind)}? If not, convert the data set to .nii.gz."
            ) from None
        yield
