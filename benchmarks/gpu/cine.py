"""Cine images of held-out digital hearts, for the stages that make maps."""

from __future__ import annotations

import numpy as np

from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.heart_scanner import noisy_magnitude
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import BSSFP

CINE = BSSFP(flip_angle_deg=45.0)
SEED = 6_800_000
"""Of the heart; the shipped prior learned from seeds below a million."""
PIXEL_MM = 1.5
NOISE = 0.005


def cine_scan(quick: bool) -> Scan:
    """A stack of 8 slices of 224 x 224 pixels; one small slice if `quick`."""
    slices, shape = (1, (112, 112)) if quick else (8, (224, 224))
    maps = digital_heart(SEED, slices, shape, PIXEL_MM).maps
    image = noisy_magnitude(np.random.default_rng(SEED), CINE(maps).numpy(), NOISE)
    return Scan("heart", (Series(CINE, image[None]),), (PIXEL_MM, PIXEL_MM))
