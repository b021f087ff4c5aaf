"""Slices of several channels as the networks see them: one pixel size, brightness from -1 to 1; and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

BRIGHT_PERCENTILE = 99.5
"""A volume's brightness at this percentile becomes 1, brighter voxels too. As images are scaled for their comparison in
studies of cardiac synthesis; the little that is brighter is fat beside a coil."""
DARKEST = -1.0
"""What darkness, and air around a slice, is for the networks."""


@dataclass(frozen=True, eq=False)
class ChannelSlices:
    """Slices with all channels.

    Attributes:
        images: float16 (slices, channels, rows, columns), from -1 to 1.
        regions: bool (slices, regions, rows, columns): where the loss may count more; no regions where nothing is
            labelled.
    """

    images: torch.Tensor
    regions: torch.Tensor

    def __len__(self) -> int:
        return len(self.images)

    def shuffled(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """Numbers of `count` slices, none twice before all have come."""
        orders = [torch.randperm(len(self), generator=generator) for _ in range(-(-count // len(self)))]
        return torch.cat(orders)[:count]

    @classmethod
    def join(cls, volumes: Sequence[tuple[torch.Tensor, torch.Tensor]], size: int) -> ChannelSlices:
        """The slices of several volumes, cut or padded about their centre.

        Args:
            volumes: images and regions of each, of any number of rows and columns.
            size: rows and columns that they get.
        """
        square = (size, size)
        return cls(
            torch.cat([fit_about_centre(images, square, DARKEST).half() for images, _ in volumes]),
            torch.cat([fit_about_centre(regions, square, False) for _, regions in volumes]),
        )


@dataclass(frozen=True)
class Brightness:
    """How a volume's numbers become the networks'.

    Attributes:
        dark: what becomes -1: 0, or the percentile opposite to the bright one where an image is signed (PSIR).
        bright: what becomes 1.
    """

    dark: float
    bright: float

    @classmethod
    def of(cls, volume: np.ndarray) -> Brightness:
        """The brightness of a volume of any shape."""
        dark = float(np.percentile(volume, 100 - BRIGHT_PERCENTILE)) if volume.min() < 0 else 0.0
        return cls(dark, float(np.percentile(volume, BRIGHT_PERCENTILE)))

    @property
    def is_flat(self) -> bool:
        """Whether the volume is constant, or nearly."""
        return self.bright <= self.dark

    def to_network(self, volume: torch.Tensor) -> torch.Tensor:
        """Numbers from -1 to 1, of the volume's shape; what lies beyond the ends is cut."""
        return (2 * (volume - self.dark) / (self.bright - self.dark) - 1).clamp(-1, 1)

    def to_image(self, values: torch.Tensor) -> torch.Tensor:
        """The reverse of `to_network`, without what was cut."""
        return self.dark + (values + 1) / 2 * (self.bright - self.dark)


def resample(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Slices with another number of rows and columns over the same field of view.

    Args:
        images: float (slices, channels, rows, columns).
        size: rows and columns.

    Returns:
        float (slices, channels, *size), linear and without aliasing.
    """
    return interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def resampled_size(shape: tuple[int, int], pixel_mm: tuple[float, float], new_pixel_mm: float) -> tuple[int, int]:
    """Rows and columns that a field of view has with another pixel size, at least one each."""
    rows, columns = (max(1, round(n * mm / new_pixel_mm)) for n, mm in zip(shape, pixel_mm, strict=True))
    return rows, columns


def fit_about_centre(values: torch.Tensor, size: tuple[int, int], fill: float) -> torch.Tensor:
    """Cut or pad the last two axes about their centre.

    Args:
        values: (..., rows, columns).
        size: new rows and columns.
        fill: value of added pixels.
    """
    margins: list[int] = []
    for old, new in zip(values.shape[:-3:-1], size[::-1], strict=True):
        before = (new - old) // 2 if new >= old else -((old - new) // 2)  # so that cutting undoes padding
        margins += [before, new - old - before]
    return pad(values, margins, value=fill)
