"""T2-prepared bSSFP and gradient echo."""

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import SpoiledGRE, T2PreparedBSSFP, T2PreparedGRE

SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
def test_t2_prepared_bssfp(seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    times = (0.0, 24.0, 55.0, 80.0)
    for fa, tr, pulses, centre in ((70.0, 2.4, 60, 25), (40.0, 3.0, 45, 10)):
        signal = T2PreparedBSSFP(times, fa, tr, pulses, centre)(as_maps(t1, t2)).numpy()
        for one, time_ms in zip(signal, times, strict=True):
            truth, _ = bloch.single_shot_bssfp(t1, t2, fa, tr, pulses, centre, t2_prep_ms=time_ms)
            assert np.abs(one - truth).max() < 0.003


@pytest.mark.parametrize("seed", SEEDS)
def test_t2_prepared_gre(seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 500)
    times = (0.0, 24.0, random.uniform(30, 80))
    for _ in range(3):
        protocol = {
            "flip_angle_deg": random.uniform(8, 25),
            "tr_ms": random.uniform(3, 10),
            "te_ms": random.uniform(1.2, 3),
            "centre_pulse": int(random.integers(0, 41)),
            "r2_prime_hz": random.uniform(0, 40),
        }
        truth = [bloch.t2_prepared_gre(t1, t2, time_ms, **protocol) for time_ms in times]
        np.testing.assert_allclose(T2PreparedGRE(times, **protocol)(as_maps(t1, t2)), truth, rtol=0, atol=1e-12)


def test_t2_prepared_gre_limits(tissues, as_maps):
    maps = as_maps(*tissues(0))
    long_train = T2PreparedGRE((0.0, 60.0), 12.0, 3.0, 1.3, 20_000)(maps)
    torch.testing.assert_close(long_train, SpoiledGRE(12.0, 3.0, 1.3)(maps).expand(2, -1))
    first = T2PreparedGRE((0.0, 60.0), centre_pulse=0)(maps)
    torch.testing.assert_close(first[1], first[0] * torch.exp(-60 / maps.t2))
