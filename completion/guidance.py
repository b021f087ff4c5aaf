"""Classifier-free guidance with one scale for each given channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch


@dataclass(frozen=True)
class GuidanceTerm:
    """One evaluation of the denoiser.

    Attributes:
        shown: number of given channels, in their order, that the denoiser sees; the others are dropped.
        weight: weight of its output in the guided one.
    """

    shown: int
    weight: float


def guidance_terms(scales: Sequence[float]) -> list[GuidanceTerm]:
    """The terms of e() + s1 [e(c1) - e()] + s2 [e(c1, c2) - e(c1)] + ..., where their weight is not zero.

    The form for two conditions is that of InstructPix2Pix (Brooks et al., CVPR 2023). The weights add up to 1, so it
    holds for predicted velocity as for predicted noise, which are linear in each other.

    Args:
        scales: s1, s2, ..., one for each given channel; all 1 for no guidance.

    Returns:
        Terms whose weights add up to 1.
    """
    following = (*scales, 0.0)
    weights = [1 - following[0], *(a - b for a, b in pairwise(following))]
    return [GuidanceTerm(shown, weight) for shown, weight in enumerate(weights) if weight != 0]


def guided(outputs: Sequence[torch.Tensor], terms: Sequence[GuidanceTerm]) -> torch.Tensor:
    """Weighted sum of the denoiser's outputs, one for each term."""
    return torch.stack([term.weight * output for term, output in zip(terms, outputs, strict=True)]).sum(0)
