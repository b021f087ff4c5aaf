"""One image made from maps outside training: a contrast, and how far breathing moved it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.json_files import structure
from nnunet_phys.scanner import displace
from nnunet_phys.spin import SpinMaps


@dataclass(frozen=True)
class SyntheticImage:
    """An image to make.

    Attributes:
        draw: the contrast.
        shift_mm: how far breathing moved the image, from row to row.
    """

    draw: ContrastDraw
    shift_mm: float = 0.0

    def make(self, maps: SpinMaps, voxel_mm: tuple[float, float, float]) -> torch.Tensor:
        """The image, in the signal's unit.

        Args:
            maps: maps of shape (slices, rows, columns).
            voxel_mm: slice, row and column spacing.

        Returns:
            tensor (slices, rows, columns): magnitude, or the signed signal if phase-sensitive.
        """
        signal, bright = self.draw.signal(maps.stack(), voxel_mm)
        if self.shift_mm != 0:  # noise is neither moved nor interpolated
            signal = displace(signal, self.shift_mm / voxel_mm[1], along_rows=True)
        return self.draw.detected(signal, bright)

    def describe(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"draw": self.draw.describe(), "shift_mm": self.shift_mm}

    @classmethod
    def from_record(cls, record: Any, where: str) -> list[SyntheticImage]:
        """All images of a record: a single draw, or an object with a list of `images`.

        Args:
            record: plain JSON.
            where: the file, with which every line of an error begins.

        Raises:
            InputError: the record is something else, or holds an invalid draw.
        """
        remedy = "Give a CASE.json that `nnunet_phys synthesize` wrote, or a draw from it."
        is_list = isinstance(record, dict) and "images" in record
        content = record if is_list else {"images": [{"draw": record, "shift_mm": 0.0}]}
        entries = structure(content, _Record, where, remedy, extra=True).images
        return [cls(ContrastDraw.from_description(entry.draw), entry.shift_mm) for entry in entries]


@dataclass(frozen=True)
class _Entry:
    draw: dict[str, Any]
    shift_mm: float


@dataclass(frozen=True)
class _Record:
    images: list[_Entry]

    def __post_init__(self) -> None:
        if not self.images:
            raise ValueError("it holds no image")
