"""The map files: `<case>_PDmap`, `<case>_T1map`, `<case>_T2map` and `<case>.json`, in the image's geometry.

Maps may come from any source: three float images in the geometry of the case's image, T1 and T2 in ms. Maps with a
record of this project (`case_records`) are checked against it; maps without a record must have plausible values.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.case_records import AGAIN, claim, read_record, save_record
from nnunet_phys.errors import InputError, last_line
from nnunet_phys.file_identity import file_sha256, hashed, inside
from nnunet_phys.image_files import TIFF, UNREADABLE, Geometry, read_volumes, volume_at_the_end, voxels
from nnunet_phys.map_plausibility import map_faults
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissues import TISSUES

MAP_NAMES = ("PDmap", "T1map", "T2map")
_MAP_FILE = re.compile(rf"(?P<case>[^.].*)_(?:{'|'.join(MAP_NAMES)})(?P<ending>\.nii\.gz|\.[A-Za-z]+)")

VolumeReader = Callable[[Path], np.ndarray]
"""Reads a file as (volumes, z, y, x), or in another order of the axes; raises errors of `image_files.UNREADABLE`."""


def map_paths(folder: str | Path, case: str, ending: str) -> dict[str, Path]:
    """Paths of a case's three maps by name (PDmap, T1map, T2map).

    Raises:
        InputError: the case's name leads out of the folder.
    """
    return {name: inside(Path(folder), f"{case}_{name}{ending}") for name in MAP_NAMES}


def find_maps(folder: Path) -> dict[str, str]:
    """Names of the cases with at least one map in a folder, and the file ending of their maps, with the dot.

    Raises:
        InputError: no such folder, no maps in it, or a case with maps of several endings.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give a folder with CASE_PDmap, CASE_T1map and CASE_T2map.")
    endings: dict[str, set[str]] = {}
    for path in sorted(folder.iterdir()):
        match = _MAP_FILE.fullmatch(path.name)
        if match is not None:
            endings.setdefault(match["case"], set()).add(match["ending"])
    if not endings:
        raise InputError(f"{folder} holds no maps, such as CASE_PDmap.nii.gz. Make them with `nnunet_phys reverse`.")
    for case, several in endings.items():
        if len(several) > 1:
            raise InputError(f"{case}: maps in {folder} end in {' and '.join(sorted(several))}. Keep one format.")
    return {case: ending for case, (ending,) in endings.items()}


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
        folder: the folder to write to, made if absent.
        case: the case's name.
        maps: PD, T1 and T2 (ms) of shape (z, y, x) in SimpleITK's array order, (1, y, x) for a 2D image.
        image_path: the image that the maps were made from. The maps get its geometry, the record its hash.
        ending: file ending with the dot, the data set's own so that nnU-Net's reader reads the maps too.
        record: provenance and quality, plain JSON. `image`, `more_images` and `maps` (names and SHA-256) are added.
        more_images: further images of a series, on the same grid.
        more_files: files written before that belong to the case, which counts as finished only with them.

    Raises:
        InputError: the maps' shape is not the image's, or the format (such as .png) cannot hold float32.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    geometry, paths = Geometry.read(image_path), map_paths(folder, case, ending)
    with ExitStack() as maps_written:
        for path, values in zip(paths.values(), (maps.pd, maps.t1, maps.t2), strict=True):
            maps_written.enter_context(volume_at_the_end(path, values, geometry))
        claim(folder, case, (*paths.values(), *more_files), record)  # no other record may vouch for half-replaced maps
    hashes = {name: hashed(path, path.name) for name, path in paths.items()}
    save_record(folder, case, {**record, "maps": hashes}, (Path(image_path), *more_images), more_files)


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
        image_path: the case's image, whose geometry and hash the maps must match, or any image of the series that they
            were made from; None: the maps need only share the PD map's grid.
        read: reads a map, and decides the order of the axes.

    Returns:
        float32 tensors of the shape that `read` gives, usually (z, y, x), within the bounds of `SpinMaps`.

    Raises:
        InputError: a map is missing, cut short, not finite, or of another geometry than the image; the maps were made
            from another image by their record, or have implausible values and no record.
    """
    paths = map_paths(folder, case, ending)
    loaded = read_record(folder, case)
    record = None if loaded is None else loaded[1]
    if record is not None and not record.images:
        raise InputError(f"{case}: its maps in {folder} are unfinished. {AGAIN}")
    if image_path is None:
        grid_path = paths["PDmap"]
        _require(case, grid_path)
    else:
        grid_path = Path(image_path)
    try:
        geometry = Geometry.read(grid_path)
    except InputError as error:
        raise error.of_case(case) from None
    images = () if record is None else tuple(image.sha256 for image in record.images)
    if images and image_path is not None and file_sha256(image_path) not in images:
        raise InputError(
            f"{case}: {image_path} is not the image that its maps in {folder} were made from. Make them "
            "again (`nnunet_phys reverse ... --overwrite`)."
        )
    recorded = {} if record is None else record.maps
    for name, path in paths.items():
        _require(case, path)
        if name in recorded and file_sha256(path) != recorded[name].sha256:
            raise InputError(f"{case}: {path} is cut short or was changed since it was written. {AGAIN}")
    arrays = [_read_map(case, path, geometry, grid_path, read) for path in paths.values()]
    maps = SpinMaps(*(torch.from_numpy(array) for array in arrays))
    faults = [] if recorded.keys() >= set(MAP_NAMES) else map_faults(case, maps)
    if faults:
        raise InputError(*(f"{fault} The maps lie in {folder}." for fault in faults))
    return maps.within_bounds()


def with_air(maps: SpinMaps) -> SpinMaps:
    """The maps with T1 and T2 of air where PD is 0, so that no steps to bounds are resampled or learned."""
    empty, air = maps.pd == 0, TISSUES[1.5]["air"]
    t1, t2 = (times.masked_fill(empty, mean) for times, (mean, _) in ((maps.t1, air.t1_ms), (maps.t2, air.t2_ms)))
    return SpinMaps(maps.pd, t1, t2)


def refuse_empty(case: str, pd: torch.Tensor | np.ndarray) -> None:
    """Refuse a case whose PD, of any shape, is 0 everywhere, as where `fit` could explain no pixel.

    Raises:
        InputError: it is such a case.
    """
    if not (pd > 0).any():
        raise InputError(f"{case}: its maps have no voxel with PD, T1 and T2 above 0. Leave the case out.")


def _read_map(case: str, path: Path, expected: Geometry, grid_path: Path, read: VolumeReader) -> np.ndarray:
    """One map as float32 in the reader's order; InputError where it does not fit its image."""
    geometry = Geometry.read(path)
    if path.suffix in TIFF:  # it holds no spacing, and foreign maps may lack the JSON that does
        geometry = replace(geometry, spacing=expected.spacing)
    differs = geometry.difference(expected)
    if differs is not None:
        raise InputError(
            f"{case}: {differs} of {path} is {_listed(getattr(geometry, differs))}, but "
            f"{_listed(getattr(expected, differs))} in {grid_path}. {AGAIN}"
        )
    try:
        stored = None if read is read_volumes else voxels(path)  # first: nnU-Net's readers leave broken files open
        array = read(path)
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
            finite = np.isfinite((array if stored is None else stored).astype(np.float32)).all()
    except UNREADABLE as error:
        raise InputError(f"{case}: {path} cannot be read, cut short? ({last_line(error)}) {AGAIN}") from None
    if array.shape[0] != 1:
        raise InputError(f"{case}: {path} holds {array.shape[0]} volumes where one is expected. {AGAIN}")
    if not finite:
        raise InputError(f"{case}: {path} holds NaN or infinite values. {AGAIN}")
    return np.ascontiguousarray(array[0], dtype=np.float32)


def _require(case: str, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"{case}: {path} is missing. {AGAIN}")


def _listed(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"
