"""How far maps can be trusted: how well they explain the images, and how far posterior samples agree."""

from __future__ import annotations

import numpy as np
import torch

from nnunet_phys.precomputed_spin.likelihood import bright_level
from nnunet_phys.precomputed_spin.prior import GREATEST, LEAST, SpinScaling
from nnunet_phys.precomputed_spin.reverse_imaging import Inferred, Scan

MOST_RESIDUAL = 0.03
MOST_SPREAD = 0.25
"""A slice above either is flagged: root mean square residual over the bright level; median relative spread of T1."""


def body_mask(scan: Scan) -> torch.Tensor:
    """All that stands out of the air in any image, bool (slices, rows, columns)."""
    masks = []
    for series in scan.series:
        signal = torch.from_numpy(np.abs(series.images).max(0)).float()
        masks.append(signal > 0.1 * bright_level(signal))
    return torch.stack(masks).any(0)


def quality(found: Inferred, scaling: SpinScaling) -> dict:
    """Figures over the body of a scan, and the slices that look wrong.

    Returns:
        Plain JSON: `residual_rms` (share of the bright level), `share_at_bound` (of values at the edge of what the
        prior allows), `t1_spread` (median over voxels of the samples' relative standard deviation, or None), `flags`
        (`slice` and `reason` of each).
    """
    body = body_mask(found.scan)
    scaled = scaling.encode(found.maps)
    outside = ((scaled <= LEAST + 1e-3) | (scaled >= GREATEST - 1e-3)).any(1)
    spread = found.spread.t1 / found.maps.t1 if found.samples else None
    flags = []
    for z, inside in enumerate(body):
        if not inside.any():
            continue
        residual = float(found.error[z][inside].square().mean().sqrt())
        if residual > MOST_RESIDUAL:
            flags.append({"slice": z, "reason": f"residual {100 * residual:.1f} %"})
        differ = 0.0 if spread is None else float(spread[z][inside].median())
        if differ > MOST_SPREAD:
            flags.append({"slice": z, "reason": f"samples differ by {100 * differ:.0f} % in T1"})
    return {
        "residual_rms": round(float(found.error[body].square().mean().sqrt()), 5),
        "share_at_bound": round(float(outside[body].float().mean()), 5),
        "t1_spread": None if spread is None else round(float(spread[body].median()), 4),
        "flags": flags,
    }
