"""Black-blood turbo spin echo: against the Bloch simulation, its blood and its nulls."""

import math

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import BlackBloodTSE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stir", [False, True])
def test_tissue_at_rest(stir, seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 1000)
    for _ in range(3):
        spacing, length = random.uniform(4, 8), int(random.integers(10, 31))
        echo, tr = int(random.integers(1, length + 1)), random.uniform(600, 2400)
        inversion = random.uniform(140, 220) if stir else None
        signal = BlackBloodTSE(echo * spacing, tr, spacing, length, inversion, blood=0.0)(as_maps(t1, t2))
        df = random.uniform(-50, 50, t1.size)
        truth = bloch.turbo_spin_echo(t1, t2, echo, tr, spacing, length, inversion, df)
        np.testing.assert_allclose(signal, truth, rtol=0, atol=1e-12)


def test_blood_is_suppressed_by_its_share(tissues, as_maps):
    maps = as_maps(*tissues(0))
    at_rest = BlackBloodTSE(blood=0.0)(maps)
    torch.testing.assert_close(BlackBloodTSE(residual_blood=1.0)(maps), at_rest)
    torch.testing.assert_close(BlackBloodTSE(residual_blood=0.0, blood=1.0)(maps), torch.zeros_like(at_rest))
    share = torch.linspace(0, 1, len(at_rest), dtype=torch.float64)
    torch.testing.assert_close(BlackBloodTSE(residual_blood=0.2, blood=share)(maps), at_rest * (1 - 0.8 * share))
    blood, myocardium = BlackBloodTSE()(as_maps([1550.0, 1000.0], [250.0, 50.0]))
    assert blood < 0.5 * myocardium


def test_stir_nulls_fat(as_maps):
    fat, oedema = BlackBloodTSE(tr_ms=4000.0, inversion_time_ms=260.0 * math.log(2))(
        as_maps([260.0, 1150.0], [60.0, 65.0])
    )
    assert abs(fat) < 1e-3 and oedema < -0.1


def test_long_repetition_is_a_spin_echo(tissues, as_maps):
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(BlackBloodTSE(60.0, 1e5, blood=0.0)(maps), torch.exp(-60 / maps.t2))
    inverted = BlackBloodTSE(60.0, 1e5, inversion_time_ms=0.0, blood=0.0)(maps)
    torch.testing.assert_close(inverted, -torch.exp(-60 / maps.t2))
