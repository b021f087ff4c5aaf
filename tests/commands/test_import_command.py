"""`nnunet_phys import`: what becomes of the series of each vendor, and that `fit` and `reverse` read it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
from import_results import MOLLI, MOLLI_MS, content, files, values

from nnunet_phys.commands import main

PHILIPS = (0x2001, "Philips Imaging DD 001")


@pytest.fixture
def molli(scanner):
    """A MOLLI series of two slices, whose pixels recover with T1 1,000 and 1,500 ms; returns T1 by rows."""
    t1 = np.where(np.arange(scanner.shape[0]) < 20, 1000.0, 1500.0)[:, None] * np.ones(scanner.shape)
    star = t1 / 1.2  # T1 = T1* (B/A - 1) with B = 2.2 A
    density = np.random.default_rng(0).uniform(14_000, 16_000, scanner.shape)
    for k, time in enumerate(MOLLI_MS):
        recovered = np.abs(density * (1 - 2.2 * np.exp(-time / star))).round()
        for z, height in enumerate((38.0, 30.0)):
            scanner.image(
                f"{9 - k}/{z}.dcm",  # in no order of names
                recovered,
                InstanceNumber=2 * k + z,
                AcquisitionTime=f"1015{k:02d}.{z}",
                InversionTime=time,
                ImagePositionPatient=[10 + 0.6 * (height - 30), 20 - 0.8 * (height - 30), 30],
                NominalInterval=900,
                **MOLLI,
            )
    return t1


def test_a_molli_is_read_by_fit_and_reverse(molli, imported, tmp_path, reverse_folder):
    folder = imported() / "molli"
    names = [f"001_T1_MOLLI_pre_ti{k:02d}_0000.nii.gz" for k in range(8)]
    assert files(folder) == ["001_T1_MOLLI_pre.json", *names]
    said = content(folder / "001_T1_MOLLI_pre.json")
    assert said["inversion_times_ms"] == MOLLI_MS
    assert said["acquisition"]["scheme"] == "5(3)3" and said["acquisition"]["rr_interval_ms"] == 900
    assert said["acquisition"]["field_strength_t"] == 1.5 and said["acquisition"]["vendor"] == "SIEMENS"

    assert main(["fit", "-sequence", "molli", "-i", str(folder), "-o", str(tmp_path / "fit")]) == 0
    t1 = values(tmp_path / "fit" / "001_T1_MOLLI_pre_T1map.nii.gz")
    np.testing.assert_allclose(t1, np.stack([molli, molli]), rtol=0.01)
    assert main(reverse_folder(folder, tmp_path / "maps", "-protocol", str(folder))) == 0
    (sequence,) = content(tmp_path / "maps" / "001_T1_MOLLI_pre.json")["sequences"]
    assert (sequence["scheme"], sequence["flip_angle_deg"], sequence["tr_ms"]) == ("5(3)3", 35, 2.6)


def test_voxels_lie_where_the_header_says(molli, imported):
    image = sitk.ReadImage(str(imported() / "molli" / "001_T1_MOLLI_pre_ti00_0000.nii.gz"))
    columns, rows = np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0])
    first = np.array([10, 20, 30.0]) if np.cross(columns, rows) @ [0.6, -0.8, 0] > 0 else np.array([14.8, 13.6, 30])
    step = 8 * np.cross(columns, rows)
    for index in ((0, 0, 0), (7, 0, 0), (0, 9, 0), (3, 2, 1)):
        expected = first + 5 * index[0] * columns + 4 * index[1] * rows + index[2] * step
        np.testing.assert_allclose(image.TransformIndexToPhysicalPoint(index), expected, atol=1e-3)


KINDS = {
    "ShMOLLI": (
        {"SeriesDescription": "ShMOLLI", "InversionTime": [100, 1100, 2100, 3100, 4100, 180, 260]},
        "molli",
        ("inversion_times_ms", [100, 1100, 2100, 3100, 4100, 180, 260]),
    ),
    "MOLLI by its attributes": (
        {"ScanningSequence": ("GR", "IR"), "ImageComments": [f"TIeff {time:g} ms" for time in MOLLI_MS]},
        "molli",
        ("inversion_times_ms", MOLLI_MS),
    ),
    "MOLLI sorted by time, without times of acquisition": (
        {**MOLLI, "AcquisitionTime": None, "InversionTime": sorted(MOLLI_MS)},
        "molli",
        ("inversion_times_ms", MOLLI_MS),
    ),
    "SASHA": (
        {"SeriesDescription": "SASHA", "InversionTime": [None, 150.0, 300.0, 450.0, 600.0]},
        "sasha",
        ("ts_ms", [None, 150, 300, 450, 600]),
    ),
    "T2 map of Siemens": (
        {"ImageComments": [f"T2 prep. duration = {time} ms" for time in (0, 25, 40, 55)]},
        "t2prep",
        ("t2_prep_ms", [0, 25, 40, 55]),
    ),
    "T2 map of GE": (
        {"Manufacturer": "GE", "SeriesDescription": "T2 Map FIESTA", "EchoTime": [9, 25, 50], "InversionTime": 0},
        "t2prep",
        ("t2_prep_ms", [9, 25, 50]),
    ),
    "T2 map by spoiled GRE": (
        {"SeriesDescription": "T2prep flash", "ImageComments": ["T2prep 0 ms", "T2prep 30 ms", "T2prep 60 ms"]},
        "t2prep",
        ("t2_prep_ms", [0, 30, 60]),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_series_with_times(kind, scanner, imported):
    attributes, folder, (name, times) = KINDS[kind]
    scanner.series(len(times), **attributes)
    scans = imported()
    (case,) = (scans / folder).glob("*.json")
    said = content(case)
    assert said[name] == times
    images = sorted((scans / folder).glob("*.nii.gz"))
    assert len(images) == len(times) and all(image.name.startswith(case.stem) for image in images)


SINGLE = {
    "LGE": ({"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "InversionTime": 280.0}, "lge", "lge_gre"),
    "STIR": (
        {"ScanningSequence": ("SE", "IR"), "InversionTime": 170.0, "EchoTime": 60, "RepetitionTime": 1800},
        "black_blood",
        "black_blood",
    ),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_sequences_of_one_image(kind, scanner, imported):
    attributes, folder, sequence = SINGLE[kind]
    scanner.image("a", **attributes)
    scans = imported()
    assert files(scans) == [f"{folder}/001.json", f"{folder}/001_0000.nii.gz"]
    (described,) = content(scans / folder / "001.json")["protocol"]
    assert described["sequence"] == sequence and described["inversion_time_ms"] == attributes["InversionTime"]


def test_a_cine_is_a_4d_file_that_reverse_splits(scanner, imported, tmp_path, reverse_folder):
    scanner.series(5, SequenceName="*tfi2d1_15", TriggerTime=[80.0, 0.0, 40.0, 120.0, 160.0], RepetitionTime=39.0)
    folder = imported() / "cine"
    assert files(folder) == ["001.json", "001_0000.nii.gz"]
    read = values(folder / "001_0000.nii.gz")
    np.testing.assert_array_equal(read[:, 0], [scanner.pixels(k) for k in (1, 2, 0, 3, 4)])
    assert main(reverse_folder(folder, tmp_path / "maps", "-protocol", str(folder))) == 0
    (sequence,) = content(tmp_path / "maps" / "001_t03.json")["sequences"]
    assert (sequence["sequence"], sequence["tr_ms"]) == ("bssfp", 2.2)  # twice TE: 39 ms is that of a phase


def test_places_that_differ_by_rounding_are_one(scanner, imported):
    times, places = [0.0, 40.0, 80.0, 120.0], [[0.0499, 20, 30], [0.0501, 20, 30]] * 2
    scanner.series(4, SequenceName="*tfi2d1_15", TriggerTime=times, ImagePositionPatient=places)
    assert values(imported() / "cine" / "001_0000.nii.gz").shape[:2] == (4, 1)


def test_reverse_reads_a_saturation_series(scanner, imported, tmp_path, reverse_folder):
    scanner.series(4, SeriesDescription="SASHA", InversionTime=[20000.0, 200.0, 400.0, 600.0])
    folder = imported() / "sasha"
    assert main(reverse_folder(folder, tmp_path / "maps", "-protocol", str(folder), "-fa", "70")) == 0
    sequences = content(tmp_path / "maps" / "001_SASHA.json")["sequences"]
    assert [sequence["ts_ms"] for sequence in sequences] == [None, 132.4, 332.4, 532.4]  # less 26 TR of 2.6 ms
    assert [sequence["flip_angle_deg"] for sequence in sequences] == [70, 35, 35, 35]


def test_philips_states_the_prepulse_in_private_attributes(scanner, imported):
    for k, time in enumerate((0.0, 150.0, 300.0, 450.0)):
        private = {(*PHILIPS, 0x1B): ("FL", time), (*PHILIPS, 0x1C): ("CS", "SAT" if time else "NO")}
        private[0x2005, "Philips MR Imaging DD 001", 0x0E] = ("FL", 0.5 * (k + 1))
        scanner.image(
            f"{k}",
            scanner.pixels(k),
            private,
            InstanceNumber=k,
            Manufacturer="Philips",
            RescaleSlope=3,
            RescaleIntercept=6,
        )
    folder = imported() / "sasha"
    assert content(folder / "001.json")["ts_ms"] == [None, 150, 300, 450]
    assert content(folder / "001.json")["times_from"] == "Philips Prepulse Delay (2001,101B)"
    for k in range(4):
        expected = (3.0 * scanner.pixels(k) + 6) / (3 * 0.5 * (k + 1))
        np.testing.assert_allclose(values(folder / f"001_{k:04d}.nii.gz")[0], expected, rtol=1e-5)


def test_an_enhanced_file(scanner, imported):
    groups = [
        {
            "FrameContentSequence": {"FrameAcquisitionDateTime": f"201807091015{20 - k:02d}.5"},
            "MRModifierSequence": {"InversionTimes": [time, 1.7976931348623157e308], "InversionRecovery": "YES"},
            "MREchoSequence": {"EffectiveEchoTime": 1.3},
            "MRTimingAndRelatedParametersSequence": {"FlipAngle": 20.0, "RepetitionTime": 2.9},
        }
        for k, time in enumerate(reversed(MOLLI_MS))
    ]
    scanner.enhanced("all.dcm", groups, FlipAngle=None, InversionTime=None, Manufacturer="Philips", EchoTime=None)
    folder = imported() / "molli"
    said = content(folder / "001.json")
    assert said["inversion_times_ms"] == MOLLI_MS  # acquired last to first in the file
    assert said["protocol"] == [{"sequence": "molli", "scheme": "5(3)3", "flip_angle_deg": 20.0, "tr_ms": 2.9}]
    np.testing.assert_array_equal(values(folder / "001_ti00_0000.nii.gz")[0], scanner.pixels(7))


def test_slices_with_times_of_their_own_are_cases(scanner, imported):
    for z in range(2):
        times = [time + 20 * z for time in MOLLI_MS]
        position = [10 + 0.6 * 8 * z, 20 - 0.8 * 8 * z, 30]
        for k, time in enumerate(times):
            scanner.image(f"{z}_{k}", InversionTime=time, InstanceNumber=k, ImagePositionPatient=position, **MOLLI)
    folder = imported() / "molli"
    first = {
        name: content(folder / f"001_T1_MOLLI_pre_{name}.json")["inversion_times_ms"][0] for name in ("sl00", "sl01")
    }
    assert sorted(first.values()) == [100, 120] and len(files(folder)) == 18


def test_lge_of_slices_with_inversion_times_of_their_own(scanner, imported):
    places = [(10 + 4.8 * z, 20 - 6.4 * z, 30) for z in range(3)]
    described = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "ImagePositionPatient": places}
    scanner.series(3, SeriesDescription="LGE", InversionTime=[280.0, 290.0, 300.0], **described)
    scanner.series(3, SeriesDescription="PSIR", SeriesNumber=2, InversionTime=280.0, **described)
    folder = imported() / "lge"
    cases = {path.stem: content(path)["protocol"][0]["inversion_time_ms"] for path in folder.glob("*.json")}
    assert sorted(cases) == ["001_LGE_sl00", "001_LGE_sl01", "001_LGE_sl02", "002_PSIR"]
    assert sorted(cases.values()) == [280, 280, 290, 300]


def test_enhanced_files_of_one_series_follow_each_other(scanner, imported):
    """Without times of acquisition, the number of a file and that of the frame in it tell the order."""
    for number, times in ((1, MOLLI_MS[:4]), (2, MOLLI_MS[4:])):
        groups = [
            {"MRModifierSequence": {"InversionTimes": [time], "InversionRecovery": "YES"}, "MREchoSequence": {}}
            for time in times
        ]
        scanner.enhanced(f"{number}.dcm", groups, InstanceNumber=number, InversionTime=None, AcquisitionTime=None)
    assert content(imported() / "molli" / "001.json")["inversion_times_ms"] == MOLLI_MS


def test_an_attribute_that_cannot_be_read_counts_as_missing(scanner, imported):
    broken = {(0x2005, "Philips MR Imaging DD 001", 0x0E): ("UN", b"\1\2")}
    scanner.image("a", None, broken, ScanningSequence=("GR", "IR"), SequenceVariant="SP", InversionTime=280.0)
    assert len(files(imported() / "lge")) == 2


def test_stated_times_of_t2_preparation_with_those_of_the_header_as_echo_times(scanner, imported, tmp_path):
    scanner.series(3, SeriesDescription="T2prep flash", EchoTime=[10.0, 30.0, 60.0])
    (tmp_path / "protocol.json").write_text(json.dumps({"1": {"t2_prep_ms": [0, 25, 50]}}))
    said = content(imported("-protocol", str(tmp_path / "protocol.json")) / "t2prep" / "001_T2prep_flash.json")
    assert said["t2_prep_ms"] == [0, 25, 50] and "te_ms" not in said["protocol"][0]


def test_a_patient_is_one_however_the_name_is_delimited(scanner, imported):
    described = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "InversionTime": 280.0}
    for number, name in ((1, "Doe^Jane"), (2, "DOE^Jane^^")):
        scanner.image(f"{number}", SeriesNumber=number, PatientName=name, **described)
    assert len(files(imported() / "lge")) == 4


def test_stated_times_meet_the_images_that_the_header_ranks_alike(scanner, imported, tmp_path):
    scanner.series(8, **{**MOLLI, "AcquisitionTime": None, "InversionTime": sorted(MOLLI_MS)})
    stated = [time + 3 for time in MOLLI_MS]
    (tmp_path / "protocol.json").write_text(json.dumps({"1": {"inversion_times_ms": stated}}))
    folder = imported("-protocol", str(tmp_path / "protocol.json")) / "molli"
    assert content(folder / "001_T1_MOLLI_pre.json")["inversion_times_ms"] == stated
    for k, time in enumerate(MOLLI_MS):
        image = values(folder / f"001_T1_MOLLI_pre_ti{k:02d}_0000.nii.gz")[0]
        np.testing.assert_array_equal(image, scanner.pixels(sorted(MOLLI_MS).index(time)))


def test_stated_times_of_the_first_readouts_meet_these(scanner, imported, import_folder, tmp_path, refused):
    """Images stand in the order of their times; those acquired first are kept, and meet the stated times."""
    scanner.series(8, **{**MOLLI, "AcquisitionTime": None, "InversionTime": sorted(MOLLI_MS)})
    stated = [time + 3 for time in MOLLI_MS[:5]]
    (tmp_path / "protocol.json").write_text(json.dumps({"1": {"readouts": 5, "inversion_times_ms": stated}}))
    folder = imported("-protocol", str(tmp_path / "protocol.json")) / "molli"
    for k, time in enumerate(MOLLI_MS[:5]):
        image = values(folder / f"001_T1_MOLLI_pre_ti{k:02d}_0000.nii.gz")[0]
        np.testing.assert_array_equal(image, scanner.pixels(sorted(MOLLI_MS).index(time)))
    swapped = {"readouts": 5, "inversion_times_ms": stated[::-1]}
    (tmp_path / "protocol.json").write_text(json.dumps({"1": swapped}))
    refused(
        import_folder("other", "-protocol", str(tmp_path / "protocol.json")), "Their order of acquisition is unknown"
    )


def test_the_user_says_what_a_series_is(scanner, imported, tmp_path):
    scanner.series(5, SeriesDescription="research 7")
    scanner.series(8, SeriesDescription="T1 MOLLI", SeriesNumber=2, InversionTime=MOLLI_MS)
    scanner.image("flow", SeriesDescription="flow 1", SeriesNumber=3)
    scanner.image("plan", SeriesDescription="localizer", SeriesNumber=4)
    described = {
        "research*": {"sequence": "sasha", "ts_ms": [None, 200, 400, 600, 800], "flip_angle_deg": 50},
        "2": {"readouts": 5},
        "3": {"leave_out": True},
    }
    (tmp_path / "protocol.json").write_text(json.dumps(described))
    scans = imported("-protocol", str(tmp_path / "protocol.json"))
    said = content(scans / "sasha" / "001_research_7.json")
    assert said["ts_ms"] == described["research*"]["ts_ms"] and said["protocol"][0]["flip_angle_deg"] == 50
    assert said["times_from"] == "-protocol"
    assert content(scans / "molli" / "002_T1_MOLLI.json")["inversion_times_ms"] == MOLLI_MS[:5]
    assert {name.partition("/")[0] for name in files(scans)} == {"molli", "sasha"}
