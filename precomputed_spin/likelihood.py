"""How well maps explain an image: a sequence, a gain and a noise level, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from nnunet_phys.precomputed_spin.prior import SpinScaling
from nnunet_phys.spin import SpinMaps

Sequence = Callable[[SpinMaps], torch.Tensor]

LEAST, GREATEST = -1.0, 1.3
"""Bounds of scaled maps: PD is not negative, and a little beyond the prior's range is allowed upwards."""


@dataclass(frozen=True)
class Likelihood:
    """Gaussian likelihood of a magnitude image given scaled maps.

    Attributes:
        sequence: the signal equation; acts voxel by voxel.
        image: magnitude image (slices, rows, columns) in the signal's unit, that is divided by its gain.
        sigma: standard deviation of its noise and of the model's errors, in the same unit.
        observed: bool, same shape: False where nothing was measured (padding).
        saturated: bool, same shape: True where the image was clipped, so that only a smaller signal contradicts it.
        scaling: of the maps.
    """

    sequence: Sequence
    image: torch.Tensor
    sigma: float
    observed: torch.Tensor
    saturated: torch.Tensor
    scaling: SpinScaling

    def residual(self, u: torch.Tensor) -> torch.Tensor:
        """Image minus magnitude signal of scaled maps `u` (slices, 3, rows, columns); 0 where not contradicted."""
        residual = self.image - self.sequence(self.scaling.decode(u)).abs()
        contradicted = self.observed & ~(self.saturated & (residual < 0))
        return torch.where(contradicted, residual, 0.0)

    def linearise(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Residual (slices, rows, columns) and minus its derivative J (slices, 3, rows, columns) at `u`.

        The model is point-wise, so one backward pass gives every pixel's three derivatives. J is 0 where the residual
        is held at 0.
        """
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            residual = self.residual(u)
            (derivative,) = torch.autograd.grad(residual.sum(), u)
        return residual.detach(), -derivative

    @torch.no_grad()
    def correct(self, mean: torch.Tensor, variance: torch.Tensor, iterations: int = 2) -> torch.Tensor:
        """Most probable scaled maps given the image and, per pixel, a Gaussian belief about them (Gauss-Newton).

        Args:
            mean: belief's mean (slices, 3, rows, columns).
            variance: belief's variance of PD, T1 and T2, broadcastable to `mean`.
            iterations: linearisations.

        Returns:
            Maps of the same shape, within bounds.
        """
        u = mean = mean.clamp(LEAST, GREATEST)
        for _ in range(iterations):
            residual, jacobian = self.linearise(u)
            innovation = residual - (jacobian * (mean - u)).sum(1)
            spread = self.sigma**2 + (variance * jacobian * jacobian).sum(1)
            u = mean + variance * jacobian * (innovation / spread).unsqueeze(1)
            u = u.clamp(LEAST, GREATEST)
        return u

    def squared_norm(self, u: torch.Tensor) -> torch.Tensor:
        """||image - signal(u)||^2, summed over all pixels and slices. Differentiable."""
        return self.residual(u).square().sum()


def saturation_mask(image: torch.Tensor, least_share: float = 1e-3) -> torch.Tensor:
    """Pixels at the image's maximum, where so many share it that it must have been clipped; else none.

    Args:
        image: any shape, not all zero.
        least_share: of the pixels.
    """
    top = image >= image.max()
    return top if top.float().mean() > least_share else torch.zeros_like(top)


def bright_level(signal: torch.Tensor) -> torch.Tensor:
    """Brightness of the blood and fat of an image: the 90th percentile of what stands out of air and lung.

    Of pixels above a tenth of the 99th percentile, so that the amount of air around the body does not matter.

    Args:
        signal: magnitude image, any shape.

    Returns:
        A scalar tensor in the signal's unit.
    """
    flat = signal.float().flatten()
    flat = flat[:: max(1, len(flat) // 1_000_000)]
    return torch.quantile(flat[flat > 0.1 * torch.quantile(flat, 0.99)], 0.9)
