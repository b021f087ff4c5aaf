"""nnU-Net's own commands train and predict with our trainers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from make_trainers import OURS
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
from nnunetv2.run.run_training import run_training

from nnunet_phys.commands import main
from nnunet_phys.errors import InputError

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:FutureWarning"),  # one of nnU-Net's variants
    # nnU-Net's Dice, 0/0 where a class is neither there nor predicted
    pytest.mark.filterwarnings("ignore:invalid value encountered in scalar divide:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning"),  # nnU-Net: a class never predicted
]


MINE = """
    import torch
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
    from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin

    class Mine(PhysMixin, nnUNetTrainerDA5):
        def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
            super().__init__(plans, configuration, fold, dataset_json, device)
            self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 1, 3, 1
"""


def write_my_trainer(tiny, monkeypatch) -> Path:
    """A trainer of three iterations, in a folder that nnU-Net searches; returns its file."""
    path = tiny.root / "my_trainers" / "mine.py"
    path.parent.mkdir()
    path.write_text(textwrap.dedent(MINE))
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([OURS, str(path.parent)]))
    return path


@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_train_and_predict(ready, monkeypatch, configuration):
    write_my_trainer(ready, monkeypatch)
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # a worker process of its own
    run_training("900", configuration, 0, "Mine", device=torch.device("cpu"))
    model = ready.root / "nnUNet_results" / "Dataset900_Tiny" / f"Mine__nnUNetPlans__{configuration}"
    checkpoint = torch.load(model / "fold_0" / "checkpoint_final.pth", weights_only=False)
    assert checkpoint["trainer_name"] == "Mine"
    assert np.isfinite(json.loads((model / "fold_0" / "validation" / "summary.json").read_text())["mean"]["1"]["FP"])
    assert "SynthesizeContrast(" in (model / "fold_0" / "debug.json").read_text()

    inputs, outputs = ready.root / "inputs", ready.root / "outputs"
    inputs.mkdir()
    (inputs / "a_0000.nii.gz").write_bytes(ready.image("case0").read_bytes())
    threads = torch.get_num_threads()
    arguments = f"-i {inputs} -o {outputs} -d 900 -c {configuration} -f 0 -tr Mine -device cpu -npp 0 -nps 0"
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", *arguments.split()])
    predict_entry_point()
    torch.set_num_threads(threads)
    assert (
        sitk.ReadImage(str(outputs / "a.nii.gz")).GetSize() == sitk.ReadImage(str(inputs / "a_0000.nii.gz")).GetSize()
    )

    shared = ready.root / "model.zip"
    assert main(["export", "-d", "900", "-c", configuration, "-f", "0", "-tr", "Mine", "-o", str(shared)]) == 0
    install_model_from_zip_file(str(shared))
    monkeypatch.delenv("nnUNet_extTrainer")
    sys.argv[sys.argv.index("Mine")] = "nnUNetTrainer"
    sys.argv[sys.argv.index(str(outputs))] = str(ready.root / "stock")
    predict_entry_point()
    torch.set_num_threads(threads)
    same = [sitk.GetArrayFromImage(sitk.ReadImage(str(f / "a.nii.gz"))) for f in (outputs, ready.root / "stock")]
    assert np.array_equal(*same)


START = """
import sys
from importlib.metadata import entry_points
sys.argv = sys.argv[1:]
sys.exit(next(iter(entry_points(group="console_scripts", name=sys.argv[0]))).load()())
"""
"""Starts a command of an installed package by its name."""


@pytest.mark.slow
def test_a_shared_model_predicts_where_this_package_is_not(ready, monkeypatch):
    """All by the commands, in processes of their own."""
    mine = write_my_trainer(ready, monkeypatch)
    inputs, shared = ready.root / "inputs", ready.root / "model.zip"
    inputs.mkdir()
    for case in ready.cases[:2]:
        shutil.copy(ready.image(case), inputs)

    def run(command, environment):
        finished = subprocess.run([sys.executable, "-c", START, *command.split()], env=environment, cwd=ready.root)
        assert finished.returncode == 0, command

    predict = f"nnUNetv2_predict -i {inputs} -d 900 -c 2d -f 0 -device cpu -npp 1 -nps 1"
    here = {**os.environ, "nnUNet_n_proc_DA": "1"}
    run("nnUNetv2_train 900 2d 0 -tr Mine -device cpu", here)
    run(f"{predict} -o {ready.root / 'here'} -tr Mine", here)
    run(f"nnunet_phys export -d 900 -c 2d -f 0 -tr Mine -o {shared}", here)
    mine.unlink()

    elsewhere = ready.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "nnunet_phys.py").write_text("raise ImportError('nnunet_phys is not installed here')")
    there = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    there["PYTHONPATH"] = str(elsewhere)  # comes before installed packages, in worker processes too
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        (elsewhere / variable).mkdir()
        there[variable] = str(elsewhere / variable)
    assert subprocess.run([sys.executable, "-c", "import nnunet_phys"], env=there, cwd=ready.root).returncode != 0
    run(f"nnUNetv2_install_pretrained_model_from_zip {shared}", there)
    run(f"{predict} -o {ready.root / 'there'}", there)
    for case in ready.cases[:2]:
        same = [
            sitk.GetArrayFromImage(sitk.ReadImage(str(ready.root / o / f"{case}.nii.gz"))) for o in ("here", "there")
        ]
        assert np.array_equal(*same)


def test_missing_maps_stop_nnunets_training_command(tiny, monkeypatch):
    monkeypatch.setenv("nnUNet_extTrainer", OURS)
    with pytest.raises(InputError, match=r"case\d: no maps in .*2d_spin"):
        run_training("900", "2d", 0, "nnUNetTrainerPhys", device=torch.device("cpu"))
