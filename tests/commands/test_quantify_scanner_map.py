"""`nnunet_phys quantify` beside the scanner's own T1 map."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from known_segments import (
    Patient,
    by_segment,
    content,
    quantify,
    table,
    write_map,
    write_study,
)

from nnunet_phys.commands import main
from nnunet_phys.image_files import Geometry, read_image


def test_a_scanner_map_in_seconds_is_left_out(study, tmp_path):
    patient, report = Patient(), tmp_path / "report"
    t1 = patient.t1().astype(np.float32) / 1000
    write_map(study / "references" / "012_MOLLI_T1map.nii.gz", t1, patient.geometry)
    assert main(quantify(study, report)) == 0
    assert {row["method"] for row in table(report)} == {"fit"}
    assert any("its median in the wall is 1.0" in flag and "no T1 in ms" in flag for flag in content(report)["flags"])


def test_a_scanner_map_of_another_format_is_named(study, tmp_path):
    patient, report = Patient(), tmp_path / "report"
    write_map(study / "references" / "012_MOLLI_T1map.mha", patient.t1().astype(np.float32), patient.geometry)
    (study / "references" / "012_MOLLI_T1map.json").write_text("{}")
    assert main(quantify(study, report)) == 0
    assert [flag for flag in content(report)["flags"] if "scanner" in flag] == [
        "the scanner's map 012_MOLLI_T1map.mha is left out: the images end with .nii.gz. Convert it."
    ]


def test_slices_without_a_scanner_map_have_no_rows_of_it(tmp_path):
    patient, report = Patient(slices=3), tmp_path / "report"
    write_study(tmp_path / "pre", patient.readouts(), patient.labels, patient.geometry)
    t1 = patient.t1().astype(np.float32)
    t1[1:] = 0
    write_map(tmp_path / "pre" / "references" / "012_MOLLI_T1map.nii.gz", t1, patient.geometry)
    assert main(quantify(tmp_path / "pre", report)) == 0
    assert {row["slice"] for row in table(report) if row["method"] == "scanner"} == {"0"}
    flags = [flag for flag in content(report)["flags"] if "scanner" in flag]
    assert flags == [f"012_MOLLI, slice {z}: scanner has no T1 of this slice" for z in (1, 2)]


def test_the_scanners_map_is_compared_and_the_page_holds_everything(study, tmp_path):
    patient, report = Patient(), tmp_path / "report"
    reference = (patient.t1() + 30).astype(np.float32)
    write_map(study / "references" / "012_MOLLI_T1map.nii.gz", reference, patient.geometry)
    write_study(study, patient.readouts() * 2, np.zeros_like(patient.labels), patient.geometry, case="<b>013")
    assert main(quantify(study, report)) == 0
    ours, scanner = (by_segment(report, "mean_ms", method) for method in ("fit", "scanner"))
    assert scanner["9"] - ours["9"] == pytest.approx(30, abs=2)
    page = (report / "report.html").read_text()
    assert "Segments against the scanner" in page and "012_MOLLI, slice 0: mid" in page and "T1 per segment" in page
    assert page.index("no myocardium in slice 0 of the mask") < page.index("<img")
    assert page.count("<img") == 4 and 'src="http' not in page and "<b>" not in page
    assert content(report)["flags"][0] == "<b>013: no myocardium in slice 0 of the mask"


@pytest.mark.parametrize("stacked", ["series", "map"])
def test_the_scanners_map_may_be_a_series_of_its_own(tmp_path, stacked):
    """Either of readouts and map may be stored slice by slice, and the other as a stack."""
    patient, report, study = Patient(slices=3), tmp_path / "report", tmp_path / "pre"
    whole = patient.geometry
    normal = np.reshape(whole.direction, (3, 3))[:, 2]
    single = [
        Geometry(
            (*whole.size[:2], 1), (*whole.spacing[:2], 8.0), tuple(whole.origin + 10.0 * z * normal), whole.direction
        )
        for z in range(3)
    ]
    readouts, t1 = patient.readouts(), (patient.t1() + 30).astype(np.float32)
    in_slices = {f"_sl{z:02d}": (slice(z, z + 1), geometry) for z, geometry in enumerate(single)}
    at_once = {"": (slice(None), whole)}
    for part, (which, geometry) in (at_once if stacked == "series" else in_slices).items():
        write_study(study, readouts[:, which], patient.labels[which], geometry, case=f"012_MOLLI{part}")
    cases = sorted(path.name.removesuffix(".nii.gz") for path in (study / "masks").iterdir())
    for part, (which, geometry) in (in_slices if stacked == "series" else at_once).items():
        write_map(study / "references" / f"013_MAP{part}_T1map.nii.gz", t1[which], geometry)
        (study / "references" / f"013_MAP{part}.json").write_text(json.dumps({"readouts": cases, "acquisition": {}}))
    assert main(quantify(study, report)) == 0
    ours, scanner = (by_segment(report, "mean_ms", method) for method in ("fit", "scanner"))
    for number in range(1, 17):
        assert scanner[str(number)] - ours[str(number)] == pytest.approx(30, abs=2), number
    assert not any("scanner" in flag for flag in content(report)["flags"])


def test_scanner_maps_that_do_not_belong_to_the_case_are_left_out(study, tmp_path):
    patient, report, references = Patient(), tmp_path / "report", study / "references"
    t1 = patient.t1().astype(np.float32)
    shifted = Geometry(patient.geometry.size, patient.geometry.spacing, (0.0, 0.0, 0.0), patient.geometry.direction)
    write_map(references / "012_MOLLI_T1map.nii.gz", t1 + 30, patient.geometry)
    write_map(references / "013_T1map.nii.gz", t1 + 60, patient.geometry)  # of no case
    for name, geometry in (("014", patient.geometry), ("015", shifted)):
        write_map(references / f"{name}_T1map.nii.gz", t1 + 90, geometry)
        (references / f"{name}.json").write_text('{"readouts": ["012_MOLLI"]}')
    write_map(references / "016_T1map.nii.gz", t1, patient.geometry)
    (references / "016.json").write_text("{")
    assert main(quantify(study, report)) == 0
    ours, scanner = (by_segment(report, "mean_ms", method) for method in ("fit", "scanner"))
    assert scanner["9"] - ours["9"] == pytest.approx(30, abs=2)
    flags = [flag for flag in content(report)["flags"] if "the scanner's map" in flag]
    assert ["014_T1map.nii.gz is left out where" in flag for flag in flags].count(True) == 1
    assert ["015_T1map.nii.gz lies on another grid" in flag for flag in flags].count(True) == 1
    assert ["016_T1map.nii.gz is left out: " in flag for flag in flags].count(True) == 1
    assert len(flags) == 3


@pytest.mark.skipif("NNUNET_PHYS_DATA" not in os.environ, reason="NNUNET_PHYS_DATA names no folder of real series")
def test_segments_of_real_series_agree_with_the_scanners_map(tmp_path):
    """The ring of the scanner's map, pixel by pixel, in the segments that the contours give (apical slices).

    The files have lost their orientation; both series are shown with the anterior wall upwards.
    """
    data = Path(os.environ["NNUNET_PHYS_DATA"]) / "molli_t1net"
    geometry = Geometry((128, 128, 1), (2.0, 2.0, 8.0), (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    for case in ("pre0", "post0"):
        times = json.loads((data / "reference" / f"{case}.json").read_text())["inversion_times_ms"]
        paths = [data / "images" / f"{case}_ti{i:02d}_0000.nii.gz" for i in range(len(times))]
        labels = read_image(data / "labels" / f"{case}.nii.gz")
        write_study(tmp_path / case, np.stack([read_image(path) for path in paths]), labels, geometry, times, case)
        scanner = read_image(data / "reference" / f"{case}_T1map.nii.gz")
        ring = read_image(data / "reference" / f"{case}_ring.nii.gz")
        write_map(tmp_path / case / "references" / f"{case}_T1map.nii.gz", np.where(ring > 0, scanner, 0), geometry)
        report = tmp_path / f"{case}_report"
        assert main(quantify(tmp_path / case, report, "-levels", "apical")) == 0
        ours, of_ring = (by_segment(report, "mean_ms", method) for method in ("fit", "scanner"))
        for segment in ("13", "14", "15", "16", "global"):
            assert ours[segment] == pytest.approx(of_ring[segment], rel=0.07), (case, segment)
