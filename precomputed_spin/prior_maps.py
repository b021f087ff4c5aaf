"""Maps that a prior learns from: digital hearts, or PD, T1 and T2 maps on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate, pad

from nnunet_phys.brightness import bright_level
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.heart_scanner import receive_bias
from nnunet_phys.image_files import Geometry
from nnunet_phys.map_files import find_maps, load_maps, map_paths, refuse_empty, with_air
from nnunet_phys.workers import run_in_workers

HELD_OUT_HEARTS = 8
"""Digital hearts on which the denoising error is measured; their seeds start at 0."""
FIRST_SEED = 1000
"""The seeds of digital hearts to train on start here."""
SLICES_PER_HEART = 4
MAP_SIZE = 144
"""Rows and columns of the maps that a prior learns from."""
HELD_OUT_SIZE = 128
"""Rows and columns of the maps that are held out: those of the largest training crop."""
CASES_PER_HELD_OUT = 10
"""One case in this many is held out. A choice."""
SYSTOLIC_SHARE = 0.4
"""Share of hearts in systole. Assumed: systole takes about 40 % of a heart beat at rest."""
_COARSEST = 2.0
"""Largest pixel size of maps, in pixels of the prior. Assumed: coarser maps become blocks, which it would learn."""
_MOST_PD = 3.0
"""PD of a case whose bright level is above this or below its reciprocal is in another unit than a prior's, in which
blood is about 1. Assumed: a receive bias changes it by less."""
_LEAST_FIELD = 0.25
"""Smallest field of view, as a share of a training map's. Assumed: 90 mm at 2.5 mm, about the size of a heart."""


@dataclass(frozen=True, eq=False)
class TrainingMaps:
    """Maps that a prior learns from.

    Attributes:
        maps: float32 (slices, 3, rows, columns): PD (relative), T1 and T2 (ms).
        labels: uint8 (slices, rows, columns), codes of `digital_heart.LABELS`; 0 where nothing is labelled.
    """

    maps: torch.Tensor
    labels: torch.Tensor


