"""The maps in nnU-Net's preprocessed geometry: transposed, cropped and resampled as nnU-Net did to the image.

They lie in a sibling of nnU-Net's own folder, `nnUNet_preprocessed/<dataset>/<data_identifier>_spin`; a
further `.b2nd` inside that folder would become a phantom case. Per case:

    <case>.b2nd           PD, T1 (ms), T2 (ms): float32, (3, ...) with the spatial shape of nnU-Net's image
    <case>_reservoir.npy  the same three for a few thousand voxels of the cropped, not resampled case, (3, n)
    <case>.json           fingerprint of the geometry, hashes of the maps; written last
"""

from __future__ import annotations

import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import blosc2
import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import crop_to_bbox
from batchgenerators.utilities.file_and_folder_operations import load_json, load_pickle
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask
from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from tqdm import tqdm

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.store import (
    MAP_NAMES,
    RawDataset,
    file_sha256,
    load_maps,
    load_record,
    map_paths,
    require_folder,
    write_json,
)

RESERVOIR_SIZE = 4096  # voxels of a case whose mean and deviation stand for the whole case's


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
    run_first = f"nnUNetv2_plan_and_preprocess -d {int(name[7:10])} -c {configuration_name}"
    if not plans_file.is_file():
        raise InputError(f"{name}: {plans_file} is missing. Run `{run_first}` first.")
    plans = PlansManager(load_json(plans_file))
    if configuration_name not in plans.available_configurations:
        known = ", ".join(plans.available_configurations)
        raise InputError(f"{name}: {plans_file} has no configuration {configuration_name}; it has {known}.")
    configuration = plans.get_configuration(configuration_name)
    folder = base / configuration.data_identifier
    if not folder.is_dir() or not any(folder.glob("*.pkl")):
        raise InputError(f"{name}: {folder} holds no preprocessed case. Run `{run_first}` first.")
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


@dataclass(frozen=True)
class _Job:
    """One case's work; all that a worker process needs."""

    case: str
    maps_folder: Path
    raw: RawDataset
    target: PreprocessedDataset


def preprocess_maps(
    raw: RawDataset, targets: list[PreprocessedDataset], maps_folder: str | Path, num_processes: int = 2
) -> list[str]:
    """Put the maps of a data set into the geometry of one or several configurations.

    Everything is checked for every case before the first file is written. Cases without any map are left out.

    Args:
        raw: the data set.
        targets: its preprocessed configurations.
        maps_folder: where the maps lie.
        num_processes: worker processes; 1 works in this process.

    Returns:
        names of the cases done.

    Raises:
        InputError: no maps at all, or faults in maps or images; one line each.
    """
    maps_folder = Path(maps_folder)
    paths = {case: map_paths(maps_folder, case, raw.ending) for target in targets for case in target.cases()}
    with_maps = [case for case, files in paths.items() if any(file.exists() for file in files.values())]
    if not with_maps:
        raise InputError(
            f"{raw.name}: no maps such as {next(iter(paths.values()))['PDmap']}. Make them with `nnunet_phys "
            f"reverse -d {int(raw.name[7:10])}` or point -maps at their folder."
        )
    gone = [
        f"{case}: its image is no longer in {raw.folder / 'imagesTr'}." for case in with_maps if case not in raw.images
    ]
    if gone:
        raise InputError("\n".join(gone))
    jobs = [
        _Job(case, maps_folder, raw, target) for target in targets for case in target.cases() if case in set(with_maps)
    ]
    faults = sorted({fault for fault in _run(_check_case, jobs, num_processes, "Checking maps") if fault})
    if faults:
        raise InputError("\n".join(faults))
    for target in targets:
        target.spin_folder.mkdir(exist_ok=True)
    _run(_preprocess_case, jobs, num_processes, "Preprocessing maps")
    return with_maps


def _run(function: Callable, jobs: list[_Job], num_processes: int, description: str) -> list:
    """Each job's result, from spawned workers as in nnU-Net (or in this process), with a progress bar."""
    progress = tqdm(total=len(jobs), desc=description)
    results = []
    with progress:
        if num_processes <= 1:
            for job in jobs:
                results.append(function(job))
                progress.update()
        else:
            with ProcessPoolExecutor(num_processes, multiprocessing.get_context("spawn")) as pool:
                for future in as_completed([pool.submit(function, job) for job in jobs]):
                    results.append(future.result())
                    progress.update()
    return results


def _check_case(job: _Job) -> str | None:
    """The fault of a case in one line, or None."""
    try:
        _native_maps(job)
    except InputError as fault:
        return str(fault)
    return None


def _native_maps(job: _Job) -> tuple[np.ndarray, dict]:
    """The case's maps transposed and cropped, (3, ...), and nnU-Net's properties of the case."""
    properties = load_pickle(str(job.target.folder / f"{job.case}.pkl"))
    reader = job.target.plans.image_reader_writer_class()
    maps = load_maps(job.maps_folder, job.case, job.raw.ending, job.raw.images[job.case], reader)
    stacked = _transposed(maps.stack().numpy(), job.target.plans)
    if stacked.shape[1:] != tuple(properties["shape_before_cropping"]):
        raise InputError(
            f"{job.case}: {job.raw.images[job.case]} was of another shape when nnU-Net preprocessed it. Run "
            f"`nnUNetv2_preprocess -d {int(job.raw.name[7:10])} -c {job.target.configuration_name}` again."
        )
    return _cropped(stacked, properties), properties


