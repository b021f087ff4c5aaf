"""Commands of nnU-Net and this package, each in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from nnunet_phys.errors import InputError

TQDM_STEP = r"(?P<done>\d+)/(?P<all>\d+) \["
"""`step` of commands whose progress is tqdm's."""
_SHOWN_LINES = 3
_LOOK_EVERY_S = 5.0
"""How often the log is read for progress."""
_PATIENCE_S = 10.0
"""How long a command may take to end after each signal."""


def run_command(*command: str) -> None:
    """Run a command of this Python environment, whose output is shown.

    Args:
        command: name, such as nnunet_phys, and arguments.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    print(">", " ".join(command), flush=True)
    subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True)


def run_logged(
    command: list[str], environment: Mapping[str, str], log: Path, title: str, steps: int | None = None, step: str = ""
) -> None:
    """Run a command of this Python environment with a progress bar; its output goes to the end of a log file.

    Args:
        command: name, such as nnUNetv2_train, and arguments.
        environment: all variables of the process.
        log: the file.
        title: of the progress bar.
        steps: how many steps it takes in all; None: unknown.
        step: regular expression whose group "done" is the number of steps done in the log, and whose group "all", if it
            has one, is that of all steps.

    Raises:
        InputError: the command failed; with the last lines of its output.
        KeyboardInterrupt: Ctrl-C; the command and its workers are then ended, too.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    program = str(Path(sys.executable).parent / command[0])
    with open(log, "ab") as output, tqdm(total=steps, desc=title) as progress:
        start = output.tell()
        process = subprocess.Popen(
            [program, *command[1:]],
            env=dict(environment),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that its workers can be ended with it
        )
        try:
            while True:
                try:
                    status = process.wait(timeout=_LOOK_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    if step:
                        _show_step(progress, _text_from(log, start), step)
        except BaseException:
            _end(process)
            raise
        if status == 0 and progress.total is not None:
            progress.update(progress.total - progress.n)
    if status != 0:
        lines = [line.strip() for line in _text_from(log, start).splitlines() if line.strip()]
        shown = " | ".join(lines[-_SHOWN_LINES:])
        raise InputError(f"{title}: {command[0]} failed (status {status}): {shown}. All of its output is in {log}.")


def _text_from(log: Path, start: int) -> str:
    with open(log, "rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")


def _show_step(progress: tqdm, text: str, step: str) -> None:
    found = list(re.finditer(step, text))
    if found:
        first, last = int(found[0]["done"]), found[-1].groupdict()
        if progress.n == 0 and first > 0:  # continued: earlier steps say nothing about speed
            progress.initial = progress.n = first
        progress.total = int(last["all"]) if "all" in last else progress.total
        progress.update(int(last["done"]) - progress.n)


def _end(process: subprocess.Popen) -> None:
    """End a process and its workers: interrupt them, and kill them if that takes too long."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_PATIENCE_S)
            return
