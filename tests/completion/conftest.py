"""A tiny data set of three channels, a tiny model, and schedules that take seconds."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import main
from nnunet_phys.completion import schedule
from nnunet_phys.completion.channel_files import ChannelCase, read_slices
from nnunet_phys.completion.schedule import CompletionSchedule
from nnunet_phys.completion.training import train_completion
from nnunet_phys.completion.training_run import TrainingData
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.map_files import save_maps

CHANNELS = ("bSSFP", "LGE", "T2")
QUICK = CompletionSchedule(
    autoencoder_steps=2,
    encoder_steps=2,
    regressor_steps=2,
    denoiser_steps=2,
    view=32,
    views=4,
    autoencoder_crop=16,
    batch=2,
    autoencoder_batch=2,
    slice_size=48,
)


def write_channel(path, values, spacing=(1.5, 1.5, 8.0)):
    """An image file of these values (slices, rows, columns)."""
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing(spacing)
    image.SetOrigin((-10.0, 5.0, 20.0))
    sitk.WriteImage(image, str(path))


def heart(seed: int) -> np.ndarray:
    """Labels (2, 30, 28): a ring, a cavity in it, and one beside it."""
    rows, columns = np.mgrid[:30, :28]
    distance = np.hypot(rows - 15, columns - 14 - seed)
    labels = np.where(distance < 4, 3, np.where(distance < 7, 2, 0))
    labels[13:18, 2:6] = 1
    return np.stack([labels, labels]).astype(np.uint8)


@pytest.fixture(scope="session")
def channel_data(tmp_path_factory):
    """nnUNet_raw with Dataset041_Heart: two cases of three channels, which show the same labels."""
    raw = tmp_path_factory.mktemp("raw")
    folder = raw / "Dataset041_Heart"
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    levels = np.array([[20, 200, 90, 220], [10, 150, 40, 180], [30, 60, 120, 40]], np.float32)
    for seed, case in enumerate(("a", "b")):
        labels, rng = heart(seed), np.random.default_rng(seed)
        for channel, of_label in enumerate(levels):
            noisy = of_label[labels] + rng.normal(0, 3, labels.shape)
            write_channel(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", np.abs(noisy))
        image = sitk.GetImageFromArray(labels)
        image.CopyInformation(sitk.ReadImage(str(folder / "imagesTr" / f"{case}_0000.nii.gz")))
        sitk.WriteImage(image, str(folder / "labelsTr" / f"{case}.nii.gz"))
    description = {
        "channel_names": {str(number): name for number, name in enumerate(CHANNELS)},
        "labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps(description))
    return raw


@pytest.fixture
def raw(channel_data, monkeypatch):
    """nnUNet_raw, set for nnU-Net."""
    monkeypatch.setenv("nnUNet_raw", str(channel_data))
    return channel_data


@pytest.fixture
def quickly(monkeypatch):
    """`train_completion` takes two steps a phase, of small pieces."""
    monkeypatch.setattr(schedule, "CompletionSchedule", partial(replace, QUICK))


@pytest.fixture(scope="session")
def model_folder(channel_data, tmp_path_factory):
    """A model after two steps a phase."""
    folder = tmp_path_factory.mktemp("model") / "model"
    slices, _ = read_slices(cases_of(channel_data), 3, {"MYO": [2]}, 1.5, QUICK.slice_size)
    data = TrainingData(slices, None, CHANNELS, 1.5, (0.0, 0.0, 0.0), (200.0, 180.0, 120.0))
    train_completion(data, folder, QUICK, torch.device("cpu"), 0, False, {"of": "test"})
    return folder


@pytest.fixture(scope="session")
def digital(tmp_path_factory):
    """A digital heart of two slices, and a folder with its maps."""
    folder, heart = tmp_path_factory.mktemp("maps"), digital_heart(0, 2, (48, 48), 2.5)
    write_channel(folder / "h_0000.nii.gz", np.zeros((2, 48, 48)), (2.5, 2.5, 8.0))
    save_maps(folder, "h", heart.maps, folder / "h_0000.nii.gz", ".nii.gz", {})
    return heart, folder


def cases_of(raw_folder):
    """The cases of the tiny data set."""
    folder = raw_folder / "Dataset041_Heart"
    return [
        ChannelCase(
            case,
            {number: folder / "imagesTr" / f"{case}_{number:04d}.nii.gz" for number in range(3)},
            folder / "labelsTr" / f"{case}.nii.gz",
        )
        for case in ("a", "b")
    ]


@pytest.fixture(scope="session")
def tiny_cases(channel_data):
    """The cases of the tiny data set."""
    return cases_of(channel_data)


@pytest.fixture(scope="session")
def quick():
    """A schedule of two steps a phase."""
    return QUICK


@pytest.fixture
def refused(capsys):
    """Asserts that a command is refused with this text."""

    def check(arguments, expected):
        capsys.readouterr()
        assert main([*arguments, "-q"]) == 1
        error = capsys.readouterr().err
        assert expected in error, error

    return check


@pytest.fixture
def images(raw, tmp_path):
    """Case a without LGE, case b with all channels."""
    folder = tmp_path / "images"
    shutil.copytree(raw / "Dataset041_Heart" / "imagesTr", folder)
    (folder / "a_0001.nii.gz").unlink()
    return folder


@pytest.fixture
def complete(model_folder, images, tmp_path):
    """Makes arguments of `nnunet_phys complete` for these images."""
    return lambda *options: [
        *("complete", "-i", str(images), "-o", str(tmp_path / "done"), "-model", str(model_folder)),
        *("-steps", "2", "-device", "cpu", "--disable_progress_bar", *options),
    ]
