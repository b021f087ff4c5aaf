"""`run`: what is done is skipped, what was stopped goes on, what does not fit is refused."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from generalization import model, run, training_data, translation
from generalization.__main__ import main
from generalization.bed import Bed, trained_method, unsuitable
from generalization.methods import METHODS
from generalization.plans import REDUCED_PLANS
from generalization.processes import TQDM_STEP, run_logged
from generalization.records import read_record
from generalization.test_sets import STRUCTURES, TestFolder, TestSet, write_test_set
from generalization.training import SCHEDULE_VARIABLE, Schedule, schedule_in_force
from generalization.training_sets import TRAINING_SETS, write_training_set
from generalization.translation import gather_series, images_to_segment
from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.image_files import Geometry, read_image, write_volume
from nnunet_phys.precomputed_spin.scan_protocol import CaseProtocols

GRID = Geometry((20, 20, 2), (1.5, 1.5, 8.0), (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
LABELS = np.zeros((2, 20, 20), np.float32)
LABELS[:, 2:18, 2:18], LABELS[:, 6:14, 6:14], LABELS[:, :2] = 2, 3, 1


def volume(path: Path, values: np.ndarray = LABELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(path, values, GRID)
    return path


class Perfect:
    """A predictor that copies a fixed segmentation."""

    def predict_from_files(self, sources, targets, **kwargs):
        for _, target in zip(sources, targets, strict=True):
            volume(Path(f"{target}.nii.gz"))


@pytest.fixture
def bed(tmp_path, monkeypatch) -> Bed:
    """A work folder with one training set and two test sets, on which trainings write a mark and predictions are
    perfect."""
    image = volume(tmp_path / "image.nii.gz")
    files = {"one": image, "two": image}
    tested = dict.fromkeys(files, volume(tmp_path / "tested.nii.gz", LABELS + 1))
    bed = Bed(tmp_path / "work")
    write_training_set(bed.raw, TRAINING_SETS["digital"], files, files)
    for name in ("first", "second"):
        write_test_set(bed.tests / name, TestSet(name, "cine"), tested, files)
    write_test_set(bed.tests / "other", TestSet("of another training", "cine", trainings=("acdc",)), tested, files)
    bed.log("x").parent.mkdir()

    def train(self):
        self.require_same_settings()
        if not self.checkpoint.is_file():
            self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
            self.checkpoint.write_text(run.name_of(self))
        trained.append(run.name_of(self))

    def hashes(self):
        return {"training_set": self.training.sha256(self.bed.raw), "checkpoint": file_sha256(self.checkpoint)}

    trained: list[str] = []
    monkeypatch.setattr(model.Run, "train", train)
    monkeypatch.setattr(model.Run, "predictor", lambda self: contextlib.nullcontext(Perfect()))
    monkeypatch.setattr(model.Run, "training_seconds", lambda self: 1.5)
    monkeypatch.setattr(model.Run, "hashes", hashes)
    monkeypatch.setattr(run, "_trained", trained, raising=False)
    return bed


def arguments(bed: Bed, **changes) -> Namespace:
    given = {
        "work": bed.work,
        "methods": ["plain"],
        "trainings": None,
        "seeds": [0],
        "tests": None,
        "iterations": 100,
        "plan": "small",
        "device": "cpu",
        "np": 1,
    }
    return Namespace(**{**given, **changes})


def test_a_run_leaves_one_record(bed, capsys):
    run.run(arguments(bed, seeds=[0, 1]))
    assert run._trained == ["digital__plain__seed0", "digital__plain__seed1"]
    record = read_record(bed.runs / "digital__plain__seed1.json")
    assert record.seed == 1 and record.settings.iterations == 100 and record.seconds == {"training": 1.5}
    assert record.versions["torch"] == torch.__version__.partition("+")[0] or record.versions["torch"]
    assert record.hardware["format"] and record.hashes["checkpoint"]
    assert record.tests.keys() == {"first", "second"}  # not the one of another training set
    assert all(s.dice == 1 and s.hd95_mm == 0 for s in record.tests["first"].cases["two"].values())
    assert "min left" in capsys.readouterr().out


def test_a_test_of_another_training_is_run_where_it_is_named(bed):
    run.run(arguments(bed, tests=["other"]))
    assert read_record(bed.runs / "digital__plain__seed0.json").tests.keys() == {"other"}


def test_images_that_are_trained_on_are_not_tested_on(bed):
    volume(bed.tests / "second" / "imagesTs" / "two_0000.nii.gz")
    with pytest.raises(InputError, match=r"second shares 1 image, such as two, with the training set digital"):
        run.run(arguments(bed))


@pytest.mark.parametrize("change", ["images", "recipe"])
def test_a_record_of_other_images_or_another_recipe_does_not_count(bed, monkeypatch, change):
    method = "phys" if change == "recipe" else "plain"
    run.run(arguments(bed, methods=[method]))
    if change == "images":
        volume(bed.raw / TRAINING_SETS["digital"].dataset / "imagesTr" / "one_0000.nii.gz", LABELS + 2)
    else:
        monkeypatch.setattr(model.Run, "_recipe_sha256", lambda self: "another")
    fault = "is of other images than digital holds now" if change == "images" else "was begun with recipe_sha256"
    with pytest.raises(InputError, match=fault):
        run.run(arguments(bed, methods=[method]))


def test_what_is_done_is_skipped_and_what_is_missing_is_added(bed):
    run.run(arguments(bed, tests=["first"]))
    assert read_record(bed.runs / "digital__plain__seed0.json").tests.keys() == {"first"}
    run.run(arguments(bed))
    record = read_record(bed.runs / "digital__plain__seed0.json")
    assert record.tests.keys() == {"first", "second"}
    run._trained.clear()
    run.run(arguments(bed))
    assert run._trained == []


def test_a_test_set_that_has_changed_is_scored_again(bed):
    run.run(arguments(bed))
    before = read_record(bed.runs / "digital__plain__seed0.json")
    volume(bed.tests / "second" / "labelsTs" / "two.nii.gz", np.roll(LABELS, 3, axis=1))
    run.run(arguments(bed))
    after = read_record(bed.runs / "digital__plain__seed0.json")
    assert after.tests["first"] == before.tests["first"]
    assert after.tests["second"].cases["two"]["LV"].dice < 1 == after.tests["second"].cases["one"]["LV"].dice


def test_scores_of_two_models_are_not_mixed(bed, capsys):
    """A record that was copied from elsewhere, or whose model is gone, takes no scores of another training."""
    run.run(arguments(bed))
    volume(bed.tests / "second" / "labelsTs" / "one.nii.gz", np.roll(LABELS, 3, 2))
    checkpoint = run.Run(bed, TRAINING_SETS["digital"], METHODS["plain"], Schedule(100, 0)).checkpoint
    for change in (lambda: checkpoint.write_text("of another training"), checkpoint.unlink):
        change()
        with pytest.raises(InputError, match=r"lacks second, and .*checkpoint_final.pth is not the model"):
            run.run(arguments(bed))
    assert len(run._trained) == 1


def test_preprocessed_data_of_other_images_are_refused(bed, monkeypatch):
    training, folder = TRAINING_SETS["digital"], bed.preprocessed(None) / "Dataset704_BenchDigital"
    commands = []
    monkeypatch.setattr(training_data, "run_logged", lambda command, *more: commands.append(command[0]))
    monkeypatch.setattr(training_data, "REDUCED_PLANS", {})
    for _ in range(2):
        training_data.preprocess_images(bed, training)
    assert len(commands) == 3 and folder.is_dir()
    volume(bed.raw / training.dataset / "imagesTr" / "one_0000.nii.gz", np.roll(LABELS, 3, 2))
    with pytest.raises(InputError, match="was made of other images than digital holds now"):
        training_data.preprocess_images(bed, training)


def test_the_commits_of_a_training_are_those_that_it_ran_with(bed, monkeypatch):
    planned = run.Run(bed, TRAINING_SETS["digital"], METHODS["plain"], Schedule(100, 0))
    planned.fold.mkdir(parents=True)
    for commit in ("a", "a", "b"):
        monkeypatch.setattr(model, "software_versions", lambda commit=commit: {"commit": commit})
        planned._note_commit()
    assert planned.commits() == {"commit": "a, b"}


def test_an_interrupted_test_is_not_in_the_record(bed, monkeypatch):
    def interrupted(self, sources, targets, **kwargs):
        if "second" in targets[0]:
            raise KeyboardInterrupt
        Perfect.predict_from_files(self, sources, targets)

    interrupting = type("Interrupting", (), {"predict_from_files": interrupted})
    monkeypatch.setattr(model.Run, "predictor", lambda self: contextlib.nullcontext(interrupting()))
    with pytest.raises(KeyboardInterrupt):
        run.run(arguments(bed))
    assert read_record(bed.runs / "digital__plain__seed0.json").tests.keys() == {"first"}
    assert not bed.predictions("digital__plain__seed0", "second").exists()


def test_other_settings_are_refused(bed):
    run.run(arguments(bed))
    with pytest.raises(InputError, match="is of other settings"):
        run.run(arguments(bed, iterations=200))
    (bed.runs / "digital__plain__seed0.json").unlink()
    with pytest.raises(InputError, match=r"was begun with iterations 100. Repeat these"):
        run.run(arguments(bed, iterations=200))


def test_unknown_names_are_refused(bed, tmp_path, capsys):
    for option, name in (("methods", "phyz"), ("trainings", "acdc"), ("tests", "frist")):
        with pytest.raises(InputError, match=rf"-{option}: there is no '{name}'.*Choose of"):
            run.run(arguments(bed, **{option: [name]}))
    assert main(["run", "-work", str(tmp_path / "nowhere")]) == 1
    message = capsys.readouterr().err
    assert message.startswith("generalization: ") and "holds no test sets. Run `python" in message


def test_methods_that_do_not_suit_a_training_set_are_left_out(bed, capsys):
    assert unsuitable(METHODS["phys_true"], TRAINING_SETS["acdc"]) == "its true maps are not known"
    assert unsuitable(METHODS["phys_true"], TRAINING_SETS["digital"]) is None
    assert unsuitable(METHODS["ri_t2s"], TRAINING_SETS["myops_lge"]) is not None
    assert trained_method(METHODS["ri_t2s"]) == METHODS["plain"]
    lge = TRAINING_SETS["myops_lge"]
    write_training_set(
        bed.raw, lge, dict.fromkeys("ab", volume(bed.work / "a.nii.gz")), dict.fromkeys("ab", bed.work / "a.nii.gz")
    )
    run.run(arguments(bed, methods=["ri_t2s"]))
    assert "left out: ri_t2s on myops_lge" in capsys.readouterr().out


def test_cases_of_different_protocols_are_translated_by_their_own(bed, monkeypatch):
    protocols = {case: {"sequence": "t2prep", "t2_prep_ms": [time]} for case, time in (("one", 70), ("two", 85))}
    files = dict.fromkeys(protocols, volume(bed.work / "image.nii.gz"))
    write_test_set(
        bed.tests / "t2",
        TestSet("T2", "T2", protocols=protocols),
        files,
        files,
    )
    commands = []
    monkeypatch.setattr(translation, "run_logged", lambda command, *more, **options: commands.append(command))
    assert set(images_to_segment(bed, TestFolder.read(bed.tests / "t2"))) == {"one", "two"}
    described = Path(commands[0][commands[0].index("-protocol") + 1])
    assert json.loads((described / "two.json").read_text()) == {"protocol": [protocols["two"]]}
    assert CaseProtocols(described).of("one").sequences[0].t2_prep_ms == (70.0,)


def test_a_series_is_translated_as_one(bed, monkeypatch):
    image = volume(bed.work / "image.nii.gz")
    cases = {f"s_ti{k:02d}": image for k in range(3)}
    times = {"s_ti00": 120.0, "s_ti01": 1100.0, "s_ti02": 200.0}
    described = TestSet("MOLLI", "MOLLI", {"s": tuple(cases)}, (), times, {"sequence": "molli"})
    write_test_set(bed.tests / "molli", described, cases, cases)
    gather_series(TestFolder.read(bed.tests / "molli"), bed.work / "series")
    assert sorted(p.name for p in (bed.work / "series").iterdir()) == ["s.json", *(f"{c}_0000.nii.gz" for c in cases)]
    assert json.loads((bed.work / "series" / "s.json").read_text()) == {"inversion_times_ms": [120, 1100, 200]}

    commands = []
    monkeypatch.setattr(translation, "run_logged", lambda command, *more, **options: commands.append(command))
    images_to_segment(bed, TestFolder.read(bed.tests / "molli"))
    made = bed.work / "translated" / "molli" / "bssfp" / "s_0000.nii.gz"
    volume(made)
    images_to_segment(bed, TestFolder.read(bed.tests / "molli"))
    assert made.is_file() and len(commands) == 2
    volume(bed.tests / "molli" / "imagesTs" / "s_ti00_0000.nii.gz", np.roll(LABELS, 3, 2))
    images_to_segment(bed, TestFolder.read(bed.tests / "molli"))
    assert not made.is_file()  # it was of other images
    assert read_image(made.parent.parent / "series" / "s_ti00_0000.nii.gz")[0, 0, 0] == np.roll(LABELS, 3, 2)[0, 0, 0]

    corrected = replace(described, inversion_times_ms=times | {"s_ti01": 1000.0})
    images_to_segment(bed, replace(TestFolder.read(bed.tests / "molli"), test_set=corrected))
    noted = json.loads((made.parent.parent / "series" / "s.json").read_text())
    assert noted == {"inversion_times_ms": [120, 1000, 200]}

    single = replace(TestFolder.read(bed.tests / "molli"), test_set=replace(described, groups={}))
    assert images_to_segment(bed, single) is None
    cine = TestFolder.read(bed.tests / "first")
    assert images_to_segment(bed, cine) == {case: (case, path) for case, path in cine.images.items()}


def test_commands_report_progress_and_failure(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("generalization.processes._LOOK_EVERY_S", 0.3)
    log = tmp_path / "logs" / "log.txt"
    code = "import time; print('Epoch 3', flush=True); time.sleep(1.5); print('Epoch 4'); time.sleep(1.1)"
    run_logged(["python", "-u", "-c", code], os.environ, log, "title", 8, r"Epoch (?P<done>\d+)\s")
    assert "4/8" in (shown := capsys.readouterr().err) and "8/8" in shown
    with pytest.raises(
        InputError, match=r"title: python failed \(status 3\): one . two. All of its output is in .*log"
    ):
        run_logged(["python", "-c", "print('one\\ntwo'); raise SystemExit(3)"], os.environ, log, "title")
    assert log.read_text().startswith("Epoch 3")


@pytest.mark.parametrize(
    "bar", ["maps:  12%|#2   | 4/32 [00:05<00:35]\r", "\r31/32 [01:00<00:02]\r32/32 [01:02<00:00]"]
)
def test_bars_of_other_commands_are_read(bar):
    done = re.findall(TQDM_STEP, bar)[-1]
    assert done in {("4", "32"), ("32", "32")}


def test_an_interrupted_command_ends_with_its_workers(tmp_path):
    code = "import subprocess, time; subprocess.Popen(['sleep', '60']); print('started', flush=True); time.sleep(60)"
    log = tmp_path / "log.txt"

    def interrupt():
        while "started" not in (log.read_text() if log.is_file() else ""):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = sleeping()
    threading.Thread(target=interrupt).start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_logged(["python", "-c", code], os.environ, log, "title")
    assert time.monotonic() - start < 30 and sleeping() <= before


def sleeping() -> set[str]:
    """Ids of the processes `sleep 60`."""
    lines = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.split()[0] for line in lines if line.split()[1:] == ["sleep", "60"]}


def test_a_reduced_plan(tmp_path):
    architecture = {"arch_kwargs": {"n_stages": 7}}
    planned = {"patch_size": [256, 126], "batch_size": 30, "spacing": [0.7, 1.6], "architecture": architecture}
    plans = {"configurations": {"2d": planned}}
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    REDUCED_PLANS["small"].apply(tmp_path / "plans.json")
    small = json.loads((tmp_path / "plans.json").read_text())["configurations"]["2d"]
    assert small["patch_size"] == [160, 128] and small["batch_size"] == 6 and small["spacing"] == [1.5, 1.6]
    assert small["architecture"]["arch_kwargs"]["features_per_stage"] == [16, 32, 64, 128, 128]


def test_schedules(tmp_path, monkeypatch):
    monkeypatch.delenv(SCHEDULE_VARIABLE, raising=False)
    with pytest.raises(InputError, match="NNUNET_PHYS_SCHEDULE is not set"):
        schedule_in_force()
    path = tmp_path / "schedule.json"
    monkeypatch.setenv(SCHEDULE_VARIABLE, str(path))
    path.write_text('{"iterations": 250, "seed": 3}')
    assert schedule_in_force() == Schedule(250, 3)
    path.write_text('{"iterations": 0}')
    with pytest.raises(InputError, match="must be at least 1"):
        schedule_in_force()


@pytest.mark.slow
def test_from_hearts_to_the_page(tmp_path):
    """The three commands in processes of their own, on two tiny hearts and two iterations."""
    bench = [sys.executable, str(Path(run.__file__).parent)]
    environment = {k: v for k, v in os.environ.items() if k != "NNUNET_PHYS_DATA"}
    work = ["-work", str(tmp_path / "work")]
    page = tmp_path / "page.md"
    for command in (
        ["prepare", *work, "-train", "3", "-hearts", "1", "-slices", "1", "-np", "1"],
        ["run", *work, "-iterations", "2", "-tests", "digital_cine", "digital_lge", "-methods", "plain", "phys_true"],
        ["report", *work, "-o", str(page)],
    ):
        subprocess.run([*bench, *command], check=True, env=environment)
    record = read_record(tmp_path / "work" / "runs" / "digital__phys_true__seed0.json")
    assert record.tests["digital_lge"].cases["dilated000"].keys() == STRUCTURES.keys()
    assert {"training_set", "plans", "checkpoint", "recipe", "maps"} == record.hashes.keys()
    assert "digital_small_2_digital_lge_worst.png" in page.read_text()


def test_a_command_leaves_no_signal_handler_behind(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    assert main(["report", "-work", str(tmp_path / "nothing")]) == 1
    assert signal.getsignal(signal.SIGTERM) == before
