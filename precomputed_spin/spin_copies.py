"""Copies of the maps on the grids that nnU-Net preprocessed: where they lie, what they were made from, read and write.

The copies lie in a sibling of nnU-Net's own folder, `nnUNet_preprocessed/<dataset>/<data_identifier>_spin`; a further
`.b2nd` inside that folder would become a phantom case. Per case:

    <case>.b2nd           PD (relative), T1 (ms), T2 (ms), distance to blood (mm): float16, which rounds by 0.05 % at
                          most, (4, ...) with the spatial shape of nnU-Net's image
    <case>_reservoir.npz  a few thousand voxels of the cropped, not resampled case (`nnunet_phys.reservoir.Reservoir`)
    <case>.json           fingerprint of nnU-Net's image and its geometry, hashes of the maps; written last

`excluded.txt` names the cases that are not to be trained on, one a line.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import blosc2
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.file_identity import file_sha256, inside
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.preprocessed_dataset import LazyArray
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.whole_files import whole_file, write_bytes, write_json

_EXCLUDED = "excluded.txt"


def spin_folder(preprocessed_folder: str | Path) -> Path:
    """The maps' folder beside nnU-Net's folder of a configuration."""
    folder = Path(preprocessed_folder)
    return folder.with_name(folder.name + "_spin")


def excluded_path(folder: Path) -> Path:
    """The file in a spin folder that names the cases that are not to be trained on; none, if there is no file."""
    return folder / _EXCLUDED


def save_excluded(folder: Path, cases: Collection[str]) -> None:
    """Say which cases are not to be trained on, in place of those of before.

    Raises:
        InputError: it cannot be written.
    """
    path = excluded_path(folder)
    if cases:
        write_bytes(path, "".join(f"{case}\n" for case in cases).encode())
    else:
        path.unlink(missing_ok=True)


def load_excluded(folder: Path) -> set[str]:
    """The cases that are not to be trained on."""
    path = excluded_path(folder)
    return set(path.read_text(encoding="utf-8").splitlines()) if path.is_file() else set()


@dataclass(frozen=True)
class Fingerprint:
    """Identifies a preprocessed image, and all that decides where in it a voxel of the raw image lies.

    The image is identified by a checksum of three planes, which are read in milliseconds and need no raw image. Nearly
    every change of the raw image changes them, as nnU-Net's z-score makes every voxel depend on all others; a change of
    gain does not, nor may one of very few voxels elsewhere. The planes do not mirror each other, so that a reversed
    order of slices shows.

    Attributes:
        shape: spatial shape of the preprocessed case.
        shape_before_cropping, bbox_used_for_cropping, spacing: as nnU-Net stored them with the case.
        transpose_forward: as in the plans.
        target_spacing, use_mask_for_norm: as in the configuration.
        planes: SHA-256 of three planes of nnU-Net's preprocessed image: the first, that a quarter of the way in, and
            the middle one.
    """

    shape: tuple[int, ...]
    shape_before_cropping: tuple[int, ...]
    bbox_used_for_cropping: tuple[tuple[int, int], ...]
    spacing: tuple[float, ...]
    transpose_forward: tuple[int, ...]
    target_spacing: tuple[float, ...]
    use_mask_for_norm: bool
    planes: str

    @classmethod
    def of(
        cls, image: LazyArray, properties: dict, plans: PlansManager, configuration: ConfigurationManager
    ) -> Fingerprint:
        """The fingerprint of a case.

        Args:
            image: the preprocessed case, (1, ...).
            properties: what nnU-Net stored with it.
            plans: the plans, for the order of the axes.
            configuration: the configuration, for the spacing and the mask.

        Raises:
            RuntimeError, OSError, ValueError: the image cannot be read.
            KeyError: the properties are not nnU-Net's.
        """
        count = image.shape[1]
        planes = np.stack([np.asarray(image[0, z], np.float32) for z in (0, count // 4, count // 2)])
        return cls(
            shape=tuple(int(n) for n in image.shape[1:]),
            shape_before_cropping=tuple(int(n) for n in properties["shape_before_cropping"]),
            bbox_used_for_cropping=tuple((int(low), int(high)) for low, high in properties["bbox_used_for_cropping"]),
            spacing=tuple(float(mm) for mm in properties["spacing"]),
            transpose_forward=tuple(int(axis) for axis in plans.transpose_forward),
            target_spacing=tuple(float(mm) for mm in configuration.spacing),
            use_mask_for_norm=bool(configuration.use_mask_for_norm[0]),
            planes=hashlib.sha256(planes.tobytes()).hexdigest(),
        )

    def difference(self, other: Fingerprint) -> str | None:
        """The name of the first attribute that differs from the other's, or None."""
        return next((f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)), None)


