"""Every closed form against the Bloch simulation, and its limits, shapes, gradients and refusals."""

import math

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import BSSFP, MOLLI, MSASHA, SEQUENCES, LookLocker, SpoiledGRE, T2PreparedBSSFP
from nnunet_phys.sequences.blocks import (
    blood_likeness,
    decay,
    inversion,
    recovery,
    saturation,
    single_shot_bssfp,
    spoiled_gre_train,
    t2_preparation,
)
from nnunet_phys.sequences.molli import parse_scheme
from nnunet_phys.spin import SpinMaps

SCHEMES = ["5(3)3", "5(3s)3", "4(1)3(1)2", "3(3)3(3)5", "5(1)1(1)1"]
SEEDS = range(4)
EVERY_SEQUENCE = [
    BSSFP(),
    BSSFP(off_resonance_hz=60.0),
    LookLocker(),
    MOLLI(),
    SpoiledGRE(),
    SpoiledGRE(inflow_pulses=40.5),
    MSASHA(600.0, 55.0, 10.0),
    MSASHA(None),
    T2PreparedBSSFP(),
]


def name_of(sequence) -> str:
    return type(sequence).__name__


def tissues(seed: int, n: int = 50) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    t1 = random.uniform(200, 2200, n)
    return t1, np.minimum(random.uniform(25, 300, n), t1)


def as_maps(t1, t2, pd=1.0, dtype=torch.float64) -> SpinMaps:
    t1, t2 = torch.as_tensor(t1, dtype=dtype), torch.as_tensor(t2, dtype=dtype)
    return SpinMaps(torch.full_like(t1, pd), t1, t2)


def relative(signal: torch.Tensor, truth: np.ndarray) -> float:
    return float(np.max(np.abs(signal.numpy() / truth - 1)))


# --- against the Bloch simulation


@pytest.mark.parametrize("seed", SEEDS)
def test_bssfp_on_resonance(seed):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 100)
    for _ in range(10):
        fa, tr = random.uniform(20, 80), random.uniform(2.5, 4)
        assert relative(BSSFP(fa, tr)(as_maps(t1, t2)), bloch.steady_state_bssfp(t1, t2, fa, tr)) < 0.005


@pytest.mark.parametrize("seed", SEEDS)
def test_bssfp_off_resonance(seed):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 100)
    for _ in range(10):
        fa, tr = random.uniform(3, 120), random.uniform(2.5, 4)
        df = random.uniform(-200, 200, t1.size)
        truth = np.abs(bloch.steady_state_bssfp(t1, t2, fa, tr, df))
        assert relative(BSSFP(fa, tr, torch.as_tensor(df))(as_maps(t1, t2)), truth) < 1e-6


def test_bssfp_at_the_band_edge_in_single_precision():
    t1, t2 = tissues(0)
    for df in (1e-3, 80.0, 500 / 3, 166.0):
        truth = np.abs(bloch.steady_state_bssfp(t1, t2, 50.0, 3.0, df))
        signal = BSSFP(50.0, 3.0, df)(as_maps(t1, t2, dtype=torch.float32))
        assert relative(signal.double(), truth) < 1e-3


