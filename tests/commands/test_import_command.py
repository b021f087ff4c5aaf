"""`nnunet_phys import`: what becomes of the series of each vendor, and that `fit` and `reverse` read it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main

MOLLI_MS = [100.0, 1000.0, 1900.0, 2800.0, 3700.0, 180.0, 1080.0, 1980.0]
MOLLI = {"SeriesDescription": "T1 MOLLI pre", "ScanningSequence": ("GR", "IR"), "SequenceName": "*tfi2d1_84"}
PHILIPS = (0x2001, "Philips Imaging DD 001")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def content(path: Path) -> dict:
    return json.loads(path.read_text())


def values(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


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


def test_maps_and_phase_images_are_references(scanner, imported):
    scanner.series(8, **MOLLI, InversionTime=MOLLI_MS, ImageType=("ORIGINAL", "PRIMARY", "P"))
    untimed = {"EchoTime": None, "ImageType": ["ORIGINAL", "PRIMARY", "P"]}
    scanner.image("t1", SeriesNumber=2, SeriesDescription="MOLLI_T1MAP", ImageComments="MOLLI T1 Map", **untimed)
    for k, comment in enumerate(("Signal(TI)=[___AMap___]-B*exp(-TI/T1star)", "_spread", "_steps")):
        described = {"SeriesDescription": "MOLLI_FITPARAMS", "ImageComments": comment, "InstanceNumber": k}
        scanner.image(f"fit{k}", SeriesNumber=3, **described, **untimed)
    derived = ["DERIVED", "PRIMARY", "T2 MAP", "MOCO", "T2"]
    scanner.image("t2", SeriesNumber=4, ImageType=derived, RescaleSlope=0.1)
    scans = imported()
    assert {name.partition("/")[0] for name in files(scans)} == {"references"}
    images = [name.removeprefix("references/") for name in files(scans) if name.endswith(".nii.gz")]
    assert images[8:] == [
        "002_MOLLI_T1MAP_T1map.nii.gz",
        "003_MOLLI_FITPARAMS_Amap.nii.gz",
        "003_MOLLI_FITPARAMS_map00.nii.gz",
        "003_MOLLI_FITPARAMS_map01.nii.gz",
        "004_T2map.nii.gz",
    ]
    assert all("_phase0" in name for name in images[:8])
    expected = 0.1 * scanner.pixels()
    np.testing.assert_allclose(values(scans / "references" / "004_T2map.nii.gz")[0], expected, rtol=1e-5)


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


@pytest.mark.parametrize("timed", [True, False])
def test_maps_name_the_readouts_that_they_were_computed_from(scanner, imported, timed):
    """Before and after contrast agent in one plane, corrected for motion once more; another plane in between."""
    elsewhere = [10 + 0.6 * 8, 20 - 0.8 * 8, 30]
    untimed = {"EchoTime": None, "ImageType": ["ORIGINAL", "PRIMARY", "P"], "ImageComments": "MOLLI T1 Map"}
    acquired = {1: "1015", 2: "1015", 3: "1016", 4: "1043", 10: "1015", 11: "1016", 12: "1043"}
    times = {number: f"{minutes}07.500" if timed else None for number, minutes in acquired.items()}
    for number, place in ((1, None), (2, None), (3, elsewhere), (4, None)):
        start = times[number] and [f"{acquired[number]}{k:02d}.500" for k in range(8)]
        position = {} if place is None else {"ImagePositionPatient": tuple(place)}
        scanner.series(8, **MOLLI, SeriesNumber=number, InversionTime=MOLLI_MS, AcquisitionTime=start, **position)
    for number, place in ((10, None), (11, elsewhere), (12, None)):
        position = {} if place is None else {"ImagePositionPatient": place}
        scanner.image(f"map{number}", SeriesNumber=number, AcquisitionTime=times[number], **untimed, **position)
    references = imported() / "references"
    readouts = [content(references / f"{number:03d}.json")["readouts"] for number in (10, 11, 12)]
    if timed:
        assert readouts == [["001_T1_MOLLI_pre", "002_T1_MOLLI_pre"], ["003_T1_MOLLI_pre"], ["004_T1_MOLLI_pre"]]
    else:
        assert readouts == [["004_T1_MOLLI_pre"], ["003_T1_MOLLI_pre"], ["004_T1_MOLLI_pre"]]


def test_names_of_patients_stay_in_the_header(scanner, imported, import_folder, tmp_path):
    attributes = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "InversionTime": 280.0}
    for number, description in ((1, "LGE 2018-07-09 sax"), (2, "LGE jane"), (3, "LGE TI300"), (4, "LGE HOSP4711")):
        scanner.image(f"{number}", SeriesNumber=number, SeriesDescription=description, **attributes)
    for number, description in ((5, "LGE 31.12.1950"), (6, "LGE 310150"), (7, "LGE 12-31-50 apex")):
        scanner.image(f"{number}", SeriesNumber=number, SeriesDescription=description, **attributes)
    scans = imported()
    names = files(scans)
    assert [name for name in names if name.endswith("json")] == [
        f"lge/{case}.json"
        for case in ("001_LGE_sax", "002", "003_LGE_TI_300", "004", "005_LGE", "006_LGE", "007_LGE_apex")
    ]
    written = "".join(names) + "".join(path.read_text() for path in scans.rglob("*.json"))
    for image in scans.rglob("*.nii.gz"):
        header = nibabel.load(image).header
        written += f"{header['descrip']}{header['intent_name']}{header['db_name']}{header.extensions}"
    assert not any(secret in written for secret in ("Doe", "Jane", "jane", "4711", "2018"))
    assert main(import_folder("named", "--keep_names", "-case", "study 1")) == 0
    path = tmp_path / "named" / "lge" / "study_1_Doe_Jane_002_LGE_jane.json"
    assert content(path)["patient"] == {"name": "Doe^Jane", "id": "HOSP4711", "study_date": "20180709"}


@pytest.mark.parametrize(
    ("name", "number", "description"),
    [
        ("Ng^A", "99", "LGE NG"),
        ("Müller^H", "7", "LGE Muller"),
        ("Müller^H", "7", "LGE Mueller"),
        ("Sørensen^A", "7", "LGE SOERENSEN"),
        ("Sørensen^A", "7", "LGE Sorensen"),
        ("Wałęsa^L", "7", "LGE Walesa"),
        ("Straße^P", "7", "LGE Strasse"),
        ("OBrien^P", "7", "LGE O'Brien"),
        ("O'Brien^P", "7", "LGE OBrien"),
        ("Иванов^П", "7", "LGE Ivanov"),
        ("Doe^J", "HOSP4711", "LGE HOSP 4711"),
    ],
)
def test_short_names_and_other_spellings_stay_in_the_header(scanner, imported, name, number, description):
    attributes = {"ScanningSequence": ("GR", "IR"), "SequenceVariant": "SP", "InversionTime": 280.0}
    attributes |= {"SpecificCharacterSet": "ISO_IR 192", "PatientName": name, "PatientID": number}
    scanner.image("1", SeriesNumber=1, SeriesDescription=description, **attributes)
    assert [name for name in files(imported()) if name.endswith("json")] == ["lge/001.json"]


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


def test_a_map_that_only_the_series_names(scanner, imported):
    scanner.image("t1", SeriesNumber=2, SeriesDescription="T1_MAP", EchoTime=None)
    for k, comment in enumerate(("MOLLI T1 Map", "_spread")):  # of one series, which comments tell apart
        described = {"SeriesDescription": "T1MAP", "ImageComments": comment, "InstanceNumber": k}
        scanner.image(f"{k}", SeriesNumber=3, EchoTime=None, **described)
    images = [name for name in files(imported()) if name.endswith(".nii.gz")]
    assert images == [f"references/{name}.nii.gz" for name in ("002_T1_MAP_T1map", "003_T1MAP_T1map", "003_T1MAP_map")]


def test_a_map_of_philips_keeps_its_unit(scanner, imported):
    private = {(0x2005, "Philips MR Imaging DD 001", 0x0E): ("FL", 0.004)}
    described = {"SeriesDescription": "T1 map", "EchoTime": None, "Manufacturer": "Philips"}
    scanner.image("t1", scanner.pixels(), private, RescaleSlope=2, RescaleIntercept=1, **described)
    image = values(imported() / "references" / "001_T1_map_T1map.nii.gz")[0]
    np.testing.assert_allclose(image, 2.0 * scanner.pixels() + 1, rtol=1e-5)


def test_maps_of_slices_in_another_order_are_told_by_their_kind(scanner, imported):
    comments = {"T1map": "MOLLI T1 Map", "Amap": "Signal(TI)=[___AMap___]-B*exp(-TI/T1star)"}
    for z, kinds in enumerate((("T1map", "Amap"), ("Amap", "T1map"))):
        for k, kind in enumerate(kinds):
            scanner.image(
                f"{z}{k}",
                scanner.pixels(10 * z + (kind == "Amap")),
                SeriesDescription="MOLLI_MAPS",
                ImageComments=comments[kind],
                InstanceNumber=2 * z + k,
                ImagePositionPatient=[10 + 0.6 * 8 * z, 20 - 0.8 * 8 * z, 30],
                EchoTime=None,
                ImageType=["ORIGINAL", "PRIMARY", "P"],
            )
    references = imported() / "references"
    for kind in comments:
        stored = values(references / f"001_MOLLI_MAPS_{kind}.nii.gz")
        expected = {scanner.pixels(10 * z + (kind == "Amap")).sum() for z in range(2)}
        assert {image.sum() for image in stored} == expected


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


@pytest.mark.skipif("NNUNET_PHYS_DATA" not in os.environ, reason="NNUNET_PHYS_DATA names no folder of real data")
def test_t1_of_a_real_shmolli_is_the_scanners(tmp_path):
    source = str(Path(os.environ["NNUNET_PHYS_DATA"]) / "dicom_shmolli_phantom")
    scans, maps = tmp_path / "scans", tmp_path / "maps"
    assert main(["import", "-i", source, "-o", str(scans)]) == 0
    assert main(["fit", "-sequence", "molli", "-i", str(scans / "molli"), "-o", str(maps)]) == 0
    references = scans / "references"
    assert content(references / "014_ShMOLLI_192i_e11_T1MAP.json")["readouts"] == ["012_ShMOLLI_192i_e11"]
    scanners = values(references / "014_ShMOLLI_192i_e11_T1MAP_T1map.nii.gz")
    explained = values(references / "015_ShMOLLI_192i_e11_FITPARAMS_Rsquaremap.nii.gz") > 0.99 * 4000
    gel = explained & (values(references / "015_ShMOLLI_192i_e11_FITPARAMS_Amap.nii.gz") > 100)
    t1 = values(maps / "012_ShMOLLI_192i_e11_T1map.nii.gz")
    for least, greatest in ((50, 300), (300, 700), (700, 1000), (1000, 2500), (2500, 4000)):
        inside = gel & (scanners > least) & (scanners < greatest)
        assert abs(np.median(t1[inside] / scanners[inside]) - 1) < 0.01, least
