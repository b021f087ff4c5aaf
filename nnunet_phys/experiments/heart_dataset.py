"""A data set of digital hearts in nnU-Net's raw format: see `heart_scans` for the images."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json

from nnunet_phys.digital_heart import LABELS, DigitalHeart
from nnunet_phys.experiments.heart_scans import (
    CONTRASTS,
    HeartScans,
    TrainingScan,
    scan_test_heart,
    scan_training_heart,
)
from nnunet_phys.image_files import Geometry, write_volume
from nnunet_phys.sequences.description import describe_sequence
from nnunet_phys.whole_files import remove_leftovers, working_folder, write_json
from nnunet_phys.workers import run_in_workers


def write_heart_dataset(
    folder: Path, train: int, test: int, slices: int, processes: int = 2, varied: bool = False
) -> None:
    """Write the whole data set, or nothing.

    Args:
        folder: the data set's folder in nnUNet_raw, replaced if it exists. It gets imagesTr and labelsTr (cine),
            imagesTs_<contrast> (MOLLI with one case per readout) and labelsTs_<contrast>, and trueTr with the true maps
            of the training cases, named as `reverse` names its maps.
        train: number of training cases, alternately in diastole and systole.
        test: number of test anatomies.
        slices: short-axis slices per case.
        processes: number of worker processes.
        varied: the training hearts are of all shapes and sizes (`heart_scans.scan_training_heart`).

    Raises:
        InputError: a file cannot be written, or a worker process was killed.
    """
    remove_leftovers(folder.parent)
    with working_folder(folder.parent, folder.name) as scratch:
        work = scratch / folder.name
        contrast_folders = [f"{kind}Ts_{contrast}" for kind in ("images", "labels") for contrast in CONTRASTS]
        for name in ("imagesTr", "labelsTr", "trueTr", *contrast_folders):
            (work / name).mkdir(parents=True)
        jobs = [_Job(work, index, slices, for_training=True, varied=varied) for index in range(train)]
        jobs += [_Job(work, index, slices, for_training=False) for index in range(test)]
        run_in_workers(_write_heart, jobs, processes, "digital hearts")
        generate_dataset_json(
            str(work),
            {0: "bSSFP"},
            LABELS,
            train,
            ".nii.gz",
            dataset_name=folder.name,
            description="Digital hearts made by nnunet_phys; no patient data.",
            overwrite_image_reader_writer="SimpleITKIO",
        )
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(work, folder)


@dataclass(frozen=True)
class _Job:
    """A heart to scan and write into a folder."""

    folder: Path
    index: int
    slices: int
    for_training: bool
    varied: bool = False


def _write_heart(job: _Job) -> None:
    case = f"heart{job.index:03d}"
    if job.for_training:
        _write_training_case(scan_training_heart(job.index, job.slices, job.varied), job.folder, case)
    else:
        _write_test_cases(scan_test_heart(job.index, job.slices), job.folder, case)


def _write_training_case(scan: TrainingScan, folder: Path, case: str) -> None:
    heart = scan.heart
    write_heart_volume(folder / "imagesTr" / f"{case}_0000.nii.gz", scan.image, heart)
    write_heart_volume(folder / "labelsTr" / f"{case}.nii.gz", heart.labels, heart)
    for name, values in (("PDmap", scan.pd), ("T1map", heart.maps.t1), ("T2map", heart.maps.t2)):
        write_heart_volume(folder / "trueTr" / f"{case}_{name}.nii.gz", np.asarray(values, np.float32), heart)


def _write_test_cases(scans: HeartScans, folder: Path, case: str) -> None:
    for contrast, images in scans.images.items():
        for suffix, image in images.items():
            write_heart_volume(folder / f"imagesTs_{contrast}" / f"{case}{suffix}_0000.nii.gz", image, scans.heart)
            write_heart_volume(
                folder / f"labelsTs_{contrast}" / f"{case}{suffix}.nii.gz", scans.heart.labels, scans.heart
            )

    times = {"inversion_times_ms": scans.molli.inversion_times_ms, "protocol": [describe_sequence(scans.molli)]}
    write_json(folder / "imagesTs_molli" / f"{case}.json", times)


def write_heart_volume(path: Path, array: np.ndarray, heart: DigitalHeart) -> None:
    """Write images, labels or maps of a heart, (slices, rows, columns), with its spacing.

    Raises:
        InputError: the file cannot be written.
    """
    slice_mm, row_mm, column_mm = heart.spacing_mm
    spacing = float(column_mm), float(row_mm), float(slice_mm)
    grid = Geometry(array.shape[::-1], spacing, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
    write_volume(path, array, grid, kind=array.dtype.type)
