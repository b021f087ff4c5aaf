"""`nnunet_phys train_prior` as a command, and `reverse` with what it writes."""

import json
from pathlib import Path

import pytest

from nnunet_phys.commands import main
from nnunet_phys.commands import train_prior as command
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_files import PIXEL_MM


def train(prior: str, folder: Path, *options: str) -> dict:
    """Train a prior from a small one and return its record."""
    assert main(["train_prior", *options, "-init", prior, "-o", str(folder)]) == 0
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


@pytest.mark.slow
def test_a_prior_learns_from_digital_hearts(prior, tmp_path):
    record = train(prior, tmp_path / "trained", "-i", "phantom", "-hearts", "2", "-steps", "2", "-np", "1")
    assert "-i phantom" in record["command"] and "-hearts 2" in record["command"]


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
