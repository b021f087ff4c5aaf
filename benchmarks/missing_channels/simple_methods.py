"""What needs no network: copies, and a look-up of brightness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch

from nnunet_phys.completion.slices import ChannelSlices

_BINS = 48
_SMOOTHING = 1.0  # pixels that the wanted channel's mean counts in each bin, so that rare pairs are not noise


@dataclass(frozen=True, eq=False)
class Copy:
    """The first given image, as it is."""

    def complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """See `methods.Completer`."""
        return images[:, given[0]]


@dataclass(frozen=True, eq=False)
class Acquired:
    """The acquired image itself, which no method can surpass: what the models' pixel size leaves of it."""

    def complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """See `methods.Completer`."""
        return images[:, wanted]


@dataclass(frozen=True, eq=False)
class Lookup:
    """The mean brightness of the wanted channel for each pair of brightnesses of the given ones.

    Attributes:
        slices: the training slices.
    """

    slices: ChannelSlices

    def complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """See `methods.Completer`."""
        table = _table(self.slices, tuple(given), wanted)
        return table[_bins(images, given)].view(images[:, 0].shape)


@cache
def _table(slices: ChannelSlices, given: tuple[int, ...], wanted: int) -> torch.Tensor:
    """Mean of the wanted channel in every bin."""
    pairs, values = _bins(slices.images.float(), given), slices.images[:, wanted].float().flatten()
    size = _BINS ** len(given)
    counts = torch.bincount(pairs, minlength=size).float()
    sums = torch.bincount(pairs, weights=values, minlength=size).float()
    return (sums + _SMOOTHING * values.mean()) / (counts + _SMOOTHING)


def _bins(images: torch.Tensor, given: Sequence[int]) -> torch.Tensor:
    """Number of each pixel's bin, of all slices in one row."""
    number = torch.zeros(images[:, 0].numel(), dtype=torch.int64)
    for channel in given:
        number = number * _BINS + ((images[:, channel].flatten() + 1) / 2 * _BINS).long().clamp(0, _BINS - 1)
    return number
