"""How well maps explain images, against closed forms."""

from dataclasses import dataclass, replace

import pytest
import torch

from nnunet_phys.brightness import bright_level
from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.labels import TissueLabels
from nnunet_phys.precomputed_spin.likelihood import Likelihood
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP, MOLLI, T2PreparedBSSFP
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

SCALING = SpinScaling()
BSSFP_45 = BSSFP(flip_angle_deg=45.0)


def test_jacobian_is_the_derivative(likelihood, tissue):
    u = SCALING.encode(tissue(0.8, 1000, 60, (1, 2, 2))).double()
    like = likelihood(torch.full((1, 2, 2), 0.2, dtype=torch.float64))
    _, jacobian = like.linearise(u, torch.ones((1, 1, 2, 2), dtype=torch.bool))
    for channel in range(3):
        step = torch.zeros_like(u)
        step[:, channel] = 1e-5
        slope = (like.residual(u - step) - like.residual(u + step)) / 2e-5
        torch.testing.assert_close(jacobian[:, :, channel], slope, rtol=1e-6, atol=1e-8)


def test_correction_explains_a_noiseless_image_and_moves_by_variance(likelihood, tissue):
    truth = tissue(0.9, 1500, 200)
    mean = SCALING.encode(tissue(0.8, 1000, 60))
    like = likelihood(BSSFP_45(truth), sigma=1e-5)
    free = like.correct(mean, torch.tensor([0.1, 0.1, 0.1]).view(1, 3, 1, 1), iterations=6)
    assert float(like.residual(free).abs().max()) < 1e-4
    only_pd = like.correct(mean, torch.tensor([0.1, 0.0, 0.0]).view(1, 3, 1, 1), iterations=6)
    assert torch.equal(only_pd[:, 1:], mean[:, 1:]) and float(like.residual(only_pd).abs().max()) < 1e-4


@dataclass(frozen=True)
class Linear(PulseSequence):
    """A signal in proportion to PD."""

    slope: float = 0.4

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        return self.slope * maps.pd


def test_correction_solves_the_linear_problem_exactly(likelihood, tissue):
    mean, variance, sigma = SCALING.encode(tissue(1.0, 1000, 60)), 0.05, 0.1
    like = likelihood(torch.full((1, 6, 6), 0.6), Linear(), sigma)
    slope = 0.4 * 1.25  # scaled PD of 1 is PD of 1.25
    gain = variance * slope / (sigma**2 + variance * slope**2)
    expected = mean[:, 0] + gain * (0.6 - 0.4)
    torch.testing.assert_close(like.correct(mean, torch.tensor(variance))[:, 0], expected)


def test_several_images_enter_as_one_least_squares_problem(observation, tissue):
    mean, variance = SCALING.encode(tissue(0.8, 900, 60)), torch.tensor([0.1, 0.2, 0.05]).view(1, 3, 1, 1)
    truth = tissue(0.9, 1000, 55)
    parts = [observation(s(truth), s, 0.01) for s in (MOLLI(readout=None), T2PreparedBSSFP())]
    like = Likelihood(tuple(parts), torch.ones((1, 6, 6), dtype=bool), SCALING)
    residual, jacobian = like.linearise(mean, torch.ones((11, 1, 6, 6), dtype=torch.bool))
    assert residual.shape == (11, 1, 6, 6) and jacobian.shape == (11, 1, 3, 6, 6)
    j, r = jacobian[:, 0, :, 0, 0].double(), residual[:, 0, 0, 0].double()
    precision = torch.diag(1 / variance.flatten().double()) + j.T @ j / 0.01**2
    expected = mean[0, :, 0, 0] + torch.linalg.solve(precision, j.T @ r / 0.01**2)
    corrected = like.correct(mean, variance, iterations=1)[0, :, 0, 0]
    torch.testing.assert_close(corrected, expected.float(), rtol=1e-3, atol=1e-3)


def test_gains_of_further_series_follow_from_the_first(observation, likelihood, reference):
    truth = SpinMaps.unstack(reference[:, :48].reshape(3, 1, 6, 8).contiguous())
    u = SCALING.encode(truth)
    first = observation(BSSFP_45(truth)[None])
    wrong = T2PreparedBSSFP()(truth) * torch.tensor([1.7]).view(-1, 1, 1, 1)
    like = Likelihood(
        (first, replace(observation(wrong, T2PreparedBSSFP()), calibrate=True)),
        torch.ones((1, 6, 8), dtype=bool),
        SCALING,
    )
    assert float(like.residual(u)[1:].abs().max()) > 0.1
    right = like.calibrated(u)
    assert float(right.residual(u).abs().max()) < 1e-3 and right.observations[0] is first
    single = likelihood(BSSFP_45(truth))
    assert single.calibrated(u * 0.9) is single


def test_a_series_gives_t1_and_t2_without_a_prior(observation, tissue):
    truth, mean = tissue(0.9, 1250, 45), SCALING.encode(tissue(0.8, 1000, 60))
    parts = [replace(observation(s(truth), s, 1e-3), signed=True) for s in (MOLLI(), T2PreparedBSSFP())]
    like = Likelihood(tuple(parts), torch.ones((1, 6, 6), dtype=bool), SCALING)
    maps = SCALING.decode(like.correct(mean, torch.tensor(1.0).view(1, 1, 1, 1), iterations=8))
    assert float(maps.t1[0, 0, 0]) == pytest.approx(1250, rel=0.01)
    assert float(maps.t2[0, 0, 0]) == pytest.approx(45, rel=0.01)


