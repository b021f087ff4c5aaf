"""`nnunet_phys train_prior` as a command, and `reverse` with what it writes."""

import json
import shutil

import numpy as np
import pytest

from nnunet_phys.commands import main
from nnunet_phys.commands import train_prior as command
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_files import PIXEL_MM


def test_a_prior_learns_from_digital_hearts_and_serves_reverse(prior, fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(fresh.raw.parent))
    trained = tmp_path / "trained"
    arguments = ["-i", "phantom", "-hearts", "2", "-steps", "2", "-np", "1", "-init", prior, "-o", str(trained)]
    assert main(["train_prior", *arguments]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["trained"]
    record = SpinPrior.load(trained).record
    assert (
        record["command"].startswith("nnunet_phys train_prior -o PRIOR -i phantom") and record["schedule"]["steps"] == 2
    )
    assert main(["reverse", "-d", "900", "-prior", str(trained), "-steps", "2", "--disable_progress_bar"]) == 0
    for case in fresh.cases:
        maps = load_maps(fresh.maps, case, ".nii.gz", fresh.image(case))
        assert float(maps.t1.std()) > 0


@pytest.fixture
def two_cases(tiny, tmp_path):
    """Maps of two of the tiny data set's cases."""
    folder = tmp_path / "maps"
    folder.mkdir()
    for case in tiny.cases[:2]:
        for path in tiny.maps.glob(f"{case}*"):
            shutil.copy(path, folder)
    return folder


def test_a_prior_learns_from_maps(prior, two_cases, tmp_path):
    trained = tmp_path / "trained"
    assert main(["train_prior", "-i", str(two_cases), "-steps", "1", "-init", prior, "-o", str(trained)]) == 0
    assert json.loads((trained / "prior.json").read_text())["record"]["command"].endswith("-pixel_mm 2.5 -seed 0")


def test_dps_makes_maps(prior, fresh, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", str(fresh.raw.parent))
    assert main(["reverse", "-d", "900", "-prior", prior, "-sampler", "dps", "-steps", "3"]) == 0
    for case in fresh.cases:
        maps = load_maps(fresh.maps, case, ".nii.gz", fresh.image(case))
        assert np.isfinite(maps.stack()).all() and float(maps.pd.std()) > 0
        record = json.loads((fresh.maps / f"{case}.json").read_text())
        assert record["sampler"] == {"name": "dps", "steps": 3, "xi": 0.49}


def test_what_is_not_there_is_refused(tmp_path, refused):
    refused(["train_prior", "-i", str(tmp_path / "none"), "-o", str(tmp_path / "p")], "no such folder")
    (tmp_path / "empty").mkdir()
    refused(["train_prior", "-i", str(tmp_path / "empty"), "-o", str(tmp_path / "p")], "_PDmap")
    refused(
        ["train_prior", "-i", "phantom", "-init", "nobody", "-o", str(tmp_path / "p")], "'nobody' has no prior.json"
    )
    refused(["train_prior", "-i", str(tmp_path), "-hearts", "3", "-o", str(tmp_path / "p")], "-hearts and -np go with")
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
