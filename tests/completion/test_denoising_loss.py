"""What the denoiser learns, and from what: the target, the heat map, what is given and what is hidden."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nnunet_phys.completion import training
from nnunet_phys.completion.autoencoder import new_autoencoder
from nnunet_phys.completion.heat_map import HeatMap
from nnunet_phys.completion.image_encoder import ImageEncoder
from nnunet_phys.completion.latent_bank import Encoders, LatentBank
from nnunet_phys.completion.regressor import new_regressor
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.precomputed_spin.prior import new_scheduler

CPU = torch.device("cpu")
SCALE = [0.5, 2.0, 1.0, 0.1]


@pytest.fixture
def bank():
    """One view of three channels, a region in its middle."""
    generator = torch.Generator().manual_seed(0)
    latents, expected = torch.randn(2, 1, 3, 4, 8, 8, generator=generator).half()
    regions = torch.zeros(1, 1, 8, 8).half()
    regions[..., 3:6, 3:6] = 1
    given = ~torch.eye(3, dtype=torch.bool)[None]
    return LatentBank(latents, latents, torch.zeros(1, 3, 2, 6).half(), regions, given, expected)


@pytest.fixture
def loss(bank, monkeypatch):
    """The loss of a denoiser that knows the residual, and errs by a plane that is added to the velocity."""

    def of(error: torch.Tensor, heated: bool, ratio: float = 1.0) -> float:
        scheduler, learner = new_scheduler(), SimpleNamespace(generator=torch.Generator().manual_seed(0))
        learner.heat_map = HeatMap(torch.tensor([ratio]))

        def knowing(unet, projection, noisy, timesteps, conditions):
            clean = (bank.latents[0, conditions.wanted].float() - conditions.regressed) / torch.tensor(SCALE)[
                :, None, None
            ]
            share = scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            noise = (noisy - share.sqrt() * clean) / (1 - share).sqrt()
            return share.sqrt() * noise - (1 - share).sqrt() * clean + error

        monkeypatch.setattr(training, "predict_velocity", knowing)
        run = SimpleNamespace(schedule=SimpleNamespace(batch=16), device=CPU)
        return float(training._denoising_loss(None, None, scheduler, lambda: bank, SCALE, heated, run, learner))

    return of


def test_the_target_is_the_velocity_of_the_scaled_residual(loss):
    assert loss(torch.zeros(1, 1, 8, 8), heated=False) < 1e-4
    assert loss(torch.ones(1, 1, 8, 8), heated=False) == pytest.approx(1, abs=0.01)


def test_an_error_in_a_region_that_is_hot_counts_more(loss):
    inside, outside = torch.zeros(2, 1, 1, 8, 8)
    inside[..., 4, 4], outside[..., 0, 0] = 1.0, 1.0
    assert loss(inside, heated=True, ratio=4.0) > 1.5 * loss(outside, heated=True, ratio=4.0)
    assert loss(inside, heated=False) == pytest.approx(loss(outside, heated=False), rel=0.01)


def test_given_channels_are_hidden_by_chance(bank):
    drawn, *_ = bank.draw(4000, torch.Generator().manual_seed(0), CPU)
    assert not drawn.given[torch.arange(4000), drawn.wanted].any()
    assert 0.05 < float((~drawn.given).float().sum() - 4000) / 8000 < 0.15


def test_encoded_views_never_show_the_wanted_channel_and_differ_in_brightness():
    torch.manual_seed(0)
    images = torch.rand(4, 3, 48, 48).half() * 2 - 1
    slices = ChannelSlices(images, torch.zeros(4, 0, 48, 48, dtype=torch.bool))
    regressor = new_regressor(3)
    encoders = Encoders(new_autoencoder(), ImageEncoder(), regressor)
    asked = []
    handle = regressor.register_forward_pre_hook(lambda _, arguments: asked.append(arguments[0]))
    bank = LatentBank.encode(slices, 6, 32, 1.0, encoders, 0, False)
    handle.remove()
    channels = torch.arange(3)
    assert not bank.given[:, channels, channels].any() and bool(bank.given.any(2).all())
    (seen,) = asked  # four folded pixels of each channel, then which channels are given
    for (view, wanted), planes in zip(torch.cartesian_prod(torch.arange(6), channels).tolist(), seen, strict=True):
        assert bool((planes[4 * wanted : 4 * wanted + 4] == -1).all()) and float(planes[12 + wanted].max()) == 0
        assert [bool(plane.max()) for plane in planes[12:]] == bank.given[view, wanted].tolist()
    assert not torch.equal(bank.shown, bank.latents)
