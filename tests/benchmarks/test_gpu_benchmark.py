"""The benchmark of a GPU: its stages cannot spoil each other, its figures mean what they say, and it runs on a CPU."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from gpu import epochs, maps, network_step, slices, stages
from gpu.__main__ import STAGES, main
from gpu.cine import cine_scan
from gpu.stages import Report, Settings, run_stage
from gpu.training_steps import gradient_norms
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.spin import SpinMaps

SETTINGS = Settings("cpu", "digital_heart", (2,), True)
BENCHMARK = Path(maps.__file__).parent


def outcome_of(body: str, folder: Path, monkeypatch, seconds: float = 600) -> dict:
    """Run a stage that does what `body` says."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    head = 'import subprocess, sys, time\nCOLUMNS = ("What", "Difference", "At most, %", "Agrees")\n'
    (folder / "fake_stage.py").write_text(f"{head}def measure(settings, report, folder, seconds):\n{lines}\n")
    monkeypatch.syspath_prepend(folder)
    return run_stage("fake_stage", SETTINGS, seconds, folder / "stage")


def test_a_stage_prints_and_keeps_its_rows(tmp_path, monkeypatch, capfd):
    body = "print('chatter')\nreport.compare('T1', percent=0.25, most=0.5)\nreport.add('T2', 3, '-', settings.device)"
    outcome = outcome_of(body, tmp_path, monkeypatch)
    assert outcome["problem"] is None
    assert outcome["rows"] == [
        {"What": "T1", "Difference": 0.25, "At most, %": 0.5, "Agrees": "yes"},
        {"What": "T2", "Difference": 3, "At most, %": "-", "Agrees": "cpu"},
    ]
    table, messages = capfd.readouterr()
    assert table.splitlines()[1:] == ["| --- | --- | --- | --- |", "| T1 | 0.25 | 0.5 | yes |", "| T2 | 3 | - | cpu |"]
    assert "chatter" in messages


def test_what_differs_or_is_no_number_does_not_agree(tmp_path, monkeypatch):
    body = "for percent in (0.1, 2.0, float('nan')):\n    report.compare('T1', percent=percent, most=0.5)"
    outcome = outcome_of(body, tmp_path, monkeypatch)
    assert [row["Agrees"] for row in outcome["rows"]] == ["yes", "no", "no"]
    assert outcome["problem"] == "2 rows differ"
    assert outcome["rows"][2]["Difference"] is None  # JSON has no NaN


def test_a_stage_that_fails_keeps_its_rows_and_leaves_no_process(tmp_path, monkeypatch):
    body = (
        "worker = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "report.add('worker', worker.pid, '-', '-')\nraise ValueError('first line\\nout of memory')"
    )
    outcome = outcome_of(body, tmp_path, monkeypatch)
    assert outcome["problem"] == "ValueError: out of memory"
    worker = outcome["rows"][0]["Difference"]
    end = time.monotonic() + 60
    while running(worker) and time.monotonic() < end:
        time.sleep(0.1)
    assert not running(worker)


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait to be collected."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_stage_ends_with_its_time_or_its_process(tmp_path, monkeypatch):
    assert outcome_of("time.sleep(600)", tmp_path, monkeypatch, 1.0)["problem"] == "stopped after 1 s"
    (tmp_path / "stage").rmdir()
    assert outcome_of("import os; os._exit(3)", tmp_path, monkeypatch)["problem"] == "ended with 3"


