"""Image files: their grid, volumes read and written whole or not at all, hashes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from nibabel.filebasedimages import ImageFileError

from nnunet_phys.errors import InputError, last_line

UNREADABLE = (RuntimeError, OSError, ValueError, EOFError, zlib.error, ImageFileError)
SLICE_OF_2D_MM = 8.0  # what a 2D image, which does not tell, is taken for; usual in the heart
_HOST = platform.node().partition(".")[0]


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a volume lie, in SimpleITK's order and meaning; of each volume of a 4-D file.

    Attributes:
        size: columns, rows, slices; columns, rows for a 2D image.
        spacing: of the same length, mm.
        origin: of the same length, mm.
        direction: rows of the direction matrix, one after the other.
        volumes: of the file.
    """

    size: tuple[int, ...]
    spacing: tuple[float, ...]
    origin: tuple[float, ...]
    direction: tuple[float, ...]
    volumes: int = 1

    @classmethod
    def read(cls, path: str | Path) -> Geometry:
        """That of a file, without reading its voxels.

        Raises:
            InputError: the file cannot be read.
        """
        header = sitk.ImageFileReader()
        header.SetFileName(str(path))
        try:
            header.ReadImageInformation()
        except RuntimeError as error:
            raise InputError(f"{path} cannot be read ({last_line(error)}).") from None
        size, dim = header.GetSize(), min(header.GetDimension(), 3)
        direction = np.array(header.GetDirection()).reshape(len(size), len(size))[:dim, :dim]
        return cls(
            size[:dim],
            header.GetSpacing()[:dim],
            header.GetOrigin()[:dim],
            tuple(direction.ravel().tolist()),
            size[3] if len(size) > 3 else 1,
        )

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Row and column spacing."""
        return self.spacing[1], self.spacing[0]

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Slice, row and column spacing; a 2D image is taken for a slice of 8 mm, usual in the heart."""
        return (SLICE_OF_2D_MM, *self.spacing[::-1])[-3:]

    def difference(self, other: Geometry) -> str | None:
        """The first attribute in which two differ, or None."""
        for name in ("size", "spacing", "origin", "direction"):
            a, b = np.array(getattr(self, name)), np.array(getattr(other, name))
            if a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-3):
                return name
        return None

    def agrees(self, other: Geometry) -> bool:
        """Whether two are one grid."""
        return self.difference(other) is None


def read_image(image_path: str | Path, frame: int = 0) -> np.ndarray:
    """One volume as float32 of shape (z, y, x), the order that `save_maps` takes; (1, y, x) for a 2D file.

    Args:
        image_path: the file.
        frame: of a 4-D file.

    Raises:
        InputError: the file cannot be read, is cut short or holds NaN.
    """
    volumes = Geometry.read(image_path).volumes
    try:
        volume = voxels(Path(image_path), frame if volumes > 1 else None)
    except UNREADABLE as error:
        raise InputError(f"{image_path} cannot be read, cut short? ({last_line(error)})") from None
    volume = volume.reshape(-1, *volume.shape[-2:])
    if not np.isfinite(volume).all():
        raise InputError(f"{image_path} holds NaN or infinite values. Replace them.")
    return np.ascontiguousarray(volume, dtype=np.float32)


def voxels(path: Path, frame: int | None = None) -> np.ndarray:
    """A file's values, (..., z, y, x), or a frame's of a 4-D file; raises one of UNREADABLE where it is cut short.

    SimpleITK reads NaN in a NIfTI file as 0 and half a file as if it were whole, nibabel doesn't.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        proxy = nibabel.load(path).dataobj
        return np.asanyarray(proxy if frame is None else proxy[..., frame]).T
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return image if frame is None else image[frame]


@contextmanager
def write_volume(path: Path, values: torch.Tensor, geometry: Geometry) -> Iterator[Path]:
    """Write a volume as float32, whole or not at all: it takes its place when the context ends.

    Args:
        path: where to.
        values: (z, y, x) in SimpleITK's array order, (1, y, x) for a 2D geometry.
        geometry: of the volume.

    Yields:
        The temporary file that holds it until then.

    Raises:
        InputError: another shape than the geometry's, a full disk, or a format that holds no float32 (such as .png).
    """
    array, shape = np.asarray(values, dtype=np.float32), geometry.size[::-1]
    if len(shape) == 2 and array.shape[:1] == (1,):
        array = array[0]
    if array.shape != shape:
        raise InputError(f"{path}: a volume of shape {array.shape} for a grid of shape {shape}.")
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    with whole_file(path) as temporary:
        try:
            sitk.WriteImage(image, str(temporary), True)
            if not np.array_equal(voxels(temporary), array, equal_nan=True):
                raise OSError("what was written does not read back")  # SimpleITK keeps silent when a disk fills up
        except UNREADABLE as error:
            raise InputError(
                f"{path} cannot be written ({last_line(error)}). Is the disk full? Can its format hold float32? If "
                "not, convert the data set to .nii.gz."
            ) from None
        yield temporary


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all: a temporary path beside it, of the same ending, that then takes its place."""
    name, *endings = path.name.partition(".")
    temporary = path.with_name(f".{name}.{_HOST}-{os.getpid()}{''.join(endings)}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes of this machine left half-written; files of living ones stay."""
    for path in [*folder.glob(f".*.{_HOST}-*"), *folder.glob(f"samples/*/.*.{_HOST}-*")]:
        pid = int(path.name.rpartition(f".{_HOST}-")[2].partition(".")[0])
        if not _is_alive(pid):
            path.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_json(path: Path, content: dict) -> None:
    """Write JSON whole or not at all."""
    try:
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}). Is the disk full?") from None


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits; computed once for as long as the file stays as it is."""
    state = os.stat(path)
    return _sha256(str(path), state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=100_000)
def _sha256(path: str, *state: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
