"""Python started at the root of a clone, beside an installed package, finds the clone's sub-packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BESIDE = ("precomputed_spin", "augmentations", "completion", "trainers")
"""Sub-packages of nnunet_phys that lie beside its folder."""
MODULES = tuple(f"nnunet_phys.{name}" for name in (*BESIDE, "commands", "trainers.nnUNetTrainerPhys"))
PRINT_FILES = f"import importlib.util\nfor name in {MODULES}: print(importlib.util.find_spec(name).origin)"


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "priors"))


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A clone in another place than the package that the tests import."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("nnunet_phys", *BESIDE):
        copy(ROOT / name, folder / name)
    shutil.copy(ROOT / "setup.cfg", folder)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder of installed packages, as a wheel fills it."""
    folder = tmp_path_factory.mktemp("installed")
    copy(ROOT / "nnunet_phys", folder / "nnunet_phys")
    for name in BESIDE:
        copy(ROOT / name, folder / "nnunet_phys" / name)
    return folder


def python(*arguments: str, cwd: Path, installed: Path | None = None) -> list[str]:
    """Lines that Python prints when started in a folder, beside an installed package or an editable one."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    if installed is not None:
        environment["PYTHONPATH"] = str(installed)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )[:-1]


@pytest.mark.parametrize("install", ["wheel", "editable or none"])
def test_at_the_root_of_a_clone(clone, installed, install):
    files = python("-c", PRINT_FILES, cwd=clone, installed=installed if install == "wheel" else None)
    assert len(files) == len(MODULES) and all(Path(file).is_relative_to(clone) for file in files)


@pytest.mark.slow
def test_a_trainer_is_imported_at_the_root_of_a_clone(clone, installed):
    code = "from nnunet_phys.trainers import nnUNetTrainerPhys as module; print(module.__file__)"
    assert python("-c", code, cwd=clone, installed=installed) == [str(clone / "trainers" / "nnUNetTrainerPhys.py")]


def test_elsewhere_the_installed_package_is_meant(clone, installed, tmp_path):
    files = python("-c", PRINT_FILES, cwd=tmp_path, installed=installed)
    assert all(Path(file).is_relative_to(installed) for file in files)
    path = python("-c", "import nnunet_phys; print(*nnunet_phys.__path__)", cwd=tmp_path, installed=installed)
    assert path == [str(installed / "nnunet_phys")]


def test_commands_start_at_the_root_of_a_clone(clone, installed):
    assert python("-m", "nnunet_phys", "-h", cwd=clone, installed=installed)[0].startswith("usage: nnunet_phys")
    assert python("-m", "nnunet_phys", "trainers", cwd=clone, installed=installed) == [str(clone / "trainers")]


@pytest.mark.slow
def test_torchrun_starts_at_the_root_of_a_clone(clone, installed):
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1")
    assert python(*torchrun, "-m", "nnunet_phys", "trainers", cwd=clone, installed=installed) == [
        str(clone / "trainers")
    ]


WORKER = """
import inspect, multiprocessing
from nnunet_phys.precomputed_spin.raw_dataset import require_folder
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(inspect.getsourcefile, (require_folder,)))
"""


def test_workers_unpickle_the_same_modules(clone, installed):
    assert python("-c", WORKER, cwd=clone, installed=installed) == [str(clone / "precomputed_spin" / "raw_dataset.py")]
