"""What `nnunet_phys import` refuses, in a line that names the file and the remedy."""

from __future__ import annotations

import json
import shutil
import sys

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGLSLossless

from nnunet_phys.commands import main

MOLLI_MS = [100.0, 1000.0, 1900.0, 2800.0, 3700.0, 180.0, 1080.0, 1980.0]
MOLLI = {"SeriesDescription": "MOLLI", "InversionTime": MOLLI_MS}
PAIRED_MS = [100.0, 101.0, 1100.0, 1101.0, 2100.0, 2101.0, 3100.0, 4100.0]


def _unsupported_syntax(scanner):
    if get_decoder(JPEGLSLossless).is_available:
        pytest.skip("a decoder of JPEG-LS is installed")
    path = scanner.series(8, **MOLLI)[3]
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = encapsulate([b"\\0\\0"])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)


def _edit(path, **attributes):
    """Change attributes of a file; None removes one."""
    dataset = dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def _deflated(path):
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)


def _cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


FOLDERS = {
    "no DICOM": (
        lambda scanner: (scanner.folder / "notes.txt").write_text("x"),
        "no DICOM file with MR images (1 other",
    ),
    "two patients": (
        lambda scanner: [scanner.image(name, PatientID=name) for name in "ab"],
        "holds 2 patients, as in ",
    ),
    "two examinations": (
        lambda scanner: [scanner.image(name, StudyInstanceUID=f"1.2.{k}") for k, name in enumerate("ab")],
        "holds 2 examinations, as in ",
    ),
    "cut in the header": (
        lambda scanner: _cut(scanner.series(8, **MOLLI)[3], 0.1),
        "1_3.dcm has no SeriesInstanceUID: cut short? Copy it again.",
    ),
}
INVERTED = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP"}
SERIES = {
    "cut in the pixels": (lambda scanner: _cut(scanner.series(8, **MOLLI)[3], 0.9), "1_3.dcm is cut short: "),
    "no decoder": (_unsupported_syntax, "install pylibjpeg pylibjpeg-libjpeg to read it"),
    "a missing time": (
        lambda scanner: scanner.series(8, SeriesDescription="MOLLI", InversionTime=[*MOLLI_MS[:7], None]),
        "1 of 8 images without inversion time, first {folder}/1_7.dcm. Give inversion_times_ms with -protocol.",
    ),
    "no saturation times": (
        lambda scanner: scanner.series(5, SeriesDescription="SASHA", InversionTime=[None, None, 200.0, 400.0, 600.0]),
        "2 of 5 images without saturation time, first {folder}/1_0.dcm; only one of a slice may be",
    ),
    "a T2 map without times": (
        lambda scanner: scanner.series(3, SeriesDescription="T2 map trufi"),
        "3 of 3 images without time of T2 preparation",
    ),
    "a time twice": (
        lambda scanner: scanner.series(8, SeriesDescription="MOLLI", InversionTime=[*MOLLI_MS[:7], 1900.0]),
        "1_2.dcm and {folder}/1_7.dcm both have the inversion time 1900 ms",
    ),
    "an image twice": (
        lambda scanner: shutil.copy(scanner.series(8, **MOLLI)[3], scanner.folder / "again.dcm"),
        "1_3.dcm are the same image. Remove one of them.",
    ),
    "another pixel spacing": (
        lambda scanner: scanner.series(8, **MOLLI, PixelSpacing=[(4, 5)] * 7 + [(4, 4)]),
        "1_7.dcm and {folder}/1_0.dcm differ in pixel spacing",
    ),
    "another orientation": (
        lambda scanner: scanner.series(
            8, **MOLLI, ImageOrientationPatient=[(0.8, 0.6, 0, 0, 0, -1)] * 7 + [(1, 0, 0, 0, 0, -1)]
        ),
        "1_7.dcm and {folder}/1_0.dcm differ in orientation",
    ),
    "a slice that is missing": (
        lambda scanner: scanner.series(
            3,
            ScanningSequence=("GR", "IR"),
            SequenceVariant="SP",
            InversionTime=300.0,
            ImagePositionPatient=[(10 + 0.6 * z, 20 - 0.8 * z, 30) for z in (0, 8, 24)],
        ),
        "its 3 slices lie 16.00, 8.00 mm apart: one is missing",
    ),
    "no position": (lambda scanner: scanner.series(8, **MOLLI, ImagePositionPatient=None), "has no position"),
    "nothing that tells": (
        lambda scanner: scanner.series(3, SeriesDescription="new idea", InversionTime=[100.0, 200.0, 300.0]),
        "its header does not tell what it is. Found: 3 images; names 'new idea'",
    ),
    "mSASHA": (
        lambda scanner: scanner.series(3, SeriesDescription="m_SASHA", InversionTime=[600.0, 610.0, 620.0]),
        "its header does not tell what it is. Found: 3 images; names 'm SASHA",
    ),
    "an order that times do not tell": (
        lambda scanner: scanner.series(8, **{**MOLLI, "AcquisitionTime": None, "InversionTime": PAIRED_MS}),
        "which do not tell the order of acquisition. Give inversion_times_ms in that order with -protocol",
    ),
    "slices with different numbers of images": (
        lambda scanner: scanner.series(
            9,
            SeriesDescription="MOLLI",
            InversionTime=[*MOLLI_MS, 100.0],
            ImagePositionPatient=[(10, 20, 30)] * 8 + [(10 + 0.6 * 8, 20 - 0.8 * 8, 30)],
        ),
        "its slices have 1, 8 images: some are missing, or there twice",
    ),
    "too few images": (
        lambda scanner: scanner.series(3, SeriesDescription="MOLLI", InversionTime=[100.0, 1000.0, 1900.0]),
        "3 images where the fit needs 4 or more",
    ),
    "one readout of a MOLLI": (
        lambda scanner: scanner.series(1, SeriesDescription="T1_MOLLI_pre", **INVERTED, InversionTime=100.0),
        "say that it is a map or a readout of a series, but it has one image of each slice",
    ),
    "a map that states times": (
        lambda scanner: scanner.series(
            1, SeriesDescription="T1 Map", **INVERTED, InversionTime=100.0, ImageType=("DERIVED", "SECONDARY", "OTHER")
        ),
        "say that it is a map or a readout of a series",
    ),
    "perfusion": (
        lambda scanner: scanner.series(
            8, SeriesDescription="Perf rest", SequenceName="*fl2d1", TriggerTime=[120.0 + k for k in range(8)]
        ),
        "its header does not tell what it is. Found: 8 images; names 'Perf rest",
    ),
    "several heartbeats": (
        lambda scanner: scanner.series(40, SequenceName="*fl2d1", TriggerTime=[900.0 * k for k in range(40)]),
        "its header does not tell what it is",
    ),
    "trigger times that repeat": (
        lambda scanner: scanner.series(8, SequenceName="*fl2d1", TriggerTime=[120.0 + k % 4 for k in range(8)]),
        "its header does not tell what it is",
    ),
    "several images in a classic file": (
        lambda scanner: [_edit(path, NumberOfFrames=3) for path in scanner.series(8, **MOLLI)],
        "1_0.dcm holds several images, but says where one lies",
    ),
    "pixels that are not described": (
        lambda scanner: _edit(scanner.series(8, **MOLLI)[3], BitsAllocated=None),
        "1_3.dcm does not say how its pixels are stored",
    ),
    "deflated": (lambda scanner: _deflated(scanner.series(8, **MOLLI)[3]), "1_3.dcm is compressed as Deflated"),
    "axes of no length": (
        lambda scanner: scanner.series(8, **MOLLI, ImageOrientationPatient=(0, 0, 0, 0, 0, 0)),
        "1_0.dcm has axes or pixels of no length",
    ),
    "pixels of no size": (
        lambda scanner: scanner.series(8, **MOLLI, PixelSpacing=(0, 0)),
        "1_0.dcm has axes or pixels of no length",
    ),
    "seconds": (
        lambda scanner: scanner.series(8, SeriesDescription="MOLLI", InversionTime=[ms / 1000 for ms in MOLLI_MS]),
        "look like seconds: give ms",
    ),
}


