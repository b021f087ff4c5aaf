"""Training: a killed run goes on to the same model; pretrained parts; slices from maps."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys import training_checkpoint
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.completion import training
from nnunet_phys.completion.channel_files import read_slices
from nnunet_phys.completion.model_files import load_model
from nnunet_phys.completion.synthetic_slices import draw_examination, entries_of, synthetic_slices
from nnunet_phys.completion.training import train_completion
from nnunet_phys.completion.training_run import TrainingData
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.map_files import save_maps

CPU = torch.device("cpu")


@pytest.fixture
def data(tiny_cases, quick):
    """The tiny data set's slices, also in the place of synthetic ones."""
    slices, _ = read_slices(tiny_cases, 3, {"MYO": [2]}, 1.5, quick.slice_size)
    return _data(slices)


def _data(slices):
    return TrainingData(slices, slices, ("a", "b", "c"), 1.5, (0.0,) * 3, (1.0,) * 3)


def _train(data, folder, schedule, **options):
    return train_completion(data, folder, schedule, CPU, 0, False, {"test": True}, **options)


def _weights(folder):
    pipeline = load_model(folder, CPU)
    parts = (pipeline.autoencoder, pipeline.image_encoder, pipeline.regressor, pipeline.projection, pipeline.unet)
    return torch.cat([values.flatten() for part in parts for values in part.state_dict().values()])


