"""Bring maps into nnU-Net's preprocessed geometry: transposed, cropped and resampled as nnU-Net did to the image."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_to_bbox
from nnunetv2.preprocessing.cropping.cropping import create_nonzero_mask
from nnunetv2.preprocessing.normalization.default_normalization_schemes import ZScoreNormalization
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.case_records import AGAIN, load_record
from nnunet_phys.errors import InputError, last_line
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.image_files import SLICE_OF_2D_MM, UNREADABLE
from nnunet_phys.infarct import blood_distance
from nnunet_phys.map_files import load_maps, map_paths, refuse_empty, with_air
from nnunet_phys.precomputed_spin.case_labels import LABEL_SHA256
from nnunet_phys.precomputed_spin.preprocessed_dataset import PreprocessedDataset
from nnunet_phys.precomputed_spin.raw_dataset import RawDataset
from nnunet_phys.precomputed_spin.spin_copies import (
    CopyRecord,
    Fingerprint,
    MapSource,
    remove_copy,
    revoke_copy,
    save_copy,
    save_excluded,
    spin_folder,
)
from nnunet_phys.reservoir import draw_reservoir
from nnunet_phys.spin import SpinMaps
from nnunet_phys.whole_files import remove_leftovers
from nnunet_phys.workers import run_in_workers

_SAME_IMAGE = 0.05
"""Greatest root mean square difference of two z-scored images that count as the same; mirrored ones differ by 1."""
_BRIGHT_PERCENTILE = 99
"""Percentile of PD above 0 that becomes 1."""
_GREATEST_PD = 100.0
"""Bound of PD after that. What exceeds it is an artefact, such as of a division in a fit; assumed."""


@dataclass(frozen=True)
class _Job:
    """One case's work; all that a worker process needs."""

    case: str
    maps_folder: Path
    raw: RawDataset
    target: PreprocessedDataset


def preprocess_maps(
    raw: RawDataset,
    targets: list[PreprocessedDataset],
    maps_folder: str | Path,
    num_processes: int = 2,
    excluded: Collection[str] = (),
) -> list[str]:
    """Bring the maps of a data set into the geometry of one or several configurations.

    All cases are checked before the first file is written. Cases without maps and excluded ones are left out, and
    copies of their earlier maps no longer count, so that they are not trained on. No copy counts before it is made
    anew, so that a command that was killed leaves no mixture of old and new maps.

    Args:
        raw: the data set.
        targets: its preprocessed configurations.
        maps_folder: where the maps lie.
        num_processes: worker processes; 1 works in this process.
        excluded: cases that are left out, which trainings leave out, too, instead of missing their maps.

    Returns:
        names of the cases done.

    Raises:
        InputError: no maps at all, or all excluded; faults in maps or images, one line each; a target that cannot be
            written to.
    """
    maps_folder = Path(maps_folder)
    cases = sorted({case for target in targets for case in target.cases()})
    with_maps = [
        case for case in cases if any(path.exists() for path in map_paths(maps_folder, case, raw.ending).values())
    ]
    if not with_maps:
        raise InputError(
            f"{raw.name}: no maps such as {map_paths(maps_folder, cases[0], raw.ending)['PDmap']}. Make them with "
            f"`nnunet_phys reverse -d {convert_dataset_name_to_id(raw.name)}` or point -maps at their folder."
        )
    with_maps = [case for case in with_maps if case not in excluded]
    if not with_maps:
        raise InputError(f"{raw.name}: all cases with maps are excluded. Shorten the list (-exclude).")
    faults = [
        f"{case}: its image is no longer in {raw.folder / 'imagesTr'}. Put it back, or remove its maps."
        for case in with_maps
        if case not in raw.images
    ]
    if faults:
        raise InputError(*faults)
    todo, targets = set(with_maps), list({target.folder: target for target in targets}.values())
    jobs = [_Job(case, maps_folder, raw, target) for target in targets for case in target.cases() if case in todo]
    checked = run_in_workers(_check_case, jobs, num_processes, "Checking maps")
    faults = sorted({fault for faults_of_case in checked for fault in faults_of_case})
    if faults:
        raise InputError(*faults)
    for target in targets:
        _prepare_folder(target, todo, excluded)
    run_in_workers(_preprocess_case, jobs, num_processes, "Preprocessing maps")
    return with_maps


