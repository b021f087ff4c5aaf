"""The spin prior: its scaling, its guide and its folder, and the shipped prior."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors.torch import load_file, save_file

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.heart_scanner import receive_bias
from nnunet_phys.precomputed_spin.guide_images import draw_guide
from nnunet_phys.precomputed_spin.prior import DEFAULT_PRIOR, SpinPrior, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.prior_files import SHIPPED
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP
from nnunet_phys.spin import SpinMaps


@pytest.fixture(scope="module")
def small() -> SpinPrior:
    """A small untrained prior."""
    torch.manual_seed(0)
    error = torch.linspace(0.001, 0.1, 1000)[:, None].expand(1000, 3)
    unet = new_unet((16, 32)).eval().requires_grad_(False)
    # Voxels at both ends of the scaling: scaled, they have a mean of 0 and a standard deviation of 1
    reference = torch.tensor([[0.0, 220.0, 22.0], [2.5, 2500.0, 300.0]]).T.contiguous()
    return SpinPrior(unet, new_scheduler(), SpinScaling(), 3.0, error, reference, record={"made": "for a test"})


@pytest.fixture(scope="module")
def saved(small, tmp_path_factory):
    """Folder of the small prior. Never written to: use `copy`."""
    folder = tmp_path_factory.mktemp("priors") / "small"
    small.save(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """A copy of the small prior's folder, to be damaged."""
    return shutil.copytree(saved, tmp_path / "copy")


def test_scaling_round_trip_and_ends():
    scaling = SpinScaling()
    maps = SpinMaps(*(torch.tensor([[[low, high]]]) for low, high in (scaling.pd, scaling.t1_ms, scaling.t2_ms)))
    scaled = scaling.encode(maps)
    assert scaled.shape == (1, 3, 1, 2)
    torch.testing.assert_close(scaled[0, :, 0], torch.tensor([[-1.0, 1.0]]).expand(3, 2))
    torch.testing.assert_close(scaling.decode(scaled).stack(), maps.stack())


@pytest.mark.parametrize("bounds", [{"pd": (1.0, 1.0)}, {"t1_ms": (0.0, 2500.0)}, {"t1_ms": (0.2, 2.5)}])
def test_implausible_scaling_is_refused(bounds):
    with pytest.raises(ValueError, match=next(iter(bounds))):
        SpinScaling(**bounds)


def test_a_saved_prior_is_the_same_prior(small, saved):
    prior = SpinPrior.load(saved)
    assert prior.pixel_mm == 3.0 and prior.record == {"made": "for a test"} and prior.multiple == 4
    assert torch.equal(prior.reference, small.reference)
    assert prior.denoising_error[500, 1] == pytest.approx(0.05, rel=0.03)
    assert prior.sha256() == small.sha256()
    noisy = torch.randn((1, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    exact = replace(prior, bf16=False).denoise(noisy, 500)
    torch.testing.assert_close(exact, small.denoise(noisy, 500), atol=2e-3, rtol=0)  # fp16
    assert [path.name for path in saved.parent.iterdir()] == ["small"]  # no leftovers beside it


def test_another_noise_schedule_is_another_prior(small):
    linear = DDPMScheduler.from_config(small.scheduler.config, beta_schedule="linear")
    assert replace(small, scheduler=linear).sha256() != small.sha256()


def test_without_a_guide_the_average_tissue_guides_the_prior(small):
    noisy, step = torch.zeros(1, 3, 16, 16), torch.tensor([500])
    average = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]).view(1, 6, 1, 1).expand(1, 6, 16, 16)
    unguided = small.velocity(noisy, step)
    torch.testing.assert_close(unguided, small.guided(average).velocity(noisy, step))
    assert not torch.allclose(unguided, small.guided(average + 0.5).velocity(noisy, step), atol=1e-4)


def test_shipped_prior_is_small_and_records_its_making():
    prior = SpinPrior.load(DEFAULT_PRIOR)
    size = sum(p.stat().st_size for p in (SHIPPED / DEFAULT_PRIOR).rglob("*") if p.is_file())
    assert size <= 16e6
    assert prior.record["command"].startswith("nnunet_phys train_prior -o PRIOR -i phantom ")
    error = prior.denoising_error
    assert (error[0] < 1e-3).all() and (error[100] < error[600]).all()