@pytest.mark.parametrize("seed", SEEDS)
def test_look_locker(seed):
    t1, t2 = tissues(seed)
    fa, tr = np.random.default_rng(seed).uniform(8, 70), 2.7
    times, truth = bloch.inversion_recovery_bssfp(t1, t2, fa, tr, 600)
    signal = LookLocker(fa, torch.as_tensor(times)[:, None])(as_maps(t1, t2))
    assert np.abs(signal.numpy() - truth).max() < 0.0025 * math.sin(math.radians(fa / 2))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_molli(scheme, seed):
    t1, t2 = tissues(seed)
    random = np.random.default_rng(seed + 200)
    for _ in range(3):
        first = random.uniform(95, 130)
        protocol = {
            "scheme": scheme,
            "flip_angle_deg": random.uniform(25, 50),
            "tr_ms": random.uniform(2.3, 3.0),
            "pulses": int(random.integers(45, 76)),
            "centre_pulse": int(random.integers(10, 31)),
            "rr_ms": random.uniform(600, 1200),
            "first_inversion_times_ms": (first, first + 80, first + 160),
            "inversion_efficiency": random.uniform(0.88, 1),
        }
        truth = bloch.molli(t1, t2, **protocol)
        error = np.abs(MOLLI(**protocol)(as_maps(t1, t2)).numpy() - truth)
        assert (error.max(0) / np.abs(truth).max(0)).max() < 0.002


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("t2_prep_ms", [0.0, 40.0])
def test_single_shot_with_t2_preparation(seed, t2_prep_ms):
    t1, t2 = tissues(seed)
    start, remainder = bloch.single_shot_bssfp(t1, t2, 50.0, 2.7, 60, 20, mz=0.7, t2_prep_ms=t2_prep_ms)
    r1, r2 = 1 / torch.as_tensor(t1), 1 / torch.as_tensor(t2)
    echo, after = single_shot_bssfp(r1, r2, 50.0, 2.7, 60, 20)
    mz = t2_preparation(torch.full_like(r1, 0.7), r2, t2_prep_ms)
    last_echo_to_end = decay(r1, 2.7 / 2)
    assert np.abs(echo(mz).numpy() - start).max() < 0.001
    assert np.abs(recovery(after(mz), last_echo_to_end).numpy() - remainder).max() < 0.001


@pytest.mark.parametrize("seed", SEEDS)
def test_t2_prepared_bssfp(seed):
    t1, t2 = tissues(seed)
    times = (0.0, 24.0, 55.0, 80.0)
    for fa, tr, pulses, centre in ((70.0, 2.4, 60, 25), (40.0, 3.0, 45, 10)):
        signal = T2PreparedBSSFP(times, fa, tr, pulses, centre)(as_maps(t1, t2)).numpy()
        for one, time_ms in zip(signal, times, strict=True):
            truth, _ = bloch.single_shot_bssfp(t1, t2, fa, tr, pulses, centre, t2_prep_ms=time_ms)
            assert np.abs(one - truth).max() < 0.003


@pytest.mark.parametrize("seed", SEEDS)
def test_gre(seed):
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
def test_gre_inflow(pulses):
    t1, t2 = tissues(pulses)
    weight = blood_likeness(torch.as_tensor(t1), torch.as_tensor(t2)).numpy()
    at_rest = bloch.spoiled_gre(t1, t2, 15.0, 6.0, 2.5, 11.0)
    flowing = bloch.spoiled_gre(t1, t2, 15.0, 6.0, 2.5, 11.0, pulses_seen=pulses)
    signal = SpoiledGRE(15.0, 6.0, 2.5, 11.0, inflow_pulses=pulses)(as_maps(t1, t2))
    assert relative(signal, at_rest + weight * (flowing - at_rest)) < 1e-9


def test_gre_train_pulse_by_pulse():
    t1, t2 = tissues(0)
    sine, _, steady, q = spoiled_gre_train(1 / torch.as_tensor(t1), 15.0, 6.0)
    for k in (1, 7, 60):
        # A mean over ages 0 ... k less a mean over ages 0 ... k-1 is the signal at age k.
        up_to, before = (n * bloch.spoiled_gre(t1, t2, 15.0, 6.0, 0.0, pulses_seen=n) for n in (k + 1, k))
        assert relative(sine * (steady + (1 - steady) * q**k), up_to - before) < 1e-9


@pytest.mark.parametrize("ts_ms, t2_prep_ms, delay_ms", [(600.0, 55.0, 10.0), (80.0, 0.0, 70.0), (None, 35.0, 10.0)])
def test_msasha(ts_ms, t2_prep_ms, delay_ms):
    t1, t2 = tissues(0)
    truth = bloch.msasha(t1, t2, ts_ms, t2_prep_ms, delay_ms)
    assert np.abs(MSASHA(ts_ms, t2_prep_ms, delay_ms)(as_maps(t1, t2)).numpy() - truth).max() < 1e-6


# --- limits and identities


