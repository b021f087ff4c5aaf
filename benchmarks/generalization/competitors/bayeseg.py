"""BayeSeg: Gao et al., BayeSeg: Bayesian modeling for medical image segmentation, Med Image Anal 89:102889, 2023.

An image y is shape x plus appearance n. x is smooth but for boundaries, n is Gaussian about a mean m, and the
segmentation z depends on x alone, since the shape is what stays the same across domains:

    y = x + n,  n ~ N(m, 1 / rho),  m ~ N(0, 1 / sigma_0),  rho ~ Gamma
    D x ~ N(0, 1 / upsilon) within the classes of z,  D z ~ N(0, 1 / (pi omega)),  upsilon, omega ~ Gamma,  pi ~ Beta

D is the difference from the mean of the four neighbours. Networks give mean and variance of x, m and z; rho, upsilon,
omega and pi have posteriors in closed form, given these. Equations and numbers are those of the published code,
github.com/obiyoag/BayeSeg (models/BayeSeg.py, models/ResNet.py, args.py).

What differs: z comes from the network of nnU-Net's plans instead of EfficientNet-B2, with nnU-Net's loss and deep
supervision instead of cross-entropy alone, and the learning rate falls as nnU-Net's does; the terms of the evidence
take the softmax of z's mean, without Gumbel noise; and prediction takes the mean of x instead of a sample.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

LEARNING_RATE, WEIGHT_DECAY = 3e-4, 1e-4
"""Of AdamW."""
WIDTH = 64
SHAPE_BLOCKS, APPEARANCE_BLOCKS = 10, 6
LARGEST_GRADIENT = 1.0
"""Norm to which gradients are clipped."""
EVIDENCE = 100.0
"""Weight of the evidence lower bound."""
PRECISION_OF_MEAN = 1.0
"""sigma_0."""
NOISE, IMAGE_BOUNDARY, LABEL_BOUNDARY = (2.0, 1e-6), (2.0, 1e-8), (2.0, 1e-4)
"""gamma and phi, shape and rate of the Gamma priors of rho, upsilon and omega."""
FREQUENCY = (2.0, 2.0)
"""alpha and beta of the Beta prior of pi."""
_LOG_VARIANCES = (-20.0, 0.0)


class _Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, normalised: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for last in (False, True):
            layers.append(nn.Conv2d(WIDTH, WIDTH, 3, padding=1))
            layers += [nn.BatchNorm2d(WIDTH)] * normalised + [nn.ReLU()] * (not last)
        self.layers = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.layers(features)


class _ResidualNetwork(nn.Module):
    """Mean and logarithm of the variance of one component of an image, at full resolution."""

    def __init__(self, blocks: int, normalised: bool, adds_image: bool) -> None:
        super().__init__()
        self.adds_image = adds_image
        first, last = nn.Conv2d(1, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 2, 3, padding=1)
        for layer in (first, last):
            nn.init.kaiming_normal_(layer.weight).data.mul_(0.1)
            nn.init.zeros_(layer.bias)
        body = (_Block(normalised) for _ in range(blocks))
        self.layers = nn.Sequential(first, nn.LeakyReLU(0.1), *body, nn.LeakyReLU(0.1), last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output = self.layers(images)
        return output + images if self.adds_image else output


class BayeSeg(nn.Module):
    """Networks of shape and appearance before a segmentation network.

    Args:
        segmenter: takes an image of one channel and gives two per class: mean and log-variance of z. With deep
            supervision it gives a list of these.
    """

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.shape = _ResidualNetwork(SHAPE_BLOCKS, normalised=False, adds_image=False)
        self.appearance = _ResidualNetwork(APPEARANCE_BLOCKS, normalised=True, adds_image=True)
        self.segmenter = segmenter

    @property
    def decoder(self) -> nn.Module:
        """The segmenter's decoder, on which nnU-Net switches deep supervision."""
        return self.segmenter.decoder

    def forward(self, images: torch.Tensor) -> Any:
        """Posteriors of the components of images (batch, 1, rows, columns).

        Returns:
            in evaluation, the means of z as the segmenter gives them. In training, a dict: `shape` and `appearance`
            (batch, 2, rows, columns), mean and log-variance; `shape_sample` and `appearance_sample`
            (batch, 1, rows, columns); `segmentation`, what the segmenter makes of the shape's sample.
        """
        shape = self.shape(images).float()
        if not self.training:
            return _means(self.segmenter(shape[:, :1]))
        appearance = self.appearance(images).float()
        shape_sample = sample(shape)
        return {
            "shape": shape,
            "appearance": appearance,
            "shape_sample": shape_sample,
            "appearance_sample": sample(appearance),
            "segmentation": self.segmenter(shape_sample),
        }


