"""The ground on which commands are attacked, and what each attack must end in."""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main

collect_ignore_glob = ["test_*.py"] if sys.platform == "win32" else []
"""Windows has neither the alarm that limits the time of an attack, nor pipes to attack with."""
_LIMIT_S = 20
_HARD_LIMIT_S = 60
"""Ends the whole test run with a traceback: code in C cannot be interrupted by the first limit."""


@dataclass(frozen=True)
class Ground:
    """Files that belong to one attack: a data set with maps and plans, a folder of images, a prior.

    Attributes:
        root: all of them lie in it.
    """

    root: Path

    @property
    def raw(self) -> Path:
        """The raw data set."""
        return self.root / "nnUNet_raw" / "Dataset900_Tiny"

    @property
    def preprocessed(self) -> Path:
        """The preprocessed data set."""
        return self.root / "nnUNet_preprocessed" / "Dataset900_Tiny"

    @property
    def maps(self) -> Path:
        """Maps with records, which no command of ours made."""
        return self.raw / "spinTr"

    @property
    def images(self) -> Path:
        """A folder with the images of two cases."""
        return self.root / "images"

    @property
    def image(self) -> Path:
        """One of them."""
        return self.images / "case0_0000.nii.gz"

    @property
    def prior(self) -> Path:
        """A prior's folder."""
        return self.root / "prior"

    @property
    def file(self) -> Path:
        """A file for whatever a command reads."""
        return self.root / "file.json"

    def edit_json(self, path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change an object of a JSON file, in place or for what the function returns."""
        content = json.loads(path.read_text())
        path.write_text(json.dumps(change(content) or content))

    def edit_image(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change the values of an image."""
        before = sitk.ReadImage(str(self.image))
        after = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(before)))
        after.CopyInformation(before)
        sitk.WriteImage(after, str(self.image))

    def edit_header(self, change: Callable[[sitk.Image], sitk.Image | None]) -> None:
        """Change an image, in place or for what the function returns."""
        image = sitk.ReadImage(str(self.image))
        sitk.WriteImage(change(image) or image, str(self.image))


@pytest.fixture
def ground(tiny, prior, tmp_path) -> Ground:
    """All that is needed for every command."""
    ground = Ground(tmp_path)
    ground.images.mkdir()
    for case in tiny.cases[:2]:
        shutil.copy(tiny.image(case), ground.images)
    shutil.copytree(prior, ground.prior)
    return ground


class _TooLong(BaseException):
    """Not an Exception, which a command might catch."""


Damage = Callable[[Ground], Any]
"""What is done to files before a command starts."""


@pytest.fixture
def withstand(ground, capfd, monkeypatch) -> Callable[..., None]:
    """Runs an attack: the command ends in time and in lines of its own, and leaves all files as they were.

    Takes the command line, in which {root}, {raw}, {images}, {image}, {maps}, {prior}, {file} and {out} are paths and
    '' is an empty argument; a text that the message contains; the damage; the exit code, 2 for what the parser refuses;
    and variables of the environment.
    """

    def check(
        command: str,
        text: str,
        damage: Damage | None = None,
        status: int = 1,
        environment: dict[str, str] | None = None,
    ) -> None:
        if damage is not None:
            damage(ground)
        for name, value in (environment or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(ground.root)
        before = _state(ground.root)
        capfd.readouterr()
        with _time_limit():
            ended = _status([*(["-q"] if status == 1 else []), *_arguments(command, ground)])
        output, errors = capfd.readouterr()
        assert ended == status, errors
        assert "Traceback" not in output + errors
        assert text in (errors if status else output + errors), errors
        if status == 1:
            lines = errors.splitlines()
            assert lines and all(line.startswith("nnunet_phys: ") for line in lines), errors
        elif status == 2:
            assert errors.startswith("usage: nnunet_phys")
        after = _state(ground.root)
        assert {path for path in before if after.get(path) != before[path]} == set()

    return check


def _arguments(command: str, ground: Ground) -> list[str]:
    names = ("root", "raw", "images", "image", "maps", "prior", "file")
    places = {**{name: getattr(ground, name) for name in names}, "out": ground.root / "out"}
    return ["" if word == "''" else word.format(**places) for word in command.split()]


def _status(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:  # argparse
        return int(end.code or 0)


@contextmanager
def _time_limit() -> Iterator[None]:
    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise _TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(_LIMIT_S)
    faulthandler.dump_traceback_later(_HARD_LIMIT_S, exit=True)
    try:
        yield
    except _TooLong:
        pytest.fail(f"more than {_LIMIT_S} s")
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _state(folder: Path) -> dict[Path, tuple]:
    """What tells whether files below a folder were touched."""
    return {path: _file_state(path) for path in folder.rglob("*") if not path.is_dir()}


def _file_state(path: Path) -> tuple:
    status = os.lstat(path)
    content = hashlib.sha256(path.read_bytes()).digest() if stat.S_ISREG(status.st_mode) else None
    return status.st_mode, status.st_size, status.st_mtime_ns, content
