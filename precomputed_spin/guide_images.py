"""Images that a prior learns to be guided by: protocols at random, and what a scanner might make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nnunet_phys.brightness import bright_level
from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.sequences.bssfp import BSSFPRanges
from nnunet_phys.sequences.molli import MOLLIRanges
from nnunet_phys.sequences.msasha import MSASHARanges
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.sequences.spoiled_gre import SpoiledGRERanges
from nnunet_phys.sequences.t2_prepared import T2PreparedBSSFP, T2PreparedBSSFPRanges
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import TissueState

_NATIVE = TissueState()
_CINE = BSSFPRanges(inflow_pulses=None)  # `reverse` takes blood in cine to be at rest, too


def _t2_series(rng: np.random.Generator) -> T2PreparedBSSFP:
    """An image without and two with T2 preparation."""
    ranges = T2PreparedBSSFPRanges()
    times = sorted(rng.uniform(*ranges.t2_prep_ms) for _ in range(2))
    return replace(ranges.draw_sequence(rng, _NATIVE), t2_prep_ms=(0.0, *times))


GUIDES: dict[str, tuple[float, Callable[[np.random.Generator], PulseSequence]]] = {
    "bssfp": (0.5, lambda rng: _CINE.draw_sequence(rng, _NATIVE)),
    "gre": (0.12, lambda rng: SpoiledGRERanges().draw_sequence(rng, _NATIVE)),
    "molli readout": (0.13, lambda rng: MOLLIRanges().draw_sequence(rng, _NATIVE)),
    "molli series": (0.08, lambda rng: MOLLIRanges().draw_series(rng)),
    "t2 prepared": (0.07, lambda rng: T2PreparedBSSFPRanges(unprepared=0.0).draw_sequence(rng, _NATIVE)),
    "t2 series": (0.05, _t2_series),
    "sasha": (0.05, lambda rng: MSASHARanges().draw_sequence(rng, _NATIVE)),
}
"""What a prior learns to be guided by: how often, and a draw of the protocol from the ranges that recipes draw from.
The shares are a choice: most training images are cine."""


_MOST_BLUR_PIXELS, _MOST_NOISE, _CLIPPED_SHARE = 0.8, 0.05, 1 / 3
_CLIPPED_QUANTILE, _FLIP_ANGLE_FACTOR, _MOST_LOG_GAIN = (0.97, 1.0), (0.85, 1.15), 0.3
"""What an image may suffer, see `observe`: a point spread of less than a pixel, noise as a share of the bright level,
clipping, B1+ within 15 %, and a gain that is off by up to a third. Assumed; the shipped prior was trained with them."""


def observe(maps: SpinMaps, sequence: PulseSequence, reference: torch.Tensor, rng: np.random.Generator) -> Observation:
    """Images of maps as a scanner might deliver them and a user describe them, for the prior to learn from.

    Gain off by up to a third, flip angle by up to 15 %, blur up to 0.8 pixels, noise up to 5 % of the bright level,
    clipping of a third of the magnitude images somewhere in the brightest 3 %. Series keep their sign.

    Args:
        maps: (slices, rows, columns); PD holds the receive bias.
        sequence: how they are imaged.
        reference: voxels, (3, n), over which the images' level is known.
        rng: source of the draws.
    """
    # 1. What the sequence makes of the maps
    signal = signals(sequence, maps)
    signed = len(signal) > 1
    signal = signal if signed else signal.abs()
    level = float(bright_level(signal.abs()))

    # 2. What a scanner adds: blur, noise, clipping
    blurred = gaussian_filter(signal.numpy(), rng.uniform(0.0, _MOST_BLUR_PIXELS), axes=(-2, -1))
    blurred += rng.uniform(0, _MOST_NOISE) * level * rng.standard_normal(signal.shape, dtype=np.float32)
    images = torch.from_numpy(blurred if signed else np.abs(blurred))
    saturated = torch.zeros(images.shape, dtype=torch.bool)
    if not signed and rng.random() < _CLIPPED_SHARE:
        images = images.clamp(max=float(torch.quantile(images, rng.uniform(*_CLIPPED_QUANTILE))))
        saturated = images >= images.max()

    # 3. What a user does not know: the actual flip angle and the gain
    assumed = sequence
    if sequence.flip_angle_deg is not None:
        assumed = sequence.given(sequence.flip_angle_deg * rng.uniform(*_FLIP_ANGLE_FACTOR))
    expected = float(bright_level(signals(assumed, SpinMaps.unstack(reference)).abs()))
    images = images * (expected / level * math.exp(rng.uniform(-_MOST_LOG_GAIN, _MOST_LOG_GAIN)))
    return Observation(assumed, images, expected, 0.0, saturated, signed)


def draw_guide(
    scaled: torch.Tensor,
    prior: SpinPrior,
    sequence: PulseSequence,
    rng: np.random.Generator,
    window: tuple[slice, slice] = (slice(None), slice(None)),
) -> torch.Tensor:
    """What images of a slice of scaled maps (3, rows, columns) say about a window of it, (6, rows, columns)."""
    seen = observe(prior.scaling.decode(scaled[None]), sequence, prior.reference, rng)
    rows, columns = window
    seen = replace(seen, images=seen.images[..., rows, columns], saturated=seen.saturated[..., rows, columns])
    everywhere = torch.ones(seen.images.shape[1:], dtype=torch.bool)
    return Likelihood((seen,), everywhere, prior.scaling).pixelwise_posterior(prior.library)[0]
