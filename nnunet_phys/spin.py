"""PD, T1 and T2 of a slice or volume: the tissue properties that every contrast is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

NumberOrMap = float | torch.Tensor
"""A number, or a tensor that broadcasts to the maps (a B1+ map times the flip angle, a field map, ...)."""

T1_MIN_MS, T1_MAX_MS = 50.0, 5000.0
T2_MIN_MS, T2_MAX_MS = 5.0, 2500.0
"""Bounds of T1 and T2 in maps. Assumed: beyond all tissues and fluids at 1.5 and 3 T without contrast agent."""


@dataclass(frozen=True)
class SpinMaps:
    """Proton density and relaxation times, voxel by voxel.

    Attributes:
        pd: proton density in arbitrary units (blood about 1), any shape. Holds the receive bias where it was
            inferred from an image.
        t1: longitudinal relaxation time in ms, same shape, > 0.
        t2: transverse relaxation time in ms, same shape, > 0.

    Raises:
        ValueError: the three shapes differ.
    """

    pd: torch.Tensor
    t1: torch.Tensor
    t2: torch.Tensor

    def __post_init__(self) -> None:
        if not self.pd.shape == self.t1.shape == self.t2.shape:
            raise ValueError(
                f"PD, T1 and T2 must have one shape, got {tuple(self.pd.shape)}, {tuple(self.t1.shape)} "
                f"and {tuple(self.t2.shape)}"
            )

    @property
    def shape(self) -> torch.Size:
        """Shape of each map."""
        return self.pd.shape

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> SpinMaps:
        """Apply one function (indexing, moving to a device, ...) to each of the three maps."""
        return SpinMaps(function(self.pd), function(self.t1), function(self.t2))

    def within_bounds(self) -> SpinMaps:
        """Maps as a simulation takes them.

        Where T1 or T2 is 0 or less, as in pixels that a fit could not explain, nothing is known of the tissue: PD is 0
        there. Other values out of bounds are set to the bound: PD >= 0, T1 and T2 to the limits of this module.
        """
        pd = self.pd.masked_fill((self.t1 <= 0) | (self.t2 <= 0), 0).clamp(min=0)
        return SpinMaps(pd, self.t1.clamp(T1_MIN_MS, T1_MAX_MS), self.t2.clamp(T2_MIN_MS, T2_MAX_MS))

    def stack(self, dim: int = 0) -> torch.Tensor:
        """One tensor with PD, T1, T2 along a new axis `dim`, of length 3."""
        return torch.stack((self.pd, self.t1, self.t2), dim)

    @classmethod
    def unstack(cls, stacked: torch.Tensor, dim: int = 0) -> SpinMaps:
        """The reverse of `stack`: axis `dim` of length 3 holds PD, T1 and T2."""
        return cls(*stacked.unbind(dim))
