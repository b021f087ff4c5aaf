"""BayeSeg: its parts behave as its statistical model says, and its evidence can be optimised."""

import numpy as np
import pytest
import torch
from torch import nn

from generalization.competitors import bayeseg


class Segmenter(nn.Module):
    """Means and log-variances of two classes at two resolutions, as nnU-Net gives them with deep supervision."""

    def __init__(self):
        super().__init__()
        self.decoder = nn.Module()
        self.decoder.deep_supervision = True
        self.layer = nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, image):
        full = self.layer(image)
        return [full, full[..., ::2, ::2]] if self.decoder.deep_supervision else full


@pytest.fixture
def images():
    """Two images of a disc with noise, (2, 1, rows, columns)."""
    torch.manual_seed(0)
    y, x = np.mgrid[:24, :24]
    disc = torch.from_numpy((np.hypot(y - 12, x - 12) < 6).astype(np.float32))
    return disc + 0.1 * torch.randn(2, 1, 24, 24)


@pytest.fixture
def network(images, monkeypatch):
    monkeypatch.setattr(bayeseg, "WIDTH", 8)
    return bayeseg.BayeSeg(Segmenter())


def posterior_of(x, m, z_logits, log_variance=-10.0):
    """A posterior with these means and one log-variance, its samples being the means."""
    with_variance = [torch.cat([mean, torch.full_like(mean, log_variance)], 1) for mean in (x, m, z_logits)]
    shape, appearance, segmentation = with_variance
    return {
        "shape": shape,
        "appearance": appearance,
        "shape_sample": x,
        "appearance_sample": m,
        "segmentation": [segmentation],
    }


def test_training_gives_samples_of_all_components_and_evaluation_gives_means(network, images):
    posterior = network(images)
    assert posterior["shape_sample"].shape == posterior["appearance_sample"].shape == images.shape
    logits = bayeseg.training_logits(posterior["segmentation"])
    assert [tuple(scale.shape) for scale in logits] == [(2, 2, 24, 24), (2, 2, 12, 12)]
    network.eval()
    network.decoder.deep_supervision = False
    with torch.no_grad():
        means = network(images)
        assert means.shape == (2, 2, 24, 24) and torch.equal(means, network(images))


def test_samples_have_the_variance_of_their_posterior():
    posterior = torch.cat([torch.full((1, 1, 200, 200), 2.0), torch.full((1, 1, 200, 200), -2.0)], 1)
    drawn = bayeseg.sample(posterior)
    assert float(drawn.mean()) == pytest.approx(2, abs=0.02) and float(drawn.var()) == pytest.approx(
        np.exp(-2), rel=0.05
    )


def test_the_difference_vanishes_in_planes_and_marks_edges():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    plane = (2 * y - x + 3)[None, None]
    assert torch.allclose(bayeseg.difference(plane)[..., 1:-1, 1:-1], torch.tensor(0.0), atol=1e-5)
    step = (x > 3).float()[None, None]
    assert torch.equal(bayeseg.difference(step)[0, 0, 2, 1:-1], torch.tensor([0.0, 0, -0.25, 0.25, 0]))


def test_evidence_moves_towards_explanations_of_the_image_that_are_smooth(images):
    disc = (images > 0.5).float()
    best = disc, images - disc, torch.cat([-8 * disc + 4, 8 * disc - 4], 1)

    def slope(*start):
        """Derivative of the loss on the way from other means to the best ones."""
        way = torch.zeros((), requires_grad=True)
        means = (torch.lerp(a, b, way) for a, b in zip(start, best, strict=True))
        bayeseg.negative_evidence(images, posterior_of(*means)).backward()
        return float(way.grad)

    noise = 0.3 * torch.randn_like(images)
    speckled = best[2] * torch.where(torch.rand_like(disc) < 0.3, -1.0, 1.0)
    assert slope(best[0], best[1] + 1, best[2]) < 0  # a residual
    assert slope(best[0] + noise, best[1] - noise, best[2]) < 0  # a rough shape
    assert slope(best[0], best[1], speckled) < 0  # a rough segmentation


def test_evidence_grows_with_training(network, images):
    @torch.no_grad()
    def mean_loss() -> float:  # of the same samples of the posterior, before and after
        torch.manual_seed(1)
        return float(torch.stack([bayeseg.negative_evidence(images, network(images)) for _ in range(32)]).mean())

    optimizer, before = torch.optim.Adam(network.parameters(), 1e-3), mean_loss()
    for _ in range(120):
        loss = bayeseg.negative_evidence(images, network(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = mean_loss()
    assert np.isfinite([before, after]).all() and after < 0.8 * before
    of_shape = [p.grad for p in network.shape.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in of_shape)
