"""`nnunet_phys export_dicom`: which images and frames its objects refer to, and where their slices lie."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
from exported_results import FRAME, MOLLI, TIMES, frames, objects, readouts, segmented
from pydicom import dcmread

from nnunet_phys.commands import main


def test_slices_with_times_of_their_own_are_one_object(scanner, imported, export, tmp_path):
    readouts(scanner, 1, np.full(scanner.shape, 1000.0), (TIMES, [time + 20 for time in TIMES]))
    results = segmented(imported(), tmp_path / "results")
    assert len(list((results / "masks").iterdir())) == 2
    assert main(export()) == 0
    assert objects(tmp_path / "out") == ["001_MOLLI_segmentation.dcm"]
    path = tmp_path / "out" / "001_MOLLI_segmentation.dcm"
    places = {tuple(group.PlanePositionSequence[0].ImagePositionPatient) for group in dcmread(path)[0x52009230].value}
    assert places == {(10, 20, 30), (14.8, 13.6, 30)} and dcmread(path).NumberOfFrames == 6


def test_an_enhanced_file_is_referred_to_by_its_frames(scanner, imported, export, tmp_path):
    groups = [
        {
            "FrameContentSequence": {"FrameAcquisitionDateTime": f"201807091015{k:02d}.5"},
            "MRModifierSequence": {"InversionTimes": [time], "InversionRecovery": "YES"},
            "PlaneOrientationSequence": {"ImageOrientationPatient": [0.8, 0.6, 0, 0, 0, -1]},
        }
        for k, time in enumerate(TIMES)
    ]
    path = scanner.enhanced("all.dcm", groups, SeriesDescription="MOLLI", **FRAME)
    dataset = dcmread(path)
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence  # as some scanners do
    dataset.save_as(path)
    segmented(imported(), tmp_path / "results")
    assert main(export()) == 0
    (group, *_) = dcmread(tmp_path / "out" / "001_MOLLI_segmentation.dcm").PerFrameFunctionalGroupsSequence
    sources = group.DerivationImageSequence[0].SourceImageSequence
    assert [item.ReferencedFrameNumber for item in sources] == list(range(1, 9))


def enhanced_slice(scanner, z: int, mm: float) -> None:
    """Write an enhanced file of the readouts of a slice, so far along the normal."""
    groups = [
        {
            "FrameContentSequence": {"FrameAcquisitionDateTime": f"201807091015{k:02d}.{z}"},
            "MRModifierSequence": {"InversionTimes": [time], "InversionRecovery": "YES"},
            "PlanePositionSequence": {"ImagePositionPatient": [10 + 0.6 * mm, 20 - 0.8 * mm, 30]},
        }
        for k, time in enumerate(TIMES)
    ]
    scanner.enhanced(f"{z}.dcm", groups, SeriesDescription="MOLLI", InstanceNumber=z + 1, **FRAME)


def test_enhanced_files_of_one_series_are_all_referred_to(scanner, imported, export, tmp_path):
    for z in range(3):
        enhanced_slice(scanner, z, 8 * z)
    results = segmented(imported(), tmp_path / "results")
    assert main(export()) == 0
    path = tmp_path / "out" / "001_MOLLI_segmentation.dcm"
    sources = {z: sources for (_, z), (*_, sources) in frames(path, results / "masks" / "001_MOLLI.nii.gz").items()}
    assert {z: len(of) for z, of in sources.items()} == {0: 1, 1: 1, 2: 1} and len(set.union(*sources.values())) == 3
    for group in dcmread(path).PerFrameFunctionalGroupsSequence:
        items = group.DerivationImageSequence[0].SourceImageSequence
        assert [item.ReferencedFrameNumber for item in items] == list(range(1, 9))


def test_uneven_slices_of_enhanced_files(scanner, imported, export, tmp_path):
    """They state no distance."""
    for z, mm in enumerate((0, 10, 30)):
        enhanced_slice(scanner, z, mm)
    segmented(imported(), tmp_path / "results")
    assert main(export()) == 0
    (path,) = (tmp_path / "out").iterdir()
    (measures,) = dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert "SpacingBetweenSlices" not in measures


def test_images_whose_positions_are_rounded_differently_are_all_referred_to(scanner, imported, export, tmp_path):
    places = [(10 + 1e-4 * k, 20, 30) for k in range(8)]
    scanner.series(8, InversionTime=TIMES, ImagePositionPatient=places, **MOLLI)
    results = segmented(imported(), tmp_path / "results")
    assert main(export()) == 0
    read = frames(tmp_path / "out" / "001_MOLLI_segmentation.dcm", results / "masks" / "001_MOLLI.nii.gz")
    assert all(len(sources) == 8 for *_, sources in read.values())


@pytest.mark.parametrize(
    ("stated", "steps", "expected"),
    [
        ({"SpacingBetweenSlices": 1}, (0, 8), (8, 8)),
        ({"SpacingBetweenSlices": 0, "SliceThickness": 0}, (0, 8), (8, 8)),
        ({"SliceThickness": ""}, (0, 10), (10, 10)),
        ({"SliceThickness": None}, (0,), (8, 8)),
        ({"SpacingBetweenSlices": 10}, (0, 10, 30), (8, None)),
        ({}, (0, 10, 30), (8, None)),
    ],
)
def test_slices_are_as_thick_and_as_far_apart_as_they_lie(scanner, imported, export, tmp_path, stated, steps, expected):
    for z, mm in enumerate(steps):
        for k, time in enumerate(TIMES):
            described = {"InstanceNumber": 10 * z + k, "AcquisitionTime": f"1015{k:02d}.{z}", "InversionTime": time}
            place = [10 + 0.6 * mm, 20 - 0.8 * mm, 30]
            scanner.image(f"{z}_{k}", ImagePositionPatient=place, **{**MOLLI, **described, **stated})
    segmented(imported(), tmp_path / "results")
    assert main(export()) == 0
    (path,) = (tmp_path / "out").iterdir()
    (measures,) = dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert (measures.SliceThickness, measures.get("SpacingBetweenSlices")) == expected
    if shutil.which("dciodvfy"):
        checked = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        assert checked.returncode == 0 and "Error" not in checked.stderr, checked.stderr
