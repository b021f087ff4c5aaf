"""RESULTS of `segment` for series that a scanner's folder holds, and what DICOM objects of them show."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import dcmread

from nnunet_phys.case_records import package_versions
from nnunet_phys.file_identity import hashed
from nnunet_phys.pictures import MADE_BY

TIMES = [100.0, 1000.0, 1900.0, 2800.0, 3700.0, 180.0, 1080.0, 1980.0]
NAME = "Müller^Jane"
FRAME = {"FrameOfReferenceUID": "1.2.7", "SpecificCharacterSet": "ISO_IR 100", "PatientName": NAME}
MOLLI = {"SeriesDescription": "MOLLI", "ScanningSequence": ("GR", "IR"), **FRAME}
CODES = {"RV": 1, "MYO": 2, "LV": 3}


def readouts(scanner, number: int, t1: np.ndarray, times=(TIMES, TIMES)) -> None:
    """Write a MOLLI series of two slices."""
    density = np.random.default_rng(0).uniform(14_000, 16_000, scanner.shape)
    for z, of_slice in enumerate(times):
        for k, time in enumerate(of_slice):
            scanner.image(
                f"{number}/{z}_{k}.dcm",
                np.abs(density * (1 - 2 * np.exp(-time / t1))).round(),
                SeriesNumber=number,
                InstanceNumber=2 * k + z,
                AcquisitionTime=f"1015{k:02d}.{z}",
                InversionTime=time,
                ImagePositionPatient=[10 + 4.8 * z, 20 - 6.4 * z, 30],
                **MOLLI,
            )


def segmented(scans: Path, results: Path, case: str | None = None) -> Path:
    """Fill a folder as `segment` does; the masks of all cases, or of one, are no mirror images of themselves."""
    for name in ("images", "masks"):
        (results / name).mkdir(parents=True)
    files = []
    for path in sorted((scans / "molli").iterdir()):
        if case is not None and not path.name.startswith(case):
            continue
        shutil.copy(path, results / "images")
        if path.suffix != ".json":
            continue
        image = sitk.ReadImage(str(next((scans / "molli").glob(f"{path.stem}_ti00*"))))
        mask = np.zeros(sitk.GetArrayFromImage(image).shape, np.uint8)
        for z in range(len(mask)):
            mask[z, 8 : 26 + z, 4:12] = 1
            mask[z, 6:28, 14:38] = 2
            mask[z, 12:22, 20 : 32 - z] = 3
        written = sitk.GetImageFromArray(mask)
        written.CopyInformation(image)
        sitk.WriteImage(written, str(results / "masks" / f"{path.stem}.nii.gz"))
        files.append(hashed(results / "masks" / f"{path.stem}.nii.gz", f"masks/{path.stem}.nii.gz"))
    (results / "dataset.json").write_text(json.dumps({"labels": {"background": 0, **CODES}}))
    record = {
        "generator": MADE_BY,
        "versions": package_versions(),
        "settings": {"model": {"dataset": "Dataset900_Tiny", "trainer": "nnUNetTrainerPhys", "plans": "nnUNetPlans"}},
        "files": [],
        "cases": {file["file"][6:-7]: {"images": [], "files": [file], "flags": []} for file in files},
    }
    (results / "segment.json").write_text(json.dumps(record))
    return results


def frames(path: Path, nifti: Path) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray, set[str]]]:
    """Segment (0 in a map) and slice to: a frame's pixels, those of a NIfTI file at its place, what it refers to."""
    read, image = dcmread(path), sitk.ReadImage(str(nifti))
    (orientation,) = read.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    cosines = np.reshape(orientation.ImageOrientationPatient, (2, 3)).astype(float)
    np.testing.assert_allclose(np.reshape(image.GetDirection(), (3, 3))[:, :2].T, cosines, atol=1e-5)
    found = {}
    stored = read.pixel_array.reshape(-1, read.Rows, read.Columns)
    for pixels, group in zip(stored, read.PerFrameFunctionalGroupsSequence, strict=True):
        position = [float(mm) for mm in group.PlanePositionSequence[0].ImagePositionPatient]
        index = image.TransformPhysicalPointToContinuousIndex(position)
        np.testing.assert_allclose(index, np.round(index), atol=1e-4)
        column, row, z = map(round, index)
        assert (column, row) == (0, 0)
        identified = group.get("SegmentIdentificationSequence")
        segment = identified[0].ReferencedSegmentNumber if identified else 0
        sources = {item.ReferencedSOPInstanceUID for item in group.DerivationImageSequence[0].SourceImageSequence}
        found[segment, z] = pixels, sitk.GetArrayFromImage(image)[z], sources
    return found


def instances(scanner, pattern: str) -> set[str]:
    return {dcmread(path).SOPInstanceUID for path in scanner.folder.glob(pattern)}


def objects(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
