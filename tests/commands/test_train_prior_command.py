"""`nnunet_phys train_prior` as a command, and `reverse` with what it writes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nnunet_phys.commands import main
from nnunet_phys.commands import train_prior as command
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin import prior_training
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_files import PIXEL_MM
from nnunet_phys.whole_files import making_alone

QUICK = ("-device", "cpu", "-steps", "1", "-pixel_mm", "1.5")


def train(prior: str, folder: Path, *options: str) -> dict:
    """Train a prior from a small one and return its record."""
    assert main(["train_prior", *options, "-device", "cpu", "-init", prior, "-o", str(folder)]) == 0
    assert not list(folder.parent.glob(f"*{folder.name}*.pt"))
    return SpinPrior.load(folder).record


def reverse(fresh, *options: str) -> list[dict]:
    """Make maps of the tiny data set, check that they are maps, and return their records."""
    assert main(["reverse", "-d", "900", "-device", "cpu", "--disable_progress_bar", *options]) == 0
    for case in fresh.cases:
        maps = load_maps(fresh.maps, case, ".nii.gz", fresh.image(case)).stack()
        assert bool(maps.isfinite().all()) and float(maps[0].std()) > 0
    return [json.loads((fresh.maps / f"{case}.json").read_text()) for case in fresh.cases]


def test_a_prior_learns_from_maps_and_serves_reverse(prior, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(tiny.raw.parent))
    trained = tmp_path / "trained"
    record = train(prior, trained, "-i", str(tiny.maps), "-pixel_mm", "1.5", "-steps", "1")
    assert record["command"].startswith(f"nnunet_phys train_prior -o PRIOR -i {tiny.maps} -init {prior} -steps 1")
    assert record["schedule"]["steps"] == 1 and "-hearts" not in record["command"]
    for path in tiny.maps.iterdir():
        path.unlink()
    for made in reverse(tiny, "-prior", str(trained), "-steps", "2"):
        assert made["prior"]["sha256"] == SpinPrior.load(trained).sha256()


def test_a_prior_learns_from_images_first(tiny, tmp_path, monkeypatch):
    """The published number of steps is the default, and the images are a data set's."""
    asked = []

    def trained(*args, **options):
        asked.append(options)
        return SimpleNamespace(record={"final_loss": 0.0})

    monkeypatch.setattr(prior_training, "train_prior", trained)
    arguments = ["train_prior", "-i", str(tiny.maps), "-o", str(tmp_path / "p"), "-pixel_mm", "1.5"]
    assert main([*arguments, "-pretrain", "900", "--fp32"]) == 0
    assert main([*arguments, "-pretrain", str(tiny.raw / "imagesTr"), "-pretrain_steps", "5", "-steps", "3"]) == 0
    assert main(arguments) == 0
    first, second, plain = asked
    assert first["pretrain"].steps == 36_000 and first["schedule"].steps == 6000 and not first["bf16"]
    assert second["pretrain"].steps == 5 and second["schedule"].steps == 3
    assert "-pretrain 900 -pretrain_steps 36000 -steps 6000" in first["record"]["command"]
    assert torch.equal(first["pretrain"].make_images(), second["pretrain"].make_images())
    assert plain["pretrain"] is None and plain["schedule"].steps == 6400