def test_the_shipped_prior_knows_the_t1_of_blood_and_myocardium():
    prior = SpinPrior.load()
    # Maps of four digital hearts that training did not see
    hearts = [digital_heart(seed, 1) for seed in range(5_000_000, 5_000_004)]
    slices = []
    for i, heart in enumerate(hearts):
        bias = receive_bias(np.random.default_rng(i), heart.labels.shape[1:], 2.5, centre_mm=heart.centre_mm)
        slices.append(SpinMaps(heart.maps.pd * torch.from_numpy(bias), heart.maps.t1, heart.maps.t2).stack(1))
    maps = SpinMaps.unstack(torch.cat(slices), 1)
    scaled = prior.scaling.encode(maps)

    # Denoised from noise as strong as the maps, guided by a cine
    rng, timestep = np.random.default_rng(0), prior.timesteps(2, 0.5)[0]
    prior = prior.guided(
        torch.stack([draw_guide(slice_maps, prior.scaling, prior.reference, BSSFP(45.0), rng) for slice_maps in scaled])
    )
    noise = torch.randn(scaled.shape, generator=torch.Generator().manual_seed(0))
    noisy = prior.scheduler.add_noise(scaled, noise, torch.tensor([timestep]))
    log_ratio = (prior.scaling.decode(prior.denoise(noisy, timestep)).t1 / maps.t1).log()

    # A cine does not determine a single heart's T1, so that only the average shows whether the prior is right
    labels = torch.from_numpy(np.concatenate([heart.labels for heart in hearts]))
    for name in ("RV", "MYO", "LV"):
        inside = labels == LABELS[name]
        medians = [r[region].median() for r, region in zip(log_ratio, inside, strict=True)]
        assert float(torch.stack(medians).mean().exp()) == pytest.approx(1, abs=0.05), name


def _edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _refused(folder, *texts):
    with pytest.raises(InputError) as refusal:
        SpinPrior.load(folder)
    assert len(refusal.value.faults) >= len(texts)
    for text in texts:
        assert any(text in fault and "Give a folder written by" in fault for fault in refusal.value.faults), text


NAN = float("nan")


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({"format": 99}, "format: it is 99, expected 3"),
        ({"scaling": {"pd": [0, 1]}, "pixel_mm": "2.5"}, 'pixel_mm: "2.5" is not a finite number'),
        ({"scaling": {"pd": [0, 2.5], "t1_ms": [0.2, 2.5], "t2_ms": [22, 300]}}, "t1_ms from 0.2 to 2.5"),
        ({"scaling": {"pd": [0, NAN], "t1_ms": [220, 2500], "t2_ms": [22, 300]}}, "is not a finite number"),
        ({"pixel_mm": 0.0001}, "pixel_mm: 0.0001 mm, expected 0.5 to 10"),
        ({"denoising_error": 3}, "denoising_error"),
        ({"denoising_error": {}}, "whole numbers"),
        ({"denoising_error": {"0": [0, 0, 0], "x": [0, 0, 0]}}, "whole numbers"),
        ({"denoising_error": {"0": [0, 0, NAN], "999": [1, 1, 1]}}, "is not a finite number"),
        ({"denoising_error": {"0": [0, 0, -1], "999": [1, 1, 1]}}, "must not be negative"),
        ({"denoising_error": {"0": [0, 0, 0], "500": [1, 1, 1], "400": [1, 1, 1], "999": [1, 1, 1]}}, "increase"),
        ({"denoising_error": {"0": [0, 0, 0], "99": [1, 1, 1]}}, "ends at timestep 99, the noise schedule at 999"),
        ({"record": {"final_loss": NAN}}, "record"),
        ({"sampler": "dps"}, "there is no 'sampler'"),
    ],
)
def test_a_broken_description_is_refused(copy, changes, expected):
    _edit(copy / "prior.json", **changes)
    _refused(copy, expected)


def test_all_faults_of_a_description_are_reported_at_once(copy):
    _edit(copy / "prior.json", format=2, pixel_mm=NAN, denoising_error={"0": [0, 0]})
    _refused(copy, "format", "pixel_mm", "denoising_error")


