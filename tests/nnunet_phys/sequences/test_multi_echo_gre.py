"""Multi-echo GRE for T2*: against Bloch simulation, and T2* comes out of its echoes."""

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences.multi_echo_gre import MultiEchoGRE


@pytest.mark.parametrize("seed", range(3))
def test_against_bloch(seed, tissues, as_maps, relative):
    t1, t2 = tissues(seed)
    flip, tr, r2_prime = np.random.default_rng(seed).uniform((10, 19, 0), (35, 25, 100))
    sequence = MultiEchoGRE(flip_angle_deg=flip, tr_ms=tr, r2_prime_hz=r2_prime)
    for echo, te in zip(sequence(as_maps(t1, t2)), sequence.te_ms, strict=True):
        assert relative(echo, bloch.spoiled_gre(t1, t2, flip, tr, te, r2_prime)) < 1e-9


def test_t2_star_is_the_decay_from_echo_to_echo(as_maps):
    iron = MultiEchoGRE(r2_prime_hz=80.0)
    signal = iron(as_maps([1000.0], [50.0]))[:, 0]
    slope = np.polyfit(iron.te_ms, torch.log(signal).numpy(), 1)[0]
    assert -1 / slope == pytest.approx(1 / (1 / 50 + 0.08), rel=1e-6)


def test_refusals():
    with pytest.raises(ValueError, match="te_ms is empty"):
        MultiEchoGRE(te_ms=())
    with pytest.raises(ValueError, match="te_ms = 25 lies beyond tr_ms = 20"):
        MultiEchoGRE(te_ms=(2.0, 25.0))