@pytest.mark.parametrize("fault", FOLDERS)
def test_folders(fault, scanner, tmp_path, import_folder, refused):
    damage, message = FOLDERS[fault]
    damage(scanner)
    refused(import_folder("scans"), message)
    assert not (tmp_path / "scans").exists()


@pytest.mark.parametrize("fault", SERIES)
def test_a_series_with_faults_is_left_out_and_others_are_imported(fault, scanner, tmp_path, import_folder, refused):
    damage, message = SERIES[fault]
    damage(scanner)
    refused(import_folder("alone"), "series 1 (", message.format(folder=scanner.folder))
    assert not (tmp_path / "alone").exists()
    lge = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "InversionTime": 280.0}
    scanner.image("lge", SeriesNumber=2, SeriesDescription="LGE", **lge)
    refused(import_folder("scans"), "not imported: series 1 (", message.format(folder=scanner.folder))
    assert sorted(path.name for path in (tmp_path / "scans").rglob("*")) == [
        "002_LGE.json",
        "002_LGE_0000.nii.gz",
        "lge",
    ]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"7": {"sequence": "molli"}}, "protocol.json.7: there is no such series. There are: series 1 (MOLLI)."),
        ({"1": {"sequence": "moli"}}, "no sequence 'moli' (did you mean 'molli'?)"),
        ({"1": {"readouts": 0}}, "readouts must be 1 or more"),
        ({"1": {"readouts": 50}}, "readouts in -protocol is 50, but each slice has 8 images."),
        ({"1": {"leave_out": "yes"}}, '"yes" is not true or false'),
        ({"1": {"flip_angel_deg": 35}}, "did you mean 'flip_angle_deg'?"),
        ({"1": {"inversion_times_ms": [100, 1000]}}, "2 times in -protocol for 8 images of each slice"),
        ({"1": {"ts_ms": [100] * 8}}, "ts_ms in -protocol are no times of molli. Give inversion_times_ms"),
        ({"1": {"sequence": "lge_gre", "t2_prep_ms": [1]}}, "are no times of lge_gre. Leave them out"),
        ({"1": {"readouts": 5}, "MOL*": {}}, "another entry is of series 1 (MOLLI), too"),
        ({"1": {"leave_out": True}}, "no series is left to import"),
        ([], "is not an object"),
    ],
)
def test_faulty_protocols(said, message, scanner, tmp_path, import_folder, refused):
    scanner.series(8, **MOLLI)
    (tmp_path / "protocol.json").write_text(json.dumps(said))
    refused(import_folder("scans", "-protocol", str(tmp_path / "protocol.json")), message)
    assert not (tmp_path / "scans").exists()