@dataclass(frozen=True)
class MapSource:
    """A map file that a copy was made from.

    Attributes:
        file: its absolute path, whose links are not followed, so that a link to other maps is noticed.
        sha256: hash of its content.
        mtime_ns: when it was last modified, ns; while that stays the same, the file is not hashed again.
    """

    file: str
    sha256: str
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> MapSource:
        """Record a file as it is now."""
        return cls(os.path.abspath(path), file_sha256(path), path.stat().st_mtime_ns)

    @property
    def changed(self) -> bool:
        """Whether the file still exists and can be read, but has other content."""
        path = Path(self.file)
        try:
            return path.stat().st_mtime_ns != self.mtime_ns and file_sha256(path) != self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class CopyRecord:
    """What a copy was made from.

    Attributes:
        fingerprint: fingerprint of the preprocessed image.
        maps: the map files by the names of the maps, such as T1map.
    """

    fingerprint: Fingerprint
    maps: dict[str, MapSource]


def copy_paths(folder: Path, case: str) -> tuple[Path, Path, Path]:
    """Where a case's maps, its reservoir and its record lie."""
    return inside(folder, f"{case}.b2nd"), reservoir_path(folder, case), inside(folder, f"{case}.json")


def reservoir_path(folder: Path, case: str) -> Path:
    """Where a case's reservoir lies."""
    return folder / f"{case}_reservoir.npz"


def remove_copy(folder: Path, case: str) -> None:
    """Remove a case's copy, if there is one, so that it is not trained on. The record is removed first.

    Raises:
        InputError: it cannot be removed.
    """
    for path in reversed(copy_paths(folder, case)):
        _remove(case, path)


def revoke_copy(folder: Path, case: str) -> None:
    """Remove the record of a case's copy, so that no new training accepts the copy before it is written again.

    Raises:
        InputError: it cannot be removed.
    """
    _remove(case, copy_paths(folder, case)[-1])


