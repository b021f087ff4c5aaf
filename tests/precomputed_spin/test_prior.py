"""The spin prior on disk and its training."""

import json

import numpy as np
import pytest
import torch

from nnunet_phys.brightness import bright_level
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin import prior as prior_module
from nnunet_phys.precomputed_spin import prior_training as training
from nnunet_phys.precomputed_spin.guide_images import GUIDES, observe
from nnunet_phys.precomputed_spin.prior import (
    DEFAULT_PRIOR,
    SHIPPED,
    SpinPrior,
    SpinScaling,
    new_scheduler,
    new_unet,
)
from nnunet_phys.precomputed_spin.prior_maps import folder_maps, reference_voxels
from nnunet_phys.precomputed_spin.prior_training import Schedule, Stage, measure_denoising_error, train_prior
from nnunet_phys.sequences import BSSFP, MOLLI, SpoiledGRE
from nnunet_phys.spin import SpinMaps


@pytest.fixture(scope="module")
def prior_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    torch.manual_seed(0)
    error = torch.linspace(0.001, 0.1, 1000)[:, None].expand(1000, 3)
    SpinPrior(
        new_unet((16, 32)), new_scheduler(), SpinScaling(), 3.0, error, torch.ones(3, 7), record={"made": "for a test"}
    ).save(folder)
    return folder


def test_scaling_round_trip_and_ends():
    scaling = SpinScaling()
    maps = SpinMaps(*(torch.tensor([[[low, high]]]) for low, high in (scaling.pd, scaling.t1_ms, scaling.t2_ms)))
    scaled = scaling.encode(maps)
    assert scaled.shape == (1, 3, 1, 2)
    torch.testing.assert_close(scaled[0, :, 0], torch.tensor([[-1.0, 1.0]]).expand(3, 2))
    torch.testing.assert_close(scaling.decode(scaled).stack(), maps.stack())


def test_save_and_load(prior_folder):
    prior = SpinPrior.load(prior_folder)
    assert prior.pixel_mm == 3.0 and prior.record == {"made": "for a test"} and prior.multiple == 4
    assert torch.equal(prior.reference, torch.ones(3, 7))
    assert not prior.scheduler.config.clip_sample
    assert prior.denoising_error[500, 1] == pytest.approx(0.05, rel=0.03)


def test_shipped_prior_is_small_and_records_its_making():
    prior = SpinPrior.load(DEFAULT_PRIOR)
    size = sum(p.stat().st_size for p in (SHIPPED / DEFAULT_PRIOR).rglob("*") if p.is_file())
    assert size <= 16e6
    assert prior.record["command"].startswith("nnunet_phys train_prior -o PRIOR -i phantom ")


def test_denoising_error_falls_with_noise():
    error = SpinPrior.load().denoising_error
    assert (error[0] < 1e-3).all() and (error[100] < error[600]).all()


def _break(folder, **changes):
    description = json.loads((folder / "prior.json").read_text())
    (folder / "prior.json").write_text(json.dumps({**description, **changes}))


@pytest.mark.parametrize("changes", [{"format": 99}, {"scaling": {"pd": [0, 1]}}, {"denoising_error": 3}])
def test_foreign_prior_is_refused(prior_folder, tmp_path, changes):
    import shutil

    shutil.copytree(prior_folder, tmp_path / "p")
    _break(tmp_path / "p", **changes)
    with pytest.raises(InputError, match=r"cannot be read .* Give a folder written by"):
        SpinPrior.load(tmp_path / "p")


