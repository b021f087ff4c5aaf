"""Maps into nnU-Net's preprocessed geometry: transposed, cropped and resampled as nnU-Net did to the image."""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from acvl_utils.cropping_and_padding.bounding_boxes import crop_to_bbox
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from tqdm import tqdm

from nnunet_phys.errors import InputError
from nnunet_phys.image_files import SLICE_OF_2D_MM, file_sha256
from nnunet_phys.map_files import MAP_NAMES, load_maps, load_record, map_paths
from nnunet_phys.precomputed_spin.raw_dataset import RawDataset
from nnunet_phys.precomputed_spin.spin_copies import PreprocessedDataset, fingerprint, save_copy
from nnunet_phys.reservoir import draw_reservoir


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
            f"reverse -d {convert_dataset_name_to_id(raw.name)}` or point -maps at their folder."
        )
    gone = [
        f"{case}: its image is no longer in {raw.folder / 'imagesTr'}." for case in with_maps if case not in raw.images
    ]
    if gone:
        raise InputError(*gone)
    jobs = [
        _Job(case, maps_folder, raw, target) for target in targets for case in target.cases() if case in set(with_maps)
    ]
    faults = sorted({fault for fault in _run(_check_case, jobs, num_processes, "Checking maps") if fault})
    if faults:
        raise InputError(*faults)
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
            f"`nnUNetv2_preprocess -d {convert_dataset_name_to_id(job.raw.name)} -plans_name "
            f"{job.target.plans.plans_name} -c {job.target.configuration_name}` again."
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
    spacing, grid_spacing = _spacings(properties, plans, configuration)
    resampled = _resampled(native, shape, spacing, grid_spacing, configuration)

    maps = map_paths(job.maps_folder, job.case, job.raw.ending)
    record = {
        "fingerprint": fingerprint(properties, shape, plans, configuration),
        "record": load_record(job.maps_folder, job.case),
        "maps": {name: {"file": str(maps[name].resolve()), "sha256": file_sha256(maps[name])} for name in MAP_NAMES},
    }
    if native.shape[1] == 1 and spacing[0] > 99 * max(spacing[1:]):  # what nnU-Net's readers give a 2D file
        spacing[0] = grid_spacing[0] = SLICE_OF_2D_MM
    reservoir = draw_reservoir(native, inside, spacing, zlib.crc32(job.case.encode()), shape, grid_spacing)
    save_copy(job.target.spin_folder, job.case, resampled, reservoir, configuration.patch_size, record)


def _normalised_voxels(job: _Job, properties: dict) -> np.ndarray:
    """Mask of the voxels that nnU-Net normalises under use_mask_for_norm: nonzero, or labelled."""
    reader = job.target.plans.image_reader_writer_class()
    image = _transposed(reader.read_images([str(job.raw.images[job.case])])[0], job.target.plans)
    labels = _transposed(reader.read_seg(str(job.raw.labels[job.case]))[0], job.target.plans)
    mask = create_nonzero_mask(image)[None] | (labels != 0)
    return _cropped(mask, properties)[0]


def _spacings(
    properties: dict, plans: PlansManager, configuration: ConfigurationManager
) -> tuple[list[float], list[float]]:
    """Spacing (mm) of a case, transposed, and of nnU-Net's grid; a 2d configuration keeps that of the slices."""
    spacing = [float(properties["spacing"][axis]) for axis in plans.transpose_forward]
    target = [float(d) for d in configuration.spacing]
    return spacing, [*spacing[: len(spacing) - len(target)], *target]


def _resampled(
    native: np.ndarray,
    shape: tuple[int, ...],
    spacing: list[float],
    target_spacing: list[float],
    configuration: ConfigurationManager,
) -> np.ndarray:
    """The cropped maps on nnU-Net's grid: PD as the configuration resamples images, T1 and T2 linearly.

    Cubic splines, nnU-Net's default, ring at edges: T2 of myocardium beside blood would come out as that of other
    tissue. A resampling without an order keeps to its own. Nothing leaves the range of the case's values.
    """
    resample = configuration.resampling_fn_data
    linear = partial(resample, order=1) if "order" in resample.keywords else resample
    density, times = (
        function(channels, shape, spacing, target_spacing)
        for function, channels in ((resample, native[:1]), (linear, native[1:]))
    )
    axes = tuple(range(1, native.ndim))
    least, greatest = native.min(axes, keepdims=True), native.max(axes, keepdims=True)
    return np.clip(np.concatenate((density, times)), least, greatest).astype(np.float32, copy=False)
