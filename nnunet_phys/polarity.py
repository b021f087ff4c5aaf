"""The polarity that magnitude images of an inversion recovery have lost, found by a fit."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_phys.relaxation_models import NearestNullRecovery
from nnunet_phys.separable_fit import grid_fit


@dataclass(frozen=True, eq=False)
class InversionRecoveryFit:
    """Three parameters per pixel, S(TI) = A - B exp(-TI/T1*), and what follows from them.

    All tensors have the shape of one image, except the polarity.

    Attributes:
        t1_ms: T1* (B/A - 1), which corrects for the read-out's effect on the recovery (`InversionRecovery`). It is
            biased low in MOLLI, where inversion is imperfect and the read-out is neither continuous nor of a small
            angle.
        polarity: -1 or 1 per image, (images, ...): the sign that the magnitude had lost.
    """

    t1_ms: torch.Tensor
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
    model = NearestNullRecovery(tuple(inversion_times_ms))
    fit = grid_fit(model, images.flatten(1))
    return InversionRecoveryFit(
        t1_ms=model.quantities(fit.linear, fit.nonlinear)["T1"].float().reshape(images.shape[1:]),
        polarity=fit.signs.float().reshape(images.shape),
    )