def _phantom_slices(seed: int, shape: tuple[int, int], pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Maps (slices, 3, rows, columns) and labels of a digital heart, each slice with its own receive bias in PD."""
    rng = np.random.default_rng([seed, 1])
    systole = bool(rng.random() < SYSTOLIC_SHARE)
    heart = digital_heart(seed, SLICES_PER_HEART, shape, pixel_mm, systole, hidden_walls=True)
    stacked = heart.maps.stack(1).numpy()
    for slice_maps in stacked:
        slice_maps[0] *= receive_bias(rng, shape, pixel_mm, centre_mm=heart.centre_mm)
    return stacked, heart.labels


def phantom_maps(hearts: int, pixel_mm: float, first_seed: int = 0, processes: int = 2) -> TrainingMaps:
    """Maps of digital hearts to learn from.

    Args:
        hearts: number of hearts, of `SLICES_PER_HEART` slices each.
        pixel_mm: pixel size.
        first_seed: seed of the first heart; the others follow consecutively.
        processes: worker processes.

    Returns:
        Maps of `MAP_SIZE` rows and columns, PD with a random receive bias, and their labels.
    """
    work = partial(_phantom_slices, shape=(MAP_SIZE, MAP_SIZE), pixel_mm=pixel_mm)
    seeds = range(first_seed, first_seed + hearts)
    parts = run_in_workers(work, seeds, processes, "digital hearts")
    maps, labels = (torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*parts, strict=True))
    return TrainingMaps(maps, labels)


def folder_maps(folder: Path, pixel_mm: float, size: int = MAP_SIZE) -> tuple[TrainingMaps, TrainingMaps]:
    """Maps on disk to learn from, named as `nnunet_phys reverse` names them.

    Args:
        folder: holds CASE_PDmap, CASE_T1map (ms) and CASE_T2map (ms) of each case (`map_files`). PD in another unit
            than blood's is scaled case by case, so that its bright level is 1.
        pixel_mm: slices are resampled to this pixel size (nearest neighbour: relaxation times must not be mixed).
        size: rows and columns to which slices are then cropped or padded with air.

    Returns:
        Maps of `size` rows and columns to learn from, and maps of `HELD_OUT_SIZE` for the denoising error: a tenth of
        the cases, at least one. Slices without any PD in the middle are left out. Nothing is labelled.

    Raises:
        InputError: no such folder, fewer than two cases, or maps that are missing, cut short, not finite, on different
            grids, implausible, too coarse or too small; one line per fault.
    """
    endings = find_maps(folder)
    if len(endings) < 2:
        raise InputError(f"-i {folder} holds maps of one case; at least 2 are needed.")
    cases: list[torch.Tensor] = []
    faults: list[str] = []
    for case, ending in endings.items():
        try:
            maps = case_maps(folder, case, ending, pixel_mm, size)
            shown = centred(maps[:, 0], HELD_OUT_SIZE, "constant") > 0  # any case may be held out
            refuse_empty(case, shown)
            cases.append(maps[shown.flatten(1).any(1)])
        except InputError as error:
            faults.extend(error.faults)
    if faults:
        raise InputError(*faults)
    held_out = max(1, len(cases) // CASES_PER_HELD_OUT)
    return _unlabelled(torch.cat(cases[held_out:])), _unlabelled(_fit(torch.cat(cases[:held_out]), HELD_OUT_SIZE))


def join(parts: Sequence[TrainingMaps]) -> TrainingMaps:
    """The slices of several, one after the other."""
    return TrainingMaps(torch.cat([part.maps for part in parts]), torch.cat([part.labels for part in parts]))


def _unlabelled(maps: torch.Tensor) -> TrainingMaps:
    return TrainingMaps(maps, torch.zeros_like(maps[:, 0], dtype=torch.uint8))


def case_maps(folder: Path, case: str, ending: str, pixel_mm: float, size: int) -> torch.Tensor:
    """A case's maps on the grid that a prior learns from; see `folder_maps` for the arguments.

    Returns:
        float32 (slices, 3, size, size).

    Raises:
        InputError: they are missing, cut short, not finite, on different grids, implausible, too coarse or too small.
    """
    maps = with_air(load_maps(folder, case, ending, None)).stack(1)
    shape = shape_on_prior(case, Geometry.read(map_paths(folder, case, ending)["PDmap"]), pixel_mm, size)
    refuse_empty(case, maps[:, 0])
    level = bright_level(maps[:, 0])
    if not 1 / _MOST_PD <= level <= _MOST_PD:
        maps[:, 0] /= level
    return _fit(interpolate(maps, shape, mode="nearest-exact"), size)


def shape_on_prior(case: str, geometry: Geometry, pixel_mm: float, size: int) -> list[int]:
    """Rows and columns of a case's slices at a prior's pixel size.

    Args:
        case: the case's name, for messages.
        geometry: grid of the slices.
        pixel_mm: pixel size of the prior.
        size: rows and columns to which the slices will be cropped or padded.

    Raises:
        InputError: the pixels are too coarse for the prior, or the field of view is too small.
    """
    spacing, counts = geometry.pixel_mm, geometry.size[1::-1]
    if max(spacing) > _COARSEST * pixel_mm:
        raise InputError(
            f"{case}: pixels of {max(spacing):g} mm are too coarse for a prior of {pixel_mm:g} mm. Give a greater "
            "-pixel_mm."
        )
    shape = [round(count * mm / pixel_mm) for count, mm in zip(counts, spacing, strict=True)]
    if min(shape) < _LEAST_FIELD * size:
        raise InputError(
            f"{case}: a field of view of {shape[0] * pixel_mm:.0f} x {shape[1] * pixel_mm:.0f} mm is too small, at "
            f"least {_LEAST_FIELD * size * pixel_mm:.0f} mm are needed. Leave the case out."
        )
    return shape


def centred(slices: torch.Tensor, size: int, padding: str) -> torch.Tensor:
    """Crop or pad slices (slices, channels, rows, columns) about their centre; `padding` is a mode of torch's `pad`."""
    margins = [size - n for n in slices.shape[-2:]]
    border = [half for m in reversed(margins) for half in (m // 2, m - m // 2)]
    fitted = pad(slices, [max(0, b) for b in border], mode=padding)
    left, _, top, _ = (max(0, -b) for b in border)
    return fitted[..., top : top + size, left : left + size]


def _fit(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Crop or pad maps about their centre: PD with 0, T1 and T2 with their edge values."""
    return torch.cat((centred(maps[:, :1], size, "constant"), centred(maps[:, 1:], size, "replicate")), 1)
