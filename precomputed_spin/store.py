"""The map files: `<case>_PDmap`, `<case>_T1map`, `<case>_T2map` and `<case>.json`, in the image's geometry.

Maps from anybody are welcome: three float images in the geometry of the case's image, T1 and T2 in ms. The
JSON is this project's own record; without it nothing is known about which image the maps belong to, so hashes
are not checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nibabel.filebasedimages import ImageFileError
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_phys.errors import InputError
from nnunet_phys.spin import T1_MAX_MS, T1_MIN_MS, T2_MAX_MS, T2_MIN_MS, SpinMaps

MAP_NAMES = ("PDmap", "T1map", "T2map")
UNREADABLE = (RuntimeError, OSError, ValueError, EOFError, zlib.error, ImageFileError)
MAPS_FOLDER = "spinTr"  # beside imagesTr
_HOST = platform.node().partition(".")[0]


@dataclass(frozen=True)
class RawDataset:
    """A data set in nnU-Net's raw format, with one input channel.

    Attributes:
        name: `DatasetXXX_Name`.
        folder: its folder in nnUNet_raw.
        ending: file ending of its images, with the dot.
        images: case -> path of its one image.
        labels: case -> path of its label image.
    """

    name: str
    folder: Path
    ending: str
    images: dict[str, Path]
    labels: dict[str, Path]

    @property
    def maps_folder(self) -> Path:
        """Where its maps lie unless told otherwise."""
        return self.folder / MAPS_FOLDER


def dataset_name(name_or_id: str | int) -> str:
    """`DatasetXXX_Name` for a name or an id, as nnU-Net finds it.

    Raises:
        InputError: no such data set, or more than one with this id.
    """
    try:
        return str(maybe_convert_to_dataset_name(name_or_id))
    except (RuntimeError, ValueError) as error:
        reason = str(error).split(". ")[0]
        raise InputError(f"-d {name_or_id}: {reason}. Give an id or a name found in nnUNet_raw.") from None


def require_folder(variable: os.PathLike) -> Path:
    """The folder that one of nnU-Net's path variables (`nnunetv2.paths`) names.

    Raises:
        InputError: the variable is not set.
    """
    try:
        return Path(variable)
    except RuntimeError as error:
        name = str(error).split(" ")[0]
        raise InputError(f"{name} is not set: export {name}=FOLDER as for nnU-Net itself.") from None


def open_raw_dataset(name_or_id: str | int) -> RawDataset:
    """Find a data set and its training images with nnU-Net's own rules.

    Raises:
        InputError: nnUNet_raw is unset, no such data set, or a data set with several input channels.
    """
    raw = require_folder(nnUNet_raw)
    name = dataset_name(name_or_id)
    folder = raw / name
    if not (folder / "dataset.json").is_file():
        raise InputError(f"{name}: {folder / 'dataset.json'} is missing. Is nnUNet_raw the right folder?")
    description = load_json(folder / "dataset.json")
    require_one_channel(name, description)
    cases = get_filenames_of_train_images_and_targets(str(folder), description)
    faults = [
        f"{case}: {len(files['images'])} images in {folder / 'imagesTr'} where one ({case}_0000) is expected."
        for case, files in cases.items()
        if len(files["images"]) != 1
    ]
    if faults:
        raise InputError("\n".join(faults))
    return RawDataset(
        name,
        folder,
        description["file_ending"],
        {case: Path(files["images"][0]) for case, files in cases.items()},
        {case: Path(files["label"]) for case, files in cases.items()},
    )


def require_one_channel(name: str, description: dict) -> None:
    """Refuse a data set with several input channels: which one the maps image would be a guess.

    Raises:
        InputError: `description` (dataset.json) lists more than one channel.
    """
    channels = description.get("channel_names") or description.get("modality") or {}
    if len(channels) != 1:
        listed = ", ".join(f"{k}: {v}" for k, v in channels.items())
        raise InputError(
            f"{name}: dataset.json has {len(channels)} input channels ({listed}) and maps describe one. Make "
            "a data set of the one channel that is to be imaged."
        )


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
            raise InputError(f"{path} cannot be read ({_last_line(error)}).") from None
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


def map_paths(folder: str | Path, case: str, ending: str) -> dict[str, Path]:
    """Paths of a case's three maps by name (PDmap, T1map, T2map)."""
    return {name: Path(folder) / f"{case}_{name}{ending}" for name in MAP_NAMES}


