"""The maps' copies beside what nnU-Net preprocessed: where they lie, what they were made from, in and out.

The copies lie in a sibling of nnU-Net's own folder, `nnUNet_preprocessed/<dataset>/<data_identifier>_spin`; a further
`.b2nd` inside that folder would become a phantom case. Per case:

    <case>.b2nd           PD, T1 (ms), T2 (ms): float32, (3, ...) with the spatial shape of nnU-Net's image
    <case>_reservoir.npz  a few thousand voxels of the cropped, not resampled case (`nnunet_phys.reservoir.Reservoir`)
    <case>.json           fingerprint of nnU-Net's image and its geometry, hashes of the maps; written last
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import blosc2
import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.image_files import file_sha256, inside
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.preprocessed_dataset import LazyArray
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.whole_files import whole_file, write_json


def spin_folder(preprocessed_folder: str | Path) -> Path:
    """The maps' folder beside nnU-Net's folder of a configuration."""
    folder = Path(preprocessed_folder)
    return folder.with_name(folder.name + "_spin")


@dataclass(frozen=True)
class Fingerprint:
    """What decides where a voxel of the image ends up, and which image it is.

    The image is told by a checksum of one plane of what nnU-Net made of it. That is read in milliseconds, also where
    the raw images are not at hand, and another image changes it: nnU-Net's z-score makes every voxel depend on all.

    Attributes:
        shape: spatial shape of the preprocessed case.
        shape_before_cropping, bbox_used_for_cropping, spacing: as nnU-Net stored them with the case.
        transpose_forward: of the plans.
        target_spacing, use_mask_for_norm: of the configuration.
        image: SHA-256 of the middle plane of nnU-Net's preprocessed image.
    """

    shape: tuple[int, ...]
    shape_before_cropping: tuple[int, ...]
    bbox_used_for_cropping: tuple[tuple[int, int], ...]
    spacing: tuple[float, ...]
    transpose_forward: tuple[int, ...]
    target_spacing: tuple[float, ...]
    use_mask_for_norm: bool
    image: str

    @classmethod
    def of(
        cls, image: LazyArray, properties: dict, plans: PlansManager, configuration: ConfigurationManager
    ) -> Fingerprint:
        """That of a case.

        Args:
            image: the preprocessed case, (1, ...).
            properties: what nnU-Net stored with it.
            plans: the plans, for the order of the axes.
            configuration: the configuration, for the spacing and the mask.

        Raises:
            RuntimeError, OSError, ValueError: the image cannot be read.
            KeyError: the properties are not nnU-Net's.
        """
        plane = np.ascontiguousarray(image[0, image.shape[1] // 2], np.float32)
        return cls(
            shape=tuple(int(n) for n in image.shape[1:]),
            shape_before_cropping=tuple(int(n) for n in properties["shape_before_cropping"]),
            bbox_used_for_cropping=tuple((int(low), int(high)) for low, high in properties["bbox_used_for_cropping"]),
            spacing=tuple(float(mm) for mm in properties["spacing"]),
            transpose_forward=tuple(int(axis) for axis in plans.transpose_forward),
            target_spacing=tuple(float(mm) for mm in configuration.spacing),
            use_mask_for_norm=bool(configuration.use_mask_for_norm[0]),
            image=hashlib.sha256(plane.tobytes()).hexdigest(),
        )

    def difference(self, other: Fingerprint) -> str | None:
        """The first attribute in which two differ, or None."""
        return next((f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)), None)


@dataclass(frozen=True)
class MapSource:
    """A map file that a copy was made from.

    Attributes:
        file: its absolute path.
        sha256: of its content.
        mtime_ns: when it was written; while that stays, it is not hashed again.
    """

    file: str
    sha256: str
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> MapSource:
        """That of a file."""
        return cls(str(path.resolve()), file_sha256(path), path.stat().st_mtime_ns)

    @property
    def changed(self) -> bool:
        """Whether the file is still in its place and holds something else."""
        path = Path(self.file)
        if not path.is_file() or path.stat().st_mtime_ns == self.mtime_ns:
            return False
        return file_sha256(path) != self.sha256


@dataclass(frozen=True)
class CopyRecord:
    """What a copy was made from.

    Attributes:
        fingerprint: of the image.
        maps: by their names, such as T1map.
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
    """Remove a case's copy, if there is one, so that it is not trained on; its record first.

    Raises:
        InputError: it cannot be removed.
    """
    for path in reversed(copy_paths(folder, case)):
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
    """Write a case's copy, each file whole or not at all, its record last.

    Args:
        folder: the spin folder.
        case: the case's name.
        maps: PD, T1, T2 on nnU-Net's grid, float32 (3, ...).
        reservoir: a few voxels of the case.
        patch_size: of the configuration; nnU-Net's block sizes follow from it.
        record: plain JSON, a `CopyRecord` and more.

    Raises:
        InputError: the folder cannot be written to, or is full.
    """
    maps_path, voxels_path, record_path = copy_paths(folder, case)
    blocks, chunks = comp_blosc2_params(maps.shape, tuple(patch_size), maps.itemsize)
    parameters = {"codec": blosc2.Codec.LZ4HC, "filters": [blosc2.Filter.SHUFFLE], "clevel": 5, "nthreads": 1}
    maps = np.ascontiguousarray(maps)
    try:
        record_path.unlink(missing_ok=True)  # no record may vouch for a half-replaced case
        with whole_file(maps_path) as path:
            blosc2.asarray(maps, urlpath=str(path), chunks=chunks, blocks=blocks, cparams=parameters)
            if not np.array_equal(blosc2.open(str(path), mode="r")[:], maps):
                raise OSError("what was written does not read back")
        with whole_file(voxels_path) as path:
            reservoir.save(path)
        write_json(record_path, record)
    except (OSError, RuntimeError) as error:
        reason = last_line(error)
        raise InputError(f"{case}: {maps_path} cannot be written ({reason}). Is the disk full?") from None


def open_copy(folder: Path, case: str) -> blosc2.NDArray:
    """A case's maps on nnU-Net's grid, (3, ...), read where they are indexed; memory-mapped where the system can."""
    path = folder / f"{case}.b2nd"
    return _open(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _open(path: str, _made_ns: int) -> blosc2.NDArray:
    """An opened file, kept for the next time: opening takes as long as reading a patch."""
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
    """What keeps a case's copy from being trained on, or None.

    The copy is absent or unreadable; nnU-Net preprocessed the image otherwise, or another image; or the maps were made
    again since, where these are still in the place that the copy was made from.

    Args:
        folder: the spin folder.
        case: the case's name.
        image: what nnU-Net preprocessed, (1, ...).
        properties: what it stored with it.
        plans: of the training.
        configuration: of the training.
    """
    maps_path, voxels_path, record_path = copy_paths(folder, case)
    if not record_path.is_file():
        return f"no maps in {folder}"
    reading = Path(f"nnU-Net's preprocessed {case}")
    try:
        expected = Fingerprint.of(image, properties, plans, configuration)
        reading = record_path
        record = read_json(record_path, CopyRecord, "", extra=True)
        reading = maps_path
        shape = open_copy(folder, case).shape
        reading = voxels_path
        Reservoir.load(reading)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return f"{reading} cannot be read"
    differs = record.fingerprint.difference(expected) or (None if shape == (3, *expected.shape) else "shape")
    if differs == "image":
        return f"nnU-Net has preprocessed another image of this name since {maps_path} was made"
    if differs is not None:
        return f"{maps_path} has another {differs} than the image"
    changed = next((source.file for source in record.maps.values() if source.changed), None)
    return None if changed is None else f"{changed} has changed since it was preprocessed"
