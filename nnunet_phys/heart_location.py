"""Where the heart lies in maps without labels: the largest pool of blood near the middle of the slices."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_opening, find_objects, label

from nnunet_phys.brightness import centre_weights
from nnunet_phys.map_plausibility import BRIGHT_SHARE
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_kinds import flowing_blood

_MOST_MM = 150.0
"""Longest side of a heart's blood. Assumed: both cavities of a dilated heart are shorter; a pool that runs into vessels
or noise may be longer."""


def find_heart(maps: SpinMaps, pixel_mm: tuple[float, float]) -> np.ndarray:
    """Mask of the pool of blood that has the most pixels, weighted by how near they are to the middle of the slices.

    Args:
        maps: maps of shape (slices, rows, columns).
        pixel_mm: row and column spacing.

    Returns:
        bool (slices, rows, columns); all False where no blood is found, or where what is found is too long for a heart.
    """
    pd = maps.pd.numpy()
    blood = (flowing_blood(maps.t1, maps.t2).numpy() > 0.5) & (pd > BRIGHT_SHARE * np.quantile(pd, 0.99))
    pools, count = label(binary_opening(blood, np.ones((1, 3, 3))))
    if count == 0:
        return np.zeros_like(blood)
    weights = np.broadcast_to(centre_weights(*blood.shape[1:]).numpy(), blood.shape)
    heaviest = int(np.bincount(pools.ravel(), weights.ravel())[1:].argmax()) + 1
    _, *box = find_objects(pools)[heaviest - 1]
    sides = [(part.stop - part.start) * mm for part, mm in zip(box, pixel_mm, strict=True)]
    return (pools == heaviest) & (max(sides) <= _MOST_MM)
