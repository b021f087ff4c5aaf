"""The benchmark of missing channels: its scores, its simple methods, its tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from missing_channels import image_networks, report, run
from missing_channels.__main__ import main
from missing_channels.image_networks import ImageTraining, train_image_network
from missing_channels.image_scores import Regions, flicker, heart_box, mean_scores, slice_scores
from missing_channels.protocol import FOLDERS, FOLDS, TASKS, Part, read_cases, split, structure_labels
from missing_channels.simple_methods import Copy, Lookup
from nnunet_phys.completion.channel_files import ChannelCase
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import Geometry, write_volume
from nnunet_phys.sequences import BSSFP

BENCHMARK = Path(image_networks.__file__).parent
REGIONS = Regions((2,), (4,))
PIXEL_MM = (2.0, 2.0)


def _slice() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.zeros((60, 70), int)
    labels[20:30, 30:45] = 2
    labels[24:26, 33:38] = 4
    return rng.uniform(0, 1, labels.shape).astype(np.float32), labels


def test_errors_count_where_they_lie():
    real, labels = _slice()
    made = real.copy()
    made[labels == 4] += 0.25
    scores = slice_scores(made, real, labels, REGIONS, PIXEL_MM)
    assert scores["lesions_rmse"] == pytest.approx(0.25)
    assert scores["myocardium_rmse"] == 0
    assert scores["psnr"] == pytest.approx(-10 * np.log10(0.25**2 * 10 / real.size), abs=1e-3)
    assert scores["box_psnr"] < scores["psnr"] and scores["box_ssim"] < scores["ssim"] < 1


def test_scores_of_a_copy_and_of_a_box_without_room_are_finite():
    real, labels = _slice()
    assert slice_scores(real, real, labels, REGIONS, PIXEL_MM)["box_psnr"] == 100
    corner = np.zeros_like(labels)
    corner[0, 0] = 2
    scores = slice_scores(real, real, corner, REGIONS, (9.0, 9.0))
    assert np.isfinite(list(scores.values())).all() and "box_ssim" not in scores


def test_a_blurred_image_is_less_sharp():
    real, labels = _slice()
    blurred = uniform_filter(real, 3)
    assert slice_scores(blurred, real, labels, REGIONS, PIXEL_MM)["sharpness"] < 0.8
    assert slice_scores(real + 0.1, real, labels, REGIONS, PIXEL_MM)["sharpness"] == pytest.approx(1)


def test_brightness_that_nobody_can_foretell_is_fitted():
    real, labels = _slice()
    noisy = real + np.random.default_rng(1).normal(0, 0.05, real.shape)
    scores, darker = (slice_scores(image, real, labels, REGIONS, PIXEL_MM) for image in (noisy, 0.2 + 0.5 * noisy))
    assert darker["box_psnr"] < scores["box_psnr"] - 5
    assert darker["box_psnr_fitted"] == pytest.approx(scores["box_psnr_fitted"], abs=1e-6)
    assert scores["box_psnr_fitted"] == pytest.approx(26, abs=0.5)


def test_the_box_has_its_margin_and_ends_at_the_image():
    _, labels = _slice()
    assert heart_box(labels, PIXEL_MM) == (slice(15, 35), slice(25, 50))
    assert heart_box(labels, (2.0, 0.25)) == (slice(15, 35), slice(0, 70))


def test_a_slice_without_labels_has_no_box():
    real, labels = _slice()
    scores = slice_scores(real * 0.9, real, labels * 0, REGIONS, PIXEL_MM)
    assert set(scores) == {"psnr", "ssim"}
    assert mean_scores([scores, {"psnr": 10.0, "box_psnr": 5.0}])["box_psnr"] == 5.0


def test_a_volume_that_does_not_change_does_not_flicker():
    real = np.random.default_rng(0).uniform(0, 1, (3, 8, 8))
    assert flicker(real, real) == 1
    assert flicker(np.repeat(real[:1], 3, 0), real) == 0


def test_a_look_up_learns_a_function_of_two_images():
    images = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images[:, 1] = (images[:, 0] - images[:, 2]) / 2
    made = Lookup(ChannelSlices(images.half(), torch.zeros(2, 0, 256, 256))).complete(images, (0, 2), 1)
    copied = Copy().complete(images, (0, 2), 1)
    errors = [float((image - images[:, 1]).abs().mean()) for image in (made, copied)]
    assert errors[0] < 0.05 < errors[1]


def test_every_patient_is_tested_once():
    cases = [ChannelCase(str(number), {}) for number in range(12)]
    tested = [case.name for fold in range(FOLDS) for case in split(cases, fold)[1]]
    assert sorted(tested) == sorted(case.name for case in cases)
    assert [part.name for part in (Part(2, [], []), Part(FOLDS, [], []))] == ["fold2", "test"]
    for fold in range(FOLDS):
        trained, left_out = split(cases, fold)
        assert not {case.name for case in trained} & {case.name for case in left_out}


def test_the_tables_hold_what_was_scored(tmp_path, capsys):
    entry = {"task": TASKS[1].name, "case": "a", "slice": 0, "psnr": 20.0, "ssim": 0.5}
    volume = {"task": TASKS[1].name, "case": "a", "seconds": 3.0, "flicker": 0.8}
    (tmp_path / "scores").mkdir()
    record = {"method": "lookup", "part": "fold0", "slices": [entry, entry | {"psnr": 22.0}], "volumes": [volume]}
    (tmp_path / "scores" / "lookup_fold0.json").write_text(json.dumps(record))
    (tmp_path / "segmentations").mkdir()
    (tmp_path / "scores" / "lookup_fold1.json").write_text(
        json.dumps(record | {"part": "fold1", "slices": [entry | {"psnr": 24.0}], "volumes": []})
    )
    for method, part, dice in (("acquired", "fold0", 0.9), ("lookup", "fold0", 0.6), ("lookup", "fold1", 0.8)):
        masks = {
            "method": method,
            "part": part,
            "dice": {t.name: dict.fromkeys(("RV", "MYO", "LV"), dice) for t in TASKS},
        }
        (tmp_path / "segmentations" / f"{method}_{part}.json").write_text(json.dumps(masks))
    assert main(["report", "-work", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    acquired = next(line for line in table.splitlines() if line.startswith("| acquired image |"))
    assert "| 1.00 | 70.0 / 70.0 / 70.0 |" in table and acquired.endswith("| 90.0 / 90.0 / 90.0 |")
    assert "| joint-histogram look-up | 0, 1 | 22.0 | 0.50 |" in table and "| 0.80 | 1.00 |" in table
    (tmp_path / "scores" / "lookup_fold1.json").unlink()
    assert main(["report", "-work", str(tmp_path)]) == 1
    assert "lookup: scores of fold0, but masks of fold0, fold1" in capsys.readouterr().err
    assert set(report.COLUMNS) >= {"psnr", "box_ssim", "sharpness"}


@pytest.mark.slow
def test_made_images_are_segmented_beside_the_acquired_ones(tmp_path):
    """`run`, `segment` and `report` on digital patients of three channels; a second `segment` does nothing."""
    for number in range(6):
        heart = digital_heart(number, 2, (64, 64), 3.0)
        geometry = Geometry((64, 64, 2), (3.0, 3.0, 10.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1), 1)
        images = {"C0": BSSFP()(heart.maps), "LGE": heart.maps.pd, "T2": heart.maps.t2}
        codes = np.array((0, 600, 200, 500))[heart.labels]
        files = {f"{name}/{number}_0000": image for name, image in images.items()}
        files |= {f"pathology/{number}": torch.from_numpy(codes), f"labels/{number}": torch.from_numpy(heart.labels)}
        for name, values in files.items():
            path = tmp_path / "data" / "myops2020" / "train" / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_volume(path, values, geometry, kind=np.float32 if "_0000" in name else np.int16)
    environment = {**os.environ, "NNUNET_PHYS_DATA": str(tmp_path / "data")}  # nnU-Net's folders: one set per process

    def benchmark(command: str, *more: str) -> subprocess.CompletedProcess:
        options = [command, "-work", str(tmp_path / "work"), "-folds", "1", *more]
        return subprocess.run(
            [sys.executable, str(BENCHMARK), *options], env=environment, capture_output=True, text=True, check=False
        )

    assert "has no images of fold1. First run" in benchmark("segment").stderr
    assert benchmark("run", "-methods", "copy").returncode == 0
    for trained in (True, False):
        done = benchmark("segment", "-trainer", "nnUNetTrainerQuick")
        assert done.returncode == 0, done.stderr
        assert ("Epoch 0" in done.stdout) == trained
    redone = tmp_path / "work" / "segmentations" / "copy_fold1.json"
    before = redone.read_text()
    redone.write_text(before.replace(json.loads(before)["images"], "of other images"))
    assert benchmark("segment", "-trainer", "nnUNetTrainerQuick").returncode == 0
    assert redone.read_text() == before
    assert "is of -trainer nnUNetTrainerQuick" in benchmark("segment").stderr
    assert set(json.loads(before)["dice"]) == {task.name for task in TASKS}


def test_a_case_without_labels_of_its_structures_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a: .*labels/a.nii.gz is missing. Add labels of RV"):
        structure_labels(ChannelCase("a", {}, tmp_path / "pathology" / "a.nii.gz"))


def test_a_patient_without_pathology_is_named(tmp_path):
    for name in (*FOLDERS, "pathology"):
        (tmp_path / name).mkdir()
    for name in FOLDERS:
        (tmp_path / name / "Case1_0000.nii.gz").touch()
    (tmp_path / "pathology" / "Case10.nii.gz").touch()
    with pytest.raises(InputError, match=r"pathology/Case1.nii.gz is missing"):
        read_cases(tmp_path)


def test_a_folder_without_patients_is_refused(tmp_path):
    for name in (*FOLDERS, "pathology"):
        (tmp_path / name).mkdir()
    (tmp_path / "C0" / "Case1.nii.gz").touch()
    with pytest.raises(InputError, match=r"C0 holds no CASE_0000.nii.gz"):
        read_cases(tmp_path)


def test_folds_and_other_patients_make_no_common_table(tmp_path, capsys):
    (tmp_path / "scores").mkdir()
    for part in ("fold0", "test"):
        record = {"method": "copy", "part": part, "slices": [], "volumes": []}
        (tmp_path / "scores" / f"copy_{part}.json").write_text(json.dumps(record))
    assert main(["report", "-work", str(tmp_path)]) == 1
    assert "holds folds and other test patients" in capsys.readouterr().err


def test_one_folder_holds_trainings_of_one_length(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "parts", lambda *_: [])
    arguments = ["run", "-work", str(tmp_path), "-methods", "copy"]
    assert main([*arguments, "-steps", "7"]) == 0
    assert main([*arguments, "-steps", "7", "-maps", str(tmp_path / "maps")]) == 0
    assert main([*arguments, "-steps", "7"]) == 0
    assert main(arguments) == 1
    assert main([*arguments, "-steps", "7", "-maps", str(tmp_path / "others")]) == 1
    assert main([*arguments, "-steps", "7", "-test", str(tmp_path / "others")]) == 1
    assert capsys.readouterr().err.count("was begun with") == 3


def test_without_data_it_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("NNUNET_PHYS_DATA", raising=False)
    assert main(["run", "-work", str(tmp_path), "-methods", "copy"]) == 1
    assert "NNUNET_PHYS_DATA is not set" in capsys.readouterr().err


def test_a_method_that_needs_maps_is_refused_without_them(tmp_path, capsys):
    assert main(["run", "-work", str(tmp_path), "-methods", "copy", "ours"]) == 1
    assert "ours: pretrained on maps. Give -maps" in capsys.readouterr().err


@pytest.mark.parametrize("adversarial", [False, True])
def test_an_image_network_is_trained_once(tmp_path, monkeypatch, adversarial):
    """The second call reads its weights, and makes the same image; a channel that is not given is not seen."""
    images = torch.rand(2, 3, 40, 36, generator=torch.Generator().manual_seed(0)) * 2 - 1
    slices = ChannelSlices(images.half(), torch.zeros(2, 0, 40, 36))
    monkeypatch.setattr(image_networks, "BATCH", 2)
    monkeypatch.setattr(image_networks, "VIEW", 32)
    how = ImageTraining(steps=2, batch_factor=1, pixel_mm=1.0, adversarial=adversarial, seed=0)
    first, second = (train_image_network(slices, how, tmp_path / "network.pt", torch.device("cpu")) for _ in range(2))
    made = first.complete(images, (0, 2), 1)
    assert made.shape == (2, 40, 36) and float(made.abs().max()) <= 1
    other = images.clone()
    other[:, 1] = 0.3
    assert torch.equal(second.complete(other, (0, 2), 1), made)
