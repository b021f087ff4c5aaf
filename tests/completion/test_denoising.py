"""Guidance, conditions and the heat map: the formulas, and what they must not depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from nnunet_phys.completion.conditions import (
    ALL_DROPPED,
    CHANNEL_DROPPED,
    CHANNEL_MISSING,
    Conditions,
    TokenProjection,
    some_available,
)
from nnunet_phys.completion.denoiser import new_denoiser, predict_velocity
from nnunet_phys.completion.guidance import guidance_terms, guided
from nnunet_phys.completion.heat_map import HeatMap, smooth_masks


def test_two_scales_are_the_published_formula():
    none, first, both = torch.rand(3, 2, 4)
    s1, s2 = 1.7, 2.5
    terms = guidance_terms((s1, s2))
    outputs = [(none, first, both)[term.shown] for term in terms]
    torch.testing.assert_close(guided(outputs, terms), none + s1 * (first - none) + s2 * (both - first))


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 1.0), (1.0, 1.0, 1.0)])
def test_without_guidance_all_given_channels_are_seen_in_one_evaluation(scales):
    (term,) = guidance_terms(scales)
    assert (term.shown, term.weight) == (len(scales), 1.0)


def _conditions(slices: int = 2, channels: int = 3) -> Conditions:
    generator = torch.Generator().manual_seed(0)
    return Conditions(
        torch.randn(slices, channels, 4, 8, 8, generator=generator),
        torch.randn(slices, channels, 5, 6, generator=generator),
        torch.tensor([[True, False, True]]).expand(slices, channels),
        torch.ones(slices, dtype=torch.int64),
        torch.zeros(slices, 4, 8, 8),
    )


def test_the_first_given_channels_are_shown():
    shown = [_conditions(1).with_first(count).given.tolist()[0] for count in range(3)]
    assert shown == [[False] * 3, [True, False, False], [True, False, True]]


def test_channels_are_missing_as_often_as_said_but_never_all():
    wanted = torch.arange(30_000) % 3
    given = some_available(wanted, 3, torch.Generator().manual_seed(0))
    assert not given[torch.arange(len(wanted)), wanted].any()
    assert bool(given.any(1).all())
    both = (1 - CHANNEL_MISSING) ** 2
    assert float((given.sum(1) == 2).float().mean()) == pytest.approx(both, abs=0.01)


def test_channels_are_dropped_as_often_as_said():
    many = _conditions(20_000).with_some_dropped(torch.Generator().manual_seed(0)).given
    assert not many[:, 1].any()
    kept = (1 - CHANNEL_DROPPED) * (1 - ALL_DROPPED)
    assert float(many[:, 0].float().mean()) == pytest.approx(kept, abs=0.01)
    none = float((~many.any(1)).float().mean())
    assert none == pytest.approx(ALL_DROPPED + (1 - ALL_DROPPED) * CHANNEL_DROPPED**2, abs=0.01)


def test_a_channel_that_is_not_given_is_not_seen():
    """Neither its latents nor its features reach the denoiser."""
    torch.manual_seed(0)
    unet = new_denoiser(3, latent_channels=4, reduction=4, tokens=16, widths=(16, 16))
    projection = TokenProjection(3, features=6, tokens=16)
    conditions = _conditions()
    changed = replace(conditions, latents=conditions.latents.clone(), features=conditions.features.clone())
    changed.latents[:, 1] = 100.0
    changed.features[:, 1] = -50.0
    noisy, timesteps = torch.randn(2, 4, 8, 8), torch.tensor([10, 500])
    with torch.no_grad():
        before, after = (predict_velocity(unet, projection, noisy, timesteps, c) for c in (conditions, changed))
    assert torch.equal(before, after)


def test_heat_grows_where_the_error_is_high():
    regions = torch.zeros(1, 2, 12, 12)
    regions[0, 0, 2:5, 2:5] = 1
    regions[0, 1, 7:10, 7:10] = 1
    heat_map = HeatMap(torch.ones(2))
    errors = torch.ones(1, 4, 12, 12)
    errors[:, :, 2:5, 2:5] = 9
    for _ in range(300):
        heat_map.learn(errors, regions)
    weights = heat_map.weights(regions)[0, 0]
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    assert weights[3, 3] > weights[8, 8] > weights[0, 11]


def test_weights_are_exact_in_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        weights = HeatMap(torch.tensor([1.7])).weights(torch.rand(2, 1, 8, 8))
    assert weights.dtype == torch.float32 and float(weights.mean()) == pytest.approx(1, abs=1e-6)


def test_an_unlabelled_batch_changes_nothing():
    heat_map = HeatMap(torch.tensor([2.0]))
    heat_map.learn(torch.rand(1, 4, 8, 8), torch.zeros(1, 1, 8, 8))
    assert heat_map.ratios.tolist() == [2.0]
    assert torch.equal(heat_map.weights(torch.zeros(1, 1, 8, 8)), torch.ones(1, 1, 8, 8))


def test_masks_on_the_grid_of_the_latents():
    regions = torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    regions[..., 8:24, 8:24] = True
    masks = smooth_masks(regions, (8, 8))
    assert masks.shape == (1, 1, 8, 8)
    assert float(masks[0, 0, 4, 4]) > 0.8 > 0.7 > float(masks[0, 0, 2, 4]) > float(masks[0, 0, 0, 4])
    assert smooth_masks(torch.zeros(2, 0, 32, 32, dtype=torch.bool), (8, 8)).shape == (2, 0, 8, 8)
