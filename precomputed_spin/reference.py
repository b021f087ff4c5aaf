"""Reference voxels: what an image's brightness and the values of its pixels are compared with."""

from __future__ import annotations

import torch

_LIBRARY = 512
"""Number of voxels that each pixel is compared with, and to which the cost is proportional. Assumed: enough for several
voxels of every tissue."""


def reference_voxels(maps: torch.Tensor, count: int = 4096) -> torch.Tensor:
    """Voxels (3, count) of maps (slices, 3, rows, columns): equally many of each slice, at random positions.

    The positions are the same in every run. A fixed stride would meet the same few rows and columns of all slices, and
    miss tissues that never lie there.
    """
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(maps[0, 0].numel(), (count,), generator=generator)
    return maps.flatten(2)[torch.arange(count) * len(maps) // count, :, places].T.contiguous()


def library_voxels(reference: torch.Tensor) -> torch.Tensor:
    """Those of the reference voxels (3, n) that pixels are compared with for a guide."""
    return reference[:, :: max(1, reference.shape[1] // _LIBRARY)]