def split(posterior: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and log-variance, one after the other along the channels."""
    mean, log_variance = posterior.chunk(2, 1)
    return mean, log_variance.clamp(*_LOG_VARIANCES)


def sample(posterior: torch.Tensor) -> torch.Tensor:
    """A sample of a posterior given by `split`'s mean and log-variance."""
    mean, log_variance = split(posterior)
    return mean + torch.exp(log_variance / 2) * torch.randn_like(mean)


def training_logits(segmentation: list[torch.Tensor]) -> list[torch.Tensor]:
    """Logits for a loss: at full resolution a sample of z with Gumbel noise, whose softmax is the Gumbel-softmax.

    Args:
        segmentation: what the segmenter gives, (batch, 2 * classes, rows, columns) at each resolution.

    Returns:
        (batch, classes, rows, columns) at each resolution; below the first, the mean.
    """
    logits = sample(segmentation[0])
    uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    return [logits - torch.log(-torch.log(uniform)), *_means(segmentation[1:])]


def _means(segmentation: Any) -> Any:
    if isinstance(segmentation, list | tuple):
        return [split(scale)[0] for scale in segmentation]
    return split(segmentation)[0]


def difference(maps: torch.Tensor) -> torch.Tensor:
    """D: each pixel minus the mean of its four neighbours (0 outside), (batch, channels, rows, columns)."""
    wide = pad(maps, (1, 1, 1, 1))
    neighbours = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
    return maps - neighbours / 4


def negative_evidence(images: torch.Tensor, posterior: dict[str, Any]) -> torch.Tensor:
    """The negative evidence lower bound but for constants, doubled, per unit of the noise's precision.

    Args:
        images: (batch, 1, rows, columns).
        posterior: what `BayeSeg.forward` gives in training.
    """
    x, x_log_variance = split(posterior["shape"])
    m, m_log_variance = split(posterior["appearance"])
    z_logits, z_log_variance = split(posterior["segmentation"][0])
    z = z_logits.softmax(1)
    residual = images - posterior["shape_sample"] - posterior["appearance_sample"]
    x_roughness = difference(x).square() + 2 * x_log_variance.exp()
    z_roughness = difference(z).square() + 2 * z_log_variance.exp()

    # 1. Posteriors in closed form, given the others; no gradient passes through them
    with torch.no_grad():
        classes, pixels = z.shape[1], z.shape[2] * z.shape[3]
        rho = _gamma_mean(NOISE, 1, residual.square())
        upsilon = _gamma_mean(IMAGE_BOUNDARY, classes, (z * x_roughness).sum(1, keepdim=True))
        omega = _gamma_mean(LABEL_BOUNDARY, 1, z.mean((2, 3), keepdim=True) * z_roughness)
        alpha = FREQUENCY[0] + pixels / 2
        beta = FREQUENCY[1] + (omega * z_roughness).sum((2, 3), keepdim=True) / 2
        pi = torch.digamma(alpha + beta) - torch.digamma(beta)
        boundaries = (z * upsilon).sum(1, keepdim=True)

    # 2. Image, appearance, shape and segmentation
    terms = (
        rho * residual.square(),
        PRECISION_OF_MEAN * (m.square() + m_log_variance.exp()) - m_log_variance,
        boundaries * x_roughness - x_log_variance,
        pi * (omega * z_roughness - z_log_variance),
    )
    return sum(term.sum() for term in terms) / rho.sum()


def _gamma_mean(prior: tuple[float, float], observed: float, squares: torch.Tensor) -> torch.Tensor:
    """Posterior mean of a precision with a Gamma prior, given `observed` Gaussian values with these squares."""
    gamma, phi = prior
    return (2 * gamma + observed) / (squares + 2 * phi)
