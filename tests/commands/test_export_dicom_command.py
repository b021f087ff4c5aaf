"""`nnunet_phys export_dicom`: objects that lie where the images do and refer to them, and how it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk
from exported_results import MOLLI, NAME, TIMES, frames, instances, objects, readouts, segmented
from pydicom import dcmread

from nnunet_phys.case_records import package_versions
from nnunet_phys.commands import main
from nnunet_phys.file_identity import file_sha256, hashed
from nnunet_phys.pictures import MADE_BY


@pytest.fixture
def hearts(scanner) -> np.ndarray:
    """Series 1 before and series 2 after contrast agent; returns T1 before it."""
    t1 = np.where(np.arange(scanner.shape[1]) < 20, 1000.0, 1500.0) * np.ones(scanner.shape)
    readouts(scanner, 1, t1)
    readouts(scanner, 2, 0.4 * t1)
    return t1


@pytest.fixture
def results(hearts, imported, tmp_path) -> Path:
    """RESULTS of the series before contrast agent."""
    return segmented(imported(), tmp_path / "results", "001")


def test_masks_and_maps_lie_where_the_images_do(scanner, hearts, imported, export, tmp_path, capsys):
    scans = imported()
    before, after = segmented(scans, tmp_path / "results", "001"), segmented(scans, tmp_path / "post", "002")
    options = ["-post", str(after), "-haematocrit", "0.42", "--disable_progress_bar"]
    report = tmp_path / "report"
    assert main(["quantify", "-i", str(before), "-o", str(report), *options]) == 0
    capsys.readouterr()
    assert main(export("-maps", report)) == 0
    assert "ller" not in capsys.readouterr().err
    out, case = tmp_path / "out", "001_MOLLI"
    assert objects(out) == [f"{case}_{kind}.dcm" for kind in ("fit_ECVmap", "fit_T1map", "segmentation")]

    of_slice = {round(z): instances(scanner, f"1/{place}_*") for z, place in ((0, 0), (1, 1))}
    mask = frames(out / f"{case}_segmentation.dcm", before / "masks" / f"{case}.nii.gz")
    assert sorted(mask) == [(segment, z) for segment in (1, 2, 3) for z in (0, 1)]
    for (segment, _), (pixels, values, sources) in mask.items():
        np.testing.assert_array_equal(pixels, values == segment)
        assert sources in of_slice.values()
    assert {frozenset(sources) for *_, sources in mask.values()} == set(map(frozenset, of_slice.values()))

    if shutil.which("dciodvfy"):  # of Debian's package dicom3tools
        for name in objects(out):
            checked = subprocess.run(["dciodvfy", out / name], capture_output=True, text=True)
            assert checked.returncode == 0 and "Error" not in checked.stderr, checked.stderr

    t1 = dcmread(out / f"{case}_fit_T1map.dcm")
    for pixels, values, sources in frames(t1.filename, report / "fit" / f"{case}_T1map.nii.gz").values():
        np.testing.assert_array_equal(pixels, values)
        np.testing.assert_allclose(pixels, hearts, rtol=0.01)
        assert sources in of_slice.values()
    (mapping,) = t1.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "ms" and mapping.RealWorldValueSlope == 1
    assert mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue == "113063"
    assert 0 < mapping.DoubleFloatRealWorldValueFirstValueMapped < 1000 * 1.01

    ecv = dcmread(out / f"{case}_fit_ECVmap.dcm")
    for pixels, values, sources in frames(ecv.filename, report / "fit" / f"{case}_ECVmap.nii.gz").values():
        np.testing.assert_array_equal(pixels, np.where(values <= 100, values, 0))
        assert sources & instances(scanner, "1/*") and sources & instances(scanner, "2/*")
    assert {of.SeriesInstanceUID for of in ecv.ReferencedSeriesSequence} == {"1.2.3.1", "1.2.3.2"}

    study = json.loads((report / "study.json").read_text())
    (report / "study.json").write_text(
        json.dumps(study | {"pairs": {}})
    )  # as if the partner belonged to another series
    arguments = export("-maps", report)
    arguments[arguments.index("-o") + 1] = str(tmp_path / "unpaired")
    assert main(arguments) == 0
    ecv = dcmread(tmp_path / "unpaired" / f"{case}_fit_ECVmap.dcm")
    assert {of.SeriesInstanceUID for of in ecv.ReferencedSeriesSequence} == {"1.2.3.1"}

    series = set()
    for path in out.iterdir():
        dataset = dcmread(path)
        series |= {dataset.SeriesInstanceUID, dataset.SeriesNumber}
        assert (dataset.PatientName, dataset.PatientID, dataset.StudyInstanceUID) == (NAME, "HOSP4711", "1.2.3")
        assert dataset.FrameOfReferenceUID == "1.2.7"
    assert len(series) == 6


def test_segments_say_what_they_are_and_what_made_them(results, export, tmp_path):
    assert main(export()) == 0
    dataset = highdicom.seg.segread(tmp_path / "out" / "001_MOLLI_segmentation.dcm")
    described = [dataset.get_segment_description(number) for number in (1, 2, 3)]
    assert [segment.segment_label for segment in described] == ["RV blood pool", "LV myocardium", "LV blood pool"]
    assert [segment.segmented_property_type.value for segment in described] == ["87612001", "49848007", "87612001"]
    assert [[region.value for region in segment.anatomic_regions] for segment in described] == [
        ["53085002"],
        [],
        ["87878005"],
    ]
    for segment in described:
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert algorithm.AlgorithmVersion == package_versions()["nnunet_phys"]
        assert segment.SegmentAlgorithmType == "AUTOMATIC"


def test_a_mask_that_was_corrected_is_not_called_automatic(results, export, tmp_path, edit_image):
    edit_image(results / "masks" / "001_MOLLI.nii.gz", lambda mask: np.where(mask == 1, 0, mask))
    assert main(export()) == 0
    dataset = dcmread(tmp_path / "out" / "001_MOLLI_segmentation.dcm")
    assert {segment.SegmentAlgorithmType for segment in dataset.SegmentSequence} == {"SEMIAUTOMATIC"}
    assert len(dataset.SegmentSequence) == 3 and dataset.NumberOfFrames == 4  # numbers stay, without frames


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        (("", "ISO 2022 IR 87"), "Yamada^Tarou=山田^太郎"),
        (("", "ISO 2022 IR 149"), "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO 2022 IR 100", "Müller^Jane"),
    ],
)
def test_names_of_any_script_are_kept(scanner, imported, export, tmp_path, characters, name):
    described = {**MOLLI, "SpecificCharacterSet": characters, "PatientName": name}
    scanner.series(8, InversionTime=TIMES, **described)
    segmented(imported(), tmp_path / "results")
    assert main(export()) == 0
    (path,) = (tmp_path / "out").iterdir()
    assert dcmread(path).PatientName == name


def test_what_import_records_names_no_image(results, scanner):
    written = (results / "images" / "001_MOLLI.json").read_text()
    assert "1.2.3" not in written and not any(uid in written for uid in instances(scanner, "*/*"))


def _other_geometry(scanner, results):
    path = results / "masks" / "001_MOLLI.nii.gz"
    image = sitk.ReadImage(str(path))
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(path))


def _edit_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _without_frame_of_reference(scanner, results):
    for path in scanner.folder.glob("*/*"):
        dataset = dcmread(path)
        del dataset.FrameOfReferenceUID
        dataset.save_as(path)


def _empty(scanner, results):
    path = results / "masks" / "001_MOLLI.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path)) * 0, str(path))


REFUSED = {
    "another series": (lambda s, r: shutil.rmtree(s.folder / "1"), "001_MOLLI: -dicom "),
    "a missing file": (lambda s, r: (s.folder / "1" / "0_3.dcm").unlink(), "lacks 1 of 16 images of series 1 (MOLLI)"),
    "another place": (_other_geometry, "001_MOLLI.nii.gz differs from series 1 (MOLLI) in origin"),
    "no record of a source": (
        lambda s, r: _edit_json(r / "images" / "001_MOLLI.json", source=None),
        "001_MOLLI: its JSON does not say from which DICOM images",
    ),
    "no frame of reference": (_without_frame_of_reference, "has no FrameOfReferenceUID"),
    "masks of others": (lambda s, r: (r / "segment.json").unlink(), "nnunet_phys segment did not fill it"),
    "an added mask": (
        lambda s, r: shutil.copy(r / "masks" / "001_MOLLI.nii.gz", r / "masks" / "007.nii.gz"),
        "007.nii.gz: nnunet_phys segment did not make it",
    ),
    "empty masks": (_empty, "no mask shows a heart"),
    "a full folder": (
        lambda s, r: ((r.parent / "out").mkdir(), (r.parent / "out" / "mine").touch()),
        "out is not empty",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_does_not_fit_is_refused(fault, scanner, results, export, refused, tmp_path):
    change, expected = REFUSED[fault]
    change(scanner, results)
    refused(export(), expected)
    assert not list((tmp_path / "out").glob("*.dcm"))


def test_maps_of_other_images_are_refused(results, export, refused, tmp_path):
    (report := tmp_path / "report" / "fit").mkdir(parents=True)
    shutil.copy(results / "images" / "001_MOLLI_ti00_0000.nii.gz", report / "001_MOLLI_T1map.nii.gz")
    source = json.loads((results / "images" / "001_MOLLI.json").read_text())["source"]
    study = {
        "generator": MADE_BY,
        "settings": {"methods": ["fit"], "haematocrit": None},
        "files": [hashed(report / "001_MOLLI_T1map.nii.gz", "fit/001_MOLLI_T1map.nii.gz")],
        "sources": {"001_MOLLI": {**source, "series_sha256": "0"}},
    }
    (report.parent / "study.json").write_text(json.dumps(study))
    refused(export("-maps", report.parent), "001_MOLLI: -maps ", "holds no maps of these images")
    _edit_json(report.parent / "study.json", sources={"001_MOLLI": source})
    refused(export("-maps", report.parent), "001_MOLLI.json has changed since -maps was made")
    made = {"mask": results / "masks" / "001_MOLLI.nii.gz", "description": results / "images" / "001_MOLLI.json"}
    inputs = {name: file_sha256(path) for name, path in made.items()}
    _edit_json(report.parent / "study.json", inputs={"001_MOLLI": inputs})
    (report / "001_MOLLI_T1map.nii.gz").write_bytes(b"")
    refused(export("-maps", report.parent), "001_MOLLI_T1map.nii.gz is missing or was changed since")
    refused(export("-maps", results), "study.json is not readable JSON")
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(monkeypatch, export, refused):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "highdicom" else find(name))
    refused(export(), "export_dicom needs highdicom: pip install highdicom.")


STANDARD = Path.home() / "dicom-validator"
"""Where dicom-validator keeps the standard that it has downloaded."""


@pytest.mark.skipif(not STANDARD.is_dir(), reason=f"dicom-validator has not downloaded the standard to {STANDARD}")
def test_objects_follow_the_standard(results, export, tmp_path, capfd):
    validate = pytest.importorskip("dicom_validator.validate_iods")
    assert main(export()) == 0
    options = ["--edition", "local", "--standard-path", str(STANDARD), str(tmp_path / "out")]
    assert validate.main(options) == 0, capfd.readouterr()


@pytest.mark.skipif("NNUNET_PHYS_DATA" not in os.environ, reason="NNUNET_PHYS_DATA names no folder of real data")
def test_a_mask_on_a_real_series(tmp_path):
    source = str(Path(os.environ["NNUNET_PHYS_DATA"]) / "dicom_shmolli_phantom")
    assert main(["import", "-i", source, "-o", str(tmp_path / "scans")]) == 0
    results, out = segmented(tmp_path / "scans", tmp_path / "results"), tmp_path / "out"
    assert main(["export_dicom", "-i", str(results), "-dicom", source, "-o", str(out)]) == 0
    (path,) = out.iterdir()
    read = frames(path, next((results / "masks").iterdir()))
    assert sorted(read) == [(1, 0), (2, 0), (3, 0)]
    for (segment, _), (pixels, values, sources) in read.items():
        np.testing.assert_array_equal(pixels, values == segment)
        assert len(sources) == 7
