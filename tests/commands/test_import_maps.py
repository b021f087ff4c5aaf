"""`nnunet_phys import`: maps that the scanner computed, and the readouts that they belong to."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from import_results import MOLLI, MOLLI_MS, content, files, values

from nnunet_phys.commands import main


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


def test_a_map_that_has_lost_its_date(scanner, imported):
    scanner.series(8, **MOLLI, InversionTime=MOLLI_MS, AcquisitionDate="20180709")
    untimed = {"EchoTime": None, "ImageType": ["ORIGINAL", "PRIMARY", "P"], "ImageComments": "MOLLI T1 Map"}
    scanner.image("map", SeriesNumber=2, AcquisitionTime="101530", **untimed)
    assert content(imported() / "references" / "002.json")["readouts"] == ["001_T1_MOLLI_pre"]


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
