"""How far maps can be trusted: how well they explain the images, and how far posterior samples agree."""

from __future__ import annotations

import numpy as np
import torch

from nnunet_phys.brightness import bright_level
from nnunet_phys.precomputed_spin.scan import Inferred, Scan
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST, SpinScaling

MOST_RESIDUAL = 0.03
"""A slice with a larger residual is flagged: root mean square, as a share of the bright level. Assumed."""
MOST_SPREAD = 0.25
"""A slice with a larger spread is flagged: median relative standard deviation of T1 over the samples. Assumed."""
FAT_T1_MS, FAT_T2_MS = 800.0, 100.0
"""A cavity with T1 and T2 below these is flagged: native blood has longer times, fat shorter ones
(`nnunet_phys.tissues`)."""
_FEWEST_VOXELS = 20
"""Fewest voxels of a structure in a slice that are judged. Assumed: a median over fewer is unreliable."""
_AIR_SHARE = 0.1
"""Share of the bright level below which pixels are air or lung (assumed)."""
_AT_BOUND = 1e-3
"""Scaled values this close to a bound count as set to it; float32 rounds off less."""


def body_mask(scan: Scan) -> torch.Tensor:
    """The pixels that are brighter than air in any image, bool (slices, rows, columns)."""
    masks = []
    for series in scan.series:
        signal = torch.from_numpy(np.abs(series.images).max(0)).float()
        masks.append(signal > _AIR_SHARE * bright_level(signal))
    return torch.stack(masks).any(0)


def quality(inferred: Inferred, scaling: SpinScaling, structures: dict[str, np.ndarray] | None = None) -> dict:
    """Figures over the body of a scan, and the slices that look wrong.

    Args:
        inferred: maps and the scan that they were made from.
        scaling: the prior's scaling.
        structures: masks (slices, rows, columns) of RV, MYO and LV, as far as these are labelled.

    Returns:
        Plain JSON: `residual_rms` (share of the bright level), `share_at_bound` (of values at the edge of what the
        prior allows), `t1_spread` (median over voxels of the samples' relative standard deviation, or None), `flags`
        (`slice` and `reason` of each), `residual_by_slice` (None where a slice shows no body).
    """
    body, maps = body_mask(inferred.scan), inferred.maps
    scaled = scaling.encode(maps)
    outside = (scaled <= LEAST + _AT_BOUND).any(1) | (scaled[:, 1:] >= GREATEST - _AT_BOUND).any(1)
    spread = inferred.spread.t1 / maps.t1 if inferred.samples else None
    flags = []

    def flag_disagreement(z: int, region: torch.Tensor, place: str) -> None:
        disagreement = 0.0 if spread is None else float(spread[z][region].median())
        if disagreement > MOST_SPREAD:
            flags.append({"slice": z, "reason": f"samples differ by {100 * disagreement:.0f} % in T1{place}"})

    residual_by_slice: list[float | None] = [None] * len(body)
    for z, inside in enumerate(body):
        if not inside.any():
            continue
        residual = float(inferred.error[z][inside].square().mean().sqrt())
        if residual > MOST_RESIDUAL:
            flags.append({"slice": z, "reason": f"residual {100 * residual:.1f} %"})
        residual_by_slice[z] = round(residual, 5)
        flag_disagreement(z, inside, "")
        for name, mask in (structures or {}).items():
            region = torch.from_numpy(mask[z])
            if int(region.sum()) < _FEWEST_VOXELS:
                continue
            flag_disagreement(z, region, f" of {name}")
            t1, t2 = float(maps.t1[z][region].median()), float(maps.t2[z][region].median())
            if name != "MYO" and t1 < FAT_T1_MS and t2 < FAT_T2_MS:
                flags.append({"slice": z, "reason": f"{name} has T1 {t1:.0f} and T2 {t2:.0f} ms, as fat has"})
    return {
        "residual_rms": round(float(inferred.error[body].square().mean().sqrt()), 5),
        "residual_by_slice": residual_by_slice,
        "share_at_bound": round(float(outside[body].float().mean()), 5),
        "t1_spread": None if spread is None else round(float(spread[body].median()), 4),
        "flags": flags,
    }
