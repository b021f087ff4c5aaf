"""What all commands share: how they end."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import subprocess
import sys
from importlib.metadata import version

import pytest

import nnunet_phys
from nnunet_phys.commands import COMMANDS, main, phantom, trainers
from nnunet_phys.commands.shared.numbers import number, whole_number
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError
from nnunet_phys.progress import ProgressBar
from nnunet_phys.whole_files import write_json


def _ends_with(monkeypatch, error):
    def run(arguments):
        raise error

    monkeypatch.setattr(trainers, "run", run)


def test_an_interrupt_is_told_in_a_line(monkeypatch, capsys):
    _ends_with(monkeypatch, KeyboardInterrupt())
    assert main(["trainers"]) == 130
    assert capsys.readouterr().err == "nnunet_phys: Interrupted\n"


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


@pytest.fixture
def run_with(monkeypatch, capsys, tmp_path):
    """Runs a command that says something at every level, writes a file and prints a result: (stdout, stderr)."""
    logger = logging.getLogger("nnunet_phys.commands.trainers")

    def run(arguments):
        logger.info("1 case made.")
        logger.warning("1 slice looks wrong.")
        for _ in ProgressBar(range(2), desc="work"):
            write_json(tmp_path / "written.json", {})
        print("result")

    monkeypatch.setattr(trainers, "run", run)

    def check(*arguments):
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return capsys.readouterr()

    return check


def test_results_go_to_stdout_and_messages_to_stderr(run_with, tmp_path):
    output, messages = run_with("trainers")
    assert output == "result\n"
    assert "\n1 case made.\n" in f"\n{messages}" and "\nnnunet_phys: 1 slice looks wrong.\n" in messages
    assert "work: 100%" in messages and "written" not in messages


@pytest.mark.parametrize("arguments", [("trainers", "-q"), ("-q", "trainers"), ("trainers", "--quiet")])
def test_quiet_leaves_results_warnings_and_errors(run_with, arguments, monkeypatch, capsys):
    assert run_with(*arguments) == ("result\n", "nnunet_phys: 1 slice looks wrong.\n")
    _ends_with(monkeypatch, InputError("no maps: make them"))
    assert main(list(arguments)) == 1
    assert capsys.readouterr() == ("", "nnunet_phys: no maps: make them\n")


@pytest.mark.parametrize("arguments", [("trainers", "-v"), ("-v", "trainers")])
def test_verbose_shows_versions_files_and_where_an_error_arises(run_with, arguments, monkeypatch, capsys, tmp_path):
    output, messages = run_with(*arguments)
    assert output == "result\n" and f"written: {tmp_path / 'written.json'}" in messages
    assert f"nnunet_phys {nnunet_phys.__version__}, nnunetv2 " in messages
    _ends_with(monkeypatch, InputError("no maps: make them"))
    assert main(list(arguments)) == 1
    errors = capsys.readouterr().err
    assert "nnunet_phys: no maps: make them\n" in errors and "Traceback" in errors and "in run\n" in errors


def test_verbose_and_quiet_exclude_each_other(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["trainers", "-v", "-q"])
    assert "not allowed with argument" in capsys.readouterr().err


def test_no_command_leaves_the_logger_as_it_was(run_with):
    logger = logging.getLogger("nnunet_phys")
    before = (list(logger.handlers), logger.level, logger.propagate)
    run_with("trainers", "-q")
    assert (logger.handlers, logger.level, logger.propagate) == before


def test_a_command_within_a_command_is_as_quiet(run_with, monkeypatch):
    monkeypatch.setattr(phantom, "run", lambda arguments: main(["trainers"]))
    assert run_with("phantom", "-d", "900", "-q") == ("result\n", "nnunet_phys: 1 slice looks wrong.\n")


def test_the_help_of_no_command_imports_torch(tmp_path):
    code = """
import sys
from nnunet_phys.commands import COMMANDS, main
for name in COMMANDS:
    try:
        main([name, "-h"])
    except SystemExit:
        pass
    print(name, "torch" in sys.modules, file=sys.stderr)
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.stderr.splitlines() == [f"{name} False" for name in COMMANDS]
