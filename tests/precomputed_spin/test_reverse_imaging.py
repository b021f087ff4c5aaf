"""Likelihood and samplers, against closed forms and on images with known maps."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.forward import signals
from nnunet_phys.heart_scanner import noisy_magnitude, receive_bias
from nnunet_phys.precomputed_spin.labels import TissueLabels, tissue_weights
from nnunet_phys.precomputed_spin.likelihood import (
    Likelihood,
    Observation,
    bright_level,
    centre_weights,
    saturation_mask,
)
from nnunet_phys.precomputed_spin.prior import SpinPrior, SpinScaling, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import DPS, ProximalSampler, SliceNoise
from nnunet_phys.precomputed_spin.scan import Scan, Series, upsample_guided
from nnunet_phys.sequences import BSSFP, MOLLI, T2PreparedBSSFP
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

SCALING = SpinScaling()
BSSFP_45 = BSSFP(flip_angle_deg=45.0)


def observation(images, sequence=BSSFP_45, sigma=0.003, saturated=None, signed=False) -> Observation:
    none_of_it = torch.zeros_like(images, dtype=bool)
    return Observation(sequence, images, 0.2, sigma, none_of_it if saturated is None else saturated, signed)


def likelihood(image, sequence=BSSFP_45, sigma=0.003, observed=None, saturated=None) -> Likelihood:
    """Of one magnitude image (slices, rows, columns)."""
    all_of_it = torch.ones_like(image, dtype=bool)
    saturated = None if saturated is None else saturated[None]
    one = observation(image[None], sequence, sigma, saturated)
    return Likelihood((one,), all_of_it if observed is None else observed, SCALING)


def reference() -> torch.Tensor:
    return torch.tensor([[0.9, 1500.0, 200.0], [0.8, 1050.0, 50.0], [0.0, 1000.0, 60.0]]).T.repeat(1, 50).contiguous()


def tissue(pd, t1, t2, shape=(1, 6, 6)) -> SpinMaps:
    return SpinMaps(*(torch.full(shape, float(v)) for v in (pd, t1, t2)))


@dataclass(frozen=True)
class GaussianPrior:
    """A prior whose pixels are independent Gaussians: denoiser and posterior are known exactly."""

    mean: torch.Tensor
    variance: float
    scaling: SpinScaling = SCALING
    pixel_mm: float = 2.5
    multiple: int = 4
    minimum: int = 8
    device = torch.device("cpu")
    scheduler = new_scheduler()
    alphas_cumprod = scheduler.alphas_cumprod
    timesteps = SpinPrior.timesteps

    @property
    def denoising_error(self):
        a = self.alphas_cumprod
        return (self.variance * (1 - a) / (a * self.variance + 1 - a))[:, None].expand(-1, 3)

    def denoise(self, noisy, t):
        a, v = self.alphas_cumprod[t], self.variance
        return (a.sqrt() * v * noisy + (1 - a) * self.mean) / (a * v + 1 - a)


def _gaussian_prior() -> GaussianPrior:
    return GaussianPrior(SCALING.encode(tissue(0.8, 900, 90, (1, 1, 1))), 0.02)


def test_jacobian_is_the_derivative():
    u = SCALING.encode(tissue(0.8, 1000, 60, (1, 2, 2))).double()
    like = likelihood(torch.full((1, 2, 2), 0.2, dtype=torch.float64))
    _, jacobian = like.linearise(u)
    for channel in range(3):
        step = torch.zeros_like(u)
        step[:, channel] = 1e-5
        slope = (like.residual(u - step) - like.residual(u + step)) / 2e-5
        torch.testing.assert_close(jacobian[:, :, channel], slope, rtol=1e-6, atol=1e-8)


def test_correction_explains_a_noiseless_image_and_moves_by_variance():
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

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        return 0.4 * maps.pd


def test_correction_solves_the_linear_problem_exactly():
    mean, variance, sigma = SCALING.encode(tissue(1.0, 1000, 60)), 0.05, 0.1
    like = likelihood(torch.full((1, 6, 6), 0.6), Linear(), sigma)
    slope = 0.4 * 1.25  # PD of 1.25 a unit
    gain = variance * slope / (sigma**2 + variance * slope**2)
    expected = mean[:, 0] + gain * (0.6 - 0.4)
    torch.testing.assert_close(like.correct(mean, torch.tensor(variance))[:, 0], expected)


def test_several_images_enter_as_one_least_squares_problem():
    mean, variance = SCALING.encode(tissue(0.8, 900, 60)), torch.tensor([0.1, 0.2, 0.05]).view(1, 3, 1, 1)
    truth = tissue(0.9, 1000, 55)
    parts = [observation(s(truth), s, 0.01) for s in (MOLLI(readout=None), T2PreparedBSSFP())]
    like = Likelihood(tuple(parts), torch.ones((1, 6, 6), dtype=bool), SCALING)
    residual, jacobian = like.linearise(mean)
    assert residual.shape == (11, 1, 6, 6) and jacobian.shape == (11, 1, 3, 6, 6)
    j, r = jacobian[:, 0, :, 0, 0].double(), residual[:, 0, 0, 0].double()
    precision = torch.diag(1 / variance.flatten().double()) + j.T @ j / 0.01**2
    expected = mean[0, :, 0, 0] + torch.linalg.solve(precision, j.T @ r / 0.01**2)
    found = like.correct(mean, variance, iterations=1)[0, :, 0, 0]
    torch.testing.assert_close(found, expected.float(), rtol=1e-3, atol=1e-3)


def test_gains_of_further_series_follow_from_the_first():
    truth = SpinMaps.unstack(reference()[:, :48].reshape(3, 1, 6, 8).contiguous())
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
    alone = likelihood(BSSFP_45(truth))
    assert alone.calibrated(u * 0.9) is alone


def test_series_of_independent_gains_do_not_contradict(imager):
    maps = SpinMaps.unstack(reference()[:, :144].reshape(3, 1, 9, 16).repeat_interleave(4, 2).repeat_interleave(4, 3))
    cine, prepared = BSSFP_45(maps)[None].numpy(), T2PreparedBSSFP((25.0, 55.0))(maps).numpy()
    results = []
    for gain in (1.0, 3.0):
        series = (Series(BSSFP_45, 500 * cine), Series(T2PreparedBSSFP((25.0, 55.0)), gain * prepared))
        (found,) = imager([Scan("both", series, (2.5, 2.5))])
        results.append(found.maps.stack())
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)
    shared = (series[0], replace(series[1], images=500 * prepared, same_gain=True))
    (found,) = imager([Scan("both", shared, (2.5, 2.5))])
    assert float(found.error.square().mean().sqrt()) < 0.05


def test_a_series_gives_t1_and_t2_without_a_prior():
    truth, mean = tissue(0.9, 1250, 45), SCALING.encode(tissue(0.8, 1000, 60))
    parts = [replace(observation(s(truth), s, 1e-3), signed=True) for s in (MOLLI(), T2PreparedBSSFP())]
    like = Likelihood(tuple(parts), torch.ones((1, 6, 6), dtype=bool), SCALING)
    found = SCALING.decode(like.correct(mean, torch.tensor(1.0).view(1, 1, 1, 1), iterations=8))
    assert float(found.t1[0, 0, 0]) == pytest.approx(1250, rel=0.01)
    assert float(found.t2[0, 0, 0]) == pytest.approx(45, rel=0.01)


def test_pixelwise_posterior_names_the_tissue_that_explains_the_pixel():
    library = torch.tensor([[0.9, 1500.0, 200.0], [0.8, 1050.0, 50.0], [0.0, 1000.0, 60.0]]).T
    truth = SpinMaps.unstack(library[:, None])
    for sequence in (BSSFP_45, MOLLI()):
        images = signals(sequence, truth)[:, None].abs()
        level = float(bright_level(images))
        one = replace(observation(images, sequence), level=level)
        like = Likelihood((one,), torch.ones(images.shape[1:], dtype=bool), SCALING)
        posterior = like.pixelwise_posterior(library)
        assert posterior.shape == (1, 6, 1, 3)
        torch.testing.assert_close(posterior[:, :3], SCALING.encode(truth.map(lambda m: m[None])), atol=0.1, rtol=0)
        assert float(posterior[:, 3:].max()) < 0.3
    clipped = replace(one, images=torch.full_like(images, 0.05), saturated=torch.ones_like(images, dtype=bool))
    mean = Likelihood((clipped,), like.observed, SCALING).pixelwise_posterior(library)[0, 0]
    assert (mean > SCALING.encode(tissue(0.6, 1000, 60))[0, 0, 0, 0]).all()  # all but air may be brighter than 0.05


def test_magnitude_of_a_negative_signal():
    def inverted(maps):
        return -0.2 * maps.pd

    like = likelihood(torch.full((1, 6, 6), 0.3), inverted, 1e-4)
    u = like.correct(SCALING.encode(tissue(1.0, 1000, 60)), torch.tensor(0.1))
    torch.testing.assert_close(SCALING.decode(u).pd, torch.full((1, 6, 6), 1.5), rtol=1e-3, atol=0)


def test_saturated_pixels_are_one_sided_and_padding_says_nothing():
    bright, dim = SCALING.encode(tissue(1.2, 1500, 200)), SCALING.encode(tissue(0.3, 1500, 200))
    image, mask = torch.full((1, 6, 6), 0.2), torch.ones((1, 6, 6), dtype=bool)
    clipped = likelihood(image, saturated=mask)
    assert not clipped.residual(bright).any() and (clipped.residual(dim) > 0).all()
    unseen = likelihood(image, observed=~mask)
    assert torch.equal(unseen.correct(dim, torch.tensor(0.1)), dim)


def test_dead_pixels_have_finite_corrections():
    u = SCALING.encode(tissue(0.0, 200, 20)).clamp(-1, 1)
    for image in (torch.zeros(1, 6, 6), torch.full((1, 6, 6), 0.2)):
        assert torch.isfinite(likelihood(image, sigma=0.0029).correct(u, torch.tensor(0.1))).all()


def test_saturation_is_found_only_where_values_pile_up():
    image = torch.linspace(0, 1, 10_000)
    assert not saturation_mask(image).any()
    assert int(saturation_mask(image.clamp(max=0.9)).sum()) >= 1000


def test_bright_level_ignores_the_amount_of_air():
    body = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) + 1
    cropped, wide = bright_level(body), bright_level(torch.cat((body, torch.zeros(20_000))))
    assert float(wide) == pytest.approx(float(cropped), rel=0.02)


def test_bright_level_of_an_image_that_is_nearly_all_zero():
    sparse = torch.zeros(10_000)
    sparse[:50] = 3.0
    assert float(bright_level(sparse)) == 3.0


def test_bright_level_about_the_middle_ignores_a_bright_chest_wall():
    body = torch.rand((3, 64, 80), generator=torch.Generator().manual_seed(0)) + 1
    lit = body * torch.where(torch.arange(80) < 12, 5.0, 1.0)
    weights = centre_weights(64, 80)
    assert float(bright_level(lit) / bright_level(body)) > 2
    assert float(bright_level(lit, weights) / bright_level(body, weights)) == pytest.approx(1, rel=0.05)
    assert float(bright_level(body, weights) / bright_level(body)) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("sampler", [ProximalSampler(25), ProximalSampler(25, average=1), DPS(100, xi=0.5)])
def test_samplers_reach_the_posterior_of_a_gaussian_prior(sampler):
    def linear(maps):
        return maps.pd

    sigma = 0.1 if isinstance(sampler, ProximalSampler) else 1.0  # eq. (10) has no noise level, only xi
    prior, image = _gaussian_prior(), torch.full((2, 32, 32), 1.0)
    u = sampler(prior, likelihood(image, linear, sigma), SliceNoise(["a", "b"]))
    slope = 1.25
    if isinstance(sampler, ProximalSampler):
        spread = prior.variance * slope**2 + sigma**2
        expected = prior.mean[0, 0] + prior.variance * slope / spread * (1.0 - 0.8)
        assert float(u[:, 0].mean()) == pytest.approx(float(expected), abs=0.02)
    else:
        assert 0.82 < float(SCALING.decode(u).pd.mean()) <= 1.02  # drawn from 0.8 towards the image's 1.0
    for channel in (1, 2):  # the image says nothing about T1 and T2
        assert float(u[:, channel].mean()) == pytest.approx(float(prior.mean[0, channel]), abs=0.03)


@pytest.mark.parametrize("sampler", [ProximalSampler(8), DPS(12)])
def test_neighbours_in_a_batch_do_not_matter(sampler):
    prior, images = _gaussian_prior(), torch.rand((2, 8, 8), generator=torch.Generator().manual_seed(0)) * 0.3
    together = sampler(prior, likelihood(images), SliceNoise(["a", "b"], seed=3))
    alone = sampler(prior, likelihood(images[1:]), SliceNoise(["b"], seed=3))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-4)
    other = sampler(prior, likelihood(images[1:]), SliceNoise(["b"], seed=4))
    assert not torch.allclose(alone, other, atol=1e-3)


@pytest.mark.parametrize("shape", [(48, 64), (37, 51), (100, 30)])
def test_upsampling_shifts_no_pixel(shape):
    coarse = (20, 24)
    field = torch.linspace(-0.3, 0.3, coarse[0])[:, None] + torch.linspace(-0.2, 0.2, coarse[1])[None]
    u = field.expand(1, 3, *coarse)
    fine = likelihood(torch.zeros(1, *shape), observed=torch.zeros((1, *shape), dtype=bool))
    up = upsample_guided(u, fine)
    expected = torch.nn.functional.interpolate(u, shape, mode="bilinear")
    inner = (..., slice(6, -6), slice(6, -6))
    assert float((up - expected)[inner].abs().max()) < 0.02  # a coarse pixel is 0.03, a shift of half one 0.016
    assert abs(float((up - expected)[inner].mean())) < 1e-3


def test_edges_of_the_native_image_stay_sharp():
    blood, muscle = tissue(0.9, 1500, 220, (1, 60, 60)), tissue(0.8, 1050, 50, (1, 60, 60))
    inside = torch.zeros((1, 60, 60), dtype=bool)
    inside[:, 17:41, 23:43] = True  # no multiple of a coarse pixel
    truth = SpinMaps(*(torch.where(inside, b, m) for b, m in zip(blood.stack(), muscle.stack(), strict=True)))
    coarse = torch.nn.functional.interpolate(SCALING.encode(truth), (36, 36), mode="bilinear", antialias=True)
    fine = likelihood(BSSFP_45(truth), sigma=0.003)
    t2 = SCALING.decode(upsample_guided(coarse, fine)).t2
    wrong = ((t2 > 105) != inside).float().mean()
    plain = torch.nn.functional.interpolate(coarse, (60, 60), mode="bilinear")
    assert float(wrong) < 0.01 and float(wrong) <= float(((SCALING.decode(plain).t2 > 105) != inside).float().mean())


@pytest.fixture(scope="module")
def imager():
    torch.manual_seed(0)
    unet = new_unet((16, 32)).eval().requires_grad_(False)
    prior = SpinPrior(unet, new_scheduler(), SCALING, 2.5, torch.full((1000, 3), 0.02), reference())
    return ReverseImager(prior, ProximalSampler(4), batch=2)


def scan(image, pixel_mm=(2.0, 2.0), case="case") -> Scan:
    return Scan(case, (Series(BSSFP_45, image[None]),), pixel_mm)


def test_native_image_is_explained_on_its_own_grid(imager):
    rng = np.random.default_rng(0)
    image = rng.uniform(20, 400, (3, 41, 53))
    (found,) = imager([scan(image, (1.7, 1.4))])
    maps = found.maps
    assert found.error.shape == image.shape
    assert maps.shape == image.shape and bool(torch.isfinite(maps.stack()).all())
    model = BSSFP_45(maps).numpy()
    correlation = np.corrcoef(model.ravel(), image.ravel())[0, 1]
    assert correlation > 0.99  # white noise survives only if no pixel moves


def test_same_seed_same_maps_whatever_the_batch_and_the_company(imager):
    rng = np.random.default_rng(1)
    scans = [scan(rng.uniform(0, 100, (n, 32, 32)), case=f"case{n}") for n in (3, 1, 4)]
    together = {found.scan.case: found.maps.stack() for found in imager(scans)}
    assert list(together) == ["case3", "case1", "case4"]
    for one in scans:
        (alone,) = imager([one])
        assert torch.equal(alone.maps.stack(), together[one.case])  # bit for bit
        (otherwise,) = replace(imager, batch=5)([one])
        torch.testing.assert_close(otherwise.maps.stack(), together[one.case], rtol=1e-3, atol=1e-3)


def test_scans_of_several_sizes_and_sequences_come_back_in_order(imager):
    rng = np.random.default_rng(2)
    molli = Scan("molli", (Series(MOLLI(), rng.normal(0, 9, (8, 2, 24, 24)), signed=True),), (2.5, 2.5))
    scans = [scan(rng.uniform(0, 100, (2, n, 32)), case=f"case{n}") for n in (30, 32, 50)] + [molli]
    for given, found in zip(scans, replace(imager, batch=4)(scans), strict=True):
        assert found.scan is given and found.maps.shape == found.error.shape == given.shape


def test_a_molli_of_one_slice_makes_no_one_else_wait(imager, monkeypatch):
    sizes, sample = [], ProximalSampler.__call__

    def counted(self, prior, likelihood, noise):
        sizes.append(len(likelihood.observed))
        return sample(self, prior, likelihood, noise)

    monkeypatch.setattr(ProximalSampler, "__call__", counted)
    rng = np.random.default_rng(7)
    for slices in (1, 5):
        series = Series(MOLLI(), rng.normal(0, 9, (8, slices, 24, 24)), signed=True)
        list(replace(imager, batch=4)([Scan(f"molli{slices}", (series,), (2.5, 2.5))]))
    assert sizes == [1, 3, 3]


def test_samples_of_averages_are_refused(imager):
    with pytest.raises(ValueError, match="spread too little: give average=1"):
        replace(imager, sampler=ProximalSampler(4), samples=2)


def test_several_samples_have_a_mean_that_explains_the_image_and_a_spread(imager):
    image = np.random.default_rng(4).uniform(20, 100, (2, 32, 32))
    imager = replace(imager, sampler=ProximalSampler(4, average=1))
    (one,), (three,) = imager([scan(image)]), replace(imager, samples=3)([scan(image)])
    assert not one.samples and len(three.samples) == 3
    torch.testing.assert_close(three.samples[0].stack(), one.maps.stack())
    assert not torch.allclose(three.samples[1].stack(), three.samples[2].stack(), rtol=0.01)
    assert three.spread.shape == image.shape and float(three.spread.t1.mean()) > 0
    assert float(three.error.square().mean().sqrt()) < 0.03


def test_labels_speak_inside_structures_and_are_silent_at_their_edges():
    mask = np.zeros((1, 48, 48), np.uint8)
    mask[:, 8:40, 4:22], mask[:, 8:40, 26:44] = 2, 3
    weights = tissue_weights(mask, {"MYO": 2, "LV": 3}, (2.0, 2.0))
    assert weights[0, :, 24, 12] == pytest.approx([0, 0, 1])
    assert weights[0, :, 24, 35] == pytest.approx([0.85, 0, 0.15])  # papillary muscles belong to the cavity
    assert (
        not weights[0, :, 24, [21, 22, 25, 26]].any() and not weights[0, :, 8].any() and not weights[0, :, 24, 46].any()
    )


def test_labels_decide_where_belief_is_vague_and_yield_where_it_is_certain():
    weights = torch.tensor([[0.85, 0.0, 0.15], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).T.view(1, 3, 1, 3)
    labels = TissueLabels(weights, SCALING)
    belief = SCALING.encode(tissue(0.8, 900, 90, (1, 1, 3)))
    mean, variance = labels.combine(belief, torch.full((1, 3, 1, 1), 0.3))
    pool, wall, _ = SCALING.decode(mean).stack().movedim(0, -1)[0, 0]
    assert 1300 < pool[1] < 1900 and pool[2] > 120 and 950 < wall[1] < 1350 and 40 < wall[2] < 60
    torch.testing.assert_close(mean[..., 2], belief[..., 2])
    assert (variance[:, 1:, 0, 1] < 0.05).all() and torch.allclose(variance[:, 0], torch.tensor(0.3))
    muscle = SCALING.encode(tissue(0.8, 1100, 48, (1, 1, 3)))  # a papillary muscle, plainly seen
    mean, _ = labels.combine(muscle, torch.full((1, 3, 1, 1), 1e-3))
    torch.testing.assert_close(mean[..., 0], muscle[..., 0], atol=0.05, rtol=0)


def test_labels_pass_through_the_imager(imager):
    image, mask = np.random.default_rng(5).uniform(90, 110, (3, 40, 52)), np.zeros((3, 40, 52), np.uint8)
    mask[:, 8:34, 8:40] = 3
    told = replace(scan(image), tissue_weights=tissue_weights(mask, {"LV": 3}, (2.0, 2.0)))
    vague = replace(imager, prior=replace(imager.prior, denoising_error=torch.full((1000, 3), 0.5)))
    (found,), (free,) = vague([told]), vague([scan(image)])
    pool = mask > 0
    assert found.maps.t2[pool].median() > 1.3 * free.maps.t2[pool].median() and float(found.error.mean()) < 0.03


def test_bfloat16_changes_little(imager):
    image = np.random.default_rng(6).uniform(20, 100, (1, 32, 32))
    half = replace(imager, prior=replace(imager.prior, bf16=True))
    (rough,), (exact,) = half([scan(image)]), imager([scan(image)])
    scaled = [SCALING.encode(one.maps) for one in (rough, exact)]
    assert 0 < float((scaled[0] - scaled[1]).abs().mean()) < 0.02


def test_a_batch_too_large_for_the_memory_shrinks(imager, monkeypatch):
    imager, sample = replace(imager, batch=4), ProximalSampler.__call__

    def small_memory(self, prior, likelihood, noise):
        if len(likelihood.observed) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 TiB")
        return sample(self, prior, likelihood, noise)

    monkeypatch.setattr(ProximalSampler, "__call__", small_memory)
    with pytest.warns(UserWarning, match="out of memory: batches of 2 slices"):
        (found,) = imager([scan(np.random.default_rng(3).uniform(0, 100, (5, 32, 32)))])
    assert found.maps.shape == (5, 32, 32) and imager.batch == 2


def test_too_small_a_field_of_view(imager):
    with pytest.raises(ValueError, match="32 x 60 mm is smaller than the prior's minimum of 40 mm"):
        next(imager([scan(np.ones((1, 16, 30)))]))


@pytest.mark.parametrize("seed", [5_000_000, 5_000_003])
def test_the_shipped_prior_knows_the_tissues_of_a_heart_it_has_not_seen(seed):
    heart, rng = digital_heart(seed, 2), np.random.default_rng(seed)
    bias = torch.from_numpy(receive_bias(rng, heart.labels.shape[1:], 2.5, centre_mm=heart.centre_mm))
    truth = SpinMaps(heart.maps.pd * bias, heart.maps.t1, heart.maps.t2)
    image = 700 * noisy_magnitude(rng, BSSFP_45(truth).numpy(), 0.004)
    (inferred,) = ReverseImager(SpinPrior.load())([scan(image, (2.5, 2.5), "heart")])
    found = inferred.maps

    median = {name: found.map(lambda m, c=code: m[heart.labels == c].median()) for name, code in LABELS.items()}
    for name, code in LABELS.items():
        if code:
            assert float(median[name].t1 / truth.t1[heart.labels == code].median()) == pytest.approx(1, abs=0.5)
    for cavity in ("RV", "LV"):  # what decides the order of tissues in an inversion recovery
        assert median[cavity].t1 > 1.1 * median["MYO"].t1 and median[cavity].t2 > 1.5 * median["MYO"].t2
    inside = torch.from_numpy(heart.labels > 0)
    true, synthesised = (MOLLI()(maps).abs()[:, inside] for maps in (truth, found))
    gain = (true * synthesised).sum() / synthesised.square().sum()
    assert (gain * synthesised - true).square().mean().sqrt() < 0.3 * true.square().mean().sqrt()
