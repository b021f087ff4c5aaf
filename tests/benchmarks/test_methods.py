"""Methods of the bed: their trainers exist and train, what they need is there, what is left out has a reason."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from generalization.ablations import ABLATIONS, write_recipe
from generalization.competitors.field_training import FieldTraining
from generalization.methods import LEFT_OUT, METHODS
from generalization.training import SCHEDULE_VARIABLE, BenchTraining
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.errors import InputError
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin

TRAINERS = Path(__file__).parents[2] / "benchmarks" / "generalization" / "trainers"
WITHOUT_MAPS = [name for name, method in METHODS.items() if not method.maps and not method.translate]
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:FutureWarning")  # one of nnU-Net's variants


@pytest.fixture
def trainer_class(tmp_path, monkeypatch):
    """Finds a trainer's class as nnU-Net's commands do, on a schedule of two iterations."""
    schedule = tmp_path / "schedule.json"
    schedule.write_text(json.dumps({"iterations": 2, "epoch_iterations": 1}))
    monkeypatch.setenv(SCHEDULE_VARIABLE, str(schedule))
    monkeypatch.setenv("nnUNet_extTrainer", str(TRAINERS))
    return recursive_find_trainer_class_by_name


def make(tiny, trainer_class, configuration="2d", **changes):
    """A trainer on the CPU for the tiny data set, not initialised."""
    description = json.loads((tiny.preprocessed / "dataset.json").read_text())
    plans = {**tiny.plans(), "continue_training": False}
    return trainer_class(plans, configuration, 0, {**description, **changes}, torch.device("cpu"))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_nnunet_finds_the_trainers(method, trainer_class):
    found = trainer_class(method.trainer)
    assert issubclass(found, BenchTraining)
    assert issubclass(found, PhysMixin) == (method.maps is not None) == (method.recipe is not None)
    if method.recipe is not None:
        load_recipe(method.recipe)


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_an_ablation_changes_one_thing(ablation, tmp_path):
    recipe, default = (load_recipe(r).describe() for r in (write_recipe(ablation, tmp_path), "default"))
    changed = {key for key in default if recipe[key] != default[key]}
    assert (changed and changed <= {"probability", "sequences", "scanner"}) or changed == {"t1_factor", "t2_factor"}
    assert len(changed - {"t1_factor"}) == 1
    assert len(recipe["sequences"]) == len(default["sequences"])


def test_names_are_unique_and_what_is_left_out_has_a_reason():
    assert all(name == method.name for name, method in METHODS.items())
    assert len({method.title for method in METHODS.values()}) == len(METHODS)
    assert METHODS["ri_t2s"].trainer == METHODS["plain"].trainer
    assert not set(LEFT_OUT) & set(METHODS) and all(LEFT_OUT.values())


@pytest.mark.parametrize("name", WITHOUT_MAPS)
def test_one_iteration(name, tiny, trainer_class, monkeypatch):
    monkeypatch.setattr("generalization.competitors.bayeseg.WIDTH", 4)
    np.random.seed(0)
    trainer = make(tiny, trainer_class(METHODS[name].trainer))
    trainer.initialize()
    training, validation = trainer.get_dataloaders()
    before = [parameter.clone() for parameter in trainer.network.parameters()]
    trainer.network.train()
    loss = trainer.train_step(next(training))["loss"]
    assert np.isfinite(loss)
    after = list(trainer.network.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    trainer.network.eval()
    with torch.no_grad():
        assert np.isfinite(trainer.validation_step(next(validation))["loss"])


def test_the_train_step_is_that_of_nnunet(tiny, trainer_class):
    trainer = make(tiny, trainer_class(METHODS["synthseg"].trainer))
    plain = make(tiny, trainer_class(METHODS["plain"].trainer))
    for either in (trainer, plain):
        either.initialize()
        either.network.train()
    batch = next(plain.get_dataloaders()[0])
    assert trainer.train_step(batch)["loss"] == pytest.approx(float(plain.train_step(batch)["loss"]), rel=1e-4)
    for ours, theirs in zip(trainer.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("configuration", "changes", "case"),
    [
        ("3d_fullres", {}, "configuration 3d_fullres"),
        ("2d", {"labels": {"background": 0, "all": [1, 2], "wall": 2}, "regions_class_order": [1, 2]}, "regions"),
        ("2d", {"labels": {"background": 0, "blood": 1, "ignore": 2}}, "the ignore label"),
        ("2d", {"channel_names": {"0": "MRI", "1": "MRI"}}, "several input channels"),
    ],
)
def test_unsupported_data_is_refused(configuration, changes, case, tiny, trainer_class):
    found = trainer_class(METHODS["slaug"].trainer)
    assert issubclass(found, FieldTraining)
    with pytest.raises(InputError, match=f"nnUNetTrainerBenchSLAug does not support {case}"):
        make(tiny, found, configuration, **changes).initialize()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value encountered in scalar divide:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Mean of empty slice:RuntimeWarning")
@pytest.mark.parametrize("name", WITHOUT_MAPS)
def test_nnunet_trains_and_predicts(name, tiny, trainer_class, tmp_path, monkeypatch):
    from nnunetv2.inference.predict_from_raw_data import predict_entry_point
    from nnunetv2.run.run_training import run_training

    monkeypatch.setattr("generalization.competitors.bayeseg.WIDTH", 4)
    trainer = METHODS[name].trainer
    run_training("900", "2d", "all", trainer, device=torch.device("cpu"))
    folders = ("-i", str(tiny.raw / "imagesTr"), "-o", str(tmp_path / "out"))
    model = ("-d", "900", "-c", "2d", "-f", "all", "-tr", trainer, "-device", "cpu", "-npp", "1", "-nps", "1")
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_predict", *folders, *model])
    predict_entry_point()
    assert len(list((tmp_path / "out").glob("case*.nii.gz"))) == len(tiny.cases)
