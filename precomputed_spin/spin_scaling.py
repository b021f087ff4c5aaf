"""Physical units to the numbers of about [-1, 1] that the prior's network sees, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from nnunet_phys.spin import T1_MAX_MS, T1_MIN_MS, T2_MAX_MS, T2_MIN_MS, SpinMaps

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


@dataclass(frozen=True)
class PublishedScaling(SpinScaling):
    """The scaling of Zhao et al.'s network (Reverse Imaging, MICCAI 2025), linear in all three.

    PD = u / 0.6, T1 = 3200 u ms and T2 = 300 u ms for u = (z + 1) / 2, as their `cine_reverse_all.py` has it. Signal
    equations need times above 0: below `T1_MIN_MS` and `T2_MIN_MS`, times fall exponentially with u instead, with the
    same slope at these bounds, so that a gradient remains.
    """

    pd: tuple[float, float] = field(default=(0.0, 1 / 0.6), init=False)
    t1_ms: tuple[float, float] = field(default=(0.0, 3200.0), init=False)
    t2_ms: tuple[float, float] = field(default=(0.0, 300.0), init=False)

    def __post_init__(self) -> None:
        """Nothing to check: the bounds are constants, and those of T1 and T2 begin at 0."""

    def encode(self, maps: SpinMaps) -> torch.Tensor:
        """See `SpinScaling`."""
        channels = [maps.pd / self.pd[1]]
        for time, (_, high), least in ((maps.t1, self.t1_ms, T1_MIN_MS), (maps.t2, self.t2_ms, T2_MIN_MS)):
            channels.append(torch.where(time > least, time, least * (1 + torch.log(time / least))) / high)
        return 2 * torch.stack(channels, 1) - 1

    def decode(self, scaled: torch.Tensor) -> SpinMaps:
        """See `SpinScaling`."""
        unit = (scaled + 1) / 2
        times = []
        for channel, (_, high), least in ((1, self.t1_ms, T1_MIN_MS), (2, self.t2_ms, T2_MIN_MS)):
            linear = high * unit[:, channel]
            times.append(torch.where(linear > least, linear, least * torch.exp(linear.clamp(max=least) / least - 1)))
        return SpinMaps(self.pd[1] * unit[:, 0], *times)
