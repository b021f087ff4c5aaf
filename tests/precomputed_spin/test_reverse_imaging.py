"""Scans to maps, with an untrained prior and with the shipped one."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.heart_scanner import noisy_magnitude, receive_bias
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.likelihood import Likelihood
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import ProximalMean, ProximalSampler
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP, MOLLI, T2PreparedBSSFP
from nnunet_phys.spin import SpinMaps

SCALING = SpinScaling()
BSSFP_45 = BSSFP(flip_angle_deg=45.0)


def test_series_of_independent_gains_do_not_contradict(imager, reference):
    maps = SpinMaps.unstack(reference[:, :144].reshape(3, 1, 9, 16).repeat_interleave(4, 2).repeat_interleave(4, 3))
    cine, prepared = BSSFP_45(maps)[None].numpy(), T2PreparedBSSFP((25.0, 55.0))(maps).numpy()
    results = []
    for gain in (1.0, 3.0):
        series = (Series(BSSFP_45, 500 * cine), Series(T2PreparedBSSFP((25.0, 55.0)), gain * prepared))
        (inferred,) = imager([Scan("both", series, (2.5, 2.5))])
        results.append(inferred.maps.stack())
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-3)
    shared = (series[0], replace(series[1], images=500 * prepared, same_gain=True))
    (inferred,) = imager([Scan("both", shared, (2.5, 2.5))])
    assert float(inferred.error.square().mean().sqrt()) < 0.05


def scan(image, pixel_mm=(2.0, 2.0), case="case") -> Scan:
    return Scan(case, (Series(BSSFP_45, image[None]),), pixel_mm)


def test_native_image_is_explained_on_its_own_grid(imager):
    rng = np.random.default_rng(0)
    image = rng.uniform(20, 400, (3, 41, 53))
    (inferred,) = imager([scan(image, (1.7, 1.4))])
    maps = inferred.maps
    assert inferred.error.shape == image.shape
    assert maps.shape == image.shape and bool(torch.isfinite(maps.stack()).all())
    model = BSSFP_45(maps).numpy()
    correlation = np.corrcoef(model.ravel(), image.ravel())[0, 1]
    assert correlation > 0.99  # white noise survives only if no pixel moves


def test_maps_depend_on_the_seed_but_not_on_other_scans_or_the_batch_size(imager):
    rng = np.random.default_rng(1)
    scans = [scan(rng.uniform(0, 100, (n, 32, 32)), case=f"case{n}") for n in (3, 1, 4)]
    together = {inferred.scan.case: inferred.maps.stack() for inferred in imager(scans)}
    assert list(together) == ["case3", "case1", "case4"]
    for measured in scans:
        (alone,) = imager([measured])
        assert torch.equal(alone.maps.stack(), together[measured.case])  # bit for bit
        (in_other_batches,) = replace(imager, batch=5)([measured])
        torch.testing.assert_close(in_other_batches.maps.stack(), together[measured.case], rtol=1e-3, atol=1e-3)


def test_a_known_and_an_unknown_gain_share_no_batch(imager):
    rng = np.random.default_rng(3)
    prepared = T2PreparedBSSFP((25.0, 55.0))
    scans = [
        Scan(case, (*scan(rng.uniform(0, 100, (1, 32, 32))).series, series), (2.0, 2.0))
        for case, same_gain in (("known", True), ("unknown", False))
        for series in [Series(prepared, rng.uniform(0, 30, (2, 1, 32, 32)), same_gain=same_gain)]
    ]
    for together, measured in zip(imager(scans), scans, strict=True):
        (alone,) = imager([measured])
        assert torch.equal(alone.maps.stack(), together.maps.stack())


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_images_without_a_bright_level_are_refused(imager, value):
    with pytest.raises(InputError, match="case: its images are 0 everywhere, or not finite"):
        list(imager([scan(np.full((1, 32, 32), value))]))


def test_scans_of_several_sizes_and_sequences_come_back_in_order(imager):
    rng = np.random.default_rng(2)
    molli = Scan("molli", (Series(MOLLI(), rng.normal(0, 9, (8, 2, 24, 24)), signed=True),), (2.5, 2.5))
    scans = [scan(rng.uniform(0, 100, (2, n, 32)), case=f"case{n}") for n in (30, 32, 50)] + [molli]
    for measured, inferred in zip(scans, replace(imager, batch=4)(scans), strict=True):
        assert inferred.scan is measured and inferred.maps.shape == inferred.error.shape == measured.shape


def test_slices_of_a_molli_are_split_into_equal_batches(imager, monkeypatch):
    sizes, sample = [], ProximalMean.__call__

    def counted(self, prior, likelihood, noise):
        sizes.append(len(likelihood.observed))
        return sample(self, prior, likelihood, noise)

    monkeypatch.setattr(ProximalMean, "__call__", counted)
    rng = np.random.default_rng(7)
    for slices in (1, 5):
        series = Series(MOLLI(), rng.normal(0, 9, (8, slices, 24, 24)), signed=True)
        list(replace(imager, batch=4)([Scan(f"molli{slices}", (series,), (2.5, 2.5))]))
    assert sizes == [1, 3, 3]


def test_samples_of_a_mean_are_refused(imager):
    with pytest.raises(ValueError, match="do not spread: give a sampler that draws them"):
        replace(imager, samples=2)


def test_several_samples_have_a_mean_that_explains_the_image_and_a_spread(imager):
    image = np.random.default_rng(4).uniform(20, 100, (2, 32, 32))
    imager = replace(imager, sampler=ProximalSampler(4))
    (single,), (three,) = imager([scan(image)]), replace(imager, samples=3)([scan(image)])
    assert not single.samples and len(three.samples) == 3
    torch.testing.assert_close(three.samples[0].stack(), single.maps.stack())
    assert not torch.allclose(three.samples[1].stack(), three.samples[2].stack(), rtol=0.01)
    assert three.spread.shape == image.shape and float(three.spread.t1.mean()) > 0
    assert float(three.error.square().mean().sqrt()) < 0.03


def test_labels_change_the_maps(imager):
    image, mask = np.random.default_rng(5).uniform(90, 110, (3, 40, 52)), np.zeros((3, 40, 52), np.uint8)
    mask[:, 8:34, 8:40] = 3
    labelled = replace(scan(image), tissue_weights=tissue_weights(mask, {"LV": 3}, (2.0, 2.0)))
    vague = replace(imager, prior=replace(imager.prior, denoising_error=torch.full((1000, 3), 0.5)))
    (inferred,), (free,) = vague([labelled]), vague([scan(image)])
    pool = mask > 0
    assert inferred.maps.t2[pool].median() > 1.3 * free.maps.t2[pool].median() and float(inferred.error.mean()) < 0.03


def test_bfloat16_changes_little(imager):
    image = np.random.default_rng(6).uniform(20, 100, (1, 32, 32))
    half = replace(imager, prior=replace(imager.prior, bf16=True))
    (rough,), (exact,) = half([scan(image)]), imager([scan(image)])
    scaled = [SCALING.encode(inferred.maps) for inferred in (rough, exact)]
    assert 0 < float((scaled[0] - scaled[1]).abs().mean()) < 0.02


def test_a_batch_too_large_for_the_memory_shrinks(imager, monkeypatch, caplog):
    imager, sample = replace(imager, batch=4), ProximalMean.__call__

    def small_memory(self, prior, likelihood, noise):
        if len(likelihood.observed) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 TiB")
        return sample(self, prior, likelihood, noise)

    monkeypatch.setattr(ProximalMean, "__call__", small_memory)
    (inferred,) = imager([scan(np.random.default_rng(3).uniform(0, 100, (5, 32, 32)))])
    assert "out of memory: batches of 2 slices" in caplog.text
    assert inferred.maps.shape == (5, 32, 32)
    assert imager.batch == 4  # the imager itself stays as it was


def test_a_memory_too_small_for_one_slice_is_said(imager, monkeypatch):
    def no_memory(self, *inputs, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 TiB")

    for owner, method in ((ProximalMean, "__call__"), (Likelihood, "correct")):
        with monkeypatch.context() as patched:
            patched.setattr(owner, method, no_memory)
            with pytest.raises(InputError, match=r"case: the memory of cpu is too small for one slice"):
                list(imager([scan(np.random.default_rng(3).uniform(0, 100, (1, 32, 32)))]))


def test_a_field_of_view_that_is_too_small_is_refused(imager):
    with pytest.raises(ValueError, match="32 x 60 mm is smaller than the prior's minimum of 40 mm"):
        next(imager([scan(np.ones((1, 16, 30)))]))


@pytest.mark.parametrize("seed", [5_000_000, 5_000_003])
def test_the_shipped_prior_knows_the_tissues_of_a_heart_it_has_not_seen(seed):
    heart, rng = digital_heart(seed, 2), np.random.default_rng(seed)
    bias = torch.from_numpy(receive_bias(rng, heart.labels.shape[1:], 2.5, centre_mm=heart.centre_mm))
    truth = SpinMaps(heart.maps.pd * bias, heart.maps.t1, heart.maps.t2)
    image = 700 * noisy_magnitude(rng, BSSFP_45(truth).numpy(), 0.004)
    (inferred,) = ReverseImager(SpinPrior.load())([scan(image, (2.5, 2.5), "heart")])
    maps = inferred.maps

    median = {name: maps.map(lambda m, c=code: m[heart.labels == c].median()) for name, code in LABELS.items()}
    for cavity in ("RV", "LV"):  # this decides which tissue is brighter in an inversion recovery
        assert median[cavity].t1 > 1.1 * median["MYO"].t1 and median[cavity].t2 > 1.5 * median["MYO"].t2
    inside = torch.from_numpy(heart.labels > 0)
    true, synthesised = (MOLLI()(maps).abs()[:, inside] for maps in (truth, maps))
    gain = (true * synthesised).sum() / synthesised.square().sum()
    assert (gain * synthesised - true).square().mean().sqrt() < 0.25 * true.square().mean().sqrt()
