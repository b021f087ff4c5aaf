"""First-pass perfusion: against beat after beat of the Bloch simulation, and its limits."""

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import SaturationRecoveryGRE, T2PreparedGRE


@pytest.mark.parametrize("seed", range(4))
def test_saturation_recovery_gre(seed, tissues, as_maps):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 900)
    for saturation_efficiency in (1.0, 0.95, random.uniform(0.7, 1)):
        protocol = {
            "ts_ms": random.uniform(60, 150),
            "flip_angle_deg": random.uniform(8, 20),
            "tr_ms": random.uniform(2, 2.6),
            "te_ms": random.uniform(0.9, 1.3),
            "pulses": int(random.integers(30, 70)),
            "centre_pulse": int(random.integers(0, 22)),
            "rr_ms": random.uniform(600, 1200),
            "saturation_efficiency": saturation_efficiency,
            "r2_prime_hz": random.uniform(0, 40),
        }
        signal = SaturationRecoveryGRE(**protocol)(as_maps(t1, t2))
        np.testing.assert_allclose(signal, bloch.saturation_recovery_gre(t1, t2, **protocol), rtol=0, atol=1e-12)


def test_limits(tissues, as_maps):
    maps = as_maps(*tissues(0))
    first = SaturationRecoveryGRE(1.1, centre_pulse=0)(maps)
    torch.testing.assert_close(first, torch.zeros_like(first), rtol=0, atol=1e-12)
    short = as_maps([400.0, 250.0], [50.0, 40.0])
    rested = SaturationRecoveryGRE(9_000.0, rr_ms=10_000.0)(short)
    torch.testing.assert_close(rested, T2PreparedGRE((0.0,), 12.0, 2.3, 1.1, 20)(short)[0])
    complete, nearly = (SaturationRecoveryGRE(saturation_efficiency=s)(maps) for s in (1.0, 1 - 1e-9))
    torch.testing.assert_close(complete, nearly)


def test_contrast_agent_brightens(as_maps):
    signal = SaturationRecoveryGRE()(as_maps([1550.0, 100.0, 1000.0, 250.0], [200.0, 60.0, 50.0, 40.0]))
    assert signal[1] > 4 * signal[0] and signal[3] > 2 * signal[2]
