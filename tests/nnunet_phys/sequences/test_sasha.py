"""Saturation recovery: what mSASHA reads out, and SASHA with its bSSFP read-out."""

import math

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import MSASHA, SASHA, T2PreparedBSSFP

SEEDS = range(4)


@pytest.mark.parametrize("ts_ms, t2_prep_ms, delay_ms", [(600.0, 55.0, 10.0), (80.0, 0.0, 70.0), (None, 35.0, 10.0)])
def test_msasha(ts_ms, t2_prep_ms, delay_ms, tissues, as_maps):
    t1, t2 = tissues(0)
    truth = bloch.msasha(t1, t2, ts_ms, t2_prep_ms, delay_ms)
    assert np.abs(MSASHA(ts_ms, t2_prep_ms, delay_ms)(as_maps(t1, t2)).numpy() - truth).max() < 1e-6


def test_msasha_limits(tissues, as_maps):
    maps = as_maps(*tissues(0), pd=0.9)
    torch.testing.assert_close(MSASHA(None)(maps), maps.pd)
    torch.testing.assert_close(MSASHA(math.inf, 40.0)(maps), MSASHA(None, 40.0)(maps))
    torch.testing.assert_close(MSASHA(0.0, 0.0, 0.0)(maps), torch.zeros_like(maps.pd))


@pytest.mark.parametrize("seed", SEEDS)
def test_sasha(seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 600)
    for ts_ms, t2_prep_ms in ((None, 0.0), (random.uniform(80, 1000), 0.0), (600.0, 55.0), (None, 40.0)):
        protocol = {
            "flip_angle_deg": random.uniform(35, 80),
            "tr_ms": random.uniform(2.3, 3.0),
            "pulses": int(random.integers(45, 76)),
            "centre_pulse": int(random.integers(10, 31)),
            "saturation_efficiency": random.uniform(0.9, 1),
        }
        truth = bloch.sasha(t1, t2, ts_ms, t2_prep_ms, **protocol)
        assert np.abs(SASHA(ts_ms, t2_prep_ms, **protocol)(as_maps(t1, t2)).numpy() - truth).max() < 0.0005


def test_sasha_limits(tissues, as_maps):
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(SASHA(math.inf)(maps), SASHA(None)(maps))
    torch.testing.assert_close(SASHA(1e5)(maps), SASHA(None)(maps))
    torch.testing.assert_close(SASHA(None)(maps), T2PreparedBSSFP((0.0,))(maps)[0])
    torch.testing.assert_close(SASHA(None, 55.0)(maps), T2PreparedBSSFP((55.0,))(maps)[0])
    assert (SASHA(0.0)(maps) < SASHA(100.0)(maps)).all()
