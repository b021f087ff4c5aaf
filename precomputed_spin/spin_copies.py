"""What nnU-Net preprocessed, and the maps' copies beside it: where they lie, what decides their geometry, in and out.

The copies lie in a sibling of nnU-Net's own folder, `nnUNet_preprocessed/<dataset>/<data_identifier>_spin`; a further
`.b2nd` inside that folder would become a phantom case. Per case:

    <case>.b2nd           PD, T1 (ms), T2 (ms): float32, (3, ...) with the spatial shape of nnU-Net's image
    <case>_reservoir.npz  a few thousand voxels of the cropped, not resampled case (`nnunet_phys.reservoir.Reservoir`)
    <case>.json           fingerprint of the geometry, hashes of the maps; written last
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import blosc2
import numpy as np
from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, infer_dataset_class
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.errors import InputError
from nnunet_phys.image_files import file_sha256
from nnunet_phys.precomputed_spin.raw_dataset import require_folder
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.whole_files import whole_file, write_json


@dataclass(frozen=True)
class PreprocessedDataset:
    """One configuration of a data set as nnU-Net preprocessed it.

    Attributes:
        folder: nnU-Net's folder of the configuration's preprocessed cases.
        plans: the plans.
        configuration: the configuration, resolved.
        configuration_name: its name, such as 2d.
    """

    folder: Path
    plans: PlansManager
    configuration: ConfigurationManager
    configuration_name: str

    @property
    def spin_folder(self) -> Path:
        """Where the maps' copies lie."""
        return spin_folder(self.folder)

    def cases(self) -> list[str]:
        """Names of the preprocessed cases, sorted."""
        return sorted(infer_dataset_class(str(self.folder)).get_identifiers(str(self.folder)))


def spin_folder(preprocessed_folder: str | Path) -> Path:
    """The maps' folder beside nnU-Net's folder of a configuration."""
    folder = Path(preprocessed_folder)
    return folder.with_name(folder.name + "_spin")


def open_preprocessed_dataset(name: str, plans_name: str, configuration_name: str) -> PreprocessedDataset:
    """Find what nnU-Net preprocessed.

    Raises:
        InputError: nnUNet_preprocessed is unset, no such plans or configuration, a configuration whose image
            is not z-scored, or not preprocessed yet.
    """
    base = require_folder(nnUNet_preprocessed) / name
    plans_file = base / f"{plans_name}.json"
    number = convert_dataset_name_to_id(name)
    if not plans_file.is_file():
        plan = f"nnUNetv2_plan_and_preprocess -d {number}"
        raise InputError(f"{name}: {plans_file} is missing. Run `{plan}` first, or name other plans by -plans_name.")
    plans = PlansManager(load_json(plans_file))
    if configuration_name not in plans.available_configurations:
        known = ", ".join(plans.available_configurations)
        raise InputError(f"{name}: {plans_file} has no configuration {configuration_name}; it has {known}.")
    configuration = plans.get_configuration(configuration_name)
    folder = base / configuration.data_identifier
    if not folder.is_dir() or not any(folder.glob("*.pkl")):
        preprocess = f"nnUNetv2_preprocess -d {number} -plans_name {plans_name} -c {configuration_name}"
        raise InputError(f"{name}: {folder} holds no preprocessed case. Run `{preprocess}` first.")
    require_z_score(name, configuration)
    return PreprocessedDataset(folder, plans, configuration, configuration_name)


def require_z_score(name: str, configuration: ConfigurationManager) -> None:
    """Refuse a channel that nnU-Net normalises otherwise: an MR signal in arbitrary units has no other scale.

    Raises:
        InputError: the first channel's scheme is not ZScoreNormalization.
    """
    scheme = configuration.normalization_schemes[0]
    if scheme != "ZScoreNormalization":
        raise InputError(
            f"{name}: nnU-Net normalises the image by {scheme}, and synthesised MR signals need a z-score. "
            "Name the channel MRI in dataset.json and run nnUNetv2_plan_and_preprocess again."
        )


def fingerprint(
    properties: dict, shape: Iterable[int], plans: PlansManager, configuration: ConfigurationManager
) -> dict:
    """What decides where a voxel of the image ends up; equal fingerprints mean equal geometry.

    Args:
        properties: what nnU-Net stored with the preprocessed case.
        shape: spatial shape of the preprocessed case.
        plans: the plans, for the order of the axes.
        configuration: the configuration, for the spacing and the mask.

    Returns:
        plain JSON.
    """
    return {
        "shape": [int(n) for n in shape],
        "shape_before_cropping": [int(n) for n in properties["shape_before_cropping"]],
        "bbox_used_for_cropping": [[int(n) for n in ends] for ends in properties["bbox_used_for_cropping"]],
        "spacing": [float(s) for s in properties["spacing"]],
        "transpose_forward": [int(axis) for axis in plans.transpose_forward],
        "target_spacing": [float(s) for s in configuration.spacing],
        "use_mask_for_norm": bool(configuration.use_mask_for_norm[0]),
    }


def reservoir_path(folder: Path, case: str) -> Path:
    """Where a case's reservoir lies."""
    return folder / f"{case}_reservoir.npz"


def save_copy(
    folder: Path, case: str, maps: np.ndarray, reservoir: Reservoir, patch_size: list[int], record: dict
) -> None:
    """Write a case's copy, each file whole or not at all, its record last.

    Args:
        folder: the spin folder.
        case: the case's name.
        maps: PD, T1, T2 on nnU-Net's grid, float32 (3, ...).
        reservoir: a few voxels of the case.
        patch_size: of the configuration; nnU-Net's block sizes follow from it.
        record: fingerprint and provenance, plain JSON.
    """
    (folder / f"{case}.json").unlink(missing_ok=True)  # no record may vouch for a half-replaced case
    blocks, chunks = comp_blosc2_params(maps.shape, tuple(patch_size), maps.itemsize)
    parameters = {"codec": blosc2.Codec.LZ4HC, "filters": [blosc2.Filter.SHUFFLE], "clevel": 5, "nthreads": 1}
    with whole_file(folder / f"{case}.b2nd") as path:
        blosc2.asarray(np.ascontiguousarray(maps), urlpath=str(path), chunks=chunks, blocks=blocks, cparams=parameters)
    with whole_file(reservoir_path(folder, case)) as path:
        reservoir.save(path)
    write_json(folder / f"{case}.json", record)


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
    properties: dict,
    shape: tuple[int, ...],
    plans: PlansManager,
    configuration: ConfigurationManager,
) -> str | None:
    """What keeps a case's copy from being trained on, or None.

    Absent or unreadable; another shape or fingerprint than the image's; or older than maps that were made again
    since, where these are still in the place that the copy was made from.
    """
    path, record_path = folder / f"{case}.b2nd", folder / f"{case}.json"
    if not record_path.is_file():
        return f"no maps in {folder}"
    expected = fingerprint(properties, shape, plans, configuration)
    reading = record_path
    try:
        record = load_json(record_path)
        differs = [key for key in expected if record["fingerprint"].get(key) != expected[key]]
        reading = path
        if open_copy(folder, case).shape != (3, *shape):
            differs.append("shape")
        reading = reservoir_path(folder, case)
        Reservoir.load(reading)
    except (RuntimeError, OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile):
        return f"{reading} cannot be read"
    if differs:
        return f"{path} has another {differs[0]} than the image"
    for source in record["maps"].values():
        file = Path(source["file"])
        newer = file.is_file() and file.stat().st_mtime > record_path.stat().st_mtime
        if newer and file_sha256(file) != source["sha256"]:
            return f"{file} has changed since it was preprocessed"
    return None
