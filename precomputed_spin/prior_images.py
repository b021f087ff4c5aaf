"""Images that a prior learns from before it learns from maps: they teach shapes and textures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import interpolate

from nnunet_phys.brightness import bright_level
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.image_checks import value_faults
from nnunet_phys.precomputed_spin.prior_maps import MAP_SIZE, centred, shape_on_prior
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST

BRIGHT = 0.5
"""Network number of an image's bright level. Blood, the brightest tissue of cine, lies about there in scaled T1 (0.58
at 1500 ms) and T2 (0.57 at 170 ms)."""


@dataclass(frozen=True)
class Pretraining:
    """What a prior learns before it learns from maps.

    Attributes:
        make_images: gives slices in network numbers, (slices, 3, rows, columns).
        steps: optimiser steps.
        sha256: hash of the images; None: unknown.
    """

    make_images: Callable[[], torch.Tensor]
    steps: int
    sha256: str | None = None


def pretraining_images(scans: list[ScanFiles], pixel_mm: float, size: int = MAP_SIZE) -> torch.Tensor:
    """Slices of magnitude images, each repeated over the three channels that a prior denoises.

    Air becomes -1 and a case's bright level `BRIGHT`, so that the channels have the range of scaled maps. All three
    hold the image, as the edges of PD, T1 and T2 lie where its edges lie; an empty channel would teach no shapes.

    Args:
        scans: images, one volume each.
        pixel_mm: slices are resampled to this pixel size (linear, smoothed where it is coarser than theirs).
        size: rows and columns to which slices are then cropped or padded with air.

    Returns:
        float32 (slices, 3, size, size); the channels share their memory.

    Raises:
        InputError: images that cannot be read, hold NaN, no signal or labels, are clearly negative, too coarse or too
            small; one line per fault.
    """
    slices: list[torch.Tensor] = []
    faults: list[str] = []
    for files in scans:
        try:
            shape = shape_on_prior(files.case, files.geometry, pixel_mm, size)
            volume = files.read()
        except InputError as error:
            faults.extend(error.faults)
            continue
        of_values = list(value_faults(files, volume, [False]))
        faults.extend(of_values)
        if not of_values:
            slices.append(_scaled(torch.from_numpy(volume[0])[:, None].clamp(min=0), shape, size))
    if faults:
        raise InputError(*faults)
    return torch.cat(slices).expand(-1, 3, -1, -1)


def _scaled(images: torch.Tensor, shape: list[int], size: int) -> torch.Tensor:
    """A case's slices (slices, 1, rows, columns) resampled to `shape`, centred and in network numbers."""
    fitted = centred(interpolate(images, shape, mode="bilinear", antialias=True), size, "constant")
    return (LEAST + (BRIGHT - LEAST) * fitted / bright_level(images)).clamp(LEAST, GREATEST)
