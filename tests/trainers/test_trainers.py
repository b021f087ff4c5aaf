"""nnU-Net's own commands train and predict with our trainers."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from batchgeneratorsv2.transforms.utils.random import OneOfTransform, RandomTransform
from nnunetv2.inference.predict_from_raw_data import predict_entry_point
from nnunetv2.model_sharing.model_import import install_model_from_zip_file
from nnunetv2.run.run_training import run_training
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

import nnunet_phys.trainers
from nnunet_phys.augmentations.contrast import AcquireImage, SynthesizeContrast
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.commands import main
from nnunet_phys.errors import InputError
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin, nnUNetTrainerPhys

pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:FutureWarning"),  # one of nnU-Net's variants
    # nnU-Net's Dice, 0/0 where a class is neither there nor predicted
    pytest.mark.filterwarnings("ignore:invalid value encountered in scalar divide:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning"),  # nnU-Net: a class never predicted
]
OURS = os.path.dirname(nnunet_phys.trainers.__file__)


class Always(PhysMixin, nnUNetTrainer):
    """Synthesises each sample."""

    recipe = replace(load_recipe("default"), probability=1.0)


def make(tiny, trainer_class, configuration="2d", plans=None, fold=0, **changes):
    """A trainer on the CPU."""
    description = json.loads((tiny.preprocessed / "dataset.json").read_text())
    plans = tiny.plans() if plans is None else plans
    trainer = trainer_class(
        {**plans, "continue_training": False},
        configuration,
        fold,
        {**description, **changes},
        torch.device("cpu"),
    )
    trainer.initialize()
    return trainer


@pytest.fixture
def ready(tiny):
    """The tiny data set with preprocessed maps."""
    assert main(["preprocess", "-d", "900", "-c", "2d", "3d_fullres", "-np", "1"]) == 0
    return tiny


def batch_of(trainer) -> dict:
    training, validation = trainer.get_dataloaders()
    assert next(validation)["data"].shape[1] == next(training)["data"].shape[1]
    return next(training)


@pytest.mark.parametrize(
    ("name", "recipe", "epochs"),
    [
        ("nnUNetTrainerPhys", "default", 1000),
        ("nnUNetTrainerPhysMOLLI", "molli", 1000),
        ("nnUNetTrainerPhysGRE", "gre", 1000),
        ("nnUNetTrainerPhysLGE", "lge", 1000),
        ("nnUNetTrainerPhysPaper", "paper", 1000),
        ("nnUNetTrainerPhys_5epochs", "default", 5),
        ("nnUNetTrainerPhys_100epochs", "default", 100),
        ("nnUNetTrainerPhys_250epochs", "default", 250),
    ],
)
def test_nnunet_finds_the_trainers(tiny, monkeypatch, name, recipe, epochs):
    monkeypatch.setenv("nnUNet_extTrainer", OURS)
    found = recursive_find_trainer_class_by_name(name)
    trainer = make(tiny, found)
    assert trainer.num_epochs == epochs and trainer.recipe == recipe


@pytest.mark.parametrize("parent", [nnUNetTrainer, nnUNetTrainerDA5])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_only_the_training_data_change(ready, parent, configuration):
    mine = type("Mine", (PhysMixin, parent), {})
    trainer = make(ready, mine, configuration)
    training, validation = trainer.get_dataloaders()
    first, *others = training.data_loader.transforms.transforms
    assert isinstance(first, SynthesizeContrast) and len(repr(first)) < 200
    plain, _ = make(ready, parent, configuration).get_dataloaders()
    kinds = [type(t) for t in others]
    last_spatial = max(kinds.index(kind) for kind in (SpatialTransform, Convert2DTo3DTransform) if kind in kinds)
    assert kinds.pop(last_spatial + 1) is AcquireImage
    assert kinds == [type(t) for t in plain.data_loader.transforms.transforms]
    assert type(validation.data_loader._data).__name__ == "nnUNetDatasetBlosc2"
    ours, theirs = next(training), next(plain)
    assert ours["data"].shape == theirs["data"].shape
    assert [t.shape for t in ours["target"]] == [t.shape for t in theirs["target"]]
    assert torch.isfinite(ours["data"]).all()


def test_the_recipe_in_force_is_kept_and_named(ready, monkeypatch):
    trainer = make(ready, nnUNetTrainerPhys)
    trainer.get_dataloaders()
    kept = Path(trainer.output_folder) / "recipe.json"
    assert load_recipe(kept) == replace(load_recipe("default"), name=str(kept))
    assert f"recipe default, in full in {kept}" in Path(trainer.log_file).read_text()

    mine = ready.root / "mine.json"
    mine.write_text(json.dumps({**load_recipe("molli").describe(), "probability": 0.25}))
    monkeypatch.setenv("nnUNet_phys_recipe", str(mine))
    trainer = make(ready, nnUNetTrainerPhys)
    trainer.get_dataloaders()
    assert json.loads(kept.read_text())["probability"] == 0.25
    said = Path(trainer.log_file).read_text()
    assert (
        f"recipe {mine} (named by nnUNet_phys_recipe)" in said
        and "which differs from the recipe that this fold had before" in said
    )

    mine.write_text(json.dumps({**load_recipe("molli").describe(), "probability": 25}))
    with pytest.raises(InputError, match=r"probability: 25.0 must lie between 0 and 1"):
        make(ready, nnUNetTrainerPhys).get_dataloaders()


def test_a_training_that_goes_on_keeps_its_recipe(ready, monkeypatch):
    trainer = make(ready, nnUNetTrainerPhys)
    trainer.get_dataloaders()
    kept = Path(trainer.output_folder) / "recipe.json"
    before = kept.read_text()
    for variable, refused in (("molli", True), ("default", False), (str(kept), False)):
        monkeypatch.setenv("nnUNet_phys_recipe", variable)
        trainer = make(ready, nnUNetTrainerPhys)
        trainer.current_epoch = 3  # as nnU-Net sets it from a checkpoint
        if refused:
            with pytest.raises(InputError, match=r"recipe.json: this training has done 3 epochs with that recipe"):
                trainer.get_dataloaders()
        else:
            trainer.get_dataloaders()
        assert kept.read_text() == before


def test_images_are_acquired_after_a_spatial_transform_wherever_it_stands(ready):
    """The natural way to add a transform nests the parent's; a transform may also be applied by chance."""

    class Nested(nnUNetTrainer):
        @staticmethod
        def get_training_transforms(*args, **kwargs):
            inherited = nnUNetTrainer.get_training_transforms(*args, **kwargs)
            first, *others = inherited.transforms
            seldom = RandomTransform(OneOfTransform([ComposeTransforms([first])]), 1.0)
            return ComposeTransforms([ComposeTransforms([seldom]), ComposeTransforms(others)])

    trainer = make(ready, type("Mine", (PhysMixin, Nested), {}))
    training, _ = trainer.get_dataloaders()
    kinds = [type(transform) for transform in training.data_loader.transforms.transforms]
    assert kinds[:3] == [SynthesizeContrast, RandomTransform, AcquireImage]


