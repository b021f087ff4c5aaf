"""Extracellular volume from T1 before and after contrast agent."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

_Values = TypeVar("_Values", float, np.ndarray)


def extracellular_volume(
    pre_ms: _Values, post_ms: _Values, blood_pre_ms: float, blood_post_ms: float, haematocrit: float
) -> _Values:
    """Extracellular volume fraction of myocardium in percent (Arheden et al., Radiology 211:698, 1999).

    The agent's concentration is proportional to the change of 1/T1, in muscle as in blood, of which it reaches the
    plasma alone: ECV = (1 - Hct) (1/T1post - 1/T1pre) of myocardium / the same of blood.

    Args:
        pre_ms: T1 of myocardium before the agent, a number or a map, above 0.
        post_ms: T1 of the same myocardium after it.
        blood_pre_ms: T1 of blood before the agent.
        blood_post_ms: T1 of blood after it.
        haematocrit: share of the cells in blood, 0 to 1.

    Raises:
        ValueError: T1 of blood did not fall.
    """
    if not 0 < blood_post_ms < blood_pre_ms:
        raise ValueError(f"T1 of blood is {blood_pre_ms:.0f} ms before and {blood_post_ms:.0f} ms after contrast agent")
    blood = 1 / blood_post_ms - 1 / blood_pre_ms
    return 100 * (1 - haematocrit) * (1 / post_ms - 1 / pre_ms) / blood
