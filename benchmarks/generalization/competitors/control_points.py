"""Smooth maps from a few control points."""

from __future__ import annotations

import torch


def smooth_map(points: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Spread control points over a plane by quadratic B-splines, normalised at the edges.

    Args:
        points: values at the centres of equal cells that fill the plane, (..., m, n).
        shape: rows and columns of the plane.

    Returns:
        tensor (..., rows, columns).
    """
    rows, columns = (_weights(count, size).to(points) for count, size in zip(points.shape[-2:], shape, strict=True))
    return rows @ points @ columns.T


def _weights(count: int, size: int) -> torch.Tensor:
    """Weight of each of `count` control points at each of `size` pixels, (size, count)."""
    pixels = (torch.arange(size) + 0.5) * count / size - 0.5
    distance = (pixels[:, None] - torch.arange(count)).abs()
    weights = torch.where(distance < 0.5, 0.75 - distance**2, 0.5 * (1.5 - distance).clamp(min=0) ** 2)
    return weights / weights.sum(1, keepdim=True)


def to_unit_range(maps: torch.Tensor) -> torch.Tensor:
    """Scale each map of (..., rows, columns) linearly to 0 to 1; constant maps become 0."""
    least, greatest = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - least) / (greatest - least).clamp(min=torch.finfo(maps.dtype).tiny)
