"""GIN-IPA: Ouyang et al., Causality-inspired single-source domain generalization, IEEE TMI 42(4), 2023.

Numbers are those of the paper's published code, github.com/cheng-01037/Causality-Medical-Image-Domain-Generalization
(configs_exp.py, models/imagefilter.py, models/exp_trainer.py).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch.nn.functional import conv2d, leaky_relu

from generalization.competitors.control_points import smooth_map, to_unit_range

KERNELS = (1, 3)
"""Kernel sizes, drawn anew for every layer."""
LAYERS = 4
HIDDEN_CHANNELS = 2
CONTROL_POINTS = 4
"""Control points along an axis of the blending map: they lie a quarter of the image apart."""
CONSISTENCY = 10.0
"""Weight of the consistency loss."""
VIEWS = 3
_LEAST_SHARE = 1e-7


def random_network(images: torch.Tensor) -> torch.Tensor:
    """Global intensity non-linear augmentation (GIN): a shallow random network for each image, mixed with the image.

    Weights and shifts are standard normal, leaky ReLU stands between the layers, the share of the network's output is
    uniform in 0 to 1. The result has the image's Frobenius norm.

    Args:
        images: float (batch, channels, rows, columns).

    Returns:
        tensor of that shape.
    """
    batch, channels, *shape = images.shape
    widths = [channels, *[HIDDEN_CHANNELS] * (LAYERS - 1), channels]
    output = images.reshape(1, -1, *shape)
    for layer, (inputs, outputs) in enumerate(pairwise(widths), 1):
        size = KERNELS[int(torch.randint(len(KERNELS), ()))]
        weights = torch.randn(batch * outputs, inputs, size, size, device=images.device)
        shifts = torch.randn(batch * outputs, 1, 1, device=images.device)
        output = conv2d(output, weights, padding=size // 2, groups=batch) + shifts
        if layer < LAYERS:
            output = leaky_relu(output)
    mixed = torch.lerp(images, output.view_as(images), torch.rand(batch, 1, 1, 1, device=images.device))
    norm, new_norm = (torch.linalg.vector_norm(i, dim=(1, 2, 3), keepdim=True) for i in (images, mixed))
    return mixed * (norm / new_norm.clamp(min=1e-5))


def blend(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Interventional pseudo-correlation augmentation (IPA): blend two views by a smooth random map, and conversely.

    Args:
        first: one view of the images, (batch, channels, rows, columns).
        second: another view of the same images.

    Returns:
        two tensors of that shape, whose sum is that of the views.
    """
    rows, columns = first.shape[-2:]
    points = torch.randn(len(first), 1, CONTROL_POINTS, CONTROL_POINTS, device=first.device)
    share = to_unit_range(smooth_map(points, (rows, columns)))
    return torch.lerp(second, first, share), torch.lerp(first, second, share)


def three_views(images: torch.Tensor) -> torch.Tensor:
    """The batch as the network sees it: two blends of two views of each image, and a third view.

    Args:
        images: (batch, channels, rows, columns).

    Returns:
        tensor (3 * batch, channels, rows, columns), view by view.
    """
    first, second, third = (random_network(images) for _ in range(VIEWS))
    return torch.cat([*blend(first, second), third])


def consistency(logits: torch.Tensor) -> torch.Tensor:
    """Divergence of every view's prediction from the mean of all: KL(mean || view), a mean over pixels and classes.

    Args:
        logits: (3 * batch, classes, rows, columns), view by view.
    """
    log_shares = logits.log_softmax(1).unflatten(0, (VIEWS, -1))
    mean = log_shares.exp().mean(0)
    return (mean * (mean.clamp(min=_LEAST_SHARE).log() - log_shares)).mean()