def record_path(folder: str | Path, case: str) -> Path:
    """Path of a case's record: provenance and quality. It is written last."""
    return Path(folder) / f"{case}.json"


def load_record(folder: str | Path, case: str) -> dict | None:
    """A case's record, or None where the maps came without one."""
    path = record_path(folder, case)
    try:
        return load_json(path) if path.is_file() else None
    except ValueError:
        raise InputError(f"{case}: {path} is no JSON. Make the case's maps again.") from None


def save_maps(
    folder: str | Path,
    case: str,
    maps: SpinMaps,
    image_path: str | Path,
    ending: str,
    record: dict,
    more_images: tuple[Path, ...] = (),
    more_files: tuple[Path, ...] = (),
) -> None:
    """Write a case's maps as float32 in the geometry of its image, each whole or not at all; its record last.

    Args:
        folder: where to, made if absent.
        case: the case's name.
        maps: PD, T1 and T2 (ms) of shape (z, y, x) in SimpleITK's array order, (1, y, x) for a 2D image.
        image_path: the image that the maps were made from; its geometry and its hash are kept.
        ending: file ending with the dot, the data set's own so that nnU-Net's reader reads the maps too.
        record: provenance and quality, plain JSON. `image`, `more_images` and `maps` (names and SHA-256) are added.
        more_images: further images of a series, on the same grid.
        more_files: written before, which belong to the case: without them it does not count as finished.

    Raises:
        InputError: the maps' shape is not the image's, or the format holds no float32 (such as .png).
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    geometry, hashes = Geometry.read(image_path), {}
    with ExitStack() as maps_written:
        for (name, path), values in zip(
            map_paths(folder, case, ending).items(), (maps.pd, maps.t1, maps.t2), strict=True
        ):
            temporary = maps_written.enter_context(write_volume(path, values, geometry))
            hashes[name] = {"file": path.name, "sha256": file_sha256(temporary)}
        record_path(folder, case).unlink(missing_ok=True)  # no record may vouch for half-replaced maps
    save_record(folder, case, {**record, "maps": hashes}, (Path(image_path), *more_images), more_files)


def save_record(
    folder: Path, case: str, record: dict, images: tuple[Path, ...], more_files: tuple[Path, ...] = ()
) -> None:
    """Write a case's record, which makes it count as finished.

    Args:
        folder: of the case's files.
        case: the case's name.
        record: plain JSON; `case`, `image` and `more_images` (names and SHA-256) and `more_files` are added.
        images: what the case was made from.
        more_files: that belong to the case, inside the folder.
    """
    sources = [{"file": path.name, "sha256": file_sha256(path)} for path in images]
    entries = {"case": case, "image": sources[0], "more_images": sources[1:]}
    names = [path.relative_to(folder).as_posix() for path in more_files]
    write_json(record_path(folder, case), {**record, **entries, "more_files": names})


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
            if not np.array_equal(_voxels(temporary), array, equal_nan=True):
                raise OSError("what was written does not read back")  # SimpleITK keeps silent when a disk fills up
        except UNREADABLE as error:
            raise InputError(
                f"{path} cannot be written ({_last_line(error)}). Is the disk full? Can its format hold float32? If "
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


def is_finished(folder: str | Path, case: str, images: tuple[Path, ...]) -> bool:
    """Whether a case's record and all files that it names are there and were made from these very images."""
    try:
        record = load_record(folder, case)
    except InputError:  # a broken record vouches for nothing
        return False
    if record is None:
        return False
    files = [*(one["file"] for one in record.get("maps", {}).values()), *record.get("more_files", [])]
    known = [record.get("image", {}), *record.get("more_images", [])]
    return all((Path(folder) / name).is_file() for name in files) and [one.get("sha256") for one in known] == [
        file_sha256(path) for path in images
    ]


def read_image(image_path: str | Path, frame: int = 0) -> np.ndarray:
    """One volume as float32 of shape (z, y, x), the order that `save_maps` takes; (1, y, x) for a 2D file.

    Args:
        image_path: the file.
        frame: of a 4-D file.

    Raises:
        InputError: the file cannot be read, is cut short or holds NaN.
    """
    try:
        volumes = Geometry.read(image_path).volumes
        volume = _voxels(Path(image_path), frame if volumes > 1 else None)
    except UNREADABLE as error:
        raise InputError(f"{image_path} cannot be read, cut short? ({_last_line(error)})") from None
    volume = volume.reshape(-1, *volume.shape[-2:])
    if not np.isfinite(volume).all():
        raise InputError(f"{image_path} holds NaN or infinite values. Replace them.")
    return np.ascontiguousarray(volume, dtype=np.float32)