def _transposed(channels: np.ndarray, plans: PlansManager) -> np.ndarray:
    return channels.transpose([0, *[axis + 1 for axis in plans.transpose_forward]])


def _cropped(channels: np.ndarray, properties: dict) -> np.ndarray:
    return crop_to_bbox(channels, [[0, len(channels)], *properties["bbox_used_for_cropping"]])


def _preprocess_case(job: _Job) -> None:
    """Resample one case's maps, draw its reservoir and write both."""
    plans, configuration = job.target.plans, job.target.configuration
    native, properties = _native_maps(job)
    inside = _normalised_voxels(job, properties) if configuration.use_mask_for_norm[0] else None
    image = infer_dataset_class(str(job.target.folder))(str(job.target.folder), [job.case]).load_case(job.case)[0]
    shape = tuple(int(n) for n in image.shape[1:])
    resampled = _resampled(native, shape, properties, plans, configuration)

    folder = job.target.spin_folder
    marks = fingerprint(properties, shape, plans, configuration)
    maps = map_paths(job.maps_folder, job.case, job.raw.ending)
    record = {
        "fingerprint": marks,
        "record": load_record(job.maps_folder, job.case),
        "maps": {name: {"file": str(maps[name]), "sha256": file_sha256(maps[name])} for name in MAP_NAMES},
    }
    (folder / f"{job.case}.json").unlink(missing_ok=True)  # no record may vouch for a half-replaced case
    _write_blosc2(folder / f"{job.case}.b2nd", resampled, tuple(configuration.patch_size))
    _write_npy(folder / f"{job.case}_reservoir.npy", draw_reservoir(native, inside, job.case))
    write_json(folder / f"{job.case}.json", record)


def _normalised_voxels(job: _Job, properties: dict) -> np.ndarray:
    """Mask of the voxels that nnU-Net normalises under use_mask_for_norm: nonzero, or labelled."""
    reader = job.target.plans.image_reader_writer_class()
    image = _transposed(reader.read_images([str(job.raw.images[job.case])])[0], job.target.plans)
    labels = _transposed(reader.read_seg(str(job.raw.labels[job.case]))[0], job.target.plans)
    mask = create_nonzero_mask(image)[None] | (labels != 0)
    return _cropped(mask, properties)[0]


def _resampled(
    native: np.ndarray,
    shape: tuple[int, ...],
    properties: dict,
    plans: PlansManager,
    configuration: ConfigurationManager,
) -> np.ndarray:
    """The cropped maps on nnU-Net's grid, by the configuration's own resampling, without overshoot.

    Cubic splines ring at edges, so that T2 beside blood would turn negative: each map is held between its own
    least and greatest value.
    """
    spacing = [properties["spacing"][axis] for axis in plans.transpose_forward]
    target_spacing = list(configuration.spacing)
    if len(target_spacing) < len(spacing):  # a 2d configuration keeps the distance of the slices
        target_spacing = [spacing[0], *target_spacing]
    resampled = configuration.resampling_fn_data(native, shape, spacing, target_spacing)
    axes = tuple(range(1, native.ndim))
    least, greatest = native.min(axes, keepdims=True), native.max(axes, keepdims=True)
    return np.clip(resampled, least, greatest).astype(np.float32, copy=False)


def draw_reservoir(maps: np.ndarray, inside: np.ndarray | None, case: str, size: int = RESERVOIR_SIZE) -> np.ndarray:
    """A few voxels of a case whose statistics stand for the whole case's under any contrast.

    The voxels are ordered by their brightness in a bSSFP image, PD / (1 + T1/T2), and one is drawn from each
    of `size` equal parts: each tissue comes in its proportion, which halves the error of plain drawing.

    Args:
        maps: PD, T1, T2 of shape (3, ...), cropped but not resampled.
        inside: mask of the voxels to draw from, or None for all.
        case: its name seeds the draw.
        size: how many voxels; a smaller case comes whole.

    Returns:
        float32 of shape (3, min(size, voxels)).
    """
    voxels = maps.reshape(3, -1) if inside is None else maps[:, inside]
    count = voxels.shape[1]
    if count <= size:
        return np.ascontiguousarray(voxels, dtype=np.float32)
    pd, t1, t2 = voxels
    order = np.argsort(pd / (1 + t1 / t2), kind="stable")
    random = np.random.default_rng(zlib.crc32(case.encode()))
    drawn = ((np.arange(size) + random.random(size)) * (count / size)).astype(np.int64)
    return np.ascontiguousarray(voxels[:, order[drawn]], dtype=np.float32)


def _write_blosc2(path: Path, channels: np.ndarray, patch_size: tuple[int, ...]) -> None:
    """Write with nnU-Net's codec and chunks, whole or not at all."""
    blocks, chunks = comp_blosc2_params(channels.shape, patch_size, channels.itemsize)
    parameters = {
        "codec": blosc2.Codec.LZ4HC,
        "filters": [blosc2.Filter.SHUFFLE],
        "clevel": 5,
        "nthreads": 1,
    }
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.b2nd")
    try:
        blosc2.asarray(
            np.ascontiguousarray(channels),
            urlpath=str(temporary),
            chunks=chunks,
            blocks=blocks,
            cparams=parameters,
        )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_npy(path: Path, array: np.ndarray) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.npy")
    try:
        np.save(temporary, array)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
