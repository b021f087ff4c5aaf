"""What looks wrong with the mask of a series, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import binary_dilation, label

_LEAST_AGREEMENT = 0.75
"""Agreement with the mask, weighted like the images in it, below which a slice is flagged. Measured on digital hearts
(docs/measured.md): the masks below it are the bad ones, with few others."""
_LEAST_CONFIDENCE, _FEWEST_CONFIDENT = 0.8, 3
"""A slice is flagged if fewer images than this, or not all where a series has fewer, reach this confidence. Measured
alike."""
_LEAST_SURROUNDED = 0.9
"""Share of the cavity's border along which myocardium lies, below which the ring is broken."""
_LEAST_PIECE = 0.05
"""Share of a structure that a piece apart from its largest one must have to be flagged; smaller ones are specks."""
_NEIGHBOURS = np.ones((3, 3), bool)


def series_flags(agreements: np.ndarray, confidences: np.ndarray, shares: np.ndarray) -> list[str]:
    """What is doubtful about one slice, from the images of a series.

    Args:
        agreements: agreement of each image with the mask, (images,).
        confidences: `fusion.confidence` of each, (images,).
        shares: `fusion.weights` of them, (images,).

    Returns:
        one line per doubt.
    """
    flags = []
    if (mean := float(shares @ agreements)) < _LEAST_AGREEMENT:
        flags.append(f"images disagree with the mask (weighted Dice {mean:.2f})")
    confident = int((confidences >= _LEAST_CONFIDENCE).sum())
    if confidences.any() and confident < min(_FEWEST_CONFIDENT, len(confidences)):  # none is where there is no heart
        flags.append(f"{confident} of {len(confidences)} images are confident")
    return flags


def shape_flags(mask: np.ndarray, codes: Mapping[str, int]) -> list[str]:
    """What is doubtful about the shapes in one slice.

    Args:
        mask: label codes, (rows, columns).
        codes: codes of the structures by name. The ring of myocardium is checked where MYO and LV are among them.

    Returns:
        one line per doubt.
    """
    if not np.isin(mask, list(codes.values())).any():
        return [f"none of {', '.join(codes)} in the mask"]
    flags = []
    if {"MYO", "LV"} <= codes.keys():
        flags += _ring_flags(mask == codes["MYO"], mask == codes["LV"])
    for name, code in codes.items():
        if (pieces := _pieces(mask == code)) > 1:
            flags.append(f"{name} is in {pieces} pieces")
    return flags


def _ring_flags(myo: np.ndarray, lv: np.ndarray) -> list[str]:
    """Whether myocardium surrounds the cavity."""
    if not lv.any():
        return []
    if not myo.any():
        return ["a cavity without myocardium"]
    border = binary_dilation(lv) & ~lv
    surrounded = (border & myo).sum() / border.sum()
    return [f"myocardium surrounds {100 * surrounded:.0f} % of the cavity"] if surrounded < _LEAST_SURROUNDED else []


def _pieces(structure: np.ndarray) -> int:
    """How many pieces a structure has, specks left out."""
    numbered, _ = label(structure, _NEIGHBOURS)
    sizes = np.bincount(numbered.ravel())[1:]
    return int((sizes >= _LEAST_PIECE * sizes.sum()).sum())
