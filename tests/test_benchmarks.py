"""The benchmarks start, and nnU-Net finds their trainers."""

import os
import runpy
import sys
from pathlib import Path

import pytest
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_phys.experiments.small_training import DEMO_TRAINERS
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    "file",
    [*sorted(BENCHMARKS.glob("*.py")), *(main.parent for main in sorted(BENCHMARKS.glob("*/__main__.py")))],
    ids=lambda file: file.stem,
)
def test_help(file, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(file), "-h"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(file), run_name="__main__")
    assert stopped.value.code == 0 and "usage:" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:FutureWarning")  # one of nnU-Net's variants
@pytest.mark.parametrize(
    ("folder", "trainer"),
    [
        (DEMO_TRAINERS, "nnUNetTrainerPhysDemo"),
        (BENCHMARKS / "labels_trainers", "nnUNetTrainerLabelInflow"),
        (BENCHMARKS / "generalization" / "trainers", "nnUNetTrainerBenchPhys"),
    ],
)
def test_nnunet_finds_the_trainers(folder, trainer, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join(map(str, (DEMO_TRAINERS, folder))))
    assert issubclass(recursive_find_trainer_class_by_name(trainer), PhysMixin)
