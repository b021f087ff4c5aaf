"""Late enhancement: against cycle after cycle of the Bloch simulation, its nulls and limits."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import (
    InversionRecoveryBSSFP,
    InversionRecoveryGRE,
    SpoiledGRE,
    T2PreparedBSSFP,
    T2PreparedGRE,
)

SEEDS = range(4)
BOTH = [InversionRecoveryGRE(), InversionRecoveryBSSFP()]


def cycle(random: np.random.Generator) -> dict[str, float]:
    return {
        "inversion_time_ms": random.uniform(150, 350),
        "beats": int(random.integers(1, 4)),
        "rr_ms": random.uniform(600, 1200),
        "inversion_efficiency": random.uniform(0.88, 1),
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_inversion_recovery_gre(seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 700)
    for _ in range(3):
        protocol = {
            **cycle(random),
            "flip_angle_deg": random.uniform(15, 25),
            "tr_ms": random.uniform(5, 8),
            "te_ms": random.uniform(1.2, 4),
            "pulses": int(random.integers(15, 31)),
            "centre_pulse": int(random.integers(0, 15)),
            "r2_prime_hz": random.uniform(0, 40),
        }
        signal = InversionRecoveryGRE(**protocol)(as_maps(t1, t2))
        np.testing.assert_allclose(signal, bloch.late_enhancement_gre(t1, t2, **protocol), rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_inversion_recovery_bssfp(seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 800)
    for _ in range(10):
        protocol = {
            **cycle(random),
            "flip_angle_deg": random.uniform(35, 70),
            "tr_ms": random.uniform(2.5, 3.5),
            "pulses": int(random.integers(20, 76)),
            "centre_pulse": int(random.integers(0, 20)),
        }
        signal = InversionRecoveryBSSFP(**protocol)(as_maps(t1, t2)).numpy()
        assert np.abs(signal - bloch.late_enhancement_bssfp(t1, t2, **protocol)).max() < 0.001


@pytest.mark.parametrize("sequence", BOTH)
@pytest.mark.parametrize("t1, t2", [(250, 60), (380, 65), (500, 45), (550, 50), (1100, 50)])
def test_null(sequence, t1, t2, as_maps):
    null = sequence.null_inversion_time_ms(t1, t2)
    maps = as_maps([float(t1)], [float(t2)])
    at_null, earlier, later = (replace(sequence, inversion_time_ms=null + d)(maps) for d in (0, -30, 30))
    torch.testing.assert_close(at_null, torch.zeros_like(at_null), rtol=0, atol=1e-9)
    assert earlier < 0 < later
    simulate = bloch.late_enhancement_gre if sequence is BOTH[0] else bloch.late_enhancement_bssfp
    truth = simulate(maps.t1.numpy(), maps.t2.numpy(), null, inversion_efficiency=sequence.inversion_efficiency)
    assert abs(truth.item()) < 0.001


def test_no_null():
    with pytest.raises(
        ValueError, match=r"no inversion time nulls T1 = 50, T2 = 40 ms: the read-out would start -\d+ ms"
    ):
        InversionRecoveryGRE().null_inversion_time_ms(50.0, 40.0)


def test_scar_is_bright_where_myocardium_is_null(as_maps):
    for sequence in BOTH:
        at_null = replace(sequence, inversion_time_ms=sequence.null_inversion_time_ms(500.0, 45.0))
        myocardium, scar, native = at_null(as_maps([500.0, 300.0, 1100.0], [45.0, 50.0, 50.0]))
        assert scar > 0.05 and abs(myocardium) < 1e-9 and native < -0.01
        assert replace(at_null, phase_sensitive=True)(as_maps([1100.0], [50.0])) == native


def test_limits(tissues, as_maps):
    maps = as_maps(*tissues(0))
    rested = {"inversion_time_ms": 60_000.0, "rr_ms": 10_000.0, "beats": 7}
    gre = T2PreparedGRE((0.0,), 20.0, 6.0, 2.5, centre_pulse=12)(maps)[0]
    torch.testing.assert_close(InversionRecoveryGRE(**rested)(maps), gre)
    bssfp = T2PreparedBSSFP((0.0,), 50.0, 2.8, 40, 20)(maps)[0]
    torch.testing.assert_close(InversionRecoveryBSSFP(**rested)(maps), bssfp)
    endless = InversionRecoveryGRE(90_000.0, pulses=20_000, centre_pulse=14_900, rr_ms=10_000.0, beats=14)(maps)
    torch.testing.assert_close(endless, SpoiledGRE(20.0, 6.0, 2.5)(maps))
