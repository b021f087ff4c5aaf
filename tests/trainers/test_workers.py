"""nnU-Net's own worker processes draw different contrasts, however they are started."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nnunet_phys.commands import main

SCRIPT = Path(__file__).with_name("two_workers.py")


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="nnU-Net starts no more workers than there are cores")
@pytest.mark.parametrize(
    "method",
    ["fork", pytest.param("forkserver", marks=pytest.mark.slow), pytest.param("spawn", marks=pytest.mark.slow)],
)
def test_two_workers_draw_differently(tiny, method):
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1"]) == 0
    folder = tiny.root / "draws"
    folder.mkdir()
    environment = {**os.environ, "nnUNet_n_proc_DA": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), method, str(folder)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tiny.root)
    assert finished.returncode == 0, finished.stderr
    first, second = json.loads(finished.stdout.splitlines()[-1])
    assert min(len(first), len(second)) >= 4
    assert not [draw for draw in first if draw in second]
    for draws in (first, second):  # nor does a worker repeat itself
        assert all(draws.count(draw) == 1 for draw in draws)
