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
    return replace(ranges.draw(rng, _NATIVE), t2_prep_ms=(0.0, *times))


GUIDES: dict[str, tuple[float, Callable[[np.random.Generator], PulseSequence]]] = {
    "bssfp": (0.5, lambda rng: _CINE.draw(rng, _NATIVE)),
    "gre": (0.12, lambda rng: SpoiledGRERanges().draw(rng, _NATIVE)),
    "molli readout": (0.13, lambda rng: MOLLIRanges().draw(rng, _NATIVE)),
    "molli series": (0.08, lambda rng: MOLLIRanges().draw_series(rng)),
    "t2 prepared": (0.07, lambda rng: T2PreparedBSSFPRanges(unprepared=0.0).draw(rng, _NATIVE)),
    "t2 series": (0.05, _t2_series),
    "sasha": (0.05, lambda rng: MSASHARanges().draw(rng, _NATIVE)),
}
"""What a prior learns to be guided by: how often, and a draw of the protocol from the ranges that recipes draw from.
The shares are a choice: most training images are cine."""


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
    images = signals(sequence, maps)
    signed, shape = len(images) > 1, images.shape
    images = images.numpy() if signed else images.abs().numpy()
    level = float(bright_level(torch.from_numpy(images).abs()))
    images = gaussian_filter(images, rng.uniform(0.0, 0.8), axes=(-2, -1))
    images += rng.uniform(0, 0.05) * level * rng.standard_normal(shape, dtype=np.float32)
    images = torch.from_numpy(images if signed else np.abs(images))
    saturated = torch.zeros(shape, dtype=torch.bool)
    if not signed and rng.random() < 1 / 3:
        images = images.clamp(max=float(torch.quantile(images, rng.uniform(0.97, 1.0))))
        saturated = images >= images.max()
    assumed = sequence
    if sequence.flip_angle_deg is not None:
        assumed = sequence.given(sequence.flip_angle_deg * rng.uniform(0.85, 1.15))
    expected = float(bright_level(signals(assumed, SpinMaps.unstack(reference)).abs()))
    images = images * (expected / level * math.exp(rng.uniform(-0.3, 0.3)))
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
    seen = replace(seen, images=seen.images[(..., *window)], saturated=seen.saturated[(..., *window)])
    everywhere = torch.ones(seen.images.shape[1:], dtype=torch.bool)
    return Likelihood((seen,), everywhere, prior.scaling).pixelwise_posterior(prior.library)[0]
