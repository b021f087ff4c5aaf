"""Signals that are linear in some parameters: what `separable_fit` asks of a model.

Shapes: N pixels, K images, L linear and P nonlinear parameters; images come first, pixels last.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch


@dataclass(frozen=True)
class Axis:
    """Bounds of a nonlinear parameter, and how many values between them the search tries."""

    least: float
    greatest: float
    count: int

    @property
    def values(self) -> torch.Tensor:
        """The values, float64, equally spaced in their logarithm."""
        return torch.logspace(math.log10(self.least), math.log10(self.greatest), self.count, dtype=torch.float64)


class SeparableModel(ABC):
    """A signal of K images, S = sum over l of c_l f_l(T), in linear parameters c and nonlinear parameters T > 0."""

    typical: ClassVar[tuple[tuple[float, ...], tuple[float, ...]]]
    """The linear parameters of myocardium with PD 1, and the nonlinear ones, ms."""
    axes: tuple[Axis, ...]
    """Bounds of the P nonlinear parameters."""

    @abstractmethod
    def columns(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """f (L, K, N) for nonlinear parameters (P, N)."""

    @abstractmethod
    def slopes(self, nonlinear: torch.Tensor) -> torch.Tensor:
        """Derivatives of f by the logarithms of the nonlinear parameters, (P, L, K, N)."""

    @abstractmethod
    def quantities(self, linear: torch.Tensor, nonlinear: torch.Tensor) -> dict[str, torch.Tensor]:
        """PD (in the signal's unit), T1 and T2 (ms), as far as the series determines them, each (N,)."""

    def signs(self, pixels: torch.Tensor) -> torch.Tensor:
        """Candidates for the signs that magnitudes (K, N) had lost: (candidates, K, N or 1)."""
        return torch.ones(1, len(pixels), 1, dtype=pixels.dtype)

    def likely_signs(self, pixels: torch.Tensor) -> torch.Tensor:
        """The candidates that hold unless an image moved or noise hides a small value, like those of `signs`."""
        return self.signs(pixels)

    @property
    def lost_sign(self) -> bool:
        """Whether the images are magnitudes of a signal that has a sign."""
        return False

    @property
    def parameters(self) -> int:
        """L + P."""
        return sum(map(len, self.typical))
