"""GIN-IPA, RandConv, SLAug and synthesis from labels have the properties that their papers describe."""

import numpy as np
import pytest
import torch

from generalization.competitors import gin_ipa, randconv, slaug, synthseg
from generalization.competitors.control_points import smooth_map, to_unit_range
from generalization.competitors.three_copies import ThreeCopies

SHAPE = (40, 48)


@pytest.fixture(autouse=True)
def seeds():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def images():
    """Four smooth images with a z-score, (4, 1, rows, columns)."""
    maps = smooth_map(torch.randn(4, 1, 6, 6), SHAPE)
    return (maps - maps.mean((2, 3), keepdim=True)) / maps.std((2, 3), keepdim=True)


@pytest.fixture
def sample(images):
    """An image with a ring around a cavity, and a margin of padding, as nnU-Net's transforms get them."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    radius = np.hypot(y - 20, x - 24)
    labels = np.where(radius < 6, 3, np.where(radius < 10, 2, 0))
    labels[:, :3] = -1
    segmentation = torch.from_numpy(labels.astype(np.int16))[None]
    image = images[0] + 2.0 * (segmentation == 3)
    image[segmentation < 0] = 0
    return {"image": image, "segmentation": segmentation}


def logits_of_views(*views):
    """Logits (3, classes, rows, columns) that give each class of a view the same share everywhere."""
    return torch.tensor(views, dtype=torch.float32).log()[..., None, None].expand(-1, -1, 4, 5)


def test_a_smooth_map_has_the_values_of_its_points_where_they_agree_and_varies_slowly():
    assert torch.allclose(smooth_map(torch.full((2, 5, 4), 1.5), SHAPE), torch.tensor(1.5))
    points = torch.zeros(5, 5)
    points[2, 2] = 1
    spread = smooth_map(points, (50, 50))
    assert spread.argmax() in (24 * 50 + 24, 24 * 50 + 25, 25 * 50 + 24, 25 * 50 + 25)
    assert spread.diff(dim=0).abs().max() < 0.1 and spread[0, 0] == 0
    scaled = to_unit_range(torch.stack([points, 7 * points + 1]))
    assert torch.equal(scaled[0], scaled[1]) and scaled.min() == 0 and scaled.max() == 1
    assert torch.equal(to_unit_range(torch.ones(3, 3)), torch.zeros(3, 3))


def test_gin_keeps_the_frobenius_norm_and_changes_every_image_in_its_own_way(images):
    same = images[:1].expand(4, -1, -1, -1)
    changed = gin_ipa.random_network(same)
    assert changed.shape == same.shape and changed.dtype == same.dtype
    assert torch.allclose(changed.flatten(1).norm(dim=1), same.flatten(1).norm(dim=1), rtol=1e-4)
    assert all(not torch.allclose(changed[i], changed[j], atol=0.05) for i in range(4) for j in range(i))
    assert torch.isfinite(gin_ipa.random_network(torch.zeros(2, 1, *SHAPE))).all()


def test_gin_is_not_linear(images):
    torch.manual_seed(3)
    once = gin_ipa.random_network(images)
    torch.manual_seed(3)
    inverted = gin_ipa.random_network(-images)
    assert (once + inverted).abs().max() > 0.1


def test_blends_share_out_the_two_views(images):
    first, second = images, images.flip(3)
    blended = gin_ipa.blend(first, second)
    assert torch.allclose(blended[0] + blended[1], first + second, atol=1e-5)
    share = ((blended[0] - second) / (first - second))[(first - second).abs() > 0.5]
    assert share.min() < 0.2 and share.max() > 0.8 and share.min() > -0.01 and share.max() < 1.01
    assert gin_ipa.three_views(images).shape == (12, 1, *SHAPE)


@pytest.mark.parametrize("method", [gin_ipa, randconv])
def test_consistency_is_zero_for_equal_predictions_and_positive_else(method):
    assert method.consistency(logits_of_views([0.2, 0.8], [0.2, 0.8], [0.2, 0.8])) == pytest.approx(0, abs=1e-6)
    assert method.consistency(logits_of_views([0.2, 0.8], [0.2, 0.8], [0.6, 0.4])) > 0.01


@pytest.mark.parametrize("changed", [gin_ipa.random_network, randconv.random_convolution])
def test_each_copy_of_an_image_changes_in_its_own_way(images, changed):
    copies = changed(ThreeCopies.copies(images))
    assert copies.shape == (4, 3, *SHAPE)
    assert all(not torch.allclose(copies[:, i], copies[:, j], atol=0.05) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_consistency_is_the_divergence_that_each_paper_takes():
    views = np.array([[0.2, 0.8], [0.3, 0.7], [0.7, 0.3]])
    mean = views.mean(0)
    logits = logits_of_views(*views.tolist())
    assert float(gin_ipa.consistency(logits)) == pytest.approx((mean * np.log(mean / views)).mean(), rel=1e-4)
    of_views = (views * np.log(views / mean)).sum(1).mean()
    assert float(randconv.consistency(logits)) == pytest.approx(of_views, rel=1e-4)


def test_randconv_keeps_shape_and_type_and_is_linear(images):
    for dtype in (torch.float32, torch.float64):
        converted = images.to(dtype)
        changed = randconv.random_convolution(converted)
        assert changed.shape == images.shape and changed.dtype == dtype
    torch.manual_seed(5)
    once = randconv.random_convolution(images)
    torch.manual_seed(5)
    assert torch.allclose(randconv.random_convolution(2 * images), 2 * once, atol=1e-5)


def test_randconv_draws_every_kernel_size_with_the_variance_of_white_noise(images, monkeypatch):
    kernels = []

    def remember(image, kernel, padding):
        kernels.append(kernel)
        assert padding == kernel.shape[-1] // 2
        return image

    monkeypatch.setattr(randconv, "conv2d", remember)
    for _ in range(400):
        randconv.random_convolution(images)
    assert {kernel.shape[-1] for kernel in kernels} == {1, 3, 5, 7}
    for size in (3, 5, 7):
        weights = torch.cat([kernel.flatten() for kernel in kernels if kernel.shape[-1] == size])
        assert float(weights.square().mean()) * size**2 == pytest.approx(1, abs=0.15)


def test_bezier_curves_are_monotone_and_keep_the_range():
    values = np.linspace(0.1, 0.7, 50)
    for _ in range(30):
        for probability, sign in ((0.0, 1), (1.0, -1)):
            bent = slaug.ToneCurve.draw(probability).bend(values)
            assert (sign * np.diff(bent) >= 0).all() and np.ptp(bent) > 0
            assert bent.min() == pytest.approx(0.1) and bent.max() == pytest.approx(0.7)


def test_offsets_keep_most_values_in_range():
    values = np.random.default_rng(0).uniform(size=1000)
    for _ in range(30):
        mapped = slaug.ToneCurve.draw(0.5)(values)
        assert mapped.min() >= 0 and mapped.max() <= 1
        assert (mapped == 0).mean() < 0.35 and (mapped == 1).mean() < 0.35


def test_location_scale_gives_a_global_and_a_local_view(sample):
    views = slaug.LocationScale()(**{k: v.clone() for k, v in sample.items()})
    image, labels = sample["image"][0].numpy(), sample["segmentation"][0].numpy()
    everywhere, local = views["image"].numpy()
    assert views["image"].shape == (2, *SHAPE) and torch.equal(views["segmentation"], sample["segmentation"])
    assert (everywhere[labels < 0] == 0).all() and (local[labels < 0] == 0).all()
    order = np.argsort(image[labels >= 0])
    assert (np.diff(everywhere[labels >= 0][order]) >= -1e-5).all()  # one rising curve for all
    background = (labels == 0) & (image > np.quantile(image[labels >= 0], 0.1))
    assert np.corrcoef(image[background], local[background])[0, 1] < 0  # falling in the background
    for code in (2, 3):
        steps = np.diff(local[labels == code][np.argsort(image[labels == code])])
        assert (steps >= -1e-5).all() or (steps <= 1e-5).all()


def test_fusion_takes_the_global_view_where_the_loss_depends_on_it(images):
    everywhere, local = torch.zeros_like(images), torch.ones_like(images)
    gradient = torch.zeros_like(images)
    gradient[:, :, :20] = 1e-8
    fused = slaug.fuse(everywhere, local, gradient)
    assert fused[:, :, :12].max() < 0.2 and fused[:, :, 28:].min() > 0.8
    assert torch.equal(slaug.fuse(everywhere, local, torch.full_like(images, float("nan"))), local)


def test_clusters_are_ordered_by_brightness():
    values = np.concatenate([np.full(40, 3.0), np.full(30, -1.0), np.full(30, 0.5)])
    clusters = synthseg.brightness_clusters(values, 3)
    assert [set(clusters[part]) for part in (slice(40, 70), slice(70, 100), slice(0, 40))] == [{0}, {1}, {2}]


def test_synthesis_uses_only_labels_and_the_order_of_background_values(sample):
    def synthesize(image):
        np.random.seed(7)
        changed = synthseg.SynthesizeFromLabels()(image=image.clone(), segmentation=sample["segmentation"].clone())
        assert torch.equal(changed["segmentation"], sample["segmentation"])
        return changed["image"]

    made = synthesize(sample["image"])
    foreground = sample["segmentation"] > 0
    other = torch.where(foreground, torch.randn(1, *SHAPE), 3 * sample["image"] + 1)
    assert torch.allclose(synthesize(other), made, atol=1e-5)
    assert made.shape == sample["image"].shape and made.dtype == sample["image"].dtype
    inside = sample["segmentation"] >= 0
    assert (made[~inside] == 0).all()
    assert float(made[inside].mean()) == pytest.approx(0, abs=1e-4)
    assert float(made[inside].std()) == pytest.approx(1, abs=1e-2)


def test_synthesis_gives_each_class_its_own_brightness_in_any_order(sample):
    orders = set()
    for _ in range(40):
        image = synthseg.SynthesizeFromLabels()(**{k: v.clone() for k, v in sample.items()})["image"]
        means = [float(image[sample["segmentation"] == code].mean()) for code in (0, 2, 3)]
        orders.add(tuple(np.argsort(means)))
    assert len(orders) >= 5


def test_a_patch_of_padding_alone_passes(sample):
    outside = {"image": torch.zeros(1, *SHAPE), "segmentation": torch.full((1, *SHAPE), -1, dtype=torch.int16)}
    assert not synthseg.SynthesizeFromLabels()(**outside)["image"].any()
    assert slaug.LocationScale()(**outside)["image"].shape == (2, *SHAPE)


def test_most_images_are_coarser_along_one_axis_and_few_along_both(monkeypatch):
    blurs = []
    monkeypatch.setattr(synthseg, "gaussian_filter", lambda image, deviations: blurs.append(deviations) or image)
    for _ in range(2000):
        assert synthseg.coarsen(np.zeros((16, 20))).shape == (16, 20)
    rows, columns = (np.array(blurs) != 0.5).T
    assert (rows & columns).mean() == pytest.approx(0.95 * 0.1, abs=0.02)
    assert (~rows & ~columns).mean() == pytest.approx(0.05, abs=0.02)
    assert np.max(blurs) < 0.75 * synthseg.MOST_COARSENING


def test_the_background_is_often_dark():
    drawn = np.array([synthseg.darkened(100.0, 10.0) for _ in range(4000)])
    assert (drawn[:, 0] == 0).mean() == pytest.approx(0.05, abs=0.015)
    assert ((drawn[:, 0] > 0) & (drawn[:, 0] < 15)).mean() == pytest.approx(0.25, abs=0.03)
    assert (drawn[:, 0] == 100).mean() == pytest.approx(0.7, abs=0.03)
