"""The map files: `<case>_PDmap`, `<case>_T1map`, `<case>_T2map` and `<case>.json`, in the image's geometry.

Maps from anybody are welcome: three float images in the geometry of the case's image, T1 and T2 in ms. The JSON is this
project's own record. It names the files of a case with their hashes and the images they were made from, so it vouches
for them; maps without a record are checked for plausible values instead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.image_files import TIFF, UNREADABLE, Geometry, file_sha256, inside, read_volumes, voxels, write_volume
from nnunet_phys.json_files import load_json, structure
from nnunet_phys.map_plausibility import map_faults
from nnunet_phys.spin import T1_MAX_MS, T1_MIN_MS, T2_MAX_MS, T2_MIN_MS, SpinMaps
from nnunet_phys.whole_files import write_json

MAP_NAMES = ("PDmap", "T1map", "T2map")
_MAP_FILE = re.compile(rf"(?P<case>[^.].*)_(?:{'|'.join(MAP_NAMES)})(?P<ending>\.nii\.gz|\.[A-Za-z]+)")
_AGAIN = "Make the case's maps again."

VolumeReader = Callable[[Path], np.ndarray]
"""Reads a file as (volumes, z, y, x), or in another order of the axes; raises one of `image_files.UNREADABLE`."""


@dataclass(frozen=True)
class HashedFile:
    """A file as it was when a record was written.

    Attributes:
        file: its name; that of a file which belongs to the case is relative to the record's folder.
        sha256: of its content.
    """

    file: str
    sha256: str


@dataclass(frozen=True)
class CaseRecord:
    """What a case's record says about files.

    Attributes:
        case: the case's name.
        image: that the case was made from; None while the case is unfinished.
        more_images: further ones.
        maps: by their names, such as T1map.
        more_files: that belong to the case.
        unfinished: names of files that are being written.
    """

    case: str
    image: HashedFile | None = None
    more_images: tuple[HashedFile, ...] = ()
    maps: dict[str, HashedFile] = field(default_factory=dict)
    more_files: tuple[HashedFile, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[HashedFile, ...]:
        """All images that the case was made from; none while it is unfinished."""
        return () if self.image is None else (self.image, *self.more_images)

    @property
    def files(self) -> tuple[HashedFile, ...]:
        """All files that belong to the case."""
        return (*self.maps.values(), *self.more_files)

    def vouches_for(self, folder: Path, path: Path) -> bool:
        """Whether a file is one that the record names, unchanged, or one that was being written."""
        if path in (folder / name for name in self.unfinished):
            return True
        hashes = {folder / entry.file: entry.sha256 for entry in self.files}
        return path in hashes and path.is_file() and file_sha256(path) == hashes[path]


def map_paths(folder: str | Path, case: str, ending: str) -> dict[str, Path]:
    """Paths of a case's three maps by name (PDmap, T1map, T2map).

    Raises:
        InputError: the case's name leads out of the folder.
    """
    return {name: inside(Path(folder), f"{case}_{name}{ending}") for name in MAP_NAMES}


def find_maps(folder: Path) -> dict[str, str]:
    """Cases of which a folder holds any map, by their names, and the file ending of each, with the dot.

    Raises:
        InputError: no such folder, no maps in it, or a case with maps of several endings.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give one with CASE_PDmap, CASE_T1map and CASE_T2map.")
    endings: dict[str, set[str]] = {}
    for path in sorted(folder.iterdir()):
        match = _MAP_FILE.fullmatch(path.name)
        if match is not None:
            endings.setdefault(match["case"], set()).add(match["ending"])
    if not endings:
        raise InputError(f"{folder} holds no maps, such as CASE_PDmap.nii.gz. Make them with `nnunet_phys reverse`.")
    for case, several in endings.items():
        if len(several) > 1:
            raise InputError(f"{case}: maps in {folder} end in {' and '.join(sorted(several))}. Remove those of one.")
    return {case: ending for case, (ending,) in endings.items()}


def record_path(folder: str | Path, case: str) -> Path:
    """Path of a case's record: provenance and quality. It is written last.

    Raises:
        InputError: the case's name leads out of the folder.
    """
    return inside(Path(folder), f"{case}.json")


def load_record(folder: str | Path, case: str) -> dict | None:
    """A case's record, or None where the maps came without one.

    Raises:
        InputError: the file is no JSON, or no record of this case.
    """
    content = _load_record(folder, case)
    return None if content is None else content[0]


