"""The models that `nnunet_phys segment` takes: folders and zips, masks as nnU-Net makes them, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

import nnunet_phys.trainers
from nnunet_phys.commands import main
from nnunet_phys.commands.shared import segmentation_model
from nnunet_phys.image_files import Geometry, read_image


def segment(images: Path, results: Path, *more, model: Path | str) -> list[str]:
    arguments = ["segment", "-i", images, "-o", results, "-model", model, "-device", "cpu", "--disable_progress_bar"]
    return [*map(str, arguments), *map(str, more)]


@pytest.fixture
def results(tmp_path) -> Path:
    return tmp_path / "results"


@pytest.fixture
def images(tiny, tmp_path) -> Path:
    """Two single images."""
    (tmp_path / "images").mkdir()
    for case in tiny.cases[:2]:
        shutil.copyfile(tiny.image(case), tmp_path / "images" / tiny.image(case).name)
    return tmp_path / "images"


def test_masks_are_those_of_nnunet_from_a_folder_and_from_a_zip(model, images, tiny, tmp_path, monkeypatch):
    assert model.export() == 0
    monkeypatch.delenv("nnUNet_extTrainer")
    monkeypatch.setattr(segmentation_model, "computes_in_bfloat16", lambda _: False)
    assert main(segment(images, tmp_path / "of_folder", model=model.folder)) == 0
    assert main(segment(images, tmp_path / "of_zip", model=model.zip)) == 0
    assert main(segment(images, tmp_path / "of_one", "-f", "1", "--mirroring", model=model.folder)) == 0
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    monkeypatch.setenv("nnUNet_extTrainer", str(Path(nnunet_phys.trainers.__file__).parent))
    predictor.initialize_from_trained_model_folder(str(model.folder), (0, 1))
    for case in tiny.cases[:2]:
        image, properties = SimpleITKIO().read_images([str(tiny.image(case))])
        expected = predictor.predict_single_npy_array(image, properties)
        for folder in ("of_folder", "of_zip"):
            mask = tmp_path / folder / "masks" / f"{case}.nii.gz"
            np.testing.assert_array_equal(read_image(mask), expected)
            assert Geometry.read(mask).agrees(Geometry.read(tiny.image(case)))
        assert (read_image(tmp_path / "of_one" / "masks" / f"{case}.nii.gz") != expected).any()
    labels = json.loads((tmp_path / "of_zip" / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "blood": 1, "myocardium": 2}


def no_checkpoint(model):
    for fold in (0, 1):
        model.checkpoint(fold).unlink()
    return model.folder


def no_zip(model):
    model.zip.write_text("mine")
    return model.zip


def damaged_zip(model):
    with ZipFile(model.zip, "w", ZIP_DEFLATED) as archive:
        archive.writestr("plans.json", bytes(range(256)) * 99)
    content = bytearray(model.zip.read_bytes())
    content[50:250] = bytes(255 - byte for byte in content[50:250])
    model.zip.write_bytes(content)
    return model.zip


def other_zip(model):
    with ZipFile(model.zip, "w") as archive:
        archive.writestr("readme.txt", "mine")
    return model.zip


def two_channels(model):
    type(model)(model.tiny, channels=2)
    return model.folder


def cut_short(model):
    path = model.checkpoint(1)
    path.write_bytes(path.read_bytes()[:1000])
    return model.folder


@pytest.mark.parametrize(
    ("damage", "options", "expected"),
    [
        (lambda model: model.folder / "gone", (), "no such folder or zip"),
        (no_checkpoint, (), "has no fold_*/checkpoint_final.pth"),
        (lambda model: model.folder, ("-f", "0", "4"), "no checkpoint_final.pth of fold 4. Choose from -f 0 1."),
        (no_zip, (), "cannot be unpacked as a zip"),
        (damaged_zip, (), "cannot be unpacked as a zip"),
        (other_zip, (), "holds 0 models, not one"),
        (two_channels, (), "takes 2 input channels"),
        (cut_short, (), "cannot be loaded by nnU-Net"),
    ],
)
def test_refused_models(model, images, results, refused, damage, options, expected):
    refused(segment(images, results, *options, model=damage(model)), expected)
    assert not results.exists()
