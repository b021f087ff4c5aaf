"""What needs no network: copies, and a look-up of brightness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
        pairs, values = self._bins(self.slices.images.float(), given), self.slices.images[:, wanted].float().flatten()
        size = _BINS ** len(given)
        counts = torch.bincount(pairs, minlength=size).float()
        sums = torch.bincount(pairs, weights=values, minlength=size).float()
        table = (sums + _SMOOTHING * values.mean()) / (counts + _SMOOTHING)
        return table[self._bins(images, given)].view(images[:, 0].shape)

    @staticmethod
    def _bins(images: torch.Tensor, given: Sequence[int]) -> torch.Tensor:
        number = torch.zeros(images[:, 0].numel(), dtype=torch.int64)
        for channel in given:
            number = number * _BINS + ((images[:, channel].flatten() + 1) / 2 * _BINS).long().clamp(0, _BINS - 1)
        return number