def _load_record(folder: str | Path, case: str) -> tuple[dict, CaseRecord] | None:
    """A record as it is, and what it says about files."""
    path = record_path(folder, case)
    if not path.exists():
        return None
    remedy = f"It is no record of nnunet_phys: move it away. {_AGAIN}"
    content = load_json(path, remedy)
    record = structure(content, CaseRecord, str(path), remedy, extra=True)
    if record.case != case:
        raise InputError(f"{path} is the record of {record.case}. {_AGAIN}")
    if not record.images and not record.unfinished:
        raise InputError(f"{path}: 'image' is missing. {remedy}")
    return content, record


def foreign_results(folder: Path, case: str, paths: Iterable[Path]) -> list[str]:
    """What lies where a case's results shall go and was not put there by this project, or was changed since.

    A command that writes results calls this for all cases before it starts, and refuses to replace such files unless
    the user asks for it.

    Args:
        folder: for the results.
        case: the case's name.
        paths: all files that are to be written, but for the record.

    Returns:
        one line for each such file, the record's path included; empty where nothing is lost.

    Raises:
        InputError: the case's name leads out of the folder.
    """
    remedy = "Choose another folder with -o, or add --overwrite to replace it."
    try:
        loaded, broken = _load_record(folder, case), False
    except InputError:
        loaded, broken = None, True
    faults = [f"{case}: {record_path(folder, case)} is not a record of nnunet_phys. {remedy}"] if broken else []
    for path in paths:
        if not os.path.lexists(path) or (loaded is not None and loaded[1].vouches_for(folder, path)):
            continue
        faults.append(f"{case}: {path} was not made by nnunet_phys, or was changed since. {remedy}")
    return faults


def begin_case(folder: Path, case: str, paths: Iterable[Path], settings: dict | None = None) -> None:
    """Make room for a case's results: remove earlier ones, and say in a first record which files will be written.

    The first record tells the next run, should this one be killed, that these files are its own. The case does not
    count as finished until `save_record` replaces it.

    Args:
        folder: for the results, made if absent.
        case: the case's name.
        paths: all files that are to be written, but for the record, inside the folder.
        settings: plain JSON that the first record holds, too.

    Raises:
        InputError: the record cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    discard(folder, case)
    _claim(folder, case, paths, settings or {})


def discard(folder: Path, case: str) -> None:
    """Remove the files that a case's record names, then the record: none of other settings may stay beside new ones.

    A record without all of its files, unchanged, vouches for nothing, so that it may go last.
    """
    with suppress(InputError):
        loaded = _load_record(folder, case)
        record = None if loaded is None else loaded[1]
        for name in () if record is None else (*(entry.file for entry in record.files), *record.unfinished):
            with suppress(InputError):  # a name that leads out of the folder
                inside(folder, name).unlink(missing_ok=True)
    record_path(folder, case).unlink(missing_ok=True)


def _claim(folder: Path, case: str, paths: Iterable[Path], settings: dict) -> None:
    """Write a record that names files which are being written."""
    names = [_name_in(folder, path) for path in paths]
    write_json(record_path(folder, case), {**settings, "case": case, "unfinished": names})


def _name_in(folder: Path, path: Path) -> str:
    """A file's name relative to a folder that it must lie in."""
    return path.relative_to(folder).as_posix()


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
    geometry, paths = Geometry.read(image_path), map_paths(folder, case, ending)
    with ExitStack() as maps_written:
        for path, values in zip(paths.values(), (maps.pd, maps.t1, maps.t2), strict=True):
            maps_written.enter_context(write_volume(path, values, geometry))
        _claim(folder, case, (*paths.values(), *more_files), record)  # no other record may vouch for half-replaced maps
    hashes = {name: _hashed(path, path.name) for name, path in paths.items()}
    spacing = {"spacing": geometry.spacing[::-1]} if ending in TIFF else {}  # which the format does not hold
    save_record(folder, case, {**record, **spacing, "maps": hashes}, (Path(image_path), *more_images), more_files)


def save_record(
    folder: Path, case: str, record: dict, images: tuple[Path, ...], more_files: tuple[Path, ...] = ()
) -> None:
    """Write a case's record, which makes it count as finished.

    Args:
        folder: of the case's files.
        case: the case's name.
        record: plain JSON; `case`, `image`, `more_images` and `more_files` (names and SHA-256) are added.
        images: what the case was made from.
        more_files: that belong to the case, inside the folder.

    Raises:
        InputError: it cannot be written.
    """
    sources = [_hashed(path, path.name) for path in images]
    entries = {"case": case, "image": sources[0], "more_images": sources[1:]}
    results = [_hashed(path, _name_in(folder, path)) for path in more_files]
    write_json(record_path(folder, case), {**record, **entries, "more_files": results})