def test_printed_equations_4_and_5():
    t1, t2 = (torch.as_tensor(x) for x in tissues(0))
    a = math.radians(40.0)
    steady = math.sin(a) / (1 + math.cos(a) + (1 - math.cos(a)) * t1 / t2)
    factor = 1 + math.sin(a / 2) / math.sin(a) * (1 + math.cos(a) + (1 - math.cos(a)) * t1 / t2)
    t1_star = 1 / (math.cos(a / 2) ** 2 / t1 + math.sin(a / 2) ** 2 / t2)
    torch.testing.assert_close(BSSFP(40.0)(as_maps(t1, t2)), steady)
    torch.testing.assert_close(
        LookLocker(40.0, 300.0)(as_maps(t1, t2)), steady * (1 - factor * torch.exp(-300 / t1_star))
    )


def test_look_locker_limits():
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(LookLocker(35.0, 1e6)(maps), BSSFP(35.0)(maps))
    torch.testing.assert_close(LookLocker(35.0, 0.0)(maps), torch.full_like(maps.pd, -math.sin(math.radians(17.5))))


def test_freeman_hill_tends_to_the_resonant_form():
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(BSSFP(50.0, 0.01, 1e-9)(maps), BSSFP(50.0, 0.01)(maps), rtol=1e-5, atol=0)
    torch.testing.assert_close(BSSFP(50.0, 4.0, torch.zeros_like(maps.pd))(maps), BSSFP(50.0)(maps), rtol=5e-3, atol=0)


def test_molli_signs_and_long_shot():
    maps = as_maps([1000.0, 1550.0], [50.0, 250.0])
    signal = MOLLI()(maps)
    assert (signal[0] < 0).all() and (signal[4] > 0).all()
    train = MOLLI(pulses=3000, centre_pulse=2900, rr_ms=9000.0, first_inversion_times_ms=(8000.0, 8000.0))(maps)
    torch.testing.assert_close(train[0], BSSFP(35.0)(maps), rtol=2e-3, atol=0)


def test_molli_recovers_when_the_heart_is_slow():
    maps = as_maps([1000.0], [50.0])
    shot, _ = single_shot_bssfp(1 / maps.t1, 1 / maps.t2, 35.0, 2.7, 60, 25)
    torch.testing.assert_close(MOLLI(rr_ms=1e5)(maps)[1], shot(1.0))


