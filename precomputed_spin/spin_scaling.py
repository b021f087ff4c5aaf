"""Physical units to the numbers of about [-1, 1] that the prior's network sees, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from nnunet_phys.spin import T1_MAX_MS, T2_MAX_MS, SpinMaps

LEAST, GREATEST = -1.0, 1.3
"""Bounds of scaled maps: PD is not negative; upwards, values may exceed the prior's range a little."""

_LEAST_T1_END_MS, _LEAST_T2_END_MS = 500.0, 50.0
"""An upper end below these is taken for seconds: myocardium has more (T1 about 1000 ms, T2 about 50 ms)."""


@dataclass(frozen=True)
class SpinScaling:
    """How PD, T1 and T2 become numbers of about [-1, 1] for the network.

    PD is linear; T1 and T2 are logarithmic, since signal equations depend on their ratios and tissues spread over two
    orders of magnitude.

    Attributes:
        pd: PD that maps to -1 and 1. The upper end leaves room for the receive bias, which an inferred PD contains.
        t1_ms: T1 that maps to -1 and 1, ms.
        t2_ms: T2 that maps to -1 and 1, ms.

    Raises:
        ValueError: bounds that do not increase, relaxation times that are not above 0 or not in ms.
    """

    pd: tuple[float, float] = (0.0, 2.5)
    t1_ms: tuple[float, float] = (220.0, 2500.0)
    t2_ms: tuple[float, float] = (22.0, 300.0)

    def __post_init__(self) -> None:
        for name, (low, high) in (("pd", self.pd), ("t1_ms", self.t1_ms), ("t2_ms", self.t2_ms)):
            if not low < high:
                raise ValueError(f"{name} from {low:g} to {high:g} does not increase")
        for name, (low, high), least_end, most in (
            ("t1_ms", self.t1_ms, _LEAST_T1_END_MS, T1_MAX_MS),
            ("t2_ms", self.t2_ms, _LEAST_T2_END_MS, T2_MAX_MS),
        ):
            if not (low > 0 and least_end <= high <= most):
                raise ValueError(f"{name} from {low:g} to {high:g} cannot be the milliseconds of tissue")

    def encode(self, maps: SpinMaps) -> torch.Tensor:
        """Scale maps of shape (slices, rows, columns) to a tensor (slices, 3, rows, columns)."""
        low, high = self.pd
        channels = [2 * (maps.pd - low) / (high - low) - 1]
        for time, (low, high) in ((maps.t1, self.t1_ms), (maps.t2, self.t2_ms)):
            channels.append(2 * torch.log(time / low) / math.log(high / low) - 1)
        return torch.stack(channels, 1)

    def decode(self, scaled: torch.Tensor) -> SpinMaps:
        """The reverse of `encode`. Differentiable."""
        unit = (scaled + 1) / 2
        low, high = self.pd
        pd = low + (high - low) * unit[:, 0]
        t1, t2 = (
            low * torch.exp(unit[:, channel] * math.log(high / low))
            for channel, (low, high) in ((1, self.t1_ms), (2, self.t2_ms))
        )
        return SpinMaps(pd, t1, t2)
