"""What our trainers train on, and what they refuse."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import blosc2
import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from batchgeneratorsv2.transforms.utils.random import OneOfTransform, RandomTransform
from make_trainers import OURS, Always, batch_of, make
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_phys.augmentations.contrast import AcquireImage, SynthesizeContrast
from nnunet_phys.augmentations.recipe_files import CHECKPOINT_ENTRY, load_recipe
from nnunet_phys.commands import main
from nnunet_phys.errors import InputError
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin, nnUNetTrainerPhys

# one of nnU-Net's variants, which its search for trainers imports
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:FutureWarning")


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
    assert f"recipe {mine} (named by nnUNet_phys_recipe)" in Path(trainer.log_file).read_text()

    mine.write_text(json.dumps({**load_recipe("molli").describe(), "probability": 25}))
    with pytest.raises(InputError, match=r"probability: 25.0 must lie between 0 and 1"):
        make(ready, nnUNetTrainerPhys).get_dataloaders()


def test_a_training_that_goes_on_keeps_its_recipe(ready, monkeypatch):
    trainer = make(ready, nnUNetTrainerPhys)
    trainer.get_dataloaders()
    trainer.current_epoch, checkpoint = 2, str(ready.root / "checkpoint.pth")
    trainer.save_checkpoint(checkpoint)
    kept = Path(trainer.output_folder) / "recipe.json"
    before = kept.read_text()
    monkeypatch.setenv("nnUNet_phys_recipe", "molli")
    make(ready, nnUNetTrainerPhys).get_dataloaders()  # a new training that is interrupted before its first checkpoint
    assert kept.read_text() != before
    for variable, refused in (("molli", True), ("default", False), (str(kept), False)):
        monkeypatch.setenv("nnUNet_phys_recipe", variable)
        trainer = make(ready, nnUNetTrainerPhys)
        trainer.load_checkpoint(checkpoint)
        if refused:
            with pytest.raises(InputError, match=r"recipe.json: this training has done 3 epochs with that recipe"):
                trainer.get_dataloaders()
        else:
            trainer.get_dataloaders()
        assert kept.read_text() == before


def test_a_checkpoint_whose_recipe_leaves_a_default_out(ready):
    trainer = make(ready, nnUNetTrainerPhys)
    trainer.get_dataloaders()
    kept = trainer.my_init_kwargs[CHECKPOINT_ENTRY]
    (molli,) = (entry for entry in kept["sequences"] if entry["sequence"] == "molli")
    assert molli.pop("inversion_step_ms") == 80.0
    trainer = make(ready, nnUNetTrainerPhys)
    trainer.my_init_kwargs = {CHECKPOINT_ENTRY: kept}
    trainer.get_dataloaders()
    assert trainer.my_init_kwargs[CHECKPOINT_ENTRY] != kept


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


def test_a_cascade_without_its_first_stage(ready):
    plans = ready.plans()
    plans["configurations"]["3d_lowres"] = {"inherits_from": "3d_fullres"}
    plans["configurations"]["3d_cascade_fullres"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    with pytest.raises(RuntimeError, match=r"case0: .* holds no segmentation of it\. First train 3d_lowres"):
        make(ready, Always, "3d_cascade_fullres", plans, fold="all").get_dataloaders()


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


def test_a_finished_training_without_maps_can_still_be_validated(tiny):
    trainer = make(tiny, nnUNetTrainerPhys)
    trainer.current_epoch = trainer.num_epochs
    with pytest.raises(RuntimeError, match="to validate it, which needs no maps, use --val"):
        trainer.get_dataloaders()


def test_excluded_cases_are_not_trained_on(tiny, tmp_path):
    excluded = tmp_path / "excluded.txt"
    preprocess = ["preprocess", "-d", "900", "-c", "2d", "-np", "1"]
    excluded.write_text("case1\ncase4\n", encoding="utf-16")  # as PowerShell writes it
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


def test_static_transforms_are_refused():
    with pytest.raises(TypeError, match="must not be static"):

        class Mine(nnUNetTrainerPhys):
            @staticmethod
            def get_training_transforms(*args, **kwargs):
                return nnUNetTrainer.get_training_transforms(*args, **kwargs)


def test_the_mixin_comes_first():
    with pytest.raises(TypeError, match="name PhysMixin before"):
        type("Mine", (nnUNetTrainerDA5, PhysMixin), {})


def test_importing_a_trainer_imports_no_diffusers(tmp_path):
    code = "import sys, nnunet_phys.trainers.nnUNetTrainerPhys; sys.exit('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path).returncode == 0
