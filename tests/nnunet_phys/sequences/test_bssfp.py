"""bSSFP, on and off resonance, flowing in, and under a continuous read-out after an inversion."""

import math

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import BSSFP, LookLocker

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_bssfp_on_resonance(seed, tissues, as_maps, relative):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 100)
    for _ in range(10):
        fa, tr = random.uniform(20, 80), random.uniform(2.5, 4)
        assert relative(BSSFP(fa, tr)(as_maps(t1, t2)), bloch.steady_state_bssfp(t1, t2, fa, tr)) < 0.005


@pytest.mark.parametrize("seed", SEEDS)
def test_bssfp_off_resonance(seed, tissues, as_maps, relative):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 100)
    for _ in range(10):
        fa, tr = random.uniform(3, 120), random.uniform(2.5, 4)
        df = random.uniform(-200, 200, t1.size)
        truth = np.abs(bloch.steady_state_bssfp(t1, t2, fa, tr, df))
        assert relative(BSSFP(fa, tr, torch.as_tensor(df))(as_maps(t1, t2)), truth) < 1e-6


def test_bssfp_at_the_band_edge_in_single_precision(tissues, as_maps, relative):
    t1, t2 = tissues(0)
    for df in (1e-3, 80.0, 500 / 3, 166.0):
        truth = np.abs(bloch.steady_state_bssfp(t1, t2, 50.0, 3.0, df))
        signal = BSSFP(50.0, 3.0, df)(as_maps(t1, t2, dtype=torch.float32))
        assert relative(signal.double(), truth) < 1e-3


def test_freeman_hill_tends_to_the_resonant_form(tissues, as_maps):
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(BSSFP(50.0, 0.01, 1e-9)(maps), BSSFP(50.0, 0.01)(maps), rtol=1e-5, atol=0)
    torch.testing.assert_close(BSSFP(50.0, 4.0, torch.zeros_like(maps.pd))(maps), BSSFP(50.0)(maps), rtol=5e-3, atol=0)


def test_off_resonance_map_equals_a_loop_over_voxels(tissues, as_maps):
    maps = as_maps(*tissues(0, 6))
    field = torch.tensor([0.0, 10.0, -40.0, 80.0, 120.0, 166.0], dtype=torch.float64)
    whole = BSSFP(50.0, 3.0, field)(maps)
    for i in range(6):
        alone = BSSFP(50.0, 3.0, field[i])(maps.map(lambda m, i=i: m[i]))
        torch.testing.assert_close(whole[i], alone)


@pytest.mark.parametrize("seed", SEEDS)
def test_look_locker(seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    fa, tr = np.random.default_rng(seed).uniform(8, 70), 2.7
    times, truth = bloch.inversion_recovery_bssfp(t1, t2, fa, tr, 600)
    signal = LookLocker(fa, torch.as_tensor(times)[:, None])(as_maps(t1, t2))
    assert np.abs(signal.numpy() - truth).max() < 0.0025 * math.sin(math.radians(fa / 2))


def test_look_locker_limits(tissues, as_maps):
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(LookLocker(35.0, 1e5)(maps), BSSFP(35.0)(maps))
    torch.testing.assert_close(LookLocker(35.0, 0.0)(maps), torch.full_like(maps.pd, -math.sin(math.radians(17.5))))


def test_printed_equations_4_and_5(tissues, as_maps):
    t1, t2 = (torch.as_tensor(x) for x in tissues(0))
    a = math.radians(40.0)
    steady = math.sin(a) / (1 + math.cos(a) + (1 - math.cos(a)) * t1 / t2)
    factor = 1 + math.sin(a / 2) / math.sin(a) * (1 + math.cos(a) + (1 - math.cos(a)) * t1 / t2)
    t1_star = 1 / (math.cos(a / 2) ** 2 / t1 + math.sin(a / 2) ** 2 / t2)
    torch.testing.assert_close(BSSFP(40.0)(as_maps(t1, t2)), steady)
    torch.testing.assert_close(
        LookLocker(40.0, 300.0)(as_maps(t1, t2)), steady * (1 - factor * torch.exp(-300 / t1_star))
    )


@pytest.mark.parametrize("pulses", [2, 3, 6, 7, 20, 61, 200])
def test_bssfp_inflow(pulses, tissues, as_maps):
    t1, t2 = tissues(pulses)
    random = np.random.default_rng(pulses)
    for _ in range(10):
        fa, tr = random.uniform(35, 80), random.uniform(2.5, 4)
        for share, error in ((0.0, 0.5 / pulses if pulses % 2 else 0.02), (0.7, 0.75 / pulses)):
            df = random.uniform(-share, share) * 500 / tr
            truth = np.abs(bloch.steady_state_bssfp(t1, t2, fa, tr, df, pulses_seen=pulses))
            signal = BSSFP(fa, tr, df, inflow_pulses=pulses, blood=1.0)(as_maps(t1, t2))
            assert np.abs(signal.numpy() - truth).max() < error


def test_bssfp_inflow_limits_and_contrast(tissues, as_maps):
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(BSSFP(inflow_pulses=1e7)(maps), BSSFP()(maps), rtol=1e-3, atol=0)
    torch.testing.assert_close(BSSFP(inflow_pulses=5.0, blood=0.0)(maps), BSSFP()(maps))
    few, more, rest = (BSSFP(inflow_pulses=n, blood=1.0)(maps) for n in (3.0, 30.5, 1e6))
    assert (few - more > -1e-12).all() and (more - rest > -1e-12).all()  # none where T1 = T2
    heart = as_maps([1550.0, 1000.0], [250.0, 50.0])
    fresh, at_rest = BSSFP(inflow_pulses=10.0)(heart), BSSFP()(heart)
    assert fresh[0] > 1.1 * at_rest[0] and float(fresh[1]) == pytest.approx(float(at_rest[1]), rel=0.02)


def test_bssfp_inflow_is_mixed_by_the_share_of_blood(tissues, as_maps):
    maps = as_maps(*(x.reshape(5, 10) for x in tissues(0)))
    share = torch.linspace(0, 1, 10, dtype=torch.float64)
    none, all_ = (BSSFP(inflow_pulses=8.0, blood=b)(maps) for b in (0.0, 1.0))
    torch.testing.assert_close(BSSFP(inflow_pulses=8.0, blood=share)(maps), none + share * (all_ - none))
