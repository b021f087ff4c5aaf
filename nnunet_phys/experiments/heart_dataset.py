"""A data set of digital hearts in nnU-Net's raw format: see `heart_scans` for the images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json
from tqdm import tqdm

from nnunet_phys.digital_heart import LABELS, DigitalHeart
from nnunet_phys.experiments.heart_scans import CONTRASTS, scan_test_heart, scan_training_heart


def write_heart_dataset(folder: Path, train: int, test: int, slices: int, processes: int = 2) -> None:
    """Write the whole data set, or nothing.

    Args:
        folder: its folder in nnUNet_raw; replaced if it is there. Gets imagesTr and labelsTr (cine),
            imagesTs_<contrast> (MOLLI with one case a readout) and labelsTs_<contrast>, and trueTr with the true maps
            of the training cases, named as `reverse` names its maps.
        train: training cases, diastole and systole in turn.
        test: test anatomies.
        slices: short-axis slices a case.
        processes: worker processes.
    """
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    for name in ("imagesTr", "labelsTr", "trueTr", *(f"{k}Ts_{c}" for k in ("images", "labels") for c in CONTRASTS)):
        (work / name).mkdir(parents=True)
    jobs: list[tuple[Callable[[Path, int, int], None], int]] = [(_write_training_case, i) for i in range(train)]
    jobs += [(_write_test_anatomy, i) for i in range(test)]
    try:
        with get_context("spawn").Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            results = [pool.apply_async(job, (work, i, slices)) for job, i in jobs]
            for result in tqdm(results, desc="digital hearts"):
                result.get()
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
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _write_training_case(folder: Path, index: int, slices: int) -> None:
    scan, case = scan_training_heart(index, slices), f"heart{index:03d}"
    heart = scan.heart
    _write(folder / "imagesTr" / f"{case}_0000.nii.gz", scan.image, heart)
    _write(folder / "labelsTr" / f"{case}.nii.gz", heart.labels, heart)
    for name, values in (("PDmap", scan.pd), ("T1map", heart.maps.t1), ("T2map", heart.maps.t2)):
        _write(folder / "trueTr" / f"{case}_{name}.nii.gz", np.asarray(values, np.float32), heart)


def _write_test_anatomy(folder: Path, index: int, slices: int) -> None:
    scans = scan_test_heart(index, slices)
    for contrast, images in scans.images.items():
        for suffix, image in images.items():
            case = f"heart{index:03d}{suffix}"
            _write(folder / f"imagesTs_{contrast}" / f"{case}_0000.nii.gz", image, scans.heart)
            _write(folder / f"labelsTs_{contrast}" / f"{case}.nii.gz", scans.heart.labels, scans.heart)


def _write(path: Path, array: np.ndarray, heart: DigitalHeart) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing([float(s) for s in heart.spacing_mm[::-1]])
    sitk.WriteImage(image, str(path))
