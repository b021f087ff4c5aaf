"""Spoiled gradient echo with blood at rest and flowing in."""

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import SpoiledGRE
from nnunet_phys.tissue_kinds import flowing_blood

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_gre(seed, tissues, as_maps, relative):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 300)
    fa, tr, te, r2_prime = (
        random.uniform(5, 40),
        random.uniform(3, 10),
        random.uniform(1, 3),
        random.uniform(0, 40),
    )
    truth = bloch.spoiled_gre(t1, t2, fa, tr, te, r2_prime)
    assert relative(SpoiledGRE(fa, tr, te, r2_prime)(as_maps(t1, t2)), truth) < 1e-9


@pytest.mark.parametrize("pulses", [1, 10, 100, 500])
def test_gre_inflow(pulses, tissues, as_maps, relative):
    t1, t2 = tissues(pulses)
    weight = flowing_blood(torch.as_tensor(t1), torch.as_tensor(t2)).numpy()
    at_rest = bloch.spoiled_gre(t1, t2, 15.0, 6.0, 2.5, 11.0)
    flowing = bloch.spoiled_gre(t1, t2, 15.0, 6.0, 2.5, 11.0, pulses_seen=pulses)
    signal = SpoiledGRE(15.0, 6.0, 2.5, 11.0, inflow_pulses=pulses)(as_maps(t1, t2))
    assert relative(signal, at_rest + weight * (flowing - at_rest)) < 1e-9


def test_gre_inflow_limits_and_contrast(as_maps):
    maps = as_maps([1550.0, 1000.0], [250.0, 50.0])
    at_rest, fresh, slow = (SpoiledGRE(inflow_pulses=n)(maps) for n in (None, 10, 1e6))
    assert at_rest[0] < at_rest[1], "blood at rest is darker than myocardium"
    assert fresh[0] > 4 * fresh[1], "flowing blood is brighter"
    torch.testing.assert_close(fresh[1], at_rest[1], rtol=0.05, atol=0)
    torch.testing.assert_close(slow, at_rest, rtol=1e-3, atol=0)


def test_gre_inflow_by_a_known_share_of_blood(tissues, as_maps):
    t1, t2 = tissues(0)
    maps, share = as_maps(t1, t2), torch.linspace(0, 1, len(t1), dtype=torch.float64)
    at_rest, flowing = (bloch.spoiled_gre(t1, t2, 15.0, 6.0, 2.5, 11.0, pulses_seen=n) for n in (None, 30))
    signal = SpoiledGRE(inflow_pulses=30.0, blood=share)(maps).numpy()
    np.testing.assert_allclose(signal, at_rest + share.numpy() * (flowing - at_rest), rtol=1e-9)
    torch.testing.assert_close(SpoiledGRE(inflow_pulses=30.0, blood=0.0)(maps), SpoiledGRE()(maps))
