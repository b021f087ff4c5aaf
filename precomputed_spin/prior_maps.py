"""Maps that a prior learns from: digital hearts, or PD, T1 and T2 maps on disk."""

from __future__ import annotations

from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch.nn.functional import interpolate, pad
from tqdm import tqdm

from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.heart_scanner import receive_bias
from nnunet_phys.map_files import MAP_NAMES
from nnunet_phys.spin import T1_MAX_MS, T1_MIN_MS, T2_MAX_MS, T2_MIN_MS

SLICES_PER_HEART = 4


def _phantom_slices(seed: int, shape: tuple[int, int], pixel_mm: float) -> np.ndarray:
    """Maps of one digital heart, (slices, 3, rows, columns) float32, each slice with its own receive bias in PD."""
    rng = np.random.default_rng([seed, 1])
    systole = bool(rng.random() < 0.4)
    heart = digital_heart(seed, SLICES_PER_HEART, shape, pixel_mm, systole, hidden_walls=True)
    stacked = heart.maps.stack(1).numpy()
    for one in stacked:
        one[0] *= receive_bias(rng, shape, pixel_mm, centre_mm=heart.centre_mm)
    return stacked


def phantom_maps(hearts: int, pixel_mm: float, first_seed: int = 0, processes: int = 2) -> torch.Tensor:
    """Maps of digital hearts to learn from.

    Args:
        hearts: how many; each gives `SLICES_PER_HEART` slices.
        pixel_mm: pixel size.
        first_seed: seeds are consecutive from here.
        processes: worker processes.

    Returns:
        float32 (slices, 3, 144, 144): PD with a random receive bias, T1 and T2 in ms.
    """
    work = partial(_phantom_slices, shape=(144, 144), pixel_mm=pixel_mm)
    seeds = range(first_seed, first_seed + hearts)
    with get_context("spawn").Pool(processes, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        parts = list(tqdm(pool.imap(work, seeds, chunksize=16), total=hearts, desc="digital hearts"))
    return torch.from_numpy(np.concatenate(parts))


def folder_maps(folder: Path, pixel_mm: float, size: int = 144) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps on disk to learn from, named as `nnunet_phys reverse` names them.

    Args:
        folder: holds *_PDmap, *_T1map (ms) and *_T2map (ms) of any file ending that SimpleITK reads.
        pixel_mm: slices are resampled to this pixel size (nearest neighbour: relaxation times must not be mixed).
        size: and cropped or padded with air to this many rows and columns.

    Returns:
        float32 (slices, 3, size, size) to learn from, and one of `size` 128 for the denoising error: a tenth of the
        cases, at least one.

    Raises:
        InputError: no such folder, fewer than two cases, a map missing, unreadable, of another shape or not finite.
    """
    if not folder.is_dir():
        raise InputError(f"-i {folder}: no such folder. Give a folder of maps, or the word phantom.")
    first = sorted(folder.glob("*_PDmap.*"))
    if len(first) < 2:
        raise InputError(f"-i {folder}: {len(first)} files named CASE_PDmap.*; at least 2 cases are needed.")
    cases = []
    for path in first:
        parts = [_read(path.with_name(path.name.replace("_PDmap.", f"_{name}."))) for name in MAP_NAMES]
        arrays, (row_mm, column_mm) = [array for array, _ in parts], parts[0][1]
        if len({a.shape for a in arrays}) > 1:
            raise InputError(f"{path}: the case's maps differ in shape. Make them again.")
        maps = torch.from_numpy(np.stack(arrays, 1))
        maps[:, 1].clamp_(T1_MIN_MS, T1_MAX_MS)
        maps[:, 2].clamp_(T2_MIN_MS, T2_MAX_MS)
        shape = [round(n * mm / pixel_mm) for n, mm in zip(maps.shape[2:], (row_mm, column_mm), strict=True)]
        cases.append(_fit(interpolate(maps, shape, mode="nearest-exact"), size))
    held_out = max(1, len(cases) // 10)
    return torch.cat(cases[held_out:]), _fit(torch.cat(cases[:held_out]), 128)


def _read(path: Path) -> tuple[np.ndarray, tuple[float, float]]:
    """A map as (slices, rows, columns), and its row and column spacing in mm."""
    try:
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    except RuntimeError:
        raise InputError(f"{path} is missing or cannot be read. Make the case's maps again.") from None
    array = sitk.GetArrayFromImage(image)
    if not np.isfinite(array).all():
        raise InputError(f"{path} holds NaN or infinite values. Make the case's maps again.")
    return array.reshape(-1, *array.shape[-2:]), image.GetSpacing()[1::-1]


def _fit(maps: torch.Tensor, size: int) -> torch.Tensor:
    """Crop or pad slices about their centre: PD with 0, T1 and T2 with their edge values."""
    margins = [size - n for n in maps.shape[-2:]]
    border = [half for m in reversed(margins) for half in (m // 2, m - m // 2)]
    fitted = pad(maps, [max(0, b) for b in border], mode="replicate")
    if max(margins) > 0:
        fitted[:, 0] = pad(maps[:, 0], [max(0, b) for b in border])
    left, _, top, _ = (max(0, -b) for b in border)
    return fitted[..., top : top + size, left : left + size]


def reference_voxels(maps: torch.Tensor, count: int = 4096) -> torch.Tensor:
    """A few of the voxels of maps (slices, 3, rows, columns), evenly from all slices, as (3, count)."""
    slices, area = len(maps), maps[0, 0].numel()
    index = torch.arange(count) * (slices * area) // count
    return maps.flatten(2)[index // area, :, index % area].T.contiguous()
