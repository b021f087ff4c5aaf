"""RandConv: Xu et al., Robust and generalizable visual representation learning via random convolutions, ICLR 2021.

The mixing variant of the paper with several kernel sizes and its consistency loss; details as in its published code,
github.com/wildphoton/RandConv (lib/networks/rand_conv.py, randconv_trainer.py).
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import conv2d

KERNELS = (1, 3, 5, 7)
CONSISTENCY = 10.0
"""Weight of the consistency loss: what the published code of GIN-IPA takes over from this paper."""
VIEWS = 3
_LEAST_SHARE = 1e-7


def random_convolution(images: torch.Tensor) -> torch.Tensor:
    """Mix a batch with its convolution by one random kernel.

    The kernel's size is one of `KERNELS`, its weights are normal with variance 1 / (channels * size^2) (He et al., ICCV
    2015, without the gain of a ReLU), the share of the convolution is uniform in 0 to 1.

    Args:
        images: float (batch, channels, rows, columns).

    Returns:
        tensor of that shape and type.
    """
    channels = images.shape[1]
    size = KERNELS[int(torch.randint(len(KERNELS), ()))]
    kernel = torch.randn(channels, channels, size, size, dtype=images.dtype, device=images.device)
    convolved = conv2d(images, kernel / math.sqrt(channels * size**2), padding=size // 2)
    return torch.lerp(images, convolved, float(torch.rand(())))


def three_views(images: torch.Tensor) -> torch.Tensor:
    """Three random convolutions of the batch, (3 * batch, channels, rows, columns), view by view."""
    return torch.cat([random_convolution(images) for _ in range(VIEWS)])


def consistency(logits: torch.Tensor) -> torch.Tensor:
    """Divergence of every view's prediction from the mean of all: KL(view || mean), a mean over views and pixels.

    Args:
        logits: (3 * batch, classes, rows, columns), view by view.
    """
    log_shares = logits.log_softmax(1).unflatten(0, (VIEWS, -1))
    shares = log_shares.exp()
    mean = shares.mean(0).clamp(min=_LEAST_SHARE)
    return (shares * (log_shares - mean.log())).sum(2).mean()