def test_cut_short_weights_are_refused(prior_folder, tmp_path):
    import shutil

    shutil.copytree(prior_folder, tmp_path / "p")
    weights = next((tmp_path / "p" / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read"):
        SpinPrior.load(tmp_path / "p")


def test_guide_reaches_the_network_and_none_is_the_library(prior_folder):
    prior = SpinPrior.load(prior_folder)
    noisy, step = torch.zeros(1, 3, 16, 16), torch.tensor([500])
    free = prior.velocity(noisy, step)
    assert torch.equal(free, prior.guided(prior.library_moments.expand(1, 6, 16, 16)).velocity(noisy, step))
    assert not torch.allclose(free, prior.guided(torch.ones(1, 6, 16, 16)).velocity(noisy, step), atol=1e-4)


@pytest.mark.parametrize("sequence", [BSSFP(50.0), SpoiledGRE(inflow_pulses=50.0), MOLLI()])
def test_observed_images_show_the_maps_in_the_unit_of_the_signal(sequence):
    maps = digital_heart(0, 2).maps
    seen = observe(maps, sequence, maps.stack().flatten(1)[:, ::64], np.random.default_rng(0))
    truth = signals(sequence, maps)
    assert seen.signed == (len(truth) > 1) and seen.images.shape == truth.shape
    assert float(bright_level(seen.images.abs())) == pytest.approx(seen.level, rel=0.4)
    assert np.corrcoef(seen.images.ravel(), truth.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", GUIDES)
def test_guides_are_protocols_of_their_own_each_time(name):
    rng = np.random.default_rng(0)
    drawn = [GUIDES[name][1](rng) for _ in range(2000)]
    assert len(set(drawn)) == 2000 and all(signals(one, digital_heart(0, 1).maps).isfinite().all() for one in drawn[:3])


def test_no_prior_there(tmp_path):
    with pytest.raises(InputError, match=f"has no prior.json.*{DEFAULT_PRIOR}"):
        SpinPrior.load(tmp_path)


class _Interrupted(Exception):
    pass


def _pool():
    generator = torch.Generator().manual_seed(5)
    shape = (4, 24, 24)
    pd, t1, t2 = (torch.rand(shape, generator=generator) for _ in range(3))
    return SpinMaps(pd, 500 + 1000 * t1, 40 + 100 * t2).stack(1)


def _train(folder, monkeypatch, stop_after=None, seed=0):
    monkeypatch.setattr(training, "new_unet", lambda: new_unet((16, 16)))
    calls = 0
    velocity = prior_module.SpinPrior.velocity

    def counted(self, *args):
        nonlocal calls
        calls += 1
        if calls == stop_after:
            raise _Interrupted
        return velocity(self, *args)

    monkeypatch.setattr(prior_module.SpinPrior, "velocity", counted)
    schedule = Schedule(steps=6, stages=(Stage(0.5, 8, 2), Stage(1.0, 16, 2)), checkpoint_minutes=0)
    return train_prior(_pool, lambda: _pool()[..., :16, :16], folder, 2.5, schedule, seed=seed)


def test_killed_training_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch):
    _train(tmp_path / "whole", monkeypatch)
    with pytest.raises(_Interrupted):
        _train(tmp_path / "killed", monkeypatch, stop_after=4)
    assert (tmp_path / "killed" / "training.pt").is_file()
    with pytest.raises(InputError, match=r"training.pt belongs to another training"):
        _train(tmp_path / "killed", monkeypatch, seed=1)
    _train(tmp_path / "killed", monkeypatch)
    assert not (tmp_path / "killed" / "training.pt").exists()
    with pytest.raises(InputError, match="killed holds a finished prior"):
        _train(tmp_path / "killed", monkeypatch)
    whole, killed = (SpinPrior.load(tmp_path / name) for name in ("whole", "killed"))
    for a, b in zip(whole.unet.parameters(), killed.unet.parameters(), strict=True):
        assert torch.equal(a, b)
    assert whole.sha256() == killed.sha256()


def test_a_saved_prior_still_works(prior_folder, tmp_path):
    prior = SpinPrior.load(prior_folder)
    prior.save(tmp_path)
    assert torch.isfinite(prior.denoise(torch.zeros(1, 3, 16, 16), 500)).all()
    assert SpinPrior.load(tmp_path).sha256() == prior.sha256()


def test_reference_voxels_come_from_all_slices():
    maps = torch.arange(5 * 3 * 4 * 4).float().view(5, 3, 4, 4)
    whole = reference_voxels(maps, 80)
    assert torch.equal(whole, maps.transpose(0, 1).flatten(1))
    some = reference_voxels(maps, 10)
    assert some.shape == (3, 10) and torch.equal(some[1] - some[0], torch.full((10,), 16.0))
    assert len({int(v) // 48 for v in some[0]}) == 5


def test_training_may_start_from_another_prior(tmp_path, monkeypatch):
    _train(tmp_path / "first", monkeypatch)
    first = SpinPrior.load(tmp_path / "first")
    still = Schedule(steps=1, stages=(Stage(1.0, 8, 2),), learning_rate=0.0)
    train_prior(_pool, lambda: _pool()[..., :16, :16], tmp_path / "second", 2.5, still, seed=1, init=first)
    second = SpinPrior.load(tmp_path / "second")
    assert second.record["init"] == first.record
    for a, b in zip(first.unet.parameters(), second.unet.parameters(), strict=True):
        assert torch.equal(a, b)


def test_maps_smaller_than_the_crop_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "new_unet", lambda: new_unet((16, 16)))
    with pytest.raises(InputError, match="smaller than the training crop of 32"):
        train_prior(_pool, _pool, tmp_path, 2.5, Schedule(stages=(Stage(1.0, 32, 1),)))


def test_denoising_error_of_a_perfect_prior_is_zero(prior_folder, monkeypatch):
    prior = SpinPrior.load(prior_folder)
    maps = torch.full((2, 3, 16, 16), 0.25)
    monkeypatch.setattr(prior_module.SpinPrior, "denoise", lambda self, noisy, step: torch.full_like(noisy, 0.25))
    error = measure_denoising_error(prior, maps, knots=3)
    assert error.shape == (1000, 3) and float(error.max()) == 0


def test_maps_on_disk_are_resampled_and_fitted(tmp_path):
    import SimpleITK as sitk

    for case in ("a", "b"):
        for name, value in (("PDmap", 1.0), ("T1map", 1000.0), ("T2map", 50.0)):
            array = np.full((2, 100, 300), value, np.float32)
            array[:, 51, 150] = 2 * value
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((2.5, 1.25, 8.0))
            sitk.WriteImage(image, str(tmp_path / f"{case}_{name}.nii.gz"))
    learn, held_out = folder_maps(tmp_path, 2.5)
    assert learn.shape == (2, 3, 144, 144) and held_out.shape == (2, 3, 128, 128)
    body = learn[0, 0] > 0
    assert int(body.any(1).sum()) == 50 and int(body.any(0).sum()) == 144  # 50 rows of 2.5 mm; columns cropped
    assert learn[0, 1].min() == 1000 and learn[0, 2].min() == 50  # no air with T1 of 0
    assert learn[0, 0].max() == 2 and learn[0, 1].max() == 2000  # nothing mixed
    (tmp_path / "a_T2map.nii.gz").unlink()
    with pytest.raises(InputError, match=r"a_T2map.nii.gz is missing"):
        folder_maps(tmp_path, 2.5)
