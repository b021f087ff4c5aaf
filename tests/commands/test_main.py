"""What all commands share: how they end."""

from __future__ import annotations

import argparse
import errno
from importlib.metadata import version

import pytest

import nnunet_phys
from nnunet_phys.commands import main, trainers
from nnunet_phys.commands.shared.numbers import number, whole_number
from nnunet_phys.commands.shared.targets import named_path


def _ends_with(monkeypatch, error):
    def run(arguments):
        raise error

    monkeypatch.setattr(trainers, "run", run)


def test_an_interrupt_is_told_in_a_line(monkeypatch, capsys):
    _ends_with(monkeypatch, KeyboardInterrupt())
    assert main(["trainers"]) == 130
    assert capsys.readouterr().err == "nnunet_phys: Interrupted; run again to go on\n"


def test_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"nnunet_phys {nnunet_phys.__version__}\n"
    assert nnunet_phys.__version__ == version("nnunet_phys")
    assert not hasattr(nnunet_phys, "version")


def test_a_full_disk_is_told_in_a_line(monkeypatch, capsys):
    _ends_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "/some/file"))
    assert main(["trainers"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "No space left on device" in line and "/some/file" in line


@pytest.mark.parametrize("text", ["0", "5", "-1", "1.5", "x", "", "nan", "9" * 400])
def test_whole_numbers_have_bounds(text):
    with pytest.raises(argparse.ArgumentTypeError):
        whole_number(1, 4)(text)


@pytest.mark.parametrize("text", ["0", "4.1", "-1", "x", "", "nan", "inf", "1e999"])
def test_numbers_have_bounds(text):
    with pytest.raises(argparse.ArgumentTypeError):
        number(0.5, 4)(text)


def test_numbers_within_bounds():
    assert (whole_number(1, 4)("4"), number(0.5, 4)("0.5")) == (4, 0.5)


def test_an_empty_path_is_refused():
    with pytest.raises(argparse.ArgumentTypeError):
        named_path("")
