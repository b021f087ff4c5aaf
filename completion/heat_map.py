"""Where the denoiser's loss counts more: in myocardium and lesions, the more the worse they come out.

The abstract of CMRDiff names the aim, a denoising loss that a heat map focuses on regions of interest, but no formula.
This is ours: the weight of a pixel is 1 + `GAIN` * sum over regions of (error of the region / error of the image) times
the region's smooth mask, divided by its mean over the batch.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from scipy.ndimage import gaussian_filter
from torch.nn.functional import adaptive_avg_pool2d

GAIN = 2.0
"""Weight that a region of average error adds at its centre. A choice; `benchmarks/missing_channels` compares it with
0."""
MOST = 4.0
"""Greatest ratio of errors that counts: beyond it, single batches would dominate."""
MEMORY = 0.99
"""Decay of the running errors: about the last hundred batches."""
SIGMA = 1.0
"""Standard deviation of the Gaussian that smooths the masks, in pixels of the latents."""


@dataclass(eq=False)
class HeatMap:
    """Weights of the loss, from running errors of regions.

    Attributes:
        ratios: running ratio of each region's error to that of the whole image, (regions,); 1 before the first batch.
    """

    ratios: torch.Tensor = field(default_factory=lambda: torch.ones(0))

    def weights(self, regions: torch.Tensor) -> torch.Tensor:
        """Weights of pixels, with a mean of 1.

        Args:
            regions: smooth masks (slices, regions, rows, columns), from `smooth_masks`.

        Returns:
            float32 (slices, 1, rows, columns).
        """
        ratios = self.ratios.to(regions.device).clamp(max=MOST)[:, None, None]
        weights = 1 + GAIN * (regions.float() * ratios).sum(1, keepdim=True)  # autocast leaves products in float32
        return weights / weights.mean()

    def learn(self, errors: torch.Tensor, regions: torch.Tensor) -> None:
        """Update the running errors by one batch.

        Args:
            errors: squared errors (slices, channels, rows, columns).
            regions: smooth masks of the same rows and columns.
        """
        by_pixel = errors.detach().float().mean(1, keepdim=True)
        covered = regions.sum((0, 2, 3))
        of_regions = (by_pixel * regions).sum((0, 2, 3)) / covered.clamp(min=1e-6)
        ratios = (of_regions / by_pixel.mean()).cpu()
        known = covered.cpu() > 0
        self.ratios = torch.where(known, MEMORY * self.ratios + (1 - MEMORY) * ratios, self.ratios)


def smooth_masks(regions: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks on the grid of the latents, smoothed by a Gaussian.

    Args:
        regions: bool (slices, regions, rows, columns), on the CPU.
        size: rows and columns of the latents.

    Returns:
        float32 (slices, regions, *size), from 0 to 1.
    """
    if regions.shape[1] == 0:
        return torch.zeros(len(regions), 0, *size)
    masks = adaptive_avg_pool2d(regions.float(), size)
    smooth = gaussian_filter(masks.numpy(), (0, 0, SIGMA, SIGMA), mode="nearest")
    return torch.from_numpy(smooth)
