"""Worker processes: results in order, faults passed on, quiet when interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from operator import neg

import pytest

from nnunet_phys.errors import InputError
from nnunet_phys.workers import _interrupts_deferred, run_in_workers


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_the_order_of_the_jobs(processes):
    assert run_in_workers(neg, [3, 1, 2], processes, "negating", quiet=True) == [-3, -1, -2]


def test_what_a_job_raises_is_raised():
    with pytest.raises(TypeError):
        run_in_workers(neg, [1, "two", 3], 2, "negating", quiet=True)


def test_jobs_that_have_not_started_are_dropped_at_the_first_error(tmp_path):
    scripts = ["raise SystemExit(1)", *(f"open({str(tmp_path / str(number))!r}, 'w')" for number in range(40))]
    jobs = [[sys.executable, "-c", script] for script in scripts]
    with pytest.raises(subprocess.CalledProcessError):
        run_in_workers(subprocess.check_call, jobs, 2, "writing", quiet=True)
    assert len(list(tmp_path.iterdir())) < 20


def test_a_killed_worker_is_told_in_a_line():
    with pytest.raises(InputError, match="a worker process was killed"):
        run_in_workers(os._exit, [9, 9], 2, "ending", quiet=True)


@pytest.mark.skipif(sys.platform == "win32", reason="no signal masks")
def test_an_interrupt_that_another_thread_takes_waits_until_workers_have_started():
    done, steps = threading.Event(), []
    other = threading.Thread(target=done.wait)  # like tqdm's, it was there before the signal was blocked
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            with _interrupts_deferred():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.1)
                steps.append("started")
            steps.append("went on")
    finally:
        done.set()
        other.join()
    assert steps == ["started"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
@pytest.mark.parametrize("delay", [0.0, 2.0])
def test_an_interrupt_ends_workers_without_a_word(tmp_path, delay):
    """Ctrl-C goes to the whole group of processes, while workers start and while they work."""
    code = "import sys, time\nfrom nnunet_phys.workers import _interrupts_deferred, run_in_workers\n"
    code += "if __name__ == '__main__':\n    print('started', flush=True)\n"
    code += "    try:\n        run_in_workers(time.sleep, [30] * 4, 2, 'sleeping', quiet=True)\n"
    code += "    except KeyboardInterrupt:\n        sys.exit(130)\n"
    (tmp_path / "sleepy.py").write_text(code)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "sleepy.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "started\n"
    time.sleep(0.3 + delay)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=25)
    assert process.returncode == 130 and stderr == "" and time.monotonic() - began < 20
