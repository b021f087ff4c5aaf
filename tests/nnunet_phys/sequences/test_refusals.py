"""What sequences refuse, and what they say."""

import math
from dataclasses import fields

import pytest
import torch

from nnunet_phys.sequences import (
    BSSFP,
    MOLLI,
    MSASHA,
    SASHA,
    SEQUENCES,
    BlackBloodTSE,
    InversionRecoveryBSSFP,
    InversionRecoveryGRE,
    LookLocker,
    SaturationRecoveryGRE,
    SpoiledGRE,
    T2PreparedBSSFP,
    T2PreparedGRE,
)


@pytest.mark.parametrize(
    "kind",
    [
        BSSFP,
        LookLocker,
        MOLLI,
        SpoiledGRE,
        SASHA,
        T2PreparedBSSFP,
        T2PreparedGRE,
        InversionRecoveryGRE,
        InversionRecoveryBSSFP,
        SaturationRecoveryGRE,
    ],
)
def test_radians_are_refused(kind):
    for flip in (math.radians(45.0), torch.full((2, 2), math.radians(45.0))):
        with pytest.raises(ValueError, match=r"looks like radians: give degrees \(45\?\)"):
            kind(flip_angle_deg=flip)
    for flip in (0.0, -35.0, 180.5, math.nan, torch.tensor([200.0]), torch.tensor([-30.0, 40.0])):
        with pytest.raises(ValueError, match="must be above 0 and at most 180 degrees"):
            kind(flip_angle_deg=flip)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BSSFP(tr_ms=2e5), "tr_ms must be above 0 and at most 100000 ms, got 200000"),
        (lambda: SpoiledGRE(r2_prime_hz=2e4), "r2_prime_hz must lie between 0 and 10000 1/s, got 20000"),
        (lambda: InversionRecoveryGRE(rr_ms=1e6), "rr_ms must be above 0 and at most 10000 ms, got 1000000"),
        (lambda: MOLLI(rr_intervals_ms=(900.0,) * 5 + (0.0,)), "rr_intervals_ms must be above 0"),
        (lambda: BSSFP(tr_ms=True), "tr_ms must be above 0 .* got True"),
        (lambda: BSSFP(tr_ms=0.0), "tr_ms must be above 0 and at most 100000 ms, got 0"),
        (
            lambda: SpoiledGRE(r2_prime_hz=torch.tensor([-100.0, 5.0])),
            "r2_prime_hz must lie between 0 and 10000 1/s, got -100 to 5",
        ),
        (lambda: LookLocker(time_ms=-1.0), "time_ms must lie between 0 and 100000 ms, got -1"),
        (lambda: MOLLI(tr_ms=-2.7), "tr_ms must be above 0"),
        (lambda: MOLLI(rr_ms=0.0), "rr_ms must be above 0"),
        (lambda: MOLLI(scheme="5-3-3"), r"'5-3-3' is not a MOLLI scheme: write images\(pause\)images"),
        (lambda: MOLLI(scheme="5(3)"), "is not a MOLLI scheme"),
        (lambda: MOLLI(scheme="0(3)3"), "is not a MOLLI scheme"),
        (lambda: MOLLI(scheme=""), "is not a MOLLI scheme"),
        (lambda: MOLLI(scheme="3(3)3(3)5"), "has 3 sets, but first_inversion_times_ms has 2 entries"),
        (lambda: MOLLI(centre_pulse=60), "centre_pulse must lie between 0 and pulses - 1 = 59, got 60"),
        (lambda: MOLLI(centre_pulse=-1), "centre_pulse must lie between"),
        (lambda: MOLLI(first_inversion_times_ms=(50.0, 200.0)), "50 ms is too early.* it takes 70.2 ms"),
        (lambda: MOLLI(rr_ms=150.0), "do not fit into rr_ms = 150"),
        (lambda: MOLLI("5(0)3", rr_ms=200.0), "do not fit"),
        (lambda: MOLLI(inversion_efficiency=1.2), "inversion_efficiency must be above 0 and at most 1, got 1.2"),
        (lambda: MOLLI(readout=8), "readout must lie between 0 and 7, got 8"),
        (lambda: SpoiledGRE(tr_ms=0.0), "tr_ms must be above 0"),
        (lambda: SpoiledGRE(te_ms=-1.0), "te_ms must lie between 0 and"),
        (lambda: SpoiledGRE(te_ms=7.0), "te_ms = 7 lies beyond tr_ms = 6"),
        (lambda: SpoiledGRE(r2_prime_hz=-1.0), "r2_prime_hz must lie between 0 and"),
        (lambda: SpoiledGRE(inflow_pulses=0.5), "inflow_pulses must be at least 1 pulses, got 0.5"),
        (lambda: SpoiledGRE(100.0, inflow_pulses=10), "at most 90, got 100"),
        (lambda: MSASHA(ts_ms=-1.0), "ts_ms must lie between 0 and"),
        (lambda: MSASHA(t2_prep_ms=-1.0), "t2_prep_ms must lie between 0 and"),
        (lambda: MSASHA(delay_ms=-1.0), "delay_ms must lie between 0 and"),
        (lambda: T2PreparedBSSFP(()), "t2_prep_ms is empty"),
        (lambda: T2PreparedBSSFP((0.0, -25.0)), "t2_prep_ms must lie between 0 and"),
        (lambda: T2PreparedBSSFP(centre_pulse=60), "centre_pulse must lie between 0 and pulses - 1 = 59, got 60"),
        (lambda: T2PreparedGRE(()), "t2_prep_ms is empty"),
        (lambda: T2PreparedGRE(te_ms=4.0), "te_ms = 4 lies beyond tr_ms = 3"),
        (lambda: T2PreparedGRE(centre_pulse=-1), "centre_pulse must lie between 0 and"),
        (lambda: BSSFP(inflow_pulses=0.0), "inflow_pulses must be at least 1 pulses, got 0"),
        (lambda: BSSFP(blood=1.5), "blood must lie between 0 and 1, got 1.5"),
        (lambda: SpoiledGRE(blood=torch.tensor([0.5, -0.1])), "blood must lie between 0 and 1, got -0.1 to 0.5"),
        (lambda: SASHA(ts_ms=-1.0), "ts_ms must lie between 0 and"),
        (lambda: SASHA(t2_prep_ms=-1.0), "t2_prep_ms must lie between 0 and"),
        (lambda: SASHA(saturation_efficiency=0.0), "saturation_efficiency must be above 0 and at most 1, got 0"),
        (lambda: SASHA(centre_pulse=60), "centre_pulse must lie between"),
        (lambda: InversionRecoveryGRE(70.0), "70 is too early: .* it takes 74.5 ms"),
        (lambda: InversionRecoveryBSSFP(50.0), "50 is too early: .* it takes 58.8 ms"),
        (lambda: InversionRecoveryGRE(1800.0), "too late: the read-out ends after 2 beats of rr_ms = 900"),
        (lambda: InversionRecoveryGRE(inversion_efficiency=1.1), "inversion_efficiency must be above 0"),
        (lambda: InversionRecoveryGRE(te_ms=7.0), "te_ms = 7 lies beyond tr_ms = 6"),
        (lambda: InversionRecoveryBSSFP(centre_pulse=40), "centre_pulse must lie between"),
        (lambda: InversionRecoveryBSSFP(beats=0), "beats must lie between 1 and 100"),
        (lambda: SaturationRecoveryGRE(40.0), "ts_ms = 40 is too early: .* it takes 47.1 ms"),
        (lambda: SaturationRecoveryGRE(rr_ms=150.0), "too late: the read-out ends after rr_ms = 150"),
        (lambda: SaturationRecoveryGRE(saturation_efficiency=1.1), "saturation_efficiency must be above 0"),
        (lambda: BlackBloodTSE(130.0), "te_ms = 130 lies outside the train's 6 to 120 ms"),
        (lambda: BlackBloodTSE(tr_ms=200.0, inversion_time_ms=170.0), r"train \(120 ms\) and inversion do not fit"),
        (lambda: BlackBloodTSE(inversion_time_ms=-1.0), "inversion_time_ms must lie between 0 and"),
        (lambda: BlackBloodTSE(residual_blood=-0.1), "residual_blood must lie between 0 and 1"),
        (lambda: BlackBloodTSE(echo_spacing_ms=0.0), "echo_spacing_ms must be above 0"),
        (lambda: BlackBloodTSE(blood=2.0), "blood must lie between 0 and 1, got 2"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("kind", SEQUENCES.values(), ids=SEQUENCES)
def test_nan_is_refused(kind):
    for field in fields(kind):
        if isinstance(field.default, float):
            nonsense = math.nan
        elif isinstance(field.default, tuple) and isinstance(field.default[0], float):
            nonsense = (*field.default[:-1], math.nan)
        else:
            continue
        with pytest.raises(ValueError, match=r"nan|fit into"):
            kind(**{field.name: nonsense})


def test_a_scheme_that_would_never_end():
    for scheme in ("5(3)3000000", "5(1000000)3", "1" + "(1)1" * 10):
        with pytest.raises(ValueError, match="is not a MOLLI scheme"):
            MOLLI(scheme=scheme, first_inversion_times_ms=(120.0,) * 20)