def test_pixelwise_posterior_finds_the_tissue_that_explains_the_pixel(observation, tissue):
    library = torch.tensor([[0.9, 1500.0, 200.0], [0.8, 1050.0, 50.0], [0.0, 1000.0, 60.0]]).T
    truth = SpinMaps.unstack(library[:, None])
    for sequence in (BSSFP_45, MOLLI()):
        images = signals(sequence, truth)[:, None].abs()
        level = float(bright_level(images))
        measured = replace(observation(images, sequence), level=level)
        like = Likelihood((measured,), torch.ones(images.shape[1:], dtype=bool), SCALING)
        posterior = like.pixelwise_posterior(library)
        assert posterior.shape == (1, 6, 1, 3)
        torch.testing.assert_close(posterior[:, :3], SCALING.encode(truth.map(lambda m: m[None])), atol=0.1, rtol=0)
        assert float(posterior[:, 3:].max()) < 0.3
    clipped = replace(measured, images=torch.full_like(images, 0.05), saturated=torch.ones_like(images, dtype=bool))
    mean = Likelihood((clipped,), like.observed, SCALING).pixelwise_posterior(library)[0, 0]
    assert (mean > SCALING.encode(tissue(0.6, 1000, 60))[0, 0, 0, 0]).all()  # all but air may be brighter than 0.05


def test_magnitude_of_a_negative_signal(likelihood, tissue):
    like = likelihood(torch.full((1, 6, 6), 0.3), Linear(-0.2), 1e-4)
    u = like.correct(SCALING.encode(tissue(1.0, 1000, 60)), torch.tensor(0.1))
    torch.testing.assert_close(SCALING.decode(u).pd, torch.full((1, 6, 6), 1.5), rtol=1e-3, atol=0)


def test_saturated_pixels_are_one_sided_and_padding_changes_nothing(likelihood, tissue):
    bright, dim = SCALING.encode(tissue(1.2, 1500, 200)), SCALING.encode(tissue(0.3, 1500, 200))
    image, mask = torch.full((1, 6, 6), 0.2), torch.ones((1, 6, 6), dtype=bool)
    clipped = likelihood(image, saturated=mask)
    assert not clipped.residual(bright).any() and (clipped.residual(dim) > 0).all()
    unseen = likelihood(image, observed=~mask)
    assert torch.equal(unseen.correct(dim, torch.tensor(0.1)), dim)


@pytest.mark.parametrize("iterations", [1, 2, 3, 4])
def test_a_clipped_image_pulls_dim_maps_up_to_its_value_and_leaves_bright_ones(likelihood, tissue, iterations):
    value = float(BSSFP_45(tissue(0.6, 1500, 200)).mean())
    clipped = likelihood(torch.full((1, 6, 6), value), saturated=torch.ones((1, 6, 6), dtype=torch.bool), sigma=1e-4)
    dim, bright = SCALING.encode(tissue(0.3, 1500, 200)), SCALING.encode(tissue(1.2, 1500, 200))
    pulled = SCALING.decode(clipped.correct(dim, torch.tensor([0.1, 0.0, 0.0]).view(1, 3, 1, 1), iterations))
    torch.testing.assert_close(pulled.pd, torch.full((1, 6, 6), 0.6), rtol=1e-3, atol=0)
    assert torch.equal(clipped.correct(bright, torch.tensor(0.1), iterations), bright)


def test_dead_pixels_have_finite_corrections(likelihood, tissue):
    u = SCALING.encode(tissue(0.0, 200, 20)).clamp(-1, 1)
    for image in (torch.zeros(1, 6, 6), torch.full((1, 6, 6), 0.2)):
        assert torch.isfinite(likelihood(image, sigma=0.0029).correct(u, torch.tensor(0.1))).all()


def test_labelled_blood_beside_a_coil_stays_blood(likelihood, tissue):
    image = BSSFP_45(tissue(2.0, 1500, 180))  # twice as bright as any blood of the library
    library = torch.tensor([[0.9, 1500.0, 180.0], [1.0, 330.0, 60.0], [1.3, 330.0, 60.0], [0.8, 1050.0, 50.0]]).T
    weights = torch.tensor([0.85, 0.0, 0.15]).view(1, 3, 1, 1).expand(1, 3, 6, 6)
    unlabelled = likelihood(image)
    labelled = replace(unlabelled, labels=TissueLabels(weights, SCALING))
    t1 = [SCALING.decode(like.pixelwise_posterior(library)[:, :3]).t1.max() for like in (unlabelled, labelled)]
    assert t1[0] < 400 and t1[1] > 1200
    fat = SCALING.encode(tissue(1.3, 330, 60))
    maps = SCALING.decode(labelled.correct(fat, torch.tensor(0.05), iterations=4, greatest_pd=20.0))
    assert (maps.t1 > 700).all() and float(labelled.residual(SCALING.encode(maps)).abs().max()) < 0.01
    outside = replace(labelled, labels=TissueLabels(0 * weights, SCALING))
    assert torch.equal(outside.correct(fat, torch.tensor(0.05)), unlabelled.correct(fat, torch.tensor(0.05)))


@pytest.mark.parametrize("clipped", [False, True])
def test_the_table_of_a_guide_gives_what_each_pixel_alone_would(observation, clipped):
    rng = torch.Generator().manual_seed(3)
    library = SpinMaps(*(low + high * torch.rand(200, generator=rng) for low, high in ((0, 1), (300, 1500), (30, 200))))
    images = 0.3 * torch.rand((1, 1, 40, 40), generator=rng)
    measured = observation(images, saturated=torch.full_like(images, clipped, dtype=torch.bool))
    like = Likelihood((measured,), torch.ones((1, 40, 40), dtype=torch.bool), SCALING)
    twice = replace(like, observations=(measured, replace(measured, level=1e6)))  # two images are not tabulated
    library = library.stack()
    torch.testing.assert_close(like.pixelwise_posterior(library), twice.pixelwise_posterior(library), atol=3e-3, rtol=0)