def test_molli_inversion_times_and_schemes():
    assert parse_scheme("4(1)3(1)2") == ((4, 3, 2), ("1", "1"))
    assert parse_scheme("5(3s)3") == ((5, 3), ("3s",))
    assert parse_scheme("8") == ((8,), ())
    expected = (120, 920, 1720, 2520, 3320, 200, 1000, 1800)
    assert MOLLI(rr_ms=800.0).inversion_times_ms == expected
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(MOLLI("5(3)3")(maps), MOLLI("5(3s)3")(maps))
    assert not torch.allclose(MOLLI("5(3)3", rr_ms=700.0)(maps), MOLLI("5(3s)3", rr_ms=700.0)(maps), rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_molli_at_measured_inversion_times(seed):
    t1, t2 = tissues(seed)
    times = (128.0, 881.0, 1628.0, 2381.0, 3131.0, 208.0, 951.0, 1711.0)
    measured = MOLLI.from_inversion_times(times, flip_angle_deg=35.0)
    assert measured.scheme == "5(3)3" and measured.inversion_times_ms == times
    beats = (753.0, 747.0, 753.0, 750.0, 743.0, 760.0)
    truth = bloch.molli(t1, t2, rr_ms=sum(beats) / 6, first_inversion_times_ms=(128.0, 208.0), rr_intervals_ms=beats)
    error = np.abs(measured(as_maps(t1, t2)).numpy() - truth)
    assert (error.max(0) / np.abs(truth).max(0)).max() < 0.002
    assert MOLLI.from_inversion_times((100, 757, 1422, 2090, 180, 835, 1485, 260, 903)).scheme == "4(1)3(1)2"
    even = MOLLI.from_inversion_times(MOLLI(rr_ms=800.0).inversion_times_ms)(as_maps(t1, t2))
    torch.testing.assert_close(even, MOLLI(rr_ms=800.0)(as_maps(t1, t2)))


def test_molli_times_of_no_scheme():
    with pytest.raises(ValueError, match=r"sets of \(1, 1, 1\) images; no published scheme has: give scheme"):
        MOLLI.from_inversion_times((1000.0, 600.0, 200.0))
    with pytest.raises(ValueError, match=r"sets of \(5, 3\) images; scheme 4\(1\)3\(1\)2 has others"):
        MOLLI.from_inversion_times(MOLLI().inversion_times_ms, scheme="4(1)3(1)2")
    with pytest.raises(ValueError, match="6 intervals between images of one set, but rr_intervals_ms has 2"):
        MOLLI(rr_intervals_ms=(700.0, 700.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_molli_one_readout_is_that_of_the_series(scheme):
    maps = as_maps(*tissues(0), pd=0.8)
    times = (110.0, 190.0, 270.0)
    series = MOLLI(scheme, first_inversion_times_ms=times)
    whole = series(maps)
    assert len(series.inversion_times_ms) == len(whole)
    for i, signal in enumerate(whole):
        one = MOLLI(scheme, first_inversion_times_ms=times, readout=i)(maps)
        torch.testing.assert_close(one, signal, rtol=0, atol=0)


def test_gre_inflow_limits_and_contrast():
    maps = as_maps([1550.0, 1000.0], [250.0, 50.0])
    at_rest, fresh, slow = (SpoiledGRE(inflow_pulses=n)(maps) for n in (None, 10, 1e6))
    assert at_rest[0] < at_rest[1], "blood at rest is darker than myocardium"
    assert fresh[0] > 4 * fresh[1], "flowing blood is brighter"
    torch.testing.assert_close(fresh[1], at_rest[1], rtol=0.01, atol=0)
    torch.testing.assert_close(slow, at_rest, rtol=1e-3, atol=0)


def test_msasha_limits():
    maps = as_maps(*tissues(0), pd=0.9)
    torch.testing.assert_close(MSASHA(None)(maps), maps.pd)
    torch.testing.assert_close(MSASHA(math.inf, 40.0)(maps), MSASHA(None, 40.0)(maps))
    torch.testing.assert_close(MSASHA(0.0, 0.0, 0.0)(maps), torch.zeros_like(maps.pd))


def test_blocks():
    rate = torch.tensor([1e-3], dtype=torch.float64)
    assert inversion(1.0, 0.9) == -0.9 and saturation(0.5, 0.8) == pytest.approx(0.1)
    torch.testing.assert_close(recovery(-1.0, decay(rate, 1000 * math.log(2))), torch.zeros_like(rate))


@pytest.mark.parametrize(
    "t1, t2, blood",
    [
        (1550, 250, True),
        (1250, 150, True),
        (1900, 180, True),
        (1852, 120, True),
        (1000, 50, False),
        (1523, 46, False),
        (1412, 50, False),
        (382, 70, False),
        (809, 57, False),
        (1171, 61, False),
        (1400, 70, False),
        (1621, 46, False),
        (1328, 79, False),
    ],
)
def test_blood_likeness(t1, t2, blood):
    weight = float(blood_likeness(torch.tensor(float(t1)), torch.tensor(float(t2))))
    assert weight > 0.95 if blood else weight < 0.06


# --- tensors: shape, type, maps, gradients


def test_names():
    assert {
        "bssfp": BSSFP,
        "looklocker": LookLocker,
        "molli": MOLLI,
        "gre": SpoiledGRE,
        "msasha": MSASHA,
        "t2prep": T2PreparedBSSFP,
    } == SEQUENCES


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 1, 3, 4)])
def test_shape_and_type(sequence, shape):
    for dtype in (torch.float32, torch.float64):
        maps = as_maps(torch.full(shape, 1000.0), torch.full(shape, 50.0), dtype=dtype)
        signal = sequence(maps)
        images = {MOLLI: (8,), T2PreparedBSSFP: (3,)}.get(type(sequence), ())
        assert signal.shape == (*images, *shape)
        assert signal.dtype == dtype


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
def test_single_precision(sequence):
    t1, t2 = tissues(0)
    double, single = (sequence(as_maps(t1, t2, dtype=dtype)) for dtype in (torch.float64, torch.float32))
    torch.testing.assert_close(single.double(), double, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
def test_pd_scales_the_signal(sequence):
    t1, t2 = tissues(0)
    torch.testing.assert_close(sequence(as_maps(t1, t2, pd=0.7)), 0.7 * sequence(as_maps(t1, t2)))


@pytest.mark.parametrize(
    "make",
    [
        lambda fa: BSSFP(fa),
        lambda fa: BSSFP(fa, off_resonance_hz=60.0),
        lambda fa: LookLocker(fa),
        lambda fa: MOLLI(flip_angle_deg=fa),
        lambda fa: MOLLI(flip_angle_deg=fa, readout=6),
        lambda fa: SpoiledGRE(fa),
        lambda fa: SpoiledGRE(fa, inflow_pulses=30.0),
    ],
)
def test_b1_map_equals_a_loop_over_voxels(make):
    t1, t2 = tissues(0, 12)
    maps = as_maps(t1.reshape(3, 4), t2.reshape(3, 4))
    flip = torch.linspace(8, 60, 12, dtype=torch.float64).reshape(3, 4)
    whole = make(flip)(maps)
    for i in range(3):
        for j in range(4):
            alone = make(float(flip[i, j]))(maps.map(lambda m, i=i, j=j: m[i, j]))
            torch.testing.assert_close(whole[..., i, j], alone)


def test_flip_angle_broadcasts():
    maps = as_maps(*(x.reshape(5, 10) for x in tissues(0)))
    row = torch.linspace(20, 60, 10, dtype=torch.float64)
    for make in (BSSFP, SpoiledGRE):
        torch.testing.assert_close(make(row)(maps), make(row.expand(5, 10))(maps))


def test_off_resonance_map_equals_a_loop_over_voxels():
    maps = as_maps(*tissues(0, 6))
    field = torch.tensor([0.0, 10.0, -40.0, 80.0, 120.0, 166.0], dtype=torch.float64)
    whole = BSSFP(50.0, 3.0, field)(maps)
    for i in range(6):
        alone = BSSFP(50.0, 3.0, field[i])(maps.map(lambda m, i=i: m[i]))
        torch.testing.assert_close(whole[i], alone)


def test_no_signal_without_a_flip_angle():
    maps = as_maps([1000.0, 1000.0], [50.0, 50.0])
    flip = torch.tensor([35.0, 0.0], dtype=torch.float64)
    for sequence in (BSSFP(flip), LookLocker(flip), MOLLI(flip_angle_deg=flip), SpoiledGRE(flip)):
        signal = sequence(maps)
        assert torch.isfinite(signal).all() and (signal[..., 1] == 0).all()


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
def test_gradients(sequence):
    t1, t2 = tissues(0, 4)
    t2[0] = t1[0]

    def signal(pd, log_t1, log_t2):
        return sequence(SpinMaps(pd, torch.exp(log_t1), torch.exp(log_t2)))

    pd = torch.tensor([0.8, 0.9, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    logs = [torch.as_tensor(np.log(t)).requires_grad_() for t in (t1, t2)]
    assert torch.autograd.gradcheck(signal, (pd, *logs))


@pytest.mark.parametrize("flip", [2.0, 35.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_the_bounds(flip, dtype):
    pd, t1, t2 = (
        torch.tensor(values, dtype=dtype, requires_grad=True)
        for values in ([0.0, 1.0, 1.0, 0.0], [50.0, 5000.0, 2500.0, 5000.0], [50.0, 5.0, 2500.0, 2500.0])
    )
    b1 = torch.tensor([1.0, 0.0, 1.0, 1.2], dtype=dtype)
    for sequence in (
        BSSFP(flip),
        BSSFP(flip, 3.0, 500 / 3),
        BSSFP(flip * b1 + 2),
        LookLocker(flip),
        MOLLI(flip_angle_deg=flip),
        MOLLI(flip_angle_deg=40 * b1),
        SpoiledGRE(flip, inflow_pulses=300.0),
        SpoiledGRE(15 * b1, inflow_pulses=30.0),
        MSASHA(80.0, 55.0),
    ):
        signal = sequence(SpinMaps(pd, t1, t2))
        assert torch.isfinite(signal).all()
        for gradient in torch.autograd.grad(signal.sum(), (pd, t1, t2), allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


def test_gradient_reaches_flip_angle_and_field():
    maps = as_maps(*tissues(0, 3))
    flip = torch.tensor([20.0, 35.0, 50.0], dtype=torch.float64, requires_grad=True)
    field = torch.tensor([5.0, 60.0, -90.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda fa, df: BSSFP(fa, 3.0, df)(maps), (flip, field))
    assert torch.autograd.gradcheck(lambda fa: MOLLI(flip_angle_deg=fa)(maps), flip)
    assert torch.autograd.gradcheck(lambda fa: SpoiledGRE(fa, inflow_pulses=30.0)(maps), flip)


# --- refusals


@pytest.mark.parametrize("make", [BSSFP, LookLocker, lambda fa: MOLLI(flip_angle_deg=fa), SpoiledGRE])
def test_radians_are_refused(make):
    for flip in (math.radians(45.0), torch.full((2, 2), math.radians(45.0))):
        with pytest.raises(ValueError, match=r"looks like radians: give degrees \(45\?\)"):
            make(flip)
    for flip in (0.0, -35.0, 180.0, math.nan, torch.tensor([200.0])):
        with pytest.raises(ValueError, match="between 0 and 180 degrees"):
            make(flip)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BSSFP(tr_ms=0.0), "tr_ms must be positive, got 0"),
        (lambda: LookLocker(time_ms=-1.0), "time_ms must not be negative, got -1"),
        (lambda: MOLLI(tr_ms=-2.7), "tr_ms must be positive"),
        (lambda: MOLLI(rr_ms=0.0), "rr_ms must be positive"),
        (lambda: MOLLI(scheme="5-3-3"), r"'5-3-3' is none: write images\(pause\)images"),
        (lambda: MOLLI(scheme="5(3)"), "is none"),
        (lambda: MOLLI(scheme="0(3)3"), "is none"),
        (lambda: MOLLI(scheme=""), "is none"),
        (lambda: MOLLI(scheme="3(3)3(3)5"), "has 3 sets, but first_inversion_times_ms has 2 entries"),
        (lambda: MOLLI(centre_pulse=60), "centre_pulse must lie between 0 and pulses - 1 = 59, got 60"),
        (lambda: MOLLI(centre_pulse=-1), "centre_pulse must lie between"),
        (lambda: MOLLI(first_inversion_times_ms=(50.0, 200.0)), "50 ms is too early.* it takes 70.2 ms"),
        (lambda: MOLLI(rr_ms=150.0), "do not fit into rr_ms = 150"),
        (lambda: MOLLI("5(0)3", rr_ms=200.0), "do not fit"),
        (lambda: MOLLI(inversion_efficiency=1.2), r"inversion_efficiency must lie in \(0, 1\], got 1.2"),
        (lambda: MOLLI(readout=8), "readout must lie between 0 and 7, got 8"),
        (lambda: SpoiledGRE(tr_ms=0.0), "tr_ms must be positive"),
        (lambda: SpoiledGRE(te_ms=-1.0), "te_ms must not be negative"),
        (lambda: SpoiledGRE(te_ms=7.0), "te_ms = 7 lies beyond tr_ms = 6"),
        (lambda: SpoiledGRE(r2_prime_hz=-1.0), "r2_prime_hz must not be negative"),
        (lambda: SpoiledGRE(inflow_pulses=0.5), "inflow_pulses must be at least 1, got 0.5"),
        (lambda: SpoiledGRE(100.0, inflow_pulses=10), "at most 90, got 100"),
        (lambda: MSASHA(ts_ms=-1.0), "ts_ms must not be negative"),
        (lambda: MSASHA(t2_prep_ms=-1.0), "t2_prep_ms must not be negative"),
        (lambda: MSASHA(delay_ms=-1.0), "delay_ms must not be negative"),
        (lambda: T2PreparedBSSFP(()), "t2_prep_ms is empty"),
        (lambda: T2PreparedBSSFP((0.0, -25.0)), "t2_prep_ms must not be negative"),
        (lambda: T2PreparedBSSFP(centre_pulse=60), "centre_pulse must lie between 0 and pulses - 1 = 59, got 60"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