def test_a_variant_without_augmentation(ready):
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoDA import nnUNetTrainerNoDA

    trainer = make(ready, type("Mine", (PhysMixin, nnUNetTrainerNoDA), {}))
    assert batch_of(trainer)["data"].shape == (2, 1, 32, 32)


def test_all_cases_in_one_fold(ready):
    assert batch_of(make(ready, Always, fold="all"))["data"].shape == (2, 1, 32, 32)


def test_regions(ready):
    labels = {"background": 0, "heart": [1, 2], "blood": 1}
    trainer = make(ready, Always, labels=labels, regions_class_order=[2, 1])
    assert batch_of(trainer)["target"][0].shape == (2, 2, 32, 32)


def test_ignore_label(ready):
    plans = ready.plans()
    trainer = make(ready, Always, labels={"background": 0, "blood": 1, "ignore": 2}, plans=plans)
    _, validation = trainer.get_tr_and_val_datasets()
    training = trainer._datasets[0].images
    for dataset in (
        training,
        validation,
    ):  # nnU-Net collects these while it preprocesses with an ignore label
        load_case = dataset.load_case

        def with_annotated(case, load_case=load_case):
            *arrays, properties = load_case(case)
            properties["class_locations"][(-1, 0, 1)] = np.argwhere(arrays[1][:] >= 0)
            return *arrays, properties

        dataset.load_case = with_annotated
    assert batch_of(trainer)["data"].shape == (2, 1, 32, 32)


