"""The digital heart after contrast agent: scars, and how much agent each tissue takes up.

Training uses `tissue_state` instead. Here, concentrations follow the true tissue, and scars the layers of the wall.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import center_of_mass, distance_transform_edt

from nnunet_phys.digital_heart import LABELS
from nnunet_phys.tissues import TISSUE_NAMES

_BLOOD = ("blood", "venous blood")
_WITHOUT_AGENT = ("air", "fat", "marrow", "fluid")
"""Tissues without agent. Assumed: fat, marrow and closed pools of fluid take up none within minutes."""


def draw_scar(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Draw the scar of an infarct: a sector of the left ventricle's wall, from the cavity outwards.

    Its angle (40-120 degrees) and depth (40-100 % of the wall) are assumptions; it covers 40-80 % of the slices.

    Args:
        rng: source of the draw.
        labels: labels of a digital heart, (slices, rows, columns).

    Returns:
        bool array of the labels' shape, inside the myocardium.
    """
    middle, half_width = rng.uniform(-np.pi, np.pi), np.deg2rad(rng.uniform(40, 120)) / 2
    depth = rng.uniform(0.4, 1.0)
    length = max(1, round(rng.uniform(0.4, 0.8) * len(labels)))
    first = int(rng.integers(0, len(labels) - length + 1))
    scar = np.zeros(labels.shape, bool)
    for z in range(first, first + length):
        wall, cavity = labels[z] == LABELS["MYO"], labels[z] == LABELS["LV"]
        if not cavity.any():
            continue
        row, column = center_of_mass(cavity)
        rows, columns = np.indices(labels.shape[1:])
        angle = np.arctan2(rows - row, columns - column)
        from_middle = np.abs((angle - middle + np.pi) % (2 * np.pi) - np.pi)
        to_cavity, to_outside = distance_transform_edt(~cavity), distance_transform_edt(wall | cavity)
        layer = to_cavity / (to_cavity + to_outside + 1e-9)  # 0 at the cavity, 1 at the outer surface
        scar[z] = wall & (from_middle < half_width) & (layer < depth)
    return scar


def agent_concentration(
    tissue: np.ndarray, scar: np.ndarray, blood_mmol_l: float, tissue_of_blood: float, scar_of_tissue: float
) -> np.ndarray:
    """Concentration of an extracellular gadolinium agent.

    Args:
        tissue: index into `tissues.TISSUE_NAMES`, any shape.
        scar: bool, of that shape.
        blood_mmol_l: concentration in blood.
        tissue_of_blood: concentration in all other tissue that takes up agent, relative to blood.
        scar_of_tissue: concentration in scar, relative to that tissue.

    Returns:
        float64 array of that shape, mmol/l.
    """
    in_tissue = blood_mmol_l * tissue_of_blood
    table = np.full(len(TISSUE_NAMES), in_tissue)
    table[[TISSUE_NAMES.index(name) for name in _BLOOD]] = blood_mmol_l
    table[[TISSUE_NAMES.index(name) for name in _WITHOUT_AGENT]] = 0.0
    return np.where(scar, scar_of_tissue * in_tissue, table[tissue])
