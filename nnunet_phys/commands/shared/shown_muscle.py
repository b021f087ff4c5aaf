"""T1 and T2 of the muscle that a page shows, around whose null late enhancement is drawn."""

from __future__ import annotations

import torch

from nnunet_phys.commands.shared.contrast_options import NULLED_T1_MS, NULLED_T2_MS
from nnunet_phys.spin import SpinMaps

_NEAR_MM = 60.0
"""Distance from the middle within which muscle is looked for. Assumed: the heart, and little of the chest wall."""
_MUSCLE_T1_MS, _MUSCLE_T2_MS = (850.0, 1700.0), (35.0, 70.0)
"""T1 and T2 of muscle at 1.5 and 3 T. Assumed: wider than `TISSUES`' myocardium; T2 excludes blood."""
_SOLID = 0.4
"""Least PD, as a share of the 95th percentile, of what is no lung, whose T1 and T2 are uncertain. Assumed."""
_FEWEST_PIXELS = 20
"""Fewest pixels of muscle whose median counts. Assumed."""


def muscle_t1_t2(maps: SpinMaps, pixel_mm: tuple[float, float]) -> tuple[float, float]:
    """Median T1 and T2 (ms) of muscle within 60 mm of the middle; textbook values if there is none.

    Args:
        maps: maps of what is shown, the heart in the middle, (1, rows, columns).
        pixel_mm: row and column spacing.
    """
    rows, columns = ((torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip(maps.shape[1:], pixel_mm, strict=True))
    muscle = (rows[:, None] ** 2 + columns**2 < _NEAR_MM**2) & (maps.pd > _SOLID * torch.quantile(maps.pd, 0.95))
    for times, (least, greatest) in ((maps.t1, _MUSCLE_T1_MS), (maps.t2, _MUSCLE_T2_MS)):
        muscle = muscle & (times > least) & (times < greatest)
    if muscle.sum() < _FEWEST_PIXELS:
        return NULLED_T1_MS, NULLED_T2_MS
    return float(maps.t1[muscle].median()), float(maps.t2[muscle].median())
