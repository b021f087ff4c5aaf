"""Zhao et al.'s network, a DDPM of three channels without prior.json, as a prior."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.prior import DEFAULT_PRIOR, SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import DPS, ProximalMean
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.precomputed_spin.spin_scaling import PublishedScaling
from nnunet_phys.sequences import BSSFP
from nnunet_phys.spin import SpinMaps


@pytest.fixture
def copy(published, tmp_path):
    """A copy of the folder, to be damaged."""
    return shutil.copytree(published, tmp_path / "copy")


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_scaling_is_that_of_the_publication():
    scaling = PublishedScaling()
    z = torch.tensor([[0.2, -0.4, 0.6]]).view(1, 3, 1, 1)
    maps = scaling.decode(z)
    torch.testing.assert_close(maps.stack().flatten(), torch.tensor([0.6 / 0.6, 3200 * 0.3, 300 * 0.8]))
    torch.testing.assert_close(scaling.encode(maps), z)


def test_times_stay_above_zero_and_keep_a_gradient():
    z = torch.tensor([-1.0, -0.98, -0.97, -0.96, 1.3]).expand(1, 3, 1, 5).clone().requires_grad_(True)
    maps = PublishedScaling().decode(z)
    (gradient,) = torch.autograd.grad((maps.t1 + maps.t2).sum(), z)
    assert (maps.t1 > 10).all() and (maps.t2 > 1).all() and (maps.t1.diff() > 0).all()
    assert gradient.isfinite().all() and (gradient[:, 1:] > 0).all()
    torch.testing.assert_close(PublishedScaling().encode(maps), z)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("clip", [True, False])
def test_it_denoises_as_diffusers_does(copy, prediction, clip):
    edit(copy / "scheduler" / "scheduler_config.json", prediction_type=prediction, clip_sample=clip)
    prior = replace(SpinPrior.load(copy, scaling="published"), bf16=False)
    noisy = torch.randn((2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    pipeline = DDPMPipeline.from_pretrained(copy)
    scheduler = DDPMScheduler.from_config(pipeline.scheduler.config)
    with torch.no_grad():
        output = pipeline.unet(noisy, 600).sample
    expected = scheduler.step(output, 600, noisy).pred_original_sample
    torch.testing.assert_close(prior.denoise(noisy, 600), expected, atol=1e-4, rtol=1e-4)


def test_what_the_folder_does_not_say_is_that_of_the_shipped_prior(published):
    prior, shipped = SpinPrior.load(published, scaling="published"), SpinPrior.load()
    assert torch.equal(prior.reference, shipped.reference)
    for abar in (0.9, 0.4, 0.01):
        ours, theirs = (p.denoising_error[p.timesteps(2, abar)[0]] for p in (prior, shipped))
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0)
    assert prior.sha256() == SpinPrior.load(published, scaling="published").sha256() != shipped.sha256()
    assert prior.record == {"scaling": "published"}


@pytest.mark.parametrize("sampler", [ProximalMean(3), DPS(4)])
def test_images_become_maps_without_a_guide(published, sampler):
    prior = SpinPrior.load(published, scaling="published")
    assert not prior.takes_guide
    tissue = np.where(np.arange(50)[:, None] < 25, 0, 1) * np.ones((1, 1, 40), int)
    pd, t1, t2 = (torch.tensor(v)[torch.from_numpy(tissue)] for v in ([0.9, 0.8], [1500.0, 1000.0], [200.0, 50.0]))
    image = 300 * BSSFP(45.0)(SpinMaps(pd, t1, t2)).numpy()
    labels = tissue_weights(np.where(tissue, 2, 3), {"LV": 3, "MYO": 2}, (3.0, 3.0)) if sampler.uses_labels else None
    (inferred,) = ReverseImager(prior, sampler, batch=1)(
        [Scan("case", (Series(BSSFP(45.0), image[None]),), (3.0, 3.0), labels)]
    )
    assert inferred.maps.shape == (1, 50, 40) and inferred.maps.stack().isfinite().all()
    assert float(inferred.error.square().mean().sqrt()) < 0.05  # they explain the image
    if labels is not None:
        assert inferred.maps.t2[0, 10, 20] > 1.5 * inferred.maps.t2[0, 40, 20]


def refused(folder, text, scaling="published"):
    with pytest.raises(InputError) as refusal:
        SpinPrior.load(folder, scaling=scaling)
    (line,) = refusal.value.faults
    assert text in line
    return line


def test_scaling_and_folder_must_fit(published, prior, tmp_path):
    assert "needs -scaling published" in refused(published, f"Prior '{published}' has no prior.json", scaling=None)
    refused(prior, "has its scaling in prior.json. Leave out -scaling published")
    refused(DEFAULT_PRIOR, "has its scaling in prior.json. Leave out -scaling published")
    refused(tmp_path / "nowhere", "is not a folder. With -scaling published, give the folder of a DDPM")
    refused(tmp_path, "scheduler_config.json is not readable JSON (no such file")


@pytest.mark.parametrize("channels, text", [((1, 1), "in_channels: it is 1, expected 3"), ((3, 6), "gives 6 channels")])
def test_networks_of_other_channels_are_refused(channels, text, tmp_path):
    sizes = {"block_out_channels": (16,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)}
    unet = UNet2DModel(in_channels=channels[0], out_channels=channels[1], norm_num_groups=16, **sizes)
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(tmp_path)
    assert "a DDPM of three channels" in refused(tmp_path, text)


@pytest.mark.parametrize(
    "file, changes, text",
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "sample"}, "expected 'epsilon' or 'v_prediction'"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "ends in pure noise"),
        ("unet/config.json", {"block_out_channels": [10**6]}, "levels of 1 to 1024 channels"),
        ("unet/config.json", {"block_out_channels": [16, 48]}, "cannot be read"),
    ],
)
def test_a_broken_folder_is_refused(copy, file, changes, text):
    edit(copy / file, **changes)
    refused(copy, text)