def _prepare_folder(target: PreprocessedDataset, with_maps: set[str], excluded: Collection[str]) -> None:
    """Make a configuration's spin folder, revoke or remove in it what must not be trained on, save what is excluded."""
    folder = spin_folder(target.folder)
    try:
        folder.mkdir(exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written to ({last_line(error)}). Remove what is there, or make room on the disk."
        ) from None
    remove_leftovers(folder)
    for case in target.cases():  # what is made again or excluded may still be read by a training that runs
        (revoke_copy if case in with_maps or case in excluded else remove_copy)(folder, case)
    save_excluded(folder, excluded)


def _check_case(job: _Job) -> tuple[str, ...]:
    """The faults of a case, one line each."""
    try:
        _, properties = _native_maps(job)
        _check_image(job, properties)
    except InputError as error:
        return error.faults
    return ()


def _check_image(job: _Job, properties: dict) -> None:
    """Check that what nnU-Net preprocessed is the image of the data set.

    Raises:
        InputError: it was another image; the image, or labels that its mask needs, cannot be read.
    """
    fingerprint, configuration = _fingerprint(job, properties), job.target.configuration
    masked, native = configuration.use_mask_for_norm[0], _cropped(_raw_image(job), properties)
    inside = _normalised_voxels(job, properties) if masked else np.ones(native.shape[1:], bool)
    scored = ZScoreNormalization(masked, {}).run(native[0], np.where(inside, 0, -1))
    spacings = _spacings(properties, job.target)
    expected = configuration.resampling_fn_data(scored[None], fingerprint.shape, *spacings)[0]
    theirs, _ = job.target.load_case(job.case)
    if np.sqrt(np.mean((theirs[0, :] - expected) ** 2)) > _SAME_IMAGE:
        raise InputError(
            f"{job.case}: nnU-Net has not preprocessed {job.raw.images[job.case]}, but another image of this name. Run "
            f"`{job.target.preprocess_command}` again."
        )


def _native_maps(job: _Job) -> tuple[np.ndarray, dict]:
    """The case's maps transposed and cropped, (3, ...), and nnU-Net's properties of the case."""
    _, properties = job.target.load_case(job.case)
    image_path, reader = job.raw.images[job.case], job.target.plans.image_reader_writer_class()
    record, labels = load_record(job.maps_folder, job.case) or {}, job.raw.labels.get(job.case)
    labelled = record.get(LABEL_SHA256)
    if labelled and labels is not None and labels.is_file() and file_sha256(labels) != labelled:
        raise InputError(f"{job.case}: {labels} has changed since its maps were made. {AGAIN}")
    with redirect_stdout(None):  # nnU-Net's TIFF reader warns where a map has no file with its spacing
        maps = load_maps(
            job.maps_folder, job.case, job.raw.ending, image_path, lambda path: reader.read_images([str(path)])[0]
        )
    stacked = _transposed(with_air(maps).stack().numpy(), job.target.plans)
    if stacked.shape[1:] != tuple(properties["shape_before_cropping"]):
        raise InputError(
            f"{job.case}: {image_path} had another shape when nnU-Net preprocessed it. Run "
            f"`{job.target.preprocess_command}` again."
        )
    cropped = _cropped(stacked, properties)
    refuse_empty(job.case, cropped[0])
    return cropped, properties


def _fingerprint(job: _Job, properties: dict) -> Fingerprint:
    """The fingerprint of the case as nnU-Net preprocessed it."""
    image, _ = job.target.load_case(job.case)
    try:
        return Fingerprint.of(image, properties, job.target.plans, job.target.configuration)
    except (RuntimeError, OSError, ValueError) as error:
        raise InputError(job.target.damaged(job.case, error)) from None


