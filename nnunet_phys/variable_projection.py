"""Variable projection: linear parameters in closed form, and the Gauss-Newton step of the others, pixel by pixel.

Golub and Pereyra 1973, SIAM J Numer Anal 10:413. Shapes are those of `separable_model`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_phys.separable_model import SeparableModel

LEAST_WEIGHT = 1e-3
"""Of a discounted image, so that every fit stays determined."""
TINY = 1e-12
"""Least length of a column, and least scale of residuals, so that quotients stay finite."""


@dataclass(frozen=True, eq=False)
class Projection:
    """The linear parameters for given nonlinear ones.

    Attributes:
        linear: (L, N), weighted least squares.
        step: Gauss-Newton step of the logarithms of the nonlinear parameters, (P, N).
        residual: (K, N), not weighted.
        leverage: share of each image's weighted value that the fit takes over, (K, N).
    """

    linear: torch.Tensor
    step: torch.Tensor
    residual: torch.Tensor
    leverage: torch.Tensor

    def studentised(self) -> torch.Tensor:
        """Residuals (K, N) whose variance is the noise's in all images, however much the fit bends towards one."""
        return self.residual / (1 - self.leverage).clamp(min=LEAST_WEIGHT).sqrt()


def project(model: SeparableModel, signed: torch.Tensor, nonlinear: torch.Tensor, weights: torch.Tensor) -> Projection:
    """Weighted linear parameters in closed form, and the step of the others with the linear ones eliminated.

    A Gram-Schmidt decomposition of the columns f and, behind them, of the signal's slopes by log T: what remains of the
    slopes is orthogonal to f, which eliminates the linear parameters (Kaufman 1975, BIT 15:49).
    """
    root = weights.sqrt()
    columns = model.columns(nonlinear)
    directions, triangle, shares = _orthogonal(list(root * columns), [], root * signed)
    linear = _back_substituted(triangle, shares)
    residual = signed - (linear[:, None] * columns).sum(0)
    slopes = (linear[None, :, None] * model.slopes(nonlinear)).sum(1)
    more, triangle, shares = _orthogonal(list(root * slopes), directions, root * residual)
    leverage = torch.stack([direction.square() for direction in (*directions, *more)]).sum(0)
    return Projection(linear, _back_substituted(triangle, shares), residual, leverage)


def _orthogonal(
    columns: list[torch.Tensor], before: list[torch.Tensor], target: torch.Tensor
) -> tuple[list[torch.Tensor], list[list[torch.Tensor]], list[torch.Tensor]]:
    """Modified Gram-Schmidt, orthogonal to the directions `before`, too, for all pixels at once.

    torch.linalg.qr, which takes one small matrix after the other, is slower.

    Returns:
        unit directions, the columns of the triangular matrix, and the target's share in each direction.
    """
    directions: list[torch.Tensor] = []
    triangle: list[list[torch.Tensor]] = []
    shares: list[torch.Tensor] = []
    for column in columns:
        for direction in before:
            column = column - (direction * column).sum(0) * direction
        entries = []
        for direction in directions:
            entry = (direction * column).sum(0)
            column = column - entry * direction
            entries.append(entry)
        length = column.square().sum(0).sqrt().clamp(min=TINY)
        directions.append(column / length)
        triangle.append([*entries, length])
        shares.append((directions[-1] * target).sum(0))
    return directions, triangle, shares


def _back_substituted(triangle: list[list[torch.Tensor]], shares: list[torch.Tensor]) -> torch.Tensor:
    """Solve the triangular system of `_orthogonal`, (columns, N)."""
    solution: list[torch.Tensor] = []
    for row in range(len(shares) - 1, -1, -1):
        known = torch.zeros_like(shares[row])
        for later, value in enumerate(solution, row + 1):
            known = known + triangle[later][row] * value
        solution.insert(0, (shares[row] - known) / triangle[row][row])
    return torch.stack(solution)
