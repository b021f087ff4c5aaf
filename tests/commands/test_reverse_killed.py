"""`nnunet_phys reverse` killed at any moment, or run twice at once."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main


def _reverse(folder, out, prior):
    common = ["-device", "cpu", "-steps", "3", "-prior", prior, "--disable_progress_bar"]
    return ["reverse", "-i", str(folder), "-o", str(out), *common]


@pytest.fixture
def many(tmp_path):
    """Forty small images, and the command that makes their maps."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for i in range(40):
        image = sitk.GetImageFromArray(rng.uniform(0, 99, (2, 24, 24)))
        image.SetSpacing((2.5, 2.5, 8.0))
        sitk.WriteImage(image, str(tmp_path / "in" / f"case{i:02d}_0000.nii.gz"))
    return tmp_path / "in"


def _start(many, out, prior):
    command = [sys.executable, "-m", "nnunet_phys", *_reverse(many, out, prior)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=out.parent
    )


def _contents(folder):
    return {p.name: p.read_bytes() for p in folder.glob("*.nii.gz")}


def _begun(folder):
    return len(list(folder.glob("*.json"))) if folder.exists() else 0


@pytest.mark.slow
def test_killed_at_any_moment_a_rerun_completes(many, prior, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert _start(many, whole, prior).wait() == 0
    rng, kills = np.random.default_rng(0), 0
    while kills < 20:  # anywhere from the first imports on, most of them while maps are made
        process, before = _start(many, killed, prior), _begun(killed)
        deadline, made = time.monotonic() + rng.uniform(1, 20), before + rng.integers(0, 5)
        while process.poll() is None and time.monotonic() < deadline and _begun(killed) <= made:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        kills += process.wait() == -9
        if len(_contents(killed)) == 120:
            assert _contents(killed) == _contents(whole)
            shutil.rmtree(killed)
    assert _start(many, killed, prior).wait() == 0
    assert _contents(killed) == _contents(whole) and len(_contents(whole)) == 120
    assert sorted(p.name for p in killed.iterdir()) == sorted(p.name for p in whole.iterdir())


@pytest.mark.slow
def test_two_processes_with_the_same_work_do_no_harm(many, prior, tmp_path):
    for processes, folder in ((1, tmp_path / "alone"), (2, tmp_path / "both")):
        started = [_start(many, folder, prior) for _ in range(processes)]
        assert [p.wait() for p in started] == [0] * processes
    assert _contents(tmp_path / "both") == _contents(tmp_path / "alone")
    assert main(_reverse(many, tmp_path / "both", prior)) == 0  # the records vouch for the files
    assert len(list((tmp_path / "both").iterdir())) == 160