def test_one_problem_makes_the_status_1_and_unused_time_goes_to_later_stages(tmp_path, monkeypatch):
    given: dict[str, float] = {}

    def instant(module, settings, seconds, folder):
        given[module] = seconds
        return {"rows": [], "seconds": 0.0, "problem": "1 row differs" if module == "gpu.maps" else None}

    monkeypatch.setattr(stages, "run_stage", instant)
    output = tmp_path / "gpu.json"
    assert main(["-device", "cpu", "-o", str(output), "-minutes", "600"]) == 1
    record = json.loads(output.read_text())
    assert list(record["stages"]) == list(STAGES) == [module.removeprefix("gpu.") for module in given]
    assert {"device", "threads", "torch", "nnunet_phys"} <= record["machine"].keys()
    weights = list(STAGES.values())
    shares = [weight / sum(weights[k:]) for k, weight in enumerate(weights)]
    assert list(given.values()) == pytest.approx([36_000 * share for share in shares], rel=0.01)
    output.unlink()
    assert main(["-device", "cpu", "-o", str(output), "-only", "slices"]) == 0
    assert list(json.loads(output.read_text())["stages"]) == ["slices"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["-device", "cuda:99"], "-device cuda:99 is not available on this machine"),
        (["-device", "cpu", "-prior", "nowhere"], "nowhere"),
        (["-device", "cpu", "-o", "old.json"], "old.json exists"),
    ],
)
def test_bad_options_are_refused_at_once(options, fault, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("old.json").touch()
    monkeypatch.setattr(stages, "run_stage", None)
    assert main(options) == 1
    assert fault in capsys.readouterr().err
    assert os.listdir() == ["old.json"]


def test_maps_are_compared_in_the_body(tmp_path):
    pd = torch.tensor([1.0, 0.8, 0.0])
    expected = torch.tensor([1000.0, 200.0, 5.0])
    report = Report(maps.COLUMNS, tmp_path / "rows.json")
    values = expected * torch.tensor([1.02, 1.02, 9.0])
    maps.compare(report, "T1", values, expected, SpinMaps(pd, expected, expected), most=1.0)
    (row,) = report.rows
    assert row["Median, %"] == pytest.approx(2, rel=1e-3) == row["99th percentile, %"] and row["Agrees"] == "no"


def test_a_step_whose_gradient_overflows_is_taken_again():
    weight, losses = torch.nn.Parameter(torch.zeros(1)), iter([1.5, 1.5, 1.25])

    def train_step(batch: dict) -> dict:
        weight.grad = torch.tensor([next(batch["gradients"])])
        torch.nn.utils.clip_grad_norm_([weight], 12)
        return {"loss": next(losses)}

    trainer = SimpleNamespace(network=torch.nn.Linear(1, 1), train_step=train_step, device="cpu")
    step = network_step.step(trainer, {"gradients": iter([math.inf, -math.inf, -0.75])})
    assert step == network_step.Step(1.25, 0.75)


def test_the_norm_is_that_before_clipping():
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([30.0, 40.0])
    with gradient_norms() as norms:
        torch.nn.utils.clip_grad_norm_([weight], 1.0)
    assert norms == [50.0] and float(weight.grad.norm()) == pytest.approx(1)


def test_waiting_is_the_time_between_batches(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(epochs.time, "perf_counter", lambda: clock[0])

    def batches():
        while True:
            clock[0] += 3
            yield {}

    def train_step(batch: dict) -> None:
        clock[0] += 1

    assert epochs.iterate(SimpleNamespace(train_step=train_step), batches(), 5) == (20, 15)


def test_acdc_is_extrapolated_when_the_time_is_over(prior, tmp_path):
    scan, loaded = cine_scan(quick=True), SpinPrior.load(prior)
    report = Report(slices.COLUMNS, tmp_path / "rows.json")
    assert slices.run(loaded, "fp32", 1, scan, 3, report) > 0
    slices.run(loaded, "fp32", 1, scan, 3, report, ends=0.0)
    assert [row["Slices measured"] for row in report.rows] == [3, 1]
    for row in report.rows:
        assert row["1,902 slices of ACDC, min"] == pytest.approx(1902 / 60 / row["Slices/s"])


@pytest.mark.slow
def test_every_stage_runs_on_a_cpu(tmp_path):
    output = tmp_path / "gpu.json"
    command = [sys.executable, str(BENCHMARK), "-device", "cpu", "--quick", "-minutes", "60", "-batches", "2"]
    finished = subprocess.run([*command, "-o", str(output)], stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    record = json.loads(output.read_text())["stages"]
    assert finished.returncode == 0, record
    for name in STAGES:
        assert record[name]["rows"] and f"## {name}" in finished.stdout
    assert {row["Trainer"] for row in record["epochs"]["rows"]} == {"plain", "Phys"}
    exact = [row for row in record["maps"]["rows"] if "fp32" in row["Compared with the CPU"]]
    assert len(exact) == 6 and all(row["99th percentile, %"] == 0 for row in exact)
    assert record["network_step"]["rows"][1]["Difference, %"] == pytest.approx(0, abs=1e-3)
    assert os.listdir(tmp_path) == ["gpu.json"]