def _remove(case: str, path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{case}: {path} is out of date and cannot be removed ({last_line(error)}).") from None


def save_copy(
    folder: Path,
    case: str,
    maps: np.ndarray,
    reservoir: Reservoir,
    patch_size: Sequence[int],
    record: dict,
) -> None:
    """Write a case's copy. Each file is written whole or not at all, and the record last.

    Maps that the file holds already are not written again, so that a training that reads them goes on.

    Args:
        folder: the spin folder.
        case: the case's name.
        maps: PD, T1, T2 and distance to blood on nnU-Net's grid, (4, ...), within float16's range.
        reservoir: a sample of the case's voxels.
        patch_size: the configuration's patch size, from which nnU-Net's block sizes follow.
        record: a `CopyRecord` and further entries, plain JSON.

    Raises:
        InputError: the folder cannot be written to, or is full.
    """
    maps_path, voxels_path, record_path = copy_paths(folder, case)
    maps = np.ascontiguousarray(maps, np.float16)
    blocks, chunks = comp_blosc2_params(maps.shape, tuple(patch_size), maps.itemsize)
    parameters = {"codec": blosc2.Codec.LZ4HC, "filters": [blosc2.Filter.SHUFFLE], "clevel": 5, "nthreads": 1}
    try:
        record_path.unlink(missing_ok=True)  # no record may vouch for a half-replaced case
        if not _holds(maps_path, maps):
            with whole_file(maps_path) as path:
                blosc2.asarray(maps, urlpath=str(path), chunks=chunks, blocks=blocks, cparams=parameters)
                if not _holds(path, maps):
                    raise OSError("what was written does not read back")
        with whole_file(voxels_path) as path:
            reservoir.save(path)
        write_json(record_path, record)
    except (OSError, RuntimeError) as error:
        reason = last_line(error)
        raise InputError(f"{case}: {maps_path} cannot be written ({reason}). Is the disk full?") from None


def _holds(path: Path, maps: np.ndarray) -> bool:
    """Whether a file is there, can be read, and holds these maps."""
    try:
        return path.is_file() and np.array_equal(blosc2.open(str(path), mode="r")[:], maps)
    except (OSError, RuntimeError):
        return False


def load_copy_record(folder: Path, case: str) -> CopyRecord:
    """What a case's copy was made from.

    Raises:
        InputError: there is no record, or it cannot be read.
    """
    path = copy_paths(folder, case)[-1]
    return read_json(path, CopyRecord, "Run nnunet_phys preprocess again.", extra=True)


def copy_version(folder: Path, case: str) -> int:
    """When a case's copy was written, ns.

    Raises:
        OSError: there is none.
    """
    return copy_paths(folder, case)[0].stat().st_mtime_ns


def open_copy(folder: Path, case: str) -> blosc2.NDArray:
    """A case's maps on nnU-Net's grid, float16 (4, ...), read part by part; memory-mapped if possible."""
    return _open(str(copy_paths(folder, case)[0]), copy_version(folder, case))


@lru_cache(maxsize=64)
def _open(path: str, _modified_ns: int) -> blosc2.NDArray:
    """Open a file and keep it open, as opening takes as long as reading a patch; a modified file is opened again."""
    mode = {} if os.name == "nt" else {"mmap_mode": "r"}  # nnU-Net issue 2723
    return blosc2.open(path, mode="r", dparams={"nthreads": 1}, **mode)


def copy_fault(
    folder: Path,
    case: str,
    image: LazyArray,
    properties: dict,
    plans: PlansManager,
    configuration: ConfigurationManager,
) -> str | None:
    """Why a case's copy must not be trained on, or None.

    The reasons are: the copy is missing or unreadable; nnU-Net has since preprocessed the image differently, or another
    image; or one of the map files that the copy was made from still exists, but has changed.

    Args:
        folder: the spin folder.
        case: the case's name.
        image: the image that nnU-Net preprocessed, (1, ...).
        properties: what nnU-Net stored with it.
        plans: the plans of the training.
        configuration: the configuration of the training.
    """
    maps_path, voxels_path, record_path = copy_paths(folder, case)
    if not record_path.is_file():
        return f"no maps in {folder}"
    reading = Path(f"nnU-Net's preprocessed {case}")
    try:
        expected = Fingerprint.of(image, properties, plans, configuration)
        reading = record_path
        record = load_copy_record(folder, case)
        reading = maps_path
        shape = open_copy(folder, case).shape
        reading = voxels_path
        Reservoir.load(reading)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return f"{reading} cannot be read"
    differs = record.fingerprint.difference(expected) or (None if shape == (4, *expected.shape) else "shape")
    if differs == "planes":
        return f"nnU-Net has preprocessed another image of this name since {maps_path} was made"
    if differs is not None:
        return f"{maps_path} has another {differs} than the image"
    changed = next((source.file for source in record.maps.values() if source.changed), None)
    return None if changed is None else f"{changed} has changed since it was preprocessed"
