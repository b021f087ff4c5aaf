"""The table against the sequence itself, over what the default recipe draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_phys.augmentations.recipe import SequenceEntry
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.augmentations.signal_table import SignalTable
from nnunet_phys.forward import signals
from nnunet_phys.sequences import BSSFP, MOLLI
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import ContrastAgent, TissueState

DEFAULT = load_recipe("default")
ENTRIES = DEFAULT.sequences + load_recipe("paper").sequences
WITH_FLIP_ANGLE = tuple(e for e in ENTRIES if e.name not in ("black_blood", "msasha"))


def tissues(count: int = 3000) -> SpinMaps:
    rng = np.random.default_rng(0)
    t1, t2 = rng.uniform(200, 3000, count), rng.uniform(25, 400, count)
    return SpinMaps(*(torch.from_numpy(x.astype(np.float32)) for x in (np.ones(count), t1, np.minimum(t2, t1))))


def errors(entry: SequenceEntry, spread: tuple[float, float] | None) -> list[float]:
    """Worst voxel of each of 25 draws, relative to the greatest signal; flip angles spread by random factors."""
    rng, maps = np.random.default_rng(1), tissues()
    recipe = replace(DEFAULT, sequences=(replace(entry, region=None, infarct=None),))
    found = []
    for _ in range(25):
        draw = recipe.draw_contrast(rng)
        flips = None
        if spread:
            factors = rng.uniform(*spread, len(maps.t1)).astype(np.float32)
            flips = draw.sequence.flip_angle_deg * torch.from_numpy(factors)
        (truth,) = signals(draw.sequence, maps, draw.tissue, flip_angle_deg=flips)
        found.append(float((draw.table(flips)(maps.t1, maps.t2, flips)[0] - truth).abs().max() / truth.abs().max()))
    return found


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_one_flip_angle_within_the_bound(entry):
    found = errors(entry, None)
    assert np.median(found) < 0.006 and max(found) < 0.015, (np.median(found), max(found))


@pytest.mark.parametrize("entry", WITH_FLIP_ANGLE, ids=lambda entry: entry.name)
def test_varying_flip_angles_within_the_bound(entry):
    found = errors(entry, (0.6, 1.2))
    assert np.median(found) < 0.015 and max(found) < 0.035, (np.median(found), max(found))


def test_shapes_and_states():
    states = [TissueState(), TissueState(agent=ContrastAgent(0.5, 0.25))]
    table = SignalTable([(MOLLI(readout=1), state) for state in states])
    maps = tissues(24).map(lambda m: m.reshape(2, 3, 4))
    by_state = table(maps.t1, maps.t2)
    assert by_state.shape == (2, 2, 3, 4)
    for state, values in zip(states, by_state, strict=True):
        torch.testing.assert_close(values, signals(MOLLI(readout=1), maps, state)[0], atol=5e-3, rtol=0.02)


def test_beyond_its_bounds_it_keeps_the_nearest():
    table = SignalTable([(BSSFP(), TissueState())])
    least, beyond = (table(torch.tensor([t1]), torch.tensor([5.0])) for t1 in (50.0, 20.0))
    assert torch.equal(least, beyond)
    with_flips = SignalTable([(BSSFP(), TissueState())], (20.0, 60.0))
    same = [with_flips(torch.tensor([900.0]), torch.tensor([50.0]), torch.tensor([f])) for f in (60.0, 75.0)]
    assert torch.equal(*same)
