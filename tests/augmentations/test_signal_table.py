"""The table against the sequence itself, over what the default recipe draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.augmentations.signal_table import SignalTable
from nnunet_phys.sequences import BSSFP, MOLLI
from nnunet_phys.spin import SpinMaps

DEFAULT = load_recipe("default")
PAPER = load_recipe("paper")


def tissues(count: int = 3000) -> SpinMaps:
    rng = np.random.default_rng(0)
    t1, t2 = rng.uniform(200, 3000, count), rng.uniform(25, 400, count)
    return SpinMaps(*(torch.from_numpy(x.astype(np.float32)) for x in (np.ones(count), t1, np.minimum(t2, t1))))


@pytest.mark.parametrize("entry", DEFAULT.sequences + PAPER.sequences, ids=lambda e: e.ranges.name)
@pytest.mark.parametrize("flips", [False, True], ids=["one flip angle", "B1+"])
def test_within_its_bound(entry, flips):
    rng, maps = np.random.default_rng(1), tissues()
    recipe = replace(DEFAULT, sequences=(replace(entry, region=None),))
    errors = []
    for _ in range(25):
        draw = recipe.draw_contrast(rng)
        nominal = getattr(draw.sequence, "flip_angle_deg", None)
        if flips and nominal is None:
            pytest.skip("no flip angle")
        flip = nominal * torch.from_numpy(rng.uniform(0.6, 1.2, len(maps.t1)).astype(np.float32)) if flips else None
        table = draw.table(flip)
        now, blood = draw.tissue(maps)
        changes = {"blood": blood} if hasattr(draw.sequence, "blood") else {}
        if flips:
            changes["flip_angle_deg"] = flip
        truth = replace(draw.sequence, **changes)(now).reshape(-1)
        errors.append(float((table(maps.t1, maps.t2, flip)[0] - truth).abs().max() / truth.abs().max()))
    typical, worst = (0.015, 0.035) if flips else (0.006, 0.015)
    assert np.median(errors) < typical and max(errors) < worst, (np.median(errors), max(errors))


def test_shapes_and_states():
    sequences = [BSSFP(50.0), MOLLI(readout=1)]
    table = SignalTable([lambda maps, kinds, flip, one=one: one(maps) for one in sequences])
    maps = tissues(24).map(lambda m: m.reshape(2, 3, 4))
    found = table(maps.t1, maps.t2)
    assert found.shape == (2, 2, 3, 4)
    for one, values in zip(sequences, found, strict=True):
        torch.testing.assert_close(values, one(maps), atol=3e-3, rtol=0.02)


def test_beyond_its_bounds_it_keeps_the_nearest():
    table = SignalTable([lambda maps, kinds, flip: BSSFP()(maps)])
    least, beyond = (table(torch.tensor([t1]), torch.tensor([5.0])) for t1 in (50.0, 20.0))
    assert torch.equal(least, beyond)
    with_flips = SignalTable([lambda maps, kinds, flip: BSSFP(flip)(maps)], (20.0, 60.0))
    same = [with_flips(torch.tensor([900.0]), torch.tensor([50.0]), torch.tensor([f])) for f in (60.0, 75.0)]
    assert torch.equal(*same)
