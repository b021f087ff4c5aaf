"""T1 by ShMOLLI (Piechnik et al., J Cardiovasc Magn Reson 12:69, 2010), which inverts again before T1 allows it.

Its three inversions are a heartbeat apart, so that the sixth and the seventh readout only fit the curve of the first
five where T1 is short. The rule, pixel by pixel, is the published one with the bounds of the authors' software
(github.com/MRKonrad/tomato): five readouts, unless T1 is shorter than a heartbeat and more readouts fit well enough.
"""

from __future__ import annotations

import torch

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.molli_order import acquisition_order
from nnunet_phys.relaxation_fit import RelaxationFit, fit_series
from nnunet_phys.relaxation_models import InversionRecovery

_SETS = (5, 1, 1)
"""Readouts after each inversion."""
_SHORT_BEATS = 0.4
"""T1 in heartbeats up to which all is recovered before the third inversion: five T1 are two heartbeats. Above it, the
seventh readout counts only where its residual is smaller by the factor by which T1 exceeds this bound."""


def shmolli_order(times_ms: tuple[float, ...]) -> list[int] | None:
    """The indices of a ShMOLLI's readouts in acquisition order; None if the times are those of another scheme.

    Args:
        times_ms: inversion times in any order.
    """
    if len(times_ms) != sum(_SETS):
        return None
    ascending = sorted(range(len(times_ms)), key=times_ms.__getitem__)
    try:
        order = acquisition_order(tuple(times_ms[i] for i in ascending), _SETS)
    except InputError:
        return None
    return [ascending[i] for i in order]


def fit_shmolli(times_ms: tuple[float, ...], order: list[int], images: torch.Tensor, magnitude: bool) -> RelaxationFit:
    """Fit a series pixel by pixel, with five, six or seven of its readouts.

    Args:
        times_ms: inversion times, ms.
        order: of acquisition (`shmolli_order`).
        images: (7, ...), in the order of the times.
        magnitude: the images have lost their sign.

    Returns:
        The fit; its noise is that of the fit to five readouts, which holds in all pixels.
    """
    ordered = tuple(times_ms[i] for i in order)
    fits = [
        fit_series(InversionRecovery(ordered[:count], magnitude=magnitude), images[order[:count]])
        for count in (5, 6, 7)
    ]
    five, six, seven = fits
    beat_ms = (ordered[4] - ordered[0]) / 4
    t1 = [fit.maps["T1"] for fit in fits]
    error = [torch.where(fit.valid, fit.residual, torch.inf) for fit in fits]
    short = ~five.valid | (t1[0] <= beat_ms) | (six.valid & (t1[1] <= _SHORT_BEATS * beat_ms))
    uses_six = short & six.valid & (error[1] * t1[1] < error[0] * beat_ms)
    below_a_beat = torch.where(uses_six, t1[1], t1[0]) < beat_ms
    uses_seven = short & below_a_beat & seven.valid & (error[2] * t1[2] < error[1] * _SHORT_BEATS * beat_ms)
    return RelaxationFit(
        {name: _chosen(uses_six, uses_seven, [fit.maps[name] for fit in fits]) for name in five.maps},
        _chosen(uses_six, uses_seven, [fit.valid for fit in fits]),
        _chosen(uses_six, uses_seven, [fit.residual for fit in fits]),
        five.noise,
    )


def _chosen(uses_six: torch.Tensor, uses_seven: torch.Tensor, values: list[torch.Tensor]) -> torch.Tensor:
    """Of the values of three fits, those of the readouts that each pixel uses."""
    five, six, seven = values
    return torch.where(uses_seven, seven, torch.where(uses_six, six, five))