def test_an_image_that_is_missing_is_named(scanner, import_folder, capsys):
    scanner.series(8, **MOLLI)[4].unlink()
    assert main(import_folder("scans")) == 0
    assert "series 1 (MOLLI): image 5 is not there, by the scanner's numbers. Copied whole?" in capsys.readouterr().err


def test_places_for_the_results_that_cannot_be(scanner, tmp_path, import_folder, refused):
    scanner.series(8, **MOLLI)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    refused(import_folder("full"), "is not empty. Choose a new folder")
    refused(import_folder("file"), "is a file. Name a folder")
    refused(import_folder("dicom"), "is a folder that is read from")
    assert main(import_folder("empty")) == 0
    refused(import_folder("empty"), "is not empty")
    assert main(["import", "-i", str(tmp_path / "no"), "-o", str(tmp_path / "scans")]) == 1


def test_without_pydicom_the_extra_is_named(scanner, monkeypatch, import_folder, refused):
    for name in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(import_folder("scans"), "pip install pydicom")


def test_pixels_that_cannot_be_decoded_leave_nothing_behind(scanner, tmp_path, import_folder, refused, monkeypatch):
    scanner.series(8, **MOLLI)
    from nnunet_phys.precomputed_spin.dicom import folder

    def fail(*arguments, **options):
        raise RuntimeError("bad code")

    monkeypatch.setattr(folder, "pixel_array", fail)
    refused(import_folder("scans"), "1_0.dcm cannot be decoded (bad code). Export it again.")
    assert list((tmp_path / "scans").iterdir()) == []


def test_a_series_that_cannot_be_decoded_is_left_out_and_others_are_imported(
    scanner, tmp_path, import_folder, refused, monkeypatch
):
    scanner.series(8, **MOLLI)
    scanner.series(8, **MOLLI, SeriesNumber=2)
    from nnunet_phys.precomputed_spin.dicom import folder

    decode = folder.pixel_array

    def fail(path, **options):
        if path.name == "1_3.dcm":
            raise RuntimeError("bad code")
        return decode(path, **options)

    monkeypatch.setattr(folder, "pixel_array", fail)
    refused(import_folder("scans"), "not imported: series 1 (MOLLI): ", "1_3.dcm cannot be decoded (bad code)")
    assert {path.name[:3] for path in (tmp_path / "scans" / "molli").iterdir()} == {"002"}
    assert [path.name for path in (tmp_path / "scans").iterdir()] == ["molli"]


def test_protocols_of_cases_that_reverse_refuses(scanner, imported, tmp_path, reverse_folder, refused):
    scanner.series(8, **MOLLI)
    scans = imported() / "molli"
    path = scans / "001_MOLLI.json"
    described = json.loads(path.read_text())
    reverse = reverse_folder(scans, tmp_path / "maps", "-protocol", str(scans))
    for protocol, message in (
        ([], "protocol is an empty list"),
        ([{"sequence": "moli"}], "No sequence 'moli'"),
        (None, "null is not a list"),
    ):
        path.write_text(json.dumps({**described, "protocol": protocol}))
        refused(reverse, "001_MOLLI: ", message)
    path.unlink()
    refused(reverse, "001_MOLLI.json is not readable JSON (no such file)")
    assert np.all([image.exists() for image in scans.glob("*.nii.gz")])
