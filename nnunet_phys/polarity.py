"""Conventional T1 mapping from inversion-recovery images, as scanners make their maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

_T1_STAR_MS = (30.0, 6000.0)
"""Range of apparent T1, from below fat under contrast agent to beyond water."""
_T1_STARS = 160
"""Values tried in that range, 3.4 % apart; a parabola refines the best to 0.2 % (`test_polarity`)."""
_PIXELS = 4096
"""How many are fitted at a time, which bounds the memory."""


@dataclass(frozen=True, eq=False)
class InversionRecoveryFit:
    """Three parameters per pixel, S(TI) = A - B exp(-TI/T1*), and what follows from them.

    All tensors have the shape of one image, except the polarity.

    Attributes:
        t1_ms: T1* (B/A - 1), which corrects for the read-out's effect on the recovery (the Look-Locker correction;
            tested against `sequences.LookLocker`). It is biased low in MOLLI, where inversion is imperfect and the
            read-out is neither continuous nor of a small angle.
        t1_star_ms: apparent T1.
        a: A.
        b: B.
        polarity: -1 or 1 per image, (images, ...): the sign that the magnitude had lost.
    """

    t1_ms: torch.Tensor
    t1_star_ms: torch.Tensor
    a: torch.Tensor
    b: torch.Tensor
    polarity: torch.Tensor


def fit_inversion_recovery(images: torch.Tensor, inversion_times_ms: tuple[float, ...]) -> InversionRecoveryFit:
    """Fit magnitude images, restoring their polarity along TI.

    The sign changes at most once along TI, just before or just after the smallest magnitude: both are tried. A and B
    follow in closed form for each T1* of a logarithmic grid from 30 to 6000 ms; a parabola through the best three
    refines it.

    Args:
        images: magnitudes (images, ...), any unit.
        inversion_times_ms: one per image, in any order.

    Returns:
        The fit; its values in air are meaningless.

    Raises:
        ValueError: fewer than four images, or their number is not that of the times.
    """
    if len(images) != len(inversion_times_ms) or len(images) < 4:
        raise ValueError(f"{len(images)} images with {len(inversion_times_ms)} inversion times: give 4 or more of each")
    least, greatest = _T1_STAR_MS
    times, order = torch.tensor(inversion_times_ms, dtype=torch.float64).sort()
    pixels = images.flatten(1).double().T[:, order]
    t1_star = torch.logspace(math.log10(least), math.log10(greatest), _T1_STARS, dtype=torch.float64)
    basis = torch.stack((torch.ones(_T1_STARS, len(times)), -torch.exp(-times / t1_star[:, None])), 2).double()
    plane, _ = torch.linalg.qr(basis)  # (grid, images, 2)
    signs = 1 - 2 * torch.ones(len(times) + 1, len(times)).tril(-1).double()  # the first k negative
    parts = [_fit_block(block, plane, signs, t1_star, times) for block in pixels.split(_PIXELS)]
    t1, apparent, a, b, polarity = (torch.cat(blocks) for blocks in zip(*parts, strict=True))
    inverse_order = torch.empty_like(order)
    inverse_order[order] = torch.arange(len(order))
    shape = images.shape[1:]
    return InversionRecoveryFit(
        t1.float().reshape(shape),
        apparent.float().reshape(shape),
        a.float().reshape(shape),
        b.float().reshape(shape),
        polarity[:, inverse_order].T.float().reshape(images.shape),
    )


def _fit_block(
    pixels: torch.Tensor, plane: torch.Tensor, signs: torch.Tensor, t1_star: torch.Tensor, times: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """T1, T1*, A, B (pixels,) and polarity (pixels, images) of magnitudes (pixels, images) in order of TI."""
    smallest = pixels.argmin(1)
    negative = torch.stack((smallest, smallest + 1), 1)  # number of negative images
    candidates = pixels[:, None] * signs[negative]
    explained = torch.einsum("pst,gtk->psgk", candidates, plane).square().sum(3)
    best = explained.flatten(1).argmax(1)
    side, peak = best // len(t1_star), (best % len(t1_star)).clamp(1, len(t1_star) - 2)
    pixel = torch.arange(len(pixels))
    flips = negative[pixel, side]
    neighbours = explained[pixel[:, None], side[:, None], peak[:, None] + torch.tensor([-1, 0, 1])]
    low, mid, high = neighbours.unbind(1)
    curvature = low - 2 * mid + high
    shift = torch.where(curvature < 0, 0.5 * (low - high) / curvature, 0.0).clamp(-1, 1)
    apparent = t1_star[peak] * (t1_star[1] / t1_star[0]) ** shift
    signed = pixels * signs[flips]
    decay = torch.exp(-times / apparent[:, None])
    centred = decay - decay.mean(1, keepdim=True)
    b = -(centred * signed).sum(1) / centred.square().sum(1).clamp(min=1e-12)
    a = signed.mean(1) + b * decay.mean(1)
    t1 = apparent * (b / torch.where(a.abs() > 1e-9, a, 1e-9) - 1)
    return t1, apparent, a, b, signs[flips]