@pytest.mark.skipif(sys.platform == "win32", reason="gloo")
@pytest.mark.slow
def test_processes_of_a_launcher_train_one_prior(prior, tiny, tmp_path):
    """Two processes, on digital hearts' maps, write one prior that says so; a third run finds it finished."""
    options = ["-i", str(tiny.maps), "-init", prior, "-o", str(tmp_path / "p"), "-pixel_mm", "1.5", "-steps", "2"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29511"]
    run = [*launch, "-m", "nnunet_phys", "train_prior", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    first = subprocess.run(run, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("prior written to") == 1
    assert SpinPrior.load(tmp_path / "p").record["processes"] == 2
    assert [path.name for path in tmp_path.glob("p*")] == ["p"]
    again = subprocess.run(run, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert again.returncode != 0 and "holds a finished prior" in again.stderr


@pytest.mark.slow
def test_a_prior_learns_from_digital_hearts(prior, tmp_path):
    record = train(prior, tmp_path / "trained", "-i", "phantom", "-hearts", "2", "-steps", "2", "-np", "1")
    assert "-i phantom" in record["command"] and "-hearts 2" in record["command"]


def test_another_process_that_trains_the_same_prior_is_refused(prior, tiny, tmp_path, refused):
    with making_alone(tmp_path / "p"):
        refused(
            ["train_prior", "-i", str(tiny.maps), "-init", prior, "-o", str(tmp_path / "p"), *QUICK], "another process"
        )


def test_a_training_on_maps_that_have_changed_is_refused(prior, tiny, tmp_path, refused, monkeypatch, edit_image):
    arguments = ["train_prior", "-i", str(tiny.maps), "-init", prior, "-o", str(tmp_path / "p"), *QUICK]
    with monkeypatch.context() as patched:
        patched.setattr(prior_training, "_write", interrupt)
        assert main(arguments) == 130
    path = min(tiny.maps.glob("*_T1map.nii.gz"))
    record = path.with_name(path.name.replace("_T1map.nii.gz", ".json"))
    record.unlink()
    edit_image(path, lambda t1: t1 + 1)
    refused(arguments, "p.checkpoint.pt belongs to another training, which differs in maps_sha256")


def interrupt(*args):
    raise KeyboardInterrupt


def test_dps_makes_maps(prior, fresh, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(fresh.raw.parent))
    for record in reverse(fresh, "-prior", prior, "-sampler", "dps", "-steps", "3"):
        assert record["sampler"] == {"name": "dps", "steps": 3, "xi": 0.49}


def test_what_is_not_there_is_refused(tmp_path, refused):
    refused(["train_prior", "-i", str(tmp_path / "none"), "-o", str(tmp_path / "p")], "no such folder")
    (tmp_path / "empty").mkdir()
    refused(["train_prior", "-i", str(tmp_path / "empty"), "-o", str(tmp_path / "p")], "_PDmap")
    refused(
        ["train_prior", "-i", "phantom", "-init", "nobody", "-o", str(tmp_path / "p")], "'nobody' has no prior.json"
    )
    images = ["train_prior", "-i", "phantom", "-o", str(tmp_path / "p"), "-pretrain"]
    refused([*images, str(tmp_path / "none")], "-pretrain", "none: no such folder")
    refused([*images, str(tmp_path / "empty")], "-pretrain", "empty holds no image")
    refused([*images, str(tmp_path), "-init", "digital_heart"], "-init goes on from a trained prior")
    refused([*images[:-1], "-pretrain_steps", "3"], "-pretrain_steps goes with -pretrain")
    refused(["train_prior", "-i", str(tmp_path), "-hearts", "3", "-o", str(tmp_path / "p")], "-hearts goes with")
    refused(["train_prior", "-i", "phantom", "-o", str(tmp_path)], "holds other files")
    (tmp_path / "file").touch()
    refused(["train_prior", "-i", "phantom", "-o", str(tmp_path / "file")], "is a file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


@pytest.mark.parametrize(
    "option, value",
    [
        ("-steps", "0"),
        ("-steps", "1000000000"),
        ("-pretrain_steps", "0"),
        ("-hearts", "0"),
        ("-hearts", "1000000000"),
        ("-np", "0"),
        ("-np", "100000"),
        ("-seed", "-1"),
        ("-seed", "1.5"),
        ("-pixel_mm", "0"),
        ("-pixel_mm", "nan"),
        ("-pixel_mm", "1000"),
        ("-o", ""),
    ],
)
def test_absurd_numbers_are_refused_by_the_parser(option, value, tmp_path, capsys):
    with pytest.raises(SystemExit) as refusal:
        main(["train_prior", "-i", "phantom", "-o", str(tmp_path / "p"), option, value])
    assert refusal.value.code == 2
    assert f"argument {option}: " in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_the_parser_takes_the_pixels_that_a_prior_may_have():
    assert command.PIXEL_MM == PIXEL_MM
