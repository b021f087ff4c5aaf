"""How far maps can be trusted: how well they explain the images, and how far posterior samples agree."""

from __future__ import annotations

import numpy as np
import torch

from nnunet_phys.brightness import bright_level
from nnunet_phys.precomputed_spin.scan import Inferred, Scan
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST, SpinScaling

MOST_RESIDUAL = 0.03
MOST_SPREAD = 0.25
"""A slice above either is flagged: root mean square residual over the bright level; median relative spread of T1."""
FAT_T1_MS, FAT_T2_MS = 800.0, 100.0
"""A cavity below both is flagged: native blood has more of both, fat less (`nnunet_phys.tissues`)."""
_FEWEST_VOXELS = 20
"""Of a structure in a slice; a median over fewer says little (assumed)."""
_AIR_SHARE = 0.1
"""Of the bright level; darker is air or lung (assumed)."""
_AT_BOUND = 1e-3
"""Scaled values this close to a bound were set to it."""


def body_mask(scan: Scan) -> torch.Tensor:
    """All that stands out of the air in any image, bool (slices, rows, columns)."""
    masks = []
    for series in scan.series:
        signal = torch.from_numpy(np.abs(series.images).max(0)).float()
        masks.append(signal > _AIR_SHARE * bright_level(signal))
    return torch.stack(masks).any(0)


def quality(inferred: Inferred, scaling: SpinScaling, structures: dict[str, np.ndarray] | None = None) -> dict:
    """Figures over the body of a scan, and the slices that look wrong.

    Args:
        inferred: maps and what they were made from.
        scaling: of the prior.
        structures: masks (slices, rows, columns) of RV, MYO and LV, as far as there are labels.

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

    def flag_disagreement(z: int, where: torch.Tensor, place: str) -> None:
        disagreement = 0.0 if spread is None else float(spread[z][where].median())
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
            where = torch.from_numpy(mask[z])
            if int(where.sum()) < _FEWEST_VOXELS:
                continue
            flag_disagreement(z, where, f" of {name}")
            t1, t2 = float(maps.t1[z][where].median()), float(maps.t2[z][where].median())
            if name != "MYO" and t1 < FAT_T1_MS and t2 < FAT_T2_MS:
                flags.append({"slice": z, "reason": f"{name} has T1 {t1:.0f} and T2 {t2:.0f} ms, as fat has"})
    return {
        "residual_rms": round(float(inferred.error[body].square().mean().sqrt()), 5),
        "residual_by_slice": residual_by_slice,
        "share_at_bound": round(float(outside[body].float().mean()), 5),
        "t1_spread": None if spread is None else round(float(spread[body].median()), 4),
        "flags": flags,
    }