@pytest.mark.parametrize(
    "file, changes, expected",
    [
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**8}, "100000000 timesteps, expected 1000 to"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10}, "10 timesteps, expected 1000 to"),
        ("scheduler/scheduler_config.json", {"prediction_type": "epsilon"}, "expected 'v_prediction'"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "unheard of"}, "unheard of"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "linear", "beta_end": NAN}, "cumulative alphas"),
        ("unet/config.json", {"in_channels": 3}, "in_channels: it is 3, expected 36: this is not the network"),
        ("unet/config.json", {"out_channels": 3}, "out_channels: it is 3, expected 12"),
        ("unet/config.json", {"block_out_channels": [10**6]}, "levels of 1 to 1024 channels"),
        ("unet/config.json", {"block_out_channels": [16, 48]}, "cannot be read"),
        ("unet/config.json", {"layers_per_block": 10**6}, "expected 1 to 8"),
    ],
)
def test_a_broken_configuration_is_refused_before_it_takes_memory(copy, file, changes, expected):
    _edit(copy / file, **changes)
    _refused(copy, expected)


def _cut(path):
    path.write_bytes(path.read_bytes()[:1000])


def _poison(path):
    tensors = load_file(path)
    next(iter(tensors.values())).view(-1)[0] = NAN
    save_file(tensors, path)


def _lighten(path):
    tensors = load_file(path)
    del tensors["conv_in.weight"]
    save_file(tensors, path)


WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.mark.parametrize(
    "file, damage, expected",
    [
        (WEIGHTS, _cut, "cannot be read"),
        (WEIGHTS, _poison, "NaN"),
        (WEIGHTS, _lighten, "conv_in.weight"),
        ("reference.safetensors", lambda path: path.write_bytes(b""), "cannot be read"),
        ("reference.safetensors", _poison, "values that PD, T1 and T2 cannot have"),
        ("reference.safetensors", lambda path: save_file({"reference": torch.ones(2, 9)}, path), "shape (2, 9)"),
        ("reference.safetensors", lambda path: save_file({"other": torch.ones(3, 9)}, path), "reference"),
        ("reference.safetensors", lambda path: path.unlink(), "no file reference.safetensors"),
        ("scheduler/scheduler_config.json", lambda path: path.write_text("[]"), "scheduler_config.json"),
        ("unet/config.json", lambda path: path.unlink(), "config.json is not readable JSON"),
        ("prior.json", lambda path: path.write_text("{"), "prior.json is not readable JSON"),
    ],
)
def test_broken_files_are_refused(copy, file, damage, expected):
    damage(copy / file)
    _refused(copy, expected)


def test_pickled_weights_are_not_loaded(copy):
    torch.save(load_file(copy / WEIGHTS), copy / "unet" / "diffusion_pytorch_model.bin")
    (copy / WEIGHTS).unlink()
    _refused(copy, "safetensors")


def test_a_folder_without_a_prior(tmp_path):
    with pytest.raises(InputError, match=rf"has no prior.json.*{DEFAULT_PRIOR}"):
        SpinPrior.load(tmp_path)


def test_a_prior_is_written_whole_or_not_at_all(small, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("nnunet_phys.precomputed_spin.prior_files.save_file", full)
        with pytest.raises(InputError, match=r"cannot be written .*No space left.* Is the disk full\?"):
            small.save(tmp_path / "prior")
    assert not list(tmp_path.iterdir())
    (tmp_path / "prior").mkdir()
    small.save(tmp_path / "prior")
    with pytest.raises(InputError, match="holds a finished prior"):
        small.save(tmp_path / "prior")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        small.save(tmp_path / "file")


def test_the_shipped_library_holds_every_tissue_that_a_heart_is_made_of():
    _, t1, t2 = SpinPrior.load().library
    counts = {
        "blood": (t1 > 1300) & (t2 > 110),
        "muscle": (t1 > 850) & (t1 < 1500) & (t2 < 65),
        "fat": t1 < 450,
    }
    assert all(int(tissue.sum()) >= 10 for tissue in counts.values()), counts