def load_maps(
    folder: str | Path,
    case: str,
    ending: str,
    image_path: str | Path,
    reader: BaseReaderWriter | None = None,
) -> SpinMaps:
    """Read and check a case's maps.

    Args:
        folder: where the maps lie.
        case: the case's name.
        ending: their file ending, with the dot.
        image_path: the case's image, for its geometry and hash.
        reader: an nnU-Net reader (default SimpleITKIO); it decides the order of the axes.

    Returns:
        float32 tensors of the shape that the reader gives, usually (z, y, x). Values out of bounds (a
        background of zeros, say) are set to the bound: PD >= 0, T1 and T2 to the limits in
        `nnunet_phys.spin`.

    Raises:
        InputError: a map is missing, cut short, not finite, in seconds, of another geometry than the image,
            or was made from another image (where a record tells).
    """
    reader = reader or SimpleITKIO()
    paths = map_paths(folder, case, ending)
    record = load_record(folder, case)
    if record is not None and file_sha256(image_path) != record.get("image", {}).get("sha256"):
        raise InputError(
            f"{case}: {image_path} is not the image that its maps in {folder} were made from. Make them "
            "again (`nnunet_phys reverse ... --overwrite`)."
        )
    recorded = {} if record is None else record.get("maps", {})
    geometry = Geometry.read(image_path)
    arrays = [
        _read_map(case, path, recorded.get(name, {}).get("sha256"), geometry, image_path, reader)
        for name, path in paths.items()
    ]
    pd, t1, t2 = (torch.from_numpy(array) for array in arrays)
    for name, values, lowest in (("T1map", t1, T1_MIN_MS), ("T2map", t2, T2_MIN_MS)):
        if values.max() < lowest:
            raise InputError(f"{case}: no value of {paths[name]} reaches {lowest:g} ms. Is it in ms?")
    return SpinMaps(pd.clamp_(min=0), t1.clamp_(T1_MIN_MS, T1_MAX_MS), t2.clamp_(T2_MIN_MS, T2_MAX_MS))


def _read_map(
    case: str,
    path: Path,
    sha256: str | None,
    expected: Geometry,
    image_path: str | Path,
    reader: BaseReaderWriter,
) -> np.ndarray:
    """One map as float32 in the reader's order; InputError where it does not fit its image."""
    again = "Make the case's maps again."
    if not path.is_file():
        raise InputError(f"{case}: {path} is missing. {again}")
    if sha256 is not None and file_sha256(path) != sha256:
        raise InputError(f"{case}: {path} is cut short or was changed since it was written. {again}")
    try:
        finite = np.isfinite(_voxels(path)).all()
        array = reader.read_images([str(path)])[0]
        geometry = Geometry.read(path)
    except UNREADABLE as error:
        raise InputError(f"{case}: {path} cannot be read, cut short? ({_last_line(error)}) {again}") from None
    differs = geometry.difference(expected)
    if differs is not None:
        raise InputError(
            f"{case}: {differs} of {path} is {_listed(getattr(geometry, differs))}, but "
            f"{_listed(getattr(expected, differs))} in {image_path}. {again}"
        )
    if array.shape[0] != 1:
        raise InputError(f"{case}: {path} holds {array.shape[0]} volumes where one is expected. {again}")
    if not finite:
        raise InputError(f"{case}: {path} holds NaN or infinite values. {again}")
    return np.ascontiguousarray(array[0], dtype=np.float32)


def _voxels(path: Path, frame: int | None = None) -> np.ndarray:
    """A file's values, (..., z, y, x), or a frame's of a 4-D file; raises one of UNREADABLE where it is cut short.

    SimpleITK reads NaN in a NIfTI file as 0 and half a file as if it were whole, nibabel doesn't.
    """
    if path.name.endswith((".nii", ".nii.gz")):
        proxy = nibabel.load(path).dataobj
        return np.asanyarray(proxy if frame is None else proxy[..., frame]).T
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return image if frame is None else image[frame]


def _listed(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _last_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else type(error).__name__