def _hashed(path: Path, name: str) -> dict[str, str]:
    return {"file": name, "sha256": file_sha256(path)}


def is_finished(folder: str | Path, case: str, images: tuple[Path, ...]) -> bool:
    """Whether a case was made from these very images, and all files that its record names are there, unchanged.

    Files are hashed once for as long as they stay as they are.
    """
    try:
        loaded = _load_record(folder, case)
    except InputError:  # a broken record vouches for nothing
        return False
    if loaded is None:
        return False
    record = loaded[1]
    try:
        if not record.images or [e.sha256 for e in record.images] != [file_sha256(path) for path in images]:
            return False
        return all(file_sha256(inside(Path(folder), entry.file)) == entry.sha256 for entry in record.files)
    except (OSError, InputError):  # a file is missing, or its name leads elsewhere
        return False


def load_maps(
    folder: str | Path,
    case: str,
    ending: str,
    image_path: str | Path | None,
    read: VolumeReader = read_volumes,
) -> SpinMaps:
    """Read and check a case's maps.

    Args:
        folder: where the maps lie.
        case: the case's name.
        ending: their file ending, with the dot.
        image_path: the case's image, for its geometry and hash; None: the maps alone, on the PD map's grid.
        read: reads a map; it decides the order of the axes.

    Returns:
        float32 tensors of the shape that `read` gives, usually (z, y, x). Values out of bounds (a background of zeros,
        say) are set to the bound: PD >= 0, T1 and T2 to the limits in `nnunet_phys.spin`.

    Raises:
        InputError: a map is missing, cut short, not finite, or of another geometry than the image; the maps were made
            from another image (where a record tells), or have implausible values (where no record vouches for them).
    """
    paths = map_paths(folder, case, ending)
    loaded = _load_record(folder, case)
    record = None if loaded is None else loaded[1]
    if record is not None and not record.images:
        raise InputError(f"{case}: its maps in {folder} are unfinished. {_AGAIN}")
    if image_path is None:
        grid_path = paths["PDmap"]
        _require(case, grid_path)
    else:
        grid_path = Path(image_path)
    if record is not None and image_path is not None and file_sha256(image_path) != record.images[0].sha256:
        raise InputError(
            f"{case}: {image_path} is not the image that its maps in {folder} were made from. Make them "
            "again (`nnunet_phys reverse ... --overwrite`)."
        )
    recorded = {} if record is None else record.maps
    geometry = Geometry.read(grid_path)
    for name, path in paths.items():
        _require(case, path)
        if name in recorded and file_sha256(path) != recorded[name].sha256:
            raise InputError(f"{case}: {path} is cut short or was changed since it was written. {_AGAIN}")
    arrays = [_read_map(case, path, geometry, grid_path, read) for path in paths.values()]
    maps = SpinMaps(*(torch.from_numpy(array) for array in arrays))
    faults = [] if recorded.keys() >= set(MAP_NAMES) else map_faults(case, maps)
    if faults:
        raise InputError(*(f"{fault} The maps lie in {folder}." for fault in faults))
    return SpinMaps(maps.pd.clamp_(min=0), maps.t1.clamp_(T1_MIN_MS, T1_MAX_MS), maps.t2.clamp_(T2_MIN_MS, T2_MAX_MS))


def _read_map(case: str, path: Path, expected: Geometry, grid_path: Path, read: VolumeReader) -> np.ndarray:
    """One map as float32 in the reader's order; InputError where it does not fit its image."""
    geometry = Geometry.read(path)
    if path.suffix in TIFF:  # it holds no spacing, and foreign maps may lack the JSON that does
        geometry = replace(geometry, spacing=expected.spacing)
    differs = geometry.difference(expected)
    if differs is not None:
        raise InputError(
            f"{case}: {differs} of {path} is {_listed(getattr(geometry, differs))}, but "
            f"{_listed(getattr(expected, differs))} in {grid_path}. {_AGAIN}"
        )
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            finite = np.isfinite(voxels(path).astype(np.float32)).all()
            array = read(path)
    except UNREADABLE as error:
        raise InputError(f"{case}: {path} cannot be read, cut short? ({last_line(error)}) {_AGAIN}") from None
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
