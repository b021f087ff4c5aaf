"""Slices before and after contrast agent: which ones show the same position."""

from __future__ import annotations

from collections.abc import Sequence

from nnunet_phys.quantification.heart_slice import HeartSlice
from nnunet_phys.quantification.stack import same_position_mm

Pairs = dict[HeartSlice, HeartSlice]
"""Slices before contrast agent to those after it."""


def contrast_pairs(before: Sequence[HeartSlice], after: Sequence[HeartSlice]) -> tuple[Pairs, list[str]]:
    """Find for each slice the one after contrast agent that is parallel to it and lies closer than half a slice.

    Args:
        before: slices before contrast agent.
        after: slices after it.

    Returns:
        the pairs, and a line for each slice of `before` without a partner.

    Raises:
        ValueError: several slices of `after` show the position of one slice; the message names them.
    """
    pairs: Pairs = {}
    missing = []
    for heart in before:
        parallel = [other for other in after if heart.plane.parallel(other.plane)]
        distances = {other: _distance_mm(heart, other) for other in parallel}
        near = [other for other, distance in distances.items() if distance < same_position_mm(heart, other)]
        if len(near) > 1:
            raise ValueError(f"{heart.title}: {' and '.join(other.title for other in near)} show the same position")
        if near:
            pairs[heart] = near[0]
        elif distances:
            missing.append(
                f"{heart.title}: no slice after contrast agent lies here, the nearest is "
                f"{min(distances.values()):.0f} mm away"
            )
        else:
            missing.append(f"{heart.title}: no slice after contrast agent is parallel to it")
    return pairs, missing


def _distance_mm(heart: HeartSlice, other: HeartSlice) -> float:
    """Distance of two parallel slices, across their planes."""
    return abs(float((other.place - heart.place) @ heart.plane.normal))
