"""A stage of the benchmark: a process of its own, whose rows are printed and written as soon as they are known."""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import sys
import time
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from nnunet_phys.errors import counted, last_line
from nnunet_phys.whole_files import write_json

Cell = str | int | float


@dataclass(frozen=True)
class Settings:
    """What the benchmark was asked to do.

    Attributes:
        device: the device that is compared with the CPU.
        prior: folder or name of the spin prior.
        batches: slices per network call, to compare.
        quick: tiny images and a few steps, which try the benchmark itself.
    """

    device: str
    prior: str
    batches: tuple[int, ...]
    quick: bool


@dataclass
class Report:
    """The table of a stage.

    Attributes:
        columns: titles of the columns. The last two of a stage that compares are "At most, %" and "Agrees".
        path: JSON file of the rows, rewritten with every row.
        rows: the cells of each row by title.
    """

    columns: tuple[str, ...]
    path: Path
    rows: list[dict[str, Cell | None]] = field(default_factory=list)

    def begin(self) -> None:
        """Print the head of the table."""
        _print_row(self.columns)
        _print_row(["---"] * len(self.columns))

    def add(self, *cells: Cell) -> None:
        """Print and write a row."""
        _print_row([f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells])
        finite = [None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in cells]
        self.rows.append(dict(zip(self.columns, finite, strict=True)))
        write_json(self.path, {"rows": self.rows})

    def compare(self, *cells: Cell, percent: float, most: float) -> None:
        """Add a row that says whether a difference is small enough.

        Args:
            cells: the cells before the last three.
            percent: the difference.
            most: the largest difference that counts as agreement.
        """
        self.add(*cells, percent, most, "yes" if percent <= most else "no")

    def fail(self, error: Exception) -> None:
        """Write why the stage ended early."""
        write_json(self.path, {"rows": self.rows, "error": f"{type(error).__name__}: {last_line(error)}"})


def _print_row(cells: list[str] | tuple[str, ...]) -> None:
    print(f"| {' | '.join(cells)} |", file=sys.__stdout__, flush=True)


def run_stage(module: str, settings: Settings, seconds: float, folder: Path) -> dict[str, Any]:
    """Run a stage in a process of its own, and end it when its time is over.

    Args:
        module: name of its module, with `COLUMNS` and `measure(settings, report, folder, seconds)`.
        settings: what is measured.
        seconds: the time it has.
        folder: a folder to make, for its files.

    Returns:
        plain JSON: its rows, the seconds it took, and its problem: None, or why it failed.
    """
    folder.mkdir()
    rows = folder / "rows.json"
    start = time.monotonic()
    process = get_context("spawn").Process(target=_measure, args=(module, settings, seconds, folder, rows))
    process.start()
    try:
        process.join(seconds)
        late = process.is_alive()
    finally:
        _end(process)
    written = json.loads(rows.read_text()) if rows.is_file() else {"rows": []}
    problem = written.pop("error", None)
    differing = sum(row.get("Agrees") == "no" for row in written["rows"])
    if late:
        problem = f"stopped after {seconds:.0f} s"
    elif problem is None and process.exitcode:
        problem = f"ended with {process.exitcode}"
    elif problem is None and differing:
        problem = f"{counted(differing, 'row differs', 'rows differ')}"
    return {**written, "seconds": round(time.monotonic() - start, 1), "problem": problem}


def _measure(module: str, settings: Settings, seconds: float, folder: Path, rows: Path) -> None:
    """Measure a stage, in its process. What libraries print goes to stderr."""
    if hasattr(os, "setsid"):
        os.setsid()  # so that its worker processes can be ended with it
    stage = importlib.import_module(module)
    report = Report(stage.COLUMNS, rows)
    report.begin()
    try:
        with redirect_stdout(sys.stderr):
            stage.measure(settings, report, folder, seconds)
    except Exception as error:
        report.fail(error)
        raise


def _end(process: BaseProcess) -> None:
    """End a process and what it has started."""
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):  # it has not started, or all have ended
            os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()
