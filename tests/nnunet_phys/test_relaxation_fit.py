"""Conventional fits: limits and derivatives of the models, truth from the sequences, noise, motion and validity."""

import math

import pytest
import torch

from nnunet_phys.relaxation_fit import fit_series, undetermined
from nnunet_phys.relaxation_models import (
    InversionRecovery,
    PreparedSaturationRecovery,
    Recovery,
    SaturationRecovery,
    T2Preparation,
)
from nnunet_phys.separable_fit import grid_fit, robust_fit, standard_errors
from nnunet_phys.sequences import MOLLI, MSASHA, SASHA, LookLocker, T2PreparedBSSFP, T2PreparedGRE
from nnunet_phys.spin import SpinMaps

TI = (100, 1100, 2100, 3100, 4100, 180, 1180, 2180, 260, 1260, 2260)
TS = (math.inf, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
TE = (0, 0, 25, 55, 0, 80, 0, 40, 0, 55, 0)
MODELS = {
    "molli": InversionRecovery(TI),
    "sasha": Recovery(TS),
    "sasha of two parameters": SaturationRecovery(TS),
    "t2prep": T2Preparation((0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100)),
    "msasha": PreparedSaturationRecovery(TS, TE, 12.0),
}
T1 = torch.linspace(250, 2200, 300)
MAPS = SpinMaps(torch.linspace(0.3, 1.2, 300), T1, 0.04 * T1 + 10)


def _of_maps(model):
    """Linear and nonlinear parameters of `MAPS`."""
    linear = torch.tensor(model.typical[0]).double()[:, None] * MAPS.pd
    times = {"T1": MAPS.t1, "T2": MAPS.t2}
    names = [name for name in model.quantities(linear, torch.ones(2, 300)) if name != "PD"]
    return linear, torch.stack([times[name] for name in names]).double()


def _signal(model, linear, nonlinear):
    return (linear[:, None] * model.columns(nonlinear)).sum(0)


def _rician(signal, sd, seed=0):
    noise = torch.randn(2, *signal.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * sd
    return torch.hypot(signal + noise[0], noise[1])


def _of_another_place(signal):
    return torch.where(signal > 0.5, 0.4 * signal, signal + 0.4)


@pytest.mark.parametrize("name", MODELS)
def test_slopes_are_the_derivatives(name):
    model = MODELS[name]
    _, nonlinear = _of_maps(model)
    for number in range(len(nonlinear)):
        step = torch.ones_like(nonlinear)
        step[number] = math.exp(1e-5)
        change = (model.columns(nonlinear * step) - model.columns(nonlinear / step)) / 2e-5
        torch.testing.assert_close(model.slopes(nonlinear)[number], change, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", MODELS)
def test_parameters_come_back_without_noise(name):
    model = MODELS[name]
    linear, nonlinear = _of_maps(model)
    signal = _signal(model, linear, nonlinear)
    fit = robust_fit(model, signal.abs())
    torch.testing.assert_close(fit.nonlinear, nonlinear, rtol=1e-4, atol=0)
    torch.testing.assert_close(fit.linear, linear, rtol=1e-4, atol=0)
    torch.testing.assert_close(fit.signs * signal.abs(), signal)
    coarse = grid_fit(model, signal.abs()).nonlinear
    torch.testing.assert_close(coarse, nonlinear, rtol=0.3, atol=0)  # the grid finds the valley


def test_limits():
    late = torch.tensor([[1e-3]], dtype=torch.float64)  # of any time, T1 is a thousandth or less
    assert Recovery((50.0, math.inf)).columns(late).tolist() == [[[1], [1]], [[0], [0]]]
    assert SaturationRecovery((0.0, math.inf)).columns(1000 * late).tolist() == [[[0], [1]]]
    anchor = PreparedSaturationRecovery((math.inf,), (0.0,), 10.0)
    assert float(anchor.columns(torch.tensor([[1200.0], [50.0]]))) == 1
    long_t2 = torch.tensor([[1200.0], [1e12]], dtype=torch.float64)
    prepared = PreparedSaturationRecovery((500.0,), (55.0,), 100.0).columns(long_t2)
    torch.testing.assert_close(prepared, SaturationRecovery((600.0,)).columns(long_t2))


def test_msasha_is_that_of_the_sequence():
    images = torch.stack([MSASHA(ts_ms=ts, t2_prep_ms=te, delay_ms=12.0)(MAPS) for ts, te in zip(TS, TE, strict=True)])
    fit = fit_series(MODELS["msasha"], images)
    assert fit.valid.all() and float(fit.residual.max()) < 1e-5
    for name, truth in (("PD", MAPS.pd), ("T1", MAPS.t1), ("T2", MAPS.t2)):
        torch.testing.assert_close(fit.maps[name], truth, rtol=1e-3, atol=0)


def test_sasha_of_three_parameters_bears_the_read_out():
    times = (math.inf, 50, 150, 300, 500, 800)
    images = torch.stack([SASHA(ts_ms=time)(MAPS) for time in times])
    to_centre = (SASHA.centre_pulse + 1) * SASHA.tr_ms
    at_centre = tuple(time + to_centre for time in times)
    torch.testing.assert_close(fit_series(Recovery(at_centre), images).maps["T1"], MAPS.t1, rtol=1e-3, atol=0)
    of_two = fit_series(SaturationRecovery(at_centre), images).maps["T1"]
    assert 0.005 < float((of_two / MAPS.t1 - 1).abs().median()) < 0.1


@pytest.mark.parametrize(
    ("sequence", "least", "greatest"),
    [
        (T2PreparedGRE(t2_prep_ms=(0, 25, 40, 55), centre_pulse=0), -1e-3, 1e-3),
        (T2PreparedGRE(t2_prep_ms=(0, 25, 40, 55)), 0.05, 0.3),
        (T2PreparedBSSFP(t2_prep_ms=(0, 25, 40, 55)), 0.05, 0.3),
    ],
)
def test_t2_is_biased_high_by_the_pulses_before_the_centre(sequence, least, greatest):
    muscle = SpinMaps(torch.ones(3), torch.full((3,), 1050.0), torch.tensor([45.0, 50.0, 60.0]))
    t2 = fit_series(T2Preparation(sequence.t2_prep_ms), sequence(muscle)).maps["T2"]
    assert ((t2 / muscle.t2 - 1 > least) & (t2 / muscle.t2 - 1 < greatest)).all()


def test_look_locker_correction_gives_the_true_t1():
    times = tuple(torch.linspace(30, 4000, 12).tolist())
    images = torch.stack([LookLocker(flip_angle_deg=8.0, time_ms=t)(MAPS) for t in times]).abs()
    torch.testing.assert_close(fit_series(InversionRecovery(times), images).maps["T1"], MAPS.t1, rtol=0.03, atol=0)


def _molli(scheme, rr_ms, readouts):
    """Signed read-outs of T1 up to 2,300 ms, and their models of magnitudes and of signed images."""
    t1 = torch.arange(250, 2300, 0.5, dtype=torch.float64)
    molli = MOLLI(scheme, tr_ms=2.3, centre_pulse=20, rr_ms=rr_ms, first_inversion_times_ms=(100.0, 180.0, 260.0))
    signal = molli(SpinMaps(torch.ones_like(t1), t1, torch.where(t1 > 1200, 200.0, 45.0)))[:readouts]
    times = molli.inversion_times_ms[:readouts]
    return signal, InversionRecovery(times), InversionRecovery(times, magnitude=False)


@pytest.mark.parametrize("rr_ms", [700, 900])
def test_few_magnitudes_give_the_t1_of_signed_images(rr_ms):
    """One image of five lies near the null at many of these T1: the first five images of ShMOLLI."""
    signal, magnitudes, signed = _molli("5(1)1(1)1", rr_ms, 5)
    fit, known = fit_series(magnitudes, signal.abs()), fit_series(signed, signal)
    assert fit.valid.all()
    torch.testing.assert_close(fit.maps["T1"], known.maps["T1"], rtol=0.01, atol=0)


def test_fits_begin_at_likely_signs():
    """MOLLI follows the model only nearly, so that signs far from the smallest value may explain long T1 as well."""
    signal, magnitudes, signed = _molli("4(1)3(1)2", 800, 9)
    images = _rician(signal, 0.01 * float(signal.abs().max()))
    t1 = fit_series(magnitudes, images).maps["T1"]
    known = fit_series(signed, images.copysign(signal)).maps["T1"]
    torch.testing.assert_close(t1, known, rtol=0.1, atol=0)


@pytest.mark.parametrize("name", MODELS)
def test_spread_under_noise_is_near_the_cramer_rao_bound(name):
    model, sd = MODELS[name], 1 / 50
    linear, nonlinear = (torch.tensor(values).double()[:, None] for values in model.typical)
    signal = _signal(model, linear, nonlinear).expand(-1, 4000)
    fit = robust_fit(model, _rician(signal, sd))
    bounds, truth = standard_errors(model, linear, nonlinear, sd), model.quantities(linear, nonlinear)
    with torch.no_grad():
        again = standard_errors(model, linear, nonlinear, sd)
    assert all(torch.equal(again[name], bound) for name, bound in bounds.items())
    for quantity, values in model.quantities(fit.linear, fit.nonlinear).items():
        low, mid, high = values.quantile(torch.tensor([0.159, 0.5, 0.841], dtype=torch.float64))
        assert 0.9 < float((high - low) / 2 / bounds[quantity]) < 1.1
        assert abs(float(mid - truth[quantity])) < 0.3 * float(bounds[quantity])


@pytest.mark.parametrize("moved", [(10,), (0,), (3, 10)])
@pytest.mark.parametrize("name", ["molli", "t2prep"])
def test_images_that_moved_are_discounted(name, moved):
    model = MODELS[name]
    linear, nonlinear = (torch.tensor(values).double()[:, None] for values in model.typical)
    signal = _signal(model, linear, nonlinear).expand(-1, 2000)
    images = _rician(signal, 1 / 50)
    images[list(moved), :300] = _rician(_of_another_place(signal[list(moved), :300].abs()), 1 / 50, seed=1)
    quantity = "T1" if name == "molli" else "T2"
    truth = float(model.quantities(linear, nonlinear)[quantity])
    robust, plain = robust_fit(model, images), grid_fit(model, images)
    errors = [
        abs(float(model.quantities(fit.linear, fit.nonlinear)[quantity][:300].median()) / truth - 1)
        for fit in (robust, plain)
    ]
    assert errors[0] < 0.03 and errors[0] <= errors[1] + 0.005
    assert robust.weights[list(moved), :300].median() < 0.01


def test_air_and_values_out_of_bounds_are_not_valid():
    model = MODELS["sasha"]
    linear, nonlinear = (torch.tensor(values).double()[:, None] for values in model.typical)
    tissue = _signal(model, linear, nonlinear).expand(-1, 1000)
    water = _signal(model, linear, torch.tensor([[20_000.0]], dtype=torch.float64)).expand(-1, 100)
    images = _rician(torch.cat((tissue, water, 0 * tissue), 1), 1 / 50)
    fit = fit_series(model, images)
    tissue, water, air = fit.valid.split((1000, 100, 1000))
    assert tissue.float().mean() > 0.98 and water.float().mean() < 0.05 and air.float().mean() < 0.02
    assert (fit.maps["T1"][~fit.valid] == 0).all()
    assert fit.noise == pytest.approx(1 / 50, rel=0.1)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_unit_of_the_images_does_not_matter(scale):
    model = MODELS["molli"]
    images = _rician(_signal(model, *_of_maps(model)), 1 / 100).float()
    one, scaled = fit_series(model, images), fit_series(model, scale * images)
    torch.testing.assert_close(scaled.maps["T1"], one.maps["T1"], rtol=1e-3, atol=0)
    torch.testing.assert_close(scaled.maps["PD"] / scale, one.maps["PD"], rtol=1e-3, atol=0)


def test_no_signal_is_no_fault():
    fit = fit_series(MODELS["msasha"], torch.zeros(11, 4, 5))
    assert not fit.valid.any() and (fit.maps["T2"] == 0).all() and fit.residual.shape == (4, 5)


def test_times_that_leave_a_map_open():
    assert undetermined(PreparedSaturationRecovery(TS, (0,) * 11, 12.0)) == ["PD", "T1", "T2"]
    assert undetermined(Recovery((100, 110, 120, 130))) == ["PD", "T1"]
    assert not any(undetermined(model) for model in MODELS.values())
    with pytest.raises(ValueError, match="3 images for 3 parameters: give 4 or more"):
        fit_series(Recovery((100, 500, 900)), torch.ones(3, 2))
