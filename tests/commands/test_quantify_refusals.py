"""`nnunet_phys quantify`: how it refuses what cannot be measured, and keeps files that it did not write."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from known_segments import APEX, Patient, content, quantify, write_study

from nnunet_phys.commands import main
from nnunet_phys.digital_heart import LABELS
from nnunet_phys.image_files import Geometry
from nnunet_phys.pictures import MADE_BY


def break_masks(study):
    shutil.rmtree(study / "masks")


def break_mask(study):
    (study / "masks" / "012_MOLLI.nii.gz").unlink()


def break_labels(study):
    (study / "dataset.json").write_text('{"labels": {"background": 0, "RV": 1, "LV": 3}}')


def break_names(study):
    (study / "dataset.json").write_text('{"labels": {"background": 0, "a": 1}}')


def double_names(study):
    names = '{"labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3, "left ventricle": 4}}'
    (study / "dataset.json").write_text(names)


def several_frames(study):
    path = str(study / "masks" / "012_MOLLI.nii.gz")
    sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(path)] * 2), path)


def lose_cavities(study):
    path = str(study / "masks" / "012_MOLLI.nii.gz")
    image = sitk.ReadImage(path)
    sitk.WriteImage(sitk.Mask(image, image == LABELS["LV"], 0, 1), path)


def break_grid(study):
    path = str(study / "masks" / "012_MOLLI.nii.gz")
    sitk.WriteImage(sitk.ReadImage(path)[:, 1:], path)


def break_times(study):
    (study / "images" / "012_MOLLI.json").write_text('{"ts_ms": [1]}')


def empty_mask(study):
    path = str(study / "masks" / "012_MOLLI.nii.gz")
    sitk.WriteImage(sitk.ReadImage(path) * 0, path)


def remove_description(study):
    (study / "dataset.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        (break_masks, ["masks: there are no masks. Segment the series first"]),
        (break_mask, ["012_MOLLI: ", "masks/012_MOLLI.nii.gz: there is no mask"]),
        (break_grid, ["012_MOLLI: ", "012_MOLLI_ti00_0000.nii.gz in size. Segment these images"]),
        (break_labels, ["dataset.json names no MYO"]),
        (break_names, ["dataset.json: none of background, a in dataset.json is known as RV, MYO or LV"]),
        (break_times, ["012_MOLLI: ", "'inversion_times_ms' is missing"]),
        (empty_mask, ["masks: no mask shows myocardium"]),
        (double_names, ["dataset.json: labels 3 and 4 (left ventricle) in dataset.json both mean LV. Rename one"]),
        (several_frames, ["012_MOLLI: ", "012_MOLLI.nii.gz holds 2 frames. Give one mask for the series"]),
        (lose_cavities, ["012_MOLLI, slice 0: no mask shows a cavity of the left ventricle inside the myocardium"]),
        (remove_description, ["dataset.json is not readable JSON (no such file). Write"]),
        (shutil.rmtree, ["pre: no such folder"]),
    ],
)
def test_studies_that_cannot_be_measured_are_refused(study, tmp_path, refused, spoil, messages):
    spoil(study)
    refused(quantify(study, tmp_path / "report"), *messages)
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-post", "POST"), "needs -haematocrit, the share of cells in blood, such as 0.42"),
        (("-post", "POST", "-haematocrit", 42), "-haematocrit 42 looks like percent. Give a fraction: 0.42."),
        (("-post", "POST", "-haematocrit", -0.4), "must lie between 0 and 1"),
        (("-erode", 1), "-erode 1 is less than a pixel, as 012_MOLLI has pixels of 2.5 mm. Give at least that, or 0."),
        (("-haematocrit", 0.4), "-haematocrit 0.4 is for extracellular volume. Add -post"),
        (
            ("-levels", "basal", "mid"),
            "-levels basal mid: the masks show 1 position with a cavity. Give one level for each",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(study, post, tmp_path, refused, options, message):
    refused(
        quantify(study, tmp_path / "report", *(post if option == "POST" else option for option in options)), message
    )
    assert not (tmp_path / "report").exists()


def test_levels_from_apex_to_base_are_refused(tmp_path, refused):
    patient = Patient(slices=3)
    write_study(tmp_path / "pre", patient.readouts(), patient.labels, patient.geometry)
    message = "-levels apical mid basal: give them from base to apex, as in basal mid apical."
    refused(quantify(tmp_path / "pre", tmp_path / "report", "-levels", "apical", "mid", "basal"), message)


def test_an_erosion_by_less_than_a_pixel_after_contrast_agent_is_refused(study, tmp_path, refused):
    patient = Patient()
    geometry = Geometry(patient.geometry.size, (2.5, 3.0, 10.0), patient.geometry.origin, patient.geometry.direction)
    write_study(tmp_path / "post", patient.readouts(post=True), patient.labels, geometry, case="post")
    options = ("-post", tmp_path / "post", "-haematocrit", 0.42, "-erode", 2.7)
    refused(
        quantify(study, tmp_path / "report", *options), "-erode 2.7 is less than a pixel, as post has pixels of 3 mm"
    )


def test_contrast_agent_in_other_slices_is_refused(study, tmp_path, refused):
    patient, report = Patient(), tmp_path / "report"
    away = tuple(np.array(patient.geometry.origin) + 100 * APEX)
    geometry = Geometry(patient.geometry.size, patient.geometry.spacing, away, patient.geometry.direction)
    write_study(tmp_path / "post", patient.readouts(post=True), patient.labels, geometry)
    options = ("-post", tmp_path / "post", "-haematocrit", "0.42")
    refused(
        quantify(study, report, *options), "-post: 012_MOLLI, slice 0: no slice after contrast agent lies here, the "
    )
    write_study(tmp_path / "post", patient.readouts(post=True), patient.labels, patient.geometry)
    write_study(tmp_path / "post", patient.readouts(post=True), patient.labels, patient.geometry, case="again")
    refused(quantify(study, report, *options), "show the same position. Leave one of them in the folder")
    assert not report.exists()


def test_a_report_replaces_its_own_files_and_no_others(study, tmp_path, refused, monkeypatch):
    report = tmp_path / "report"
    report.mkdir()
    (report / "notes.txt").write_text("mine")
    refused(quantify(study, report), "is not empty, and nnunet_phys quantify did not fill it")
    (report / "notes.txt").unlink()
    assert main(quantify(study, report)) == 0 and content(report)["generator"] == MADE_BY
    refused(quantify(study, report), "holds a report. Add --overwrite to replace it")
    (report / ".DS_Store").touch()  # of a file manager
    assert main(quantify(study, report, "--overwrite", "-erode", "0")) == 0
    (report / ".DS_Store").unlink()
    assert content(report)["settings"]["erosion"] == "0 mm"
    assert sorted(path.name for path in report.iterdir()) == ["fit", "report.html", "segments.csv", "study.json"]
    replace, moved = os.replace, []

    def die_at_the_second(source, target):
        if Path(target).is_relative_to(report) and Path(target).name != "study.json":
            moved.append(target)
            if len(moved) == 2:
                raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", die_at_the_second)
        assert main(quantify(study, report, "--overwrite")) == 130
    assert main(quantify(study, report, "--overwrite")) == 0
    assert sorted(path.name for path in report.iterdir()) == ["fit", "report.html", "segments.csv", "study.json"]
    (report / "segments.csv").write_text("mine")
    refused(quantify(study, report, "--overwrite"), "segments.csv is not of the report there, or was changed since")
    refused(quantify(study, study), "is a folder that is read from")
    assert (report / "segments.csv").read_text() == "mine"
