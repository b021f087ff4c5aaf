"""`nnunet_phys export`: what the zip holds, what stays out of it, and which models are refused."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.model_sharing.model_import import install_model_from_zip_file

from nnunet_phys.augmentations.recipe_files import load_recipe

TRAINER = "nnUNetTrainerPhys"
STOCK = "Dataset900_Tiny/nnUNetTrainer__nnUNetPlans__2d"


def load_shared(archive: ZipFile, name: str) -> dict:
    with archive.open(f"{STOCK}/{name}") as file:
        return torch.load(file, weights_only=False)


def test_the_zip_holds_a_model_of_the_stock_trainer(model, capsys):
    assert model.export() == 0
    printed = capsys.readouterr().err
    assert f"{model.zip}: 2 folds" in printed and "left out" not in printed
    assert "nnUNetv2_predict -i IMAGES -d Dataset900_Tiny -o OUT -c 2d -f 0 1\n" in printed
    assert "-tr" not in printed
    with ZipFile(model.zip) as archive:
        assert {name.removeprefix(f"{STOCK}/") for name in archive.namelist()} == {
            "plans.json",
            "dataset.json",
            "nnunet_phys.json",
            "crossval_results_folds_0_1/postprocessing.json",
            "fold_0/checkpoint_final.pth",
            "fold_0/checkpoint_best.pth",
            "fold_0/validation/summary.json",
            "fold_1/checkpoint_final.pth",
        }
        shared = load_shared(archive, "fold_1/checkpoint_final.pth")
        record = json.loads(archive.read(f"{STOCK}/nnunet_phys.json"))
    trained = torch.load(model.checkpoint(1), weights_only=False)
    assert trained.keys() == shared.keys()
    assert shared["trainer_name"] == "nnUNetTrainer" and shared["inference_allowed_mirroring_axes"] == (1,)
    assert shared["init_args"] == trained["init_args"] and shared["logging"] == trained["logging"]
    torch.testing.assert_close(shared["network_weights"], trained["network_weights"], rtol=0, atol=0)
    assert record["trainer"] == TRAINER and record["exported_with"].keys() >= {"nnunet_phys", "nnunetv2", "torch"}
    assert [record["folds"][fold]["recipe"] for fold in ("0", "1")] == [model.recipe, None]
    assert [entry["epochs"] for entry in record["folds"]["0"]["trained_checkpoints"]] == [7, 7]


def test_a_cascade_is_used_in_two_steps(cascade, capsys):
    assert cascade.export() == 0
    first, second = (line for line in capsys.readouterr().err.splitlines() if "nnUNetv2_predict" in line)
    assert "-o FIRST -c 3d_lowres -f FOLDS " in first and "export -c 3d_lowres" in first
    assert "-o OUT -c 2d -f 0 1 -prev_stage_predictions FIRST" in second


def test_nnunet_installs_the_zip_and_predicts_the_same(model, monkeypatch):
    def predict(folder: Path) -> torch.Tensor:
        predictor = nnUNetPredictor(perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False)
        predictor.initialize_from_trained_model_folder(str(folder), (0, 1))
        return predictor.predict_logits_from_preprocessed_data(torch.randn((1, 3, 40, 40), generator=noise()))

    def noise():
        return torch.Generator().manual_seed(0)

    ours = predict(model.folder)
    monkeypatch.delenv("nnUNet_extTrainer")
    assert model.export() == 0  # which finds this package's trainers by itself
    elsewhere = model.zip.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setenv("nnUNet_results", str(elsewhere))
    install_model_from_zip_file(str(model.zip))
    assert torch.equal(predict(elsewhere / STOCK), ours) and ours.std() > 0


def test_a_checkpoint_needs_no_code_of_this_package(model, capsys):
    def add(checkpoint):
        checkpoint["init_args"]["recipe"] = load_recipe("molli")
        checkpoint["logging"]["function"] = load_recipe
        checkpoint["recipes"] = [load_recipe("molli")]

    model.edit(add)
    assert model.export() == 0
    line, *_ = capsys.readouterr().err.splitlines()
    assert line.startswith("nnunet_phys: ") and "left out logging.function, init_args.recipe, recipes, which" in line
    with ZipFile(model.zip) as archive:
        shared = load_shared(archive, "fold_0/checkpoint_final.pth")
        with archive.open(f"{STOCK}/fold_0/checkpoint_final.pth") as file, ZipFile(file) as checkpoint:
            (pickled,) = (name for name in checkpoint.namelist() if name.endswith("/data.pkl"))
            assert b"nnunet_phys" not in checkpoint.read(pickled)
    assert shared["init_args"].keys() >= {"plans", "configuration"} and shared["logging"] == {"train_losses": [-0.5]}


def rename_trainer(name):
    return lambda model: model.edit(lambda checkpoint: checkpoint.update(trainer_name=name))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_plans(model):
    path = model.folder / "plans.json"
    plans = json.loads(path.read_text())
    plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["features_per_stage"] = [4, 8, 16]
    path.write_text(json.dumps(plans))


def drop_weights(checkpoint):
    checkpoint["network_weights"].popitem()


REFUSED = {
    "a trainer without a model": (
        ("-tr", "nnUNetTrainerPhysGRE"),
        None,
        "`nnUNetv2_train 900 2d 0 -tr nnUNetTrainerPh",
    ),
    "a misspelt trainer": (("-tr", "nnUNetTrainerPhy"), None, f"did you mean '{TRAINER}__nnUNetPlans__2d'?"),
    "other plans": (("-p", "otherPlans"), None, "-tr nnUNetTrainerPhys -p otherPlans`"),
    "no such data set": (("-d", "Dataset901_None"), None, "Dataset901_None: there is no model"),
    "missing folds": (("-f", "0", "3", "all"), None, "has no fold 3, all. Train a fold with `nnUNetv2_train 900 2d 3"),
    "two configurations": (("-c", "2d", "3d_fullres"), None, "a zip holds one configuration"),
    "an unfinished training": (
        (),
        lambda model: model.checkpoint(1).rename(model.checkpoint(1, "latest")),
        "fold 1 has not finished. Finish it with `nnUNetv2_train 900 2d 1 -tr nnUNetTrainerPhys --c`.",
    ),
    "a trainer that is not installed": (
        (),
        rename_trainer("nnUNetTrainerGone"),
        "needs its folder in nnUNet_extTrainer",
    ),
    "a network of its own": ((), rename_trainer("nnUNetTrainerBN"), "nnUNetTrainerBN builds a network of its own"),
    "other weights": (
        (),
        lambda model: model.edit(drop_weights),
        "fold_0/checkpoint_final.pth does not fit the network",
    ),
    "other plans than trained": ((), change_plans, "does not fit the network"),
    "a damaged checkpoint": ((), lambda model: cut(model.checkpoint(1)), "fold_1/checkpoint_final.pth cannot be read"),
    "another checkpoint": (
        (),
        lambda model: torch.save([1], model.checkpoint(0)),
        "checkpoint_final.pth cannot be read",
    ),
    "damaged plans": ((), lambda model: cut(model.folder / "plans.json"), "plans.json is not readable JSON"),
    "no plans": ((), lambda model: (model.folder / "plans.json").write_text("{}"), "nnU-Net cannot build the network"),
    "no zip": (("-o", "model.tar"), None, "name a file that ends in .zip"),
    "no folder": (("-o", "gone/model.zip"), None, "there is no folder"),
}


@pytest.mark.parametrize(("options", "damage", "text"), REFUSED.values(), ids=REFUSED)
def test_refusals(model, capsys, options, damage, text):
    if damage is not None:
        damage(model)
    capsys.readouterr()
    assert model.export(*options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nnunet_phys: ") and text in line
    assert not model.zip.exists() and not list(model.zip.parent.glob(".model*"))


def test_a_file_is_not_replaced(model, capsys):
    model.zip.write_text("mine")
    assert model.export() == 1
    assert "exists. Choose another name, or remove it." in capsys.readouterr().err
    assert model.zip.read_text() == "mine"


def test_results_unset(model, capsys, monkeypatch):
    monkeypatch.delenv("nnUNet_results")
    assert model.export() == 1
    assert "nnUNet_results is not set" in capsys.readouterr().err