def _raw_image(job: _Job) -> np.ndarray:
    """The case's image as nnU-Net reads it, transposed, (1, ...)."""
    reader = job.target.plans.image_reader_writer_class()
    return _transposed(reader.read_images([str(job.raw.images[job.case])])[0], job.target.plans)


def _transposed(channels: np.ndarray, plans: PlansManager) -> np.ndarray:
    return channels.transpose([0, *[axis + 1 for axis in plans.transpose_forward]])


def _cropped(channels: np.ndarray, properties: dict) -> np.ndarray:
    return crop_to_bbox(channels, [[0, len(channels)], *properties["bbox_used_for_cropping"]])


def _preprocess_case(job: _Job) -> None:
    """Resample one case's maps, draw its reservoir and write both."""
    configuration = job.target.configuration
    native, properties = _native_maps(job)
    bright = np.percentile(native[0][native[0] > 0], _BRIGHT_PERCENTILE)
    native[0] = np.clip(native[0] / bright, 0, _GREATEST_PD)  # PD may have any unit, and copies are float16
    inside = _normalised_voxels(job, properties) if configuration.use_mask_for_norm[0] else None
    fingerprint = _fingerprint(job, properties)
    spacing, grid_spacing = _spacings(properties, job.target)
    resampled = _resampled(native, fingerprint.shape, spacing, grid_spacing, configuration)

    paths = map_paths(job.maps_folder, job.case, job.raw.ending)
    made_from = CopyRecord(fingerprint, {name: MapSource.of(path) for name, path in paths.items()})
    record = {**asdict(made_from), "record": load_record(job.maps_folder, job.case)}
    if native.shape[1] == 1 and spacing[0] > 99 * max(spacing[1:]):  # what nnU-Net's readers give a 2D file
        spacing[0] = grid_spacing[0] = SLICE_OF_2D_MM
    seed = zlib.crc32(job.case.encode())
    reservoir = draw_reservoir(native, inside, spacing, seed, fingerprint.shape, grid_spacing)
    slice_mm, row_mm, column_mm = grid_spacing
    blood_mm = blood_distance(SpinMaps(*torch.from_numpy(resampled)), (slice_mm, row_mm, column_mm)).numpy()
    channels = np.concatenate((resampled, blood_mm[None]))
    save_copy(spin_folder(job.target.folder), job.case, channels, reservoir, configuration.patch_size, record)


def _normalised_voxels(job: _Job, properties: dict) -> np.ndarray:
    """Mask of the voxels that nnU-Net normalises under use_mask_for_norm: nonzero, or labelled."""
    reader, path, image = job.target.plans.image_reader_writer_class(), job.raw.labels[job.case], _raw_image(job)
    try:
        labels = _transposed(reader.read_seg(str(path))[0], job.target.plans)
    except UNREADABLE as error:
        raise InputError(f"{job.case}: {path} cannot be read ({last_line(error)}). Put its labels back.") from None
    if labels.shape != image.shape:
        raise InputError(f"{job.case}: {path} and its image differ in shape. Correct it, and preprocess again.")
    mask = create_nonzero_mask(image)[None] | (labels != 0)
    return _cropped(mask, properties)[0]


def _spacings(properties: dict, target: PreprocessedDataset) -> tuple[list[float], list[float]]:
    """Spacing (mm) of a case, transposed, and of nnU-Net's grid; a 2d configuration keeps the slice spacing."""
    spacing = [float(properties["spacing"][axis]) for axis in target.plans.transpose_forward]
    of_grid = [float(d) for d in target.configuration.spacing]
    return spacing, [*spacing[: len(spacing) - len(of_grid)], *of_grid]


def _resampled(
    native: np.ndarray,
    shape: tuple[int, ...],
    spacing: list[float],
    target_spacing: list[float],
    configuration: ConfigurationManager,
) -> np.ndarray:
    """The cropped maps on nnU-Net's grid: PD as the configuration resamples images, T1 and T2 linearly.

    Cubic splines, nnU-Net's default, ring at edges: T2 of myocardium beside blood would come out as that of another
    tissue. A resampling function without an `order` is used as it is. Values are clipped to the range of the case.
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
