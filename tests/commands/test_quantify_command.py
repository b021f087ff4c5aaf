"""`nnunet_phys quantify`: segments whose T1 and extracellular volume are known, and the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from known_segments import (
    APEX,
    BLOOD,
    BLOOD_POST,
    HAEMATOCRIT,
    TIMES,
    Patient,
    by_segment,
    content,
    quantify,
    table,
    write_map,
    write_study,
)

from nnunet_phys.commands import main
from nnunet_phys.digital_heart import LABELS
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.pictures import MADE_BY
from nnunet_phys.sequences import MOLLI
from nnunet_phys.spin import SpinMaps


def test_times_may_stand_in_the_names_alone(tmp_path):
    patient = Patient()
    write_study(tmp_path / "pre", patient.readouts(), patient.labels, patient.geometry)
    images = tmp_path / "pre" / "images"
    (images / "012_MOLLI.json").unlink()
    for i, time in enumerate(TIMES):
        (images / f"012_MOLLI_ti{i:02d}_0000.nii.gz").rename(images / f"012_MOLLI_ti{time:g}_0000.nii.gz")
    assert main(quantify(tmp_path / "pre", tmp_path / "report")) == 0
    assert "description" not in content(tmp_path / "report")["inputs"]["012_MOLLI"]


def test_a_slice_that_lost_its_cavity_is_no_apex(tmp_path):
    patient, report = Patient(slices=3), tmp_path / "report"
    labels = patient.labels.copy()
    labels[0][labels[0] == LABELS["LV"]] = 0
    write_study(tmp_path / "pre", patient.readouts(), labels, patient.geometry)
    assert main(quantify(tmp_path / "pre", report)) == 0
    assert "17" not in by_segment(report, "median_ms") and {row["slice"] for row in table(report)} == {"1", "2"}
    assert any("slice 0: no cavity in the mask, and it is not the apex" in flag for flag in content(report)["flags"])


@pytest.mark.parametrize("mirrored", [False, True])
def test_t1_of_each_segment_is_that_which_was_set(tmp_path, mirrored):
    patient, report = Patient(mirrored, 3), tmp_path / "report"
    write_study(tmp_path / "pre", patient.readouts(), patient.labels, patient.geometry)
    assert main(quantify(tmp_path / "pre", report)) == 0
    median = by_segment(report, "median_ms")
    assert {row["slice"] + row["level"] for row in table(report)} == {"0basal", "1mid", "2apical"}
    for number in range(1, 17):
        assert median[str(number)] == pytest.approx(900 + 15 * number, abs=2), number
    assert median["blood"] == pytest.approx(BLOOD, rel=0.005)
    counted = [int(row["pixels"]) for row in table(report) if row["slice"] == "1" and row["segment"].isdigit()]
    whole = next(int(row["pixels"]) for row in table(report) if row["slice"] == "1" and row["segment"] == "global")
    assert sum(counted) == whole and len(counted) == 6
    t1 = read_image(report / "fit" / "012_MOLLI_T1map.nii.gz")
    np.testing.assert_allclose(t1[patient.segment > 0], patient.t1()[patient.segment > 0], rtol=0.01)


def test_ecv_of_each_segment_is_that_which_was_set(tmp_path):
    patient, report = Patient(slices=3), tmp_path / "report"
    write_study(tmp_path / "pre", patient.readouts(), patient.labels, patient.geometry)
    write_study(tmp_path / "post", patient.readouts(post=True), patient.labels, patient.geometry, case="031_MOLLI_post")
    for study, case, post in (("pre", "012_MOLLI", False), ("post", "031_MOLLI_post", True)):
        t1 = patient.t1(post).astype(np.float32)
        write_map(tmp_path / study / "references" / f"{case}_T1map.nii.gz", t1, patient.geometry)
    assert main(quantify(tmp_path / "pre", report, "-post", tmp_path / "post", "-haematocrit", HAEMATOCRIT)) == 0
    for method in ("fit", "scanner"):
        ecv = by_segment(report, "ecv_percent", method)
        for number in range(1, 17):  # means, which pixels of a neighbour enter
            assert ecv[str(number)] == pytest.approx(20 + number, abs=0.5), (method, number)
    values = read_image(report / "fit" / "012_MOLLI_ECVmap.nii.gz")
    np.testing.assert_allclose(values[patient.segment > 0], 20 + patient.segment[patient.segment > 0], atol=0.3)
    assert content(report)["pairs"]["012_MOLLI, slice 1"] == "031_MOLLI_post, slice 1"
    assert content(report)["settings"]["haematocrit"] == HAEMATOCRIT


def test_ecv_of_another_grid_has_no_map(study, tmp_path):
    patient, report = Patient(), tmp_path / "report"
    size = (*patient.geometry.size[:1], patient.geometry.size[1] - 4, 1)
    cut = Geometry(size, patient.geometry.spacing, patient.geometry.origin, patient.geometry.direction)
    write_study(tmp_path / "post", patient.readouts(post=True)[:, :, :-4], patient.labels[:, :-4], cut)
    assert main(quantify(study, report, "-post", tmp_path / "post", "-haematocrit", HAEMATOCRIT)) == 0
    assert by_segment(report, "ecv_percent")["8"] == pytest.approx(28, abs=0.5)
    assert not (report / "fit" / "012_MOLLI_ECVmap.nii.gz").exists()


def test_slices_of_one_position_are_not_mixed_in_a_bulls_eye(study, tmp_path):
    patient, report = Patient(), tmp_path / "report"
    write_study(study, patient.readouts(post=True), patient.labels, patient.geometry, case="031_MOLLI_post")
    assert main(quantify(study, report)) == 0
    (flag,) = [flag for flag in content(report)["flags"] if "show the same position" in flag]
    assert "012_MOLLI, slice 0 and 031_MOLLI_post, slice 0" in flag
    once = tmp_path / "once"
    (study / "masks" / "031_MOLLI_post.nii.gz").rename(tmp_path / "mask.nii.gz")
    for path in (study / "images").glob("031*"):
        path.unlink()
    assert main(quantify(study, once)) == 0
    pages = [(folder / "report.html").read_text().count("<img") for folder in (report, once)]
    assert pages == [3, 3]  # two slices and no bull's eye; one slice and a bull's eye; histograms


def test_a_heart_that_moved_has_no_map_of_extracellular_volume(study, tmp_path):
    """The series after contrast agent is another breath-hold: its mask fits it, but pixels do not correspond."""
    patient, report = Patient(), tmp_path / "report"
    moved = [np.roll(values, 4, -1) for values in (patient.readouts(post=True), patient.labels)]
    write_study(tmp_path / "post", *moved, patient.geometry, case="031_MOLLI_post")
    assert main(quantify(study, report, "-post", tmp_path / "post", "-haematocrit", HAEMATOCRIT)) == 0
    assert by_segment(report, "ecv_percent")["8"] == pytest.approx(28, abs=0.5)
    assert not (report / "fit" / "012_MOLLI_ECVmap.nii.gz").exists()
    (flag,) = [flag for flag in content(report)["flags"] if "elsewhere" in flag]
    assert flag.startswith("012_MOLLI, slice 0: the heart lies 10.0 mm elsewhere in 031_MOLLI_post, slice 0")
    assert "after contrast agent: 031_MOLLI_post, slice 0: mid" in (report / "report.html").read_text()


def test_a_patient_who_was_positioned_anew_is_flagged(study, post, tmp_path):
    for folder, case, frame in ((study, "012_MOLLI", "a"), (post, "031_MOLLI_post", "b")):
        path = folder / "images" / f"{case}.json"
        source = {"series_sha256": "", "images_sha256": [], "frame_sha256": frame}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"source": source}))
    assert main(quantify(study, tmp_path / "report", "-post", post, "-haematocrit", HAEMATOCRIT)) == 0
    (flag,) = [flag for flag in content(tmp_path / "report")["flags"] if "frames of reference" in flag]
    assert flag.startswith("012_MOLLI and 031_MOLLI_post have different frames of reference")


def test_cases_of_two_patients_in_one_folder_are_flagged(study, tmp_path):
    patient = Patient()
    away = Geometry(
        patient.geometry.size,
        patient.geometry.spacing,
        tuple(np.array(patient.geometry.origin) + 10 * APEX),
        patient.geometry.direction,
    )
    write_study(study, patient.readouts(), patient.labels, away, case="other")
    for case, frame in (("012_MOLLI", "a"), ("other", "b")):
        path = study / "images" / f"{case}.json"
        source = {"series_sha256": "", "images_sha256": [], "frame_sha256": frame}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"source": source}))
    assert main(quantify(study, tmp_path / "report")) == 0
    (flag,) = [flag for flag in content(tmp_path / "report")["flags"] if "frames of reference" in flag]
    assert flag.startswith("012_MOLLI and other have different") and "of two patients" in flag


def test_an_extracellular_volume_that_cannot_be_is_flagged(tmp_path):
    """T1 of blood has fallen, that of the wall has risen."""
    patient, report = Patient(), tmp_path / "report"
    write_study(tmp_path / "pre", patient.readouts(post=True), patient.labels, patient.geometry)
    times = np.array(TIMES)[:, None, None, None]
    t1 = np.where(patient.segment > 0, patient.t1(post=True) + 60, BLOOD_POST - 40)
    readouts = np.random.default_rng(0).uniform(450, 550, t1.shape) * np.abs(1 - 2 * np.exp(-times / t1))
    write_study(tmp_path / "post", readouts, patient.labels, patient.geometry, case="post")
    assert main(quantify(tmp_path / "pre", report, "-post", tmp_path / "post", "-haematocrit", HAEMATOCRIT)) == 0
    (flag,) = [flag for flag in content(report)["flags"] if "extracellular volume of" in flag]
    assert flag.startswith("012_MOLLI, slice 0: fit: extracellular volume of -") and "mid anterior" in flag
    assert by_segment(report, "ecv_percent")["7"] < 0


def test_pieces_apart_from_the_ventricle_do_not_count(study, edit_image, tmp_path):
    def with_pieces(mask):
        mask[0, :8, :8], mask[0, :4, -4:] = LABELS["MYO"], LABELS["LV"]
        return mask

    assert main(quantify(study, tmp_path / "before")) == 0
    edit_image(study / "masks" / "012_MOLLI.nii.gz", with_pieces)
    assert main(quantify(study, tmp_path / "after")) == 0
    before, after = (by_segment(tmp_path / name, "mean_ms") for name in ("before", "after"))
    assert before == after
    (flag,) = [flag for flag in content(tmp_path / "after")["flags"] if "apart" in flag]
    assert flag == "012_MOLLI: slice 0: 80 pixels of the left ventricle lie apart from the others, and are left out"


def test_an_erosion_of_a_pixel_as_files_round_it(tmp_path):
    patient = Patient()
    geometry = Geometry(patient.geometry.size, (1.6, 1.6, 10.0), patient.geometry.origin, patient.geometry.direction)
    write_study(tmp_path / "pre", patient.readouts(), patient.labels, geometry)
    pixels = {}
    for name, options in (("default", ()), ("stated", ("-erode", 1.6))):
        assert main(quantify(tmp_path / "pre", tmp_path / name, *options)) == 0
        pixels[name] = by_segment(tmp_path / name, "pixels")
    assert pixels["default"] == pixels["stated"]


def test_times_in_another_order_than_the_images_are_flagged(study, tmp_path):
    path = study / "images" / "012_MOLLI.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({"inversion_times_ms": said["inversion_times_ms"][::-1]}))
    assert main(quantify(study, tmp_path / "report")) == 0
    assert any(
        "012_MOLLI, slice 0: the fit misses the images by 7 %" in f for f in content(tmp_path / "report")["flags"]
    )


def test_a_scar_that_is_no_myocardium_is_flagged(study, edit_image, tmp_path):
    scar = Patient().segment == 9
    edit_image(study / "masks" / "012_MOLLI.nii.gz", lambda mask: np.where(scar, 4, mask))
    assert main(quantify(study, tmp_path / "report")) == 0
    (flag,) = [flag for flag in content(tmp_path / "report")["flags"] if "labels beside" in flag]
    assert flag.endswith(f"which count as outside of the heart: 4 ({scar.sum()} pixels)")


def test_flags_of_segment_stand_on_the_page_until_the_mask_is_corrected(study, edit_image, tmp_path):
    mask = study / "masks" / "012_MOLLI.nii.gz"
    files = [{"file": "masks/012_MOLLI.nii.gz", "sha256": file_sha256(mask)}]
    case = {"images": [], "files": files, "flags": ["012_MOLLI: images disagree"]}
    record = {"generator": MADE_BY, "settings": {}, "cases": {"012_MOLLI": case}}
    (study / "segment.json").write_text(json.dumps(record))
    for name in ("first", "second"):
        assert main(quantify(study, tmp_path / name)) == 0
        edit_image(mask, lambda values: np.where(Patient().segment == 9, 0, values))
    flags = [content(tmp_path / name)["flags"] for name in ("first", "second")]
    assert ["012_MOLLI: images disagree" in of_report for of_report in flags] == [True, False]


def test_doubtful_blood_is_flagged(tmp_path):
    patient, report = Patient(), tmp_path / "report"
    labels = patient.labels.copy()
    cavity = np.argwhere(labels[0] == LABELS["LV"])
    small = np.abs(cavity - cavity.mean(0)).max(1) < 1
    labels[0][tuple(cavity[~small].T)] = LABELS["MYO"]
    for name, post in (("pre", False), ("post", True)):
        write_study(tmp_path / name, patient.readouts(post), labels, patient.geometry)
    assert main(quantify(tmp_path / "pre", report, "-post", tmp_path / "post", "-haematocrit", "0.042")) == 0
    flags = content(report)["flags"]
    assert flags[0].startswith("-haematocrit 0.042 is unusual")
    assert sum("the cavity is too small to be eroded" in flag for flag in flags) == 2


def test_slices_of_several_series_make_one_heart(tmp_path):
    patient, report = Patient(slices=3), tmp_path / "report"
    for z in (2, 0, 1):
        direction = np.reshape(patient.geometry.direction, (3, 3))
        origin = tuple(patient.geometry.origin + 10.0 * z * direction[:, 2])
        geometry = Geometry(
            (*patient.geometry.size[:2], 1), patient.geometry.spacing, origin, patient.geometry.direction
        )
        one = slice(z, z + 1)
        write_study(tmp_path / "pre", patient.readouts()[:, one], patient.labels[one], geometry, case=f"{9 - z}_MOLLI")
    assert main(quantify(tmp_path / "pre", report)) == 0
    assert [row["level"] for row in table(report) if row["segment"] == "global"] == ["basal", "mid", "apical"]
    assert by_segment(report, "median_ms")["14"] == pytest.approx(1110, abs=2)
    again = tmp_path / "again"
    assert main(quantify(tmp_path / "pre", again, "-levels", "basal", "basal", "mid")) == 0
    assert [row["level"] for row in table(again) if row["segment"] == "global"] == ["basal", "basal", "mid"]


def test_the_joint_estimate_models_the_readout(prior, tmp_path):
    """MOLLI reads T1 too low by a tenth; the joint estimate does not."""
    patient, report, sequence = Patient(), tmp_path / "report", MOLLI(rr_ms=900.0)
    maps = patient.heart.maps.map(lambda values: values[:1])
    t1 = torch.from_numpy(np.where(patient.segment > 0, 1100.0, maps.t1.numpy())).float()
    readouts = 500 * sequence(SpinMaps(maps.pd, t1, maps.t2)).abs().numpy()
    times = sequence.inversion_times_ms
    write_study(tmp_path / "pre", readouts, patient.labels, patient.geometry, times)
    assert main(quantify(tmp_path / "pre", report, "-method", "both", "-prior", prior, "-device", "cpu")) == 0
    fit, joint = (by_segment(report, "median_ms", method)["global"] for method in ("fit", "joint"))
    assert 0.85 < fit / 1100 < 0.97 and joint == pytest.approx(1100, rel=0.025)
    assert {path.parent.name for path in report.glob("*/*_T1map.nii.gz")} == {"fit", "joint"}


def test_a_slice_without_a_right_ventricle_keeps_its_global_value(study, edit_image, tmp_path, capsys):
    def without(mask):
        mask[mask == LABELS["RV"]] = 0
        return mask

    edit_image(study / "masks" / "012_MOLLI.nii.gz", without)
    report = tmp_path / "report"
    assert main(quantify(study, report)) == 0
    assert {row["segment"] for row in table(report)} == {"global", "blood"}
    (flag,) = [flag for flag in content(report)["flags"] if "insertion points" in flag]
    assert (
        flag.startswith("012_MOLLI, slice 0: no right ventricle is in the mask") and "flag" in capsys.readouterr().err
    )


def test_flags_of_the_series_after_contrast_agent_say_so(study, post, edit_image, tmp_path):
    edit_image(post / "masks" / "031_MOLLI_post.nii.gz", lambda mask: np.where(mask == LABELS["RV"], 0, mask))
    report = tmp_path / "report"
    assert main(quantify(study, report, "-post", post, "-haematocrit", "0.4")) == 0
    flags = [flag for flag in content(report)["flags"] if "insertion points" in flag]
    assert len(flags) == 1 and flags[0].startswith("after contrast agent: 031_MOLLI_post, slice 0: no right ventricle")
    assert set(by_segment(report, "ecv_percent")) == {"global"}


def test_contrast_agent_that_lengthens_t1_is_flagged(study, post, tmp_path):
    report = tmp_path / "report"
    assert main(quantify(post, report, "-post", study, "-haematocrit", "0.4")) == 0
    assert any("T1 of blood is 400 ms before and 1600 ms after" in flag for flag in content(report)["flags"])
    assert not by_segment(report, "ecv_percent")
