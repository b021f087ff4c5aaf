"""Maps of blocks of tissue, as preprocessing leaves them for training."""

from __future__ import annotations

import torch

from nnunet_phys.infarct import blood_distance
from nnunet_phys.reservoir import draw_reservoir
from nnunet_phys.spin import SpinMaps

SPACING = (8.0, 1.5, 1.5)


def some_maps(shape) -> torch.Tensor:
    """Blocks of tissue: (3, ...)."""
    generator = torch.Generator().manual_seed(0)
    low, span = torch.tensor([0.2, 300, 40]), torch.tensor([0.7, 1300, 160])
    coarse = torch.rand((*(max(2, n // 5) for n in shape), 3), generator=generator) * span + low
    channels = coarse.movedim(-1, 0)[None]
    return torch.nn.functional.interpolate(channels, shape, mode="nearest")[0].contiguous()


def with_distance(maps: torch.Tensor) -> torch.Tensor:
    """Maps (3, slices, rows, columns) and their distance to blood, (4, ...)."""
    return torch.cat((maps, blood_distance(SpinMaps(*maps), SPACING)[None]))


class Whole:
    """A case whose maps are at hand: (3, ...), of one slice where there are two axes of space."""

    def __init__(self, maps: torch.Tensor) -> None:
        maps = maps if maps.ndim == 4 else maps[:, None]
        self.volume = with_distance(maps)
        self.reservoir = draw_reservoir(maps.numpy(), None, SPACING, 0)

    def maps(self, box: tuple[slice, ...]) -> torch.Tensor:
        return self.volume[(slice(None), *box)]
