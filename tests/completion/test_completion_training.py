"""Training: a killed run goes on to the same model; pretrained parts; slices from maps."""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_phys import training_checkpoint
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.completion import training
from nnunet_phys.completion.channel_files import read_slices
from nnunet_phys.completion.model_files import load_model
from nnunet_phys.completion.synthetic_slices import draw_examination, entries_of, synthetic_slices
from nnunet_phys.completion.training import train_completion
from nnunet_phys.completion.training_run import TrainingData, TrainingRun
from nnunet_phys.errors import InputError
from nnunet_phys.map_files import save_maps
from nnunet_phys.training_checkpoint import Checkpoint

CPU = torch.device("cpu")


@pytest.fixture
def data(tiny_cases, quick):
    """The tiny data set's slices; without regions, they stand for synthetic ones, too."""
    slices, _ = read_slices(tiny_cases, 3, {"MYO": [2]}, 1.5, quick.slice_size)
    return _data(slices)


def _data(slices):
    synthetic = replace(slices, regions=slices.regions[:, :0])
    return TrainingData(slices, synthetic, ("a", "b", "c"), 1.5, (0.0,) * 3, (1.0,) * 3)


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


@pytest.mark.parametrize(("finished", "encodings"), [("denoiser, pretraining", 1), ("denoiser", 0)])
def test_a_phase_that_is_done_needs_no_latents_again(data, quick, tmp_path, monkeypatch, finished, encodings):
    run = TrainingRun.run

    def run_then_die(self, name, *more):
        run(self, name, *more)
        if name == finished:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "run", run_then_die)
    with pytest.raises(KeyboardInterrupt):
        _train(data, tmp_path / "m", quick)
    monkeypatch.setattr(TrainingRun, "run", run)
    encode, calls = training.LatentBank.encode, []
    monkeypatch.setattr(training.LatentBank, "encode", lambda *given: calls.append(1) or encode(*given))
    _train(data, tmp_path / "m", quick)
    assert len(calls) == encodings


def test_what_a_killed_checkpoint_left_behind_is_removed(data, quick, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "save_model", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        _train(data, tmp_path / "m", quick)
    leftover = tmp_path / ".m.nnunet_phys-abcdefgh"
    leftover.mkdir()
    with pytest.raises(KeyboardInterrupt):
        _train(data, tmp_path / "m", quick)
    assert not leftover.exists()


def test_pairs_for_the_image_encoder_show_different_slices(data, quick):
    """Otherwise features of one slice would be driven apart."""
    batch = replace(quick, batch=50)
    slices = len(data.slices)
    numbered = torch.arange(slices).view(-1, 1, 1, 1).expand_as(data.slices.images) / slices * 2 - 1
    numbered = replace(data, slices=replace(data.slices, images=numbered.half()))
    run = TrainingRun(numbered, batch, Checkpoint.of(Path("none"), {}), CPU, 0, False)
    pairs = run.pairs([numbered.slices], torch.Generator().manual_seed(0))
    levels = pairs[:, 0, 16, 16]
    assert len(levels) == slices == len(levels.unique())


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


def test_pretrained_parts_take_no_room_and_change_no_other_weights(data, quick, uninterrupted, tmp_path, monkeypatch):
    asked = []

    def check(run, networks):
        asked.append({type(network).__name__: deepcopy(network.state_dict()) for network in networks})
        raise KeyboardInterrupt

    monkeypatch.setattr(TrainingRun, "check_disk", check)
    model = load_model(uninterrupted, CPU)
    for parts in ({}, {"autoencoder": model.autoencoder, "image_encoder": model.image_encoder}):
        with pytest.raises(KeyboardInterrupt):
            _train(data, tmp_path / "m", quick, **parts)
    everything, rest = asked
    assert set(everything) - set(rest) == {"AutoencoderKL", "ImageEncoder"}
    assert all(torch.equal(rest[name][key], everything[name][key]) for name in rest for key in rest[name])


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


def test_tissue_and_infarcts_are_the_same_in_all_channels():
    recipe = load_recipe("default")
    entries = entries_of(recipe, ("bssfp", "lge_gre", "black_blood"))
    rng = np.random.default_rng(0)
    examinations = [draw_examination(recipe, entries, rng) for _ in range(20)]
    for draws in examinations:
        assert len({(draw.tissue.t1_factor, draw.tissue.t2_factor) for draw in draws}) == 1
        assert all(draw.device is None for draw in draws)
    assert len({draws[0].tissue.t1_factor for draws in examinations}) == 20
    infarcted = [draws for draws in examinations if draws[0].infarct is not None]
    assert 4 < len(infarcted) < 16
    for draws in infarcted:
        assert {draw.infarct for draw in draws} == {draws[0].infarct}
        assert len({replace(draw.infarct_tissue, agent=draws[0].tissue.agent) for draw in draws}) == 1
        assert [draw.infarct_tissue.agent for draw in draws] == [draw.tissue.agent for draw in draws]
        assert draws[1].infarct_tissue.muscle_uptake > 1.5
        assert draws[1].tissue.agent.tissue > 0 == draws[2].tissue.agent.tissue


def test_slices_from_maps_show_the_sequences(digital):
    """Black blood is dark in one channel and bright in another, at the same places."""
    heart, folder = digital
    slices = synthetic_slices(folder, ("bssfp", "black_blood"), 3, 2.5, 48, 0)
    assert slices.images.shape == (6, 2, 48, 48)
    blood, muscle = (torch.from_numpy(heart.labels == code).repeat(3, 1, 1) for code in (3, 2))
    excess = [float(image[blood].mean() - image[muscle].mean()) for image in slices.images.float().unbind(1)]
    assert excess[0] > 0.1 > -0.1 > excess[1]


def test_a_sequence_that_the_recipe_lacks():
    with pytest.raises(InputError, match=r"black_blod is not in the recipe default \(did you mean 'black_blood'"):
        entries_of(load_recipe("default"), ("bssfp", "black_blod"))


def test_maps_without_contrast_are_named(digital, tmp_path):
    heart, folder = digital
    copy = tmp_path / "maps"
    shutil.copytree(folder, copy)
    save_maps(copy, "h", replace(heart.maps, pd=0 * heart.maps.pd), copy / "h_0000.nii.gz", ".nii.gz", {})
    with pytest.raises(InputError, match=r"h: its maps in .* make images without contrast"):
        synthetic_slices(copy, ("bssfp", "black_blood"), 1, 2.5, 48, 0)