def test_cascade(ready):
    plans = ready.plans()
    plans["configurations"]["3d_lowres"] = {"inherits_from": "3d_fullres"}
    plans["configurations"]["3d_cascade_fullres"] = {
        "inherits_from": "3d_fullres",
        "previous_stage": "3d_lowres",
    }
    trainer = make(ready, Always, "3d_cascade_fullres", plans)
    os.makedirs(trainer.folder_with_segs_from_previous_stage)
    for case in ready.cases:
        image = blosc2.open(f"{trainer.preprocessed_dataset_folder}/{case}.b2nd", mode="r")
        previous = np.ones(image.shape[1:], dtype=np.uint8)
        blosc2.asarray(previous, urlpath=f"{trainer.folder_with_segs_from_previous_stage}/{case}.b2nd")
    batch = batch_of(trainer)
    assert batch["data"].shape == (2, 3, 8, 32, 32)
    first, second = batch["data"][:, 1], batch["data"][:, 2]  # one-hot: all is label 1
    assert set(first.unique().tolist()) == {0.0, 1.0} or (first == 1).all()
    assert (second == 0).all()


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_unpickles_what_it_needs(ready, monkeypatch, method):
    monkeypatch.setenv("nnUNet_extTrainer", OURS)
    trainer = make(ready, recursive_find_trainer_class_by_name("nnUNetTrainerPhys"))
    assert "nnUNetTrainerPhys" not in sys.modules  # nnU-Net forgets the trainers' folder
    loader = trainer.get_dataloaders()[0].data_loader
    assert len(pickle.dumps(loader)) < 1e6
    one_thread = {"initializer": torch.set_num_threads, "initargs": (1,)}  # as batchgenerators' workers
    with multiprocessing.get_context(method).Pool(1, **one_thread) as pool:
        batch = pool.apply(next, (loader,))
    assert batch["data"].shape == (2, 1, 32, 32)


@pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler is enabled:UserWarning")  # no GPU here
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_of_ddp(ready, monkeypatch, rank):
    for name, value in (("is_initialized", True), ("get_rank", rank), ("get_world_size", 2)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    plans, description = ready.plans(), json.loads((ready.preprocessed / "dataset.json").read_text())
    plans["configurations"]["2d"]["batch_size"] = 4
    trainer = Always({**plans, "continue_training": False}, "2d", 0, description, torch.device("cuda"))
    trainer._set_batch_size_and_oversample()  # what `initialize` does before it moves the network to the rank's GPU
    assert trainer.is_ddp and trainer.device.index == rank
    assert batch_of(trainer)["data"].shape == (2, 1, 32, 32)


def test_training_before_preprocess(tiny):
    trainer = make(tiny, nnUNetTrainerPhys)
    kept = Path(trainer.output_folder) / "recipe.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text("of an earlier training")
    with pytest.raises(RuntimeError) as caught:
        trainer.get_dataloaders()
    assert kept.read_text() == "of an earlier training"
    lines = str(caught.value).splitlines()
    assert len(lines) == 4 and all("`nnunet_phys preprocess -d 900 -c 2d`" in line for line in lines)


def test_excluded_cases_are_not_trained_on(tiny, tmp_path):
    excluded = tmp_path / "excluded.txt"
    preprocess = ["preprocess", "-d", "900", "-c", "2d", "-np", "1"]
    excluded.write_text("case1\ncase4\n")
    assert main([*preprocess, "-exclude", str(excluded)]) == 0
    trainer = make(tiny, Always, fold="all")
    assert batch_of(trainer)["data"].shape == (2, 1, 32, 32)
    training, validation = trainer.get_tr_and_val_datasets()
    assert list(training.identifiers) == ["case0", "case2", "case3", "case5"]
    assert sorted(validation.identifiers) == tiny.cases
    assert main(preprocess) == 0
    assert len(make(tiny, Always, fold="all").get_tr_and_val_datasets()[0].identifiers) == 6


def test_several_channels(ready):
    with pytest.raises(RuntimeError, match=r"2 input channels \(0: cine, 1: LGE\)"):
        make(ready, nnUNetTrainerPhys, channel_names={"0": "cine", "1": "LGE"}).get_dataloaders()


@pytest.mark.parametrize(
    "scheme", ["CTNormalization", "NoNormalization", "RescaleTo01Normalization", "RGBTo01Normalization"]
)
def test_other_normalisation(ready, scheme):
    plans = ready.plans()
    plans["configurations"]["2d"]["normalization_schemes"] = [scheme]
    with pytest.raises(RuntimeError, match=scheme):
        make(ready, nnUNetTrainerPhys, plans=plans).get_dataloaders()


def test_the_mixin_comes_first():
    with pytest.raises(TypeError, match="name PhysMixin before"):
        type("Mine", (nnUNetTrainerDA5, PhysMixin), {})


def test_importing_a_trainer_imports_no_diffusers(tmp_path):
    code = "import sys, nnunet_phys.trainers.nnUNetTrainerPhys; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0


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
