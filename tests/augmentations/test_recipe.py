"""Recipes are data; drawing from them is reproducible and within the ranges."""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_phys.augmentations.recipe import DEFAULT, GRE_ONLY, MOLLI_ONLY, ContrastRecipe
from nnunet_phys.sequences import BSSFP, MOLLI, SpoiledGRE
from nnunet_phys.spin import SpinMaps

GENERATORS = [np.random, np.random.RandomState(0), np.random.default_rng(0)]


@pytest.mark.parametrize("rng", GENERATORS, ids=["module", "RandomState", "Generator"])
def test_every_draw_is_valid_and_within_its_range(rng):
    maps = SpinMaps(*(torch.tensor([value]) for value in (0.9, 1200.0, 60.0)))
    drawn = Counter()
    for _ in range(600):
        draw = DEFAULT.draw_contrast(rng)
        drawn[type(draw.sequence)] += 1
        assert torch.isfinite(draw.sequence(maps)).all()
        assert 0.75 <= draw.t1_factor <= 1.35 and 0.8 <= draw.t2_factor <= 1.25 and 0 <= draw.noise <= 0.05
        if isinstance(draw.sequence, MOLLI):
            assert 25 <= draw.sequence.flip_angle_deg <= 50 and 45 <= draw.sequence.pulses <= 75
        if isinstance(draw.sequence, SpoiledGRE):
            assert draw.sequence.te_ms <= min(5, 0.7 * draw.sequence.tr_ms)
            assert 30 <= draw.sequence.inflow_pulses <= 1000
    assert set(drawn) == {BSSFP, MOLLI, SpoiledGRE} and min(drawn.values()) > 140


def test_every_readout_of_every_scheme_comes_up():
    rng = np.random.default_rng(1)
    drawn = {(draw.scheme, draw.readout) for draw in (MOLLI_ONLY.draw_contrast(rng).sequence for _ in range(3000))}
    assert len(drawn) == 8 + 8 + 9 + 11 + 7


def test_share_of_synthesis():
    rng = np.random.default_rng(2)
    share = np.mean([DEFAULT.draw(rng) is not None for _ in range(4000)])
    assert abs(share - 0.7) < 0.03
    assert replace(DEFAULT, probability=0.0).draw(rng) is None


def test_weights():
    rng = np.random.default_rng(3)
    recipe = replace(DEFAULT, weights=(0.0, 1.0, 3.0))
    drawn = Counter(type(recipe.draw_contrast(rng).sequence) for _ in range(2000))
    assert drawn[BSSFP] == 0 and abs(drawn[SpoiledGRE] / 2000 - 0.75) < 0.04


def test_a_seed_replays_a_draw_and_a_recipe_pickles():
    recipe = pickle.loads(pickle.dumps(GRE_ONLY))
    assert recipe == GRE_ONLY
    assert recipe.draw(np.random.RandomState(5)) == GRE_ONLY.draw(np.random.RandomState(5))


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="2 weights for 3 sequences"):
        ContrastRecipe(weights=(1.0, 2.0))
    with pytest.raises(ValueError, match="probability is 70"):
        ContrastRecipe(probability=70)