@pytest.fixture(scope="module")
def uninterrupted(tiny_cases, quick, tmp_path_factory):
    """The model of a training that nobody killed."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "model"
    slices, _ = read_slices(tiny_cases, 3, {"MYO": [2]}, 1.5, quick.slice_size)
    _train(_data(slices), folder, quick)
    return folder


@pytest.mark.parametrize("saves", [1, 3, 8, 12, 14, 17])
def test_a_killed_training_goes_on_to_the_same_model(data, uninterrupted, quick, tmp_path, monkeypatch, saves):
    """Killed after a checkpoint within a phase or between two; each of the six phases saves three times."""
    schedule = replace(quick, checkpoint_minutes=0.0)
    save, count = training_checkpoint.Checkpoint.save, 0

    def save_then_die(self, state):
        nonlocal count
        save(self, state)
        count += 1
        if count == saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(training_checkpoint.Checkpoint, "save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        _train(data, tmp_path / "killed", schedule)
    assert not (tmp_path / "killed").exists()
    _train(data, tmp_path / "killed", schedule)
    torch.testing.assert_close(_weights(tmp_path / "killed"), _weights(uninterrupted))
    assert not list(tmp_path.glob("*.checkpoint.pt"))


def test_without_a_regressor_the_denoiser_makes_the_whole_image(data, quick, tmp_path):
    """As published; and such a model can be read."""
    made = _train(data, tmp_path / "m", replace(quick, regressor_steps=0))
    pipeline = load_model(tmp_path / "m", CPU)
    assert made.regressor is None is pipeline.regressor
    scale = pipeline.config["residual_scale"]
    assert len(scale) == 4 and np.mean(np.square(scale)) == pytest.approx(1, abs=0.5)
    images = torch.rand(1, 3, 30, 28) * 2 - 1
    assert pipeline(images, (0, 2), 1, steps=2).images.shape == (1, 1, 30, 28)


def test_a_checkpoint_of_another_training_is_refused(data, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _train(data, tmp_path / "m", quick)
    with pytest.raises(InputError, match="belongs to another training"):
        _train(data, tmp_path / "m", replace(quick, denoiser_steps=3))
    inverted = replace(data.slices, images=-data.slices.images)
    with pytest.raises(InputError, match="belongs to another training"):
        _train(replace(data, slices=inverted), tmp_path / "m", quick)


def test_a_disk_without_room_is_refused_before_any_work(data, quick, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(training_checkpoint.shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(training, "reconstruction_loss", lambda *_: pytest.fail("it began to learn"))
    with pytest.raises(InputError, match="checkpoints need"):
        _train(data, tmp_path / "m", quick)
    assert not list(tmp_path.iterdir())


def test_room_is_made_for_all_copies_of_the_networks(data, quick, tmp_path, monkeypatch):
    sizes = []

    def check(checkpoint, state):
        sizes.append(sum(values.nbytes for network in state["room"] for values in network.values()))
        checkpoint.save(state)
        sizes.append(checkpoint.path.stat().st_size)
        raise KeyboardInterrupt

    monkeypatch.setattr(training_checkpoint.Checkpoint, "check_disk", check)
    with pytest.raises(KeyboardInterrupt):
        _train(data, tmp_path / "m", quick)
    assert sizes[1] >= sizes[0] > 50 * 2**20


def test_the_denoiser_is_pretrained_beside_the_regressor_of_the_same_slices(data, quick, tmp_path, monkeypatch):
    seen = []
    encode = training.LatentBank.encode

    def remember(slices, views, size, pixel_mm, encoders, *more):
        seen.append(torch.cat([values.flatten() for values in encoders.regressor.state_dict().values()]))
        return encode(slices, views, size, pixel_mm, encoders, *more)

    monkeypatch.setattr(training.LatentBank, "encode", remember)
    _train(data, tmp_path / "m", quick)
    final = load_model(tmp_path / "m", CPU).regressor.state_dict()
    assert torch.equal(seen[1], torch.cat([values.flatten() for values in final.values()]))
    assert not torch.equal(seen[0], seen[1])


def test_a_loss_that_is_not_finite_ends_the_training(data, quick, tmp_path):
    spoilt = replace(data, slices=replace(data.slices, images=data.slices.images * torch.nan), synthetic=None)
    with pytest.raises(InputError, match="not finite"):
        _train(spoilt, tmp_path / "m", quick)


def test_an_infarct_lies_where_it_lies_in_all_channels():
    recipe = load_recipe("default")
    entries = entries_of(recipe, ("bssfp", "lge_gre", "black_blood"))
    rng = np.random.default_rng(0)
    examinations = [draw_examination(recipe, entries, rng) for _ in range(20)]
    infarcted = [draws for draws in examinations if draws[0].infarct is not None]
    assert 4 < len(infarcted) < 16
    for draws in infarcted:
        assert {draw.infarct for draw in draws} == {draws[0].infarct}
        assert draws[1].infarct_tissue.muscle_uptake > 1.5
        assert draws[1].tissue.agent.tissue > 0 == draws[2].tissue.agent.tissue


def test_slices_from_maps_show_the_sequences(tmp_path):
    """Black blood is dark in one channel and bright in another, at the same places."""
    heart = digital_heart(0, 2, (48, 48), 2.5)
    image = sitk.GetImageFromArray(np.zeros((2, 48, 48), np.float32))
    image.SetSpacing((2.5, 2.5, 8.0))
    sitk.WriteImage(image, str(tmp_path / "h_0000.nii.gz"))
    save_maps(tmp_path, "h", heart.maps, tmp_path / "h_0000.nii.gz", ".nii.gz", {})
    slices = synthetic_slices(tmp_path, ("bssfp", "black_blood"), 3, 2.5, 48, 0, progress=False)
    assert slices.images.shape == (6, 2, 48, 48)
    blood, muscle = (torch.from_numpy(heart.labels == code).repeat(3, 1, 1) for code in (3, 2))
    excess = [float(image[blood].mean() - image[muscle].mean()) for image in slices.images.float().unbind(1)]
    assert excess[0] > 0.1 > -0.1 > excess[1]


def test_a_sequence_that_the_recipe_lacks():
    with pytest.raises(InputError, match=r"black_blod is not in the recipe default \(did you mean 'black_blood'"):
        entries_of(load_recipe("default"), ("bssfp", "black_blod"))
