"""MOLLI against the Bloch simulation, its timing and its limits."""

import numpy as np
import pytest
import torch

from nnunet_phys import bloch
from nnunet_phys.sequences import BSSFP, MOLLI
from nnunet_phys.sequences.blocks import single_shot_bssfp
from nnunet_phys.sequences.molli import parse_scheme

SCHEMES = ["5(3)3", "5(3s)3", "4(1)3(1)2", "3(3)3(3)5", "5(1)1(1)1"]
SEEDS = range(4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_molli(scheme, seed, tissues, as_maps):
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


def test_molli_signs_and_long_shot(as_maps):
    maps = as_maps([1000.0, 1550.0], [50.0, 250.0])
    signal = MOLLI()(maps)
    assert (signal[0] < 0).all() and (signal[4] > 0).all()
    train = MOLLI(pulses=3000, centre_pulse=2900, rr_ms=9000.0, first_inversion_times_ms=(8000.0, 8000.0))(maps)
    torch.testing.assert_close(train[0], BSSFP(35.0)(maps), rtol=2e-3, atol=0)


def test_molli_recovers_when_the_heart_is_slow(as_maps):
    maps = as_maps([400.0], [50.0])
    shot, _ = single_shot_bssfp(1 / maps.t1, 1 / maps.t2, 35.0, 2.7, 60, 25)
    torch.testing.assert_close(MOLLI(rr_ms=1e4)(maps)[1], shot(1.0))


def test_molli_inversion_times_and_schemes(tissues, as_maps):
    assert parse_scheme("4(1)3(1)2") == ((4, 3, 2), ("1", "1"))
    assert parse_scheme("5(3s)3") == ((5, 3), ("3s",))
    assert parse_scheme("8") == ((8,), ())
    expected = (120, 920, 1720, 2520, 3320, 200, 1000, 1800)
    assert MOLLI(rr_ms=800.0).inversion_times_ms == expected
    maps = as_maps(*tissues(0))
    torch.testing.assert_close(MOLLI("5(3)3")(maps), MOLLI("5(3s)3")(maps))
    assert not torch.allclose(MOLLI("5(3)3", rr_ms=700.0)(maps), MOLLI("5(3s)3", rr_ms=700.0)(maps), rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_molli_at_measured_inversion_times(seed, tissues, as_maps):
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


@pytest.mark.parametrize("scheme", [None, "5(1)1(1)1"])
def test_molli_times_of_a_scheme_with_sets_of_one_image(scheme):
    times = (100.0, 1100.0, 2100.0, 3100.0, 4100.0, 180.0, 260.0)  # Siemens ShMOLLI
    sequence = MOLLI.from_inversion_times(times, scheme=scheme)
    assert sequence.scheme == "5(1)1(1)1" and sequence.inversion_times_ms == times


def test_molli_times_of_no_scheme():
    with pytest.raises(ValueError, match="inversion_times_ms is empty"):
        MOLLI.from_inversion_times(())
    with pytest.raises(ValueError, match="100, 180, 260, 1100, 2100, 3100, 4100 ms do not fit scheme"):  # not in order
        MOLLI.from_inversion_times((100, 180, 260, 1100, 2100, 3100, 4100), scheme="5(1)1(1)1")
    with pytest.raises(ValueError, match=r"1000, 600, 200 ms fit no published scheme \(5\(3\)3, "):
        MOLLI.from_inversion_times((1000.0, 600.0, 200.0))
    with pytest.raises(ValueError, match=r"do not fit scheme 4\(1\)3\(1\)2. Give them in acquisition order"):
        MOLLI.from_inversion_times(MOLLI().inversion_times_ms, scheme="4(1)3(1)2")
    with pytest.raises(ValueError, match="6 intervals between images of one set, but rr_intervals_ms has 2"):
        MOLLI(rr_intervals_ms=(700.0, 700.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_molli_one_readout_is_that_of_the_series(scheme, tissues, as_maps):
    maps = as_maps(*tissues(0), pd=0.8)
    times = (110.0, 190.0, 270.0)
    series = MOLLI(scheme, first_inversion_times_ms=times)
    whole = series(maps)
    assert len(series.inversion_times_ms) == len(whole)
    for i, signal in enumerate(whole):
        one = MOLLI(scheme, first_inversion_times_ms=times, readout=i)(maps)
        torch.testing.assert_close(one, signal, rtol=0, atol=0)
