"""The map files: `<case>_PDmap`, `<case>_T1map`, `<case>_T2map` and `<case>.json`, in the image's geometry.

Maps from anybody are welcome: three float images in the geometry of the case's image, T1 and T2 in ms. The
JSON is this project's own record; without it nothing is known about which image the maps belong to, so hashes
are not checked.
"""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.image_files import (
    UNREADABLE,
    Geometry,
    file_sha256,
    voxels,
    write_json,
    write_volume,
)
from nnunet_phys.spin import T1_MAX_MS, T1_MIN_MS, T2_MAX_MS, T2_MIN_MS, SpinMaps

MAP_NAMES = ("PDmap", "T1map", "T2map")
_MAP_FILE = re.compile(rf"(?P<case>[^.].*)_(?:{'|'.join(MAP_NAMES)})(?P<ending>\.nii\.gz|\.[A-Za-z]+)")
_AGAIN = "Make the case's maps again."


def map_paths(folder: str | Path, case: str, ending: str) -> dict[str, Path]:
    """Paths of a case's three maps by name (PDmap, T1map, T2map)."""
    return {name: Path(folder) / f"{case}_{name}{ending}" for name in MAP_NAMES}


def find_maps(folder: Path) -> dict[str, str]:
    """Cases of which a folder holds any map, by their names, and the file ending of each, with the dot.

    Raises:
        InputError: no such folder, no maps in it, or a case with maps of several endings.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give one with CASE_PDmap, CASE_T1map and CASE_T2map.")
    endings: dict[str, set[str]] = {}
    for path in sorted(folder.iterdir()):
        found = _MAP_FILE.fullmatch(path.name)
        if found is not None:
            endings.setdefault(found["case"], set()).add(found["ending"])
    if not endings:
        raise InputError(f"{folder} holds no maps, such as CASE_PDmap.nii.gz. Make them with `nnunet_phys reverse`.")
    for case, several in endings.items():
        if len(several) > 1:
            raise InputError(f"{case}: maps in {folder} end in {' and '.join(sorted(several))}. Remove those of one.")
    return {case: ending for case, (ending,) in endings.items()}


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


def discard(folder: Path, case: str) -> None:
    """Remove a case's record, then the files that it names, before the case is made anew: no record may vouch for
    half-replaced files, and none of other settings may stay beside the new ones."""
    try:
        record = load_record(folder, case) or {}
    except InputError:
        record = {}
    record_path(folder, case).unlink(missing_ok=True)
    for path in _recorded_files(folder, record):
        if path.resolve().is_relative_to(folder.resolve()):
            path.unlink(missing_ok=True)


def _recorded_files(folder: Path, record: dict) -> list[Path]:
    """The files that belong to a case."""
    names = [*(one["file"] for one in record.get("maps", {}).values()), *record.get("more_files", [])]
    return [folder / name for name in names]


def is_finished(folder: str | Path, case: str, images: tuple[Path, ...]) -> bool:
    """Whether a case's record and all files that it names are there and were made from these very images."""
    try:
        record = load_record(folder, case)
    except InputError:  # a broken record vouches for nothing
        return False
    if record is None:
        return False
    if not all(path.is_file() for path in _recorded_files(Path(folder), record)):
        return False
    known = [record.get("image", {}), *record.get("more_images", [])]
    return [one.get("sha256") for one in known] == [file_sha256(path) for path in images]


def load_maps(
    folder: str | Path,
    case: str,
    ending: str,
    image_path: str | Path | None,
    reader: BaseReaderWriter | None = None,
) -> SpinMaps:
    """Read and check a case's maps.

    Args:
        folder: where the maps lie.
        case: the case's name.
        ending: their file ending, with the dot.
        image_path: the case's image, for its geometry and hash; None: the maps alone, on the PD map's grid.
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
    if image_path is None:
        grid = paths["PDmap"]
        _require(case, grid)
    else:
        grid = image_path
    if None not in (record, image_path) and file_sha256(image_path) != record.get("image", {}).get("sha256"):
        raise InputError(
            f"{case}: {image_path} is not the image that its maps in {folder} were made from. Make them "
            "again (`nnunet_phys reverse ... --overwrite`)."
        )
    recorded = {} if record is None else record.get("maps", {})
    geometry = Geometry.read(grid)
    arrays = [
        _read_map(case, path, recorded.get(name, {}).get("sha256"), geometry, grid, reader)
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
    _require(case, path)
    if sha256 is not None and file_sha256(path) != sha256:
        raise InputError(f"{case}: {path} is cut short or was changed since it was written. {_AGAIN}")
    try:
        finite = np.isfinite(voxels(path)).all()
        array = reader.read_images([str(path)])[0]
        geometry = Geometry.read(path)
    except UNREADABLE as error:
        raise InputError(f"{case}: {path} cannot be read, cut short? ({last_line(error)}) {_AGAIN}") from None
    differs = geometry.difference(expected)
    if differs is not None:
        raise InputError(
            f"{case}: {differs} of {path} is {_listed(getattr(geometry, differs))}, but "
            f"{_listed(getattr(expected, differs))} in {image_path}. {_AGAIN}"
        )
    if array.shape[0] != 1:
        raise InputError(f"{case}: {path} holds {array.shape[0]} volumes where one is expected. {_AGAIN}")
    if not finite:
        raise InputError(f"{case}: {path} holds NaN or infinite values. {_AGAIN}")
    return np.ascontiguousarray(array[0], dtype=np.float32)


def _require(case: str, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{case}: {path} is missing. {_AGAIN}")


def _listed(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
