"""The shared building blocks: against the Bloch simulation pulse by pulse, and their limits."""

import math

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import BSSFP
from nnunet_phys.sequences.blocks import (
    Affine,
    bssfp_approach,
    decay,
    effective_flip_angle,
    inversion,
    recovering,
    recovery,
    saturation,
    single_shot_bssfp,
    spoiled_gre_train,
    t2_preparation,
)

SEEDS = range(4)


def test_blocks():
    rate = torch.tensor([1e-3], dtype=torch.float64)
    assert inversion(1.0, 0.9) == -0.9 and saturation(0.5, 0.8) == pytest.approx(0.1)
    torch.testing.assert_close(recovery(-1.0, decay(rate, 1000 * math.log(2))), torch.zeros_like(rate))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("t2_prep_ms", [0.0, 40.0])
def test_single_shot_with_t2_preparation(seed, t2_prep_ms, tissues):
    t1, t2 = tissues(seed)
    start, remainder = bloch.single_shot_bssfp(t1, t2, 50.0, 2.7, 60, 20, mz=0.7, t2_prep_ms=t2_prep_ms)
    r1, r2 = 1 / torch.as_tensor(t1), 1 / torch.as_tensor(t2)
    echo, after = single_shot_bssfp(r1, r2, 50.0, 2.7, 60, 20)
    mz = t2_preparation(torch.full_like(r1, 0.7), r2, t2_prep_ms)
    last_echo_to_end = decay(r1, 2.7 / 2)
    assert np.abs(echo(mz).numpy() - start).max() < 0.001
    assert np.abs(recovery(after(mz), last_echo_to_end).numpy() - remainder).max() < 0.001


def test_gre_train_pulse_by_pulse(tissues, relative):
    t1, t2 = tissues(0)
    sine, _, steady, q = spoiled_gre_train(1 / torch.as_tensor(t1), 15.0, 6.0)
    for k in (1, 7, 60):
        # A mean over ages 0 ... k less a mean over ages 0 ... k-1 is the signal at age k.
        up_to, before = (n * bloch.spoiled_gre(t1, t2, 15.0, 6.0, 0.0, pulses_seen=n) for n in (k + 1, k))
        assert relative(sine * (steady + (1 - steady) * q**k), up_to - before) < 1e-9


def test_a_chain_and_what_it_tends_to():
    e1 = torch.tensor([0.3, 0.9], dtype=torch.float64)
    invert = Affine(torch.zeros_like(e1), torch.full_like(e1, -0.9))
    cycle = invert.then(recovering(e1))
    mz = torch.ones_like(e1)
    torch.testing.assert_close(cycle(mz), recovery(inversion(mz, 0.9), e1))
    for _ in range(400):
        mz = cycle(mz)
    torch.testing.assert_close(cycle.steady, mz)


# --- off resonance as a flip angle

BANDS = [(0.3, 0.001, 0.04), (0.5, 0.001, 0.12), (0.7, 0.001, 0.26), (0.9, 0.004, 0.55), (1.0, 0.04, None)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("share, steady_error, shot_error", BANDS)
def test_effective_flip_angle(share, steady_error, shot_error, seed, tissues):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 400)
    r1, r2 = 1 / torch.as_tensor(t1), 1 / torch.as_tensor(t2)
    for _ in range(5):
        fa, tr = random.uniform(25, 70), random.uniform(2.3, 3.5)
        df = random.uniform(-share, share, t1.size) * 500 / tr  # phi = 2 pi df TR up to this share of pi
        flip = effective_flip_angle(fa, tr, torch.as_tensor(df))
        assert (flip >= fa * (1 - 1e-12)).all() and (flip <= 180).all()
        sine, _, steady, _ = bssfp_approach(r1, r2, flip)
        truth = np.abs(bloch.steady_state_bssfp(t1, t2, fa, tr, df))
        assert np.abs((sine * steady).numpy() - truth).max() < steady_error
        if shot_error is not None:
            mz = random.uniform(-1, 1, t1.size)
            truth, _ = bloch.single_shot_bssfp(t1, t2, fa, tr, 60, 20, mz=mz, off_resonance_hz=df)
            errors = [
                np.abs(single_shot_bssfp(r1, r2, angle, tr, 60, 20)[0](torch.as_tensor(mz)).numpy() - truth)
                for angle in (flip, fa)
            ]
            assert errors[0].max() < shot_error and errors[0].mean() < errors[1].mean()


def test_effective_flip_angle_of_numbers_and_maps():
    assert effective_flip_angle(50.0, 3.0, 0.0) == pytest.approx(50)
    assert effective_flip_angle(50.0, 3.0, 500 / 3) == pytest.approx(180)
    field = torch.tensor([0.0, 70.0, -70.0, 1000 / 3, 500 / 3])
    flip = effective_flip_angle(50.0, 3.0, field)
    torch.testing.assert_close(flip[[0, 3]], torch.full((2,), 50.0))
    torch.testing.assert_close(flip[1], flip[2])
    assert float(flip[1]) == pytest.approx(effective_flip_angle(50.0, 3.0, 70.0), rel=1e-6)
    assert effective_flip_angle(torch.full((5, 1), 50.0), 3.0, field).shape == (5, 5)
    for edge in (flip, effective_flip_angle(50.0, 3.0, 500 / 3)):
        BSSFP(edge)  # is not refused


def test_effective_flip_angle_has_finite_gradients():
    field = torch.tensor([0.0, 70.0, 500 / 3, 400.0], requires_grad=True)
    flip = torch.tensor([0.0, 50.0, 50.0, 0.0], requires_grad=True)
    for gradient in torch.autograd.grad(effective_flip_angle(flip, 3.0, field).sum(), (field, flip)):
        assert torch.isfinite(gradient).all()
