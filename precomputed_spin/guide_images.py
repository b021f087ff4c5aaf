"""Simulated images that guide a prior in its training: random protocols, and images as a scanner might deliver them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nnunet_phys.brightness import bright_level
from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.labels import TissueLabels
from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation
from nnunet_phys.precomputed_spin.reference import library_voxels
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences.bssfp import BSSFPRanges
from nnunet_phys.sequences.molli import MOLLIRanges
from nnunet_phys.sequences.msasha import MSASHARanges
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.sequences.spoiled_gre import SpoiledGRERanges
from nnunet_phys.sequences.t2_prepared import T2PreparedBSSFP, T2PreparedBSSFPRanges
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import TissueState

_NATIVE = TissueState()
_CINE = BSSFPRanges(inflow_pulses=None)  # `reverse` assumes blood at rest in cine, too


def _t2_series(rng: np.random.Generator) -> T2PreparedBSSFP:
    """A series of one image without T2 preparation and two with it."""
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
    "msasha": (0.05, lambda rng: MSASHARanges().draw_sequence(rng, _NATIVE)),
}
"""Kinds of images that guide a prior: the share of each kind, and a function that draws a protocol from the ranges of
recipes. The shares are a choice: most images that segmentation networks are trained on are cine."""

# How `observe` degrades images. All assumed; the shipped prior was trained with these values.
_MOST_BLUR_PIXELS = 0.8
"""Largest standard deviation of the point spread."""
_MOST_NOISE = 0.05
"""Largest standard deviation of the noise, as a share of the bright level."""
_CLIPPED_SHARE = 1 / 3
"""Share of magnitude images that are clipped."""
_CLIPPED_QUANTILE = (0.97, 1.0)
"""Range of the quantile at which an image is clipped."""
_FLIP_ANGLE_FACTOR = (0.85, 1.15)
"""Range of the assumed flip angle over the actual one: B1+ within 15 %."""
_MOST_LOG_GAIN = 0.3
"""Largest logarithm of the gain's error: a factor of 1.35."""


def observe(maps: SpinMaps, sequence: PulseSequence, reference: torch.Tensor, rng: np.random.Generator) -> Observation:
    """Simulate images of maps as a scanner might deliver them and a user might describe them.

    The gain is off by up to a third and the flip angle by up to 15 %. Blur is up to 0.8 pixels and noise up to 5 % of
    the bright level. A third of the magnitude images are clipped somewhere in the brightest 3 %. Series keep their
    sign.

    Args:
        maps: (slices, rows, columns); PD includes the receive bias.
        sequence: the sequence that images them.
        reference: PD, T1 (ms), T2 (ms) of voxels, (3, n), whose bright level sets the images' gain.
        rng: random generator.
    """
    # 1. The signal that the sequence makes of the maps
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
        assumed = sequence.varying(sequence.flip_angle_deg * rng.uniform(*_FLIP_ANGLE_FACTOR))
    expected = float(bright_level(signals(assumed, SpinMaps.unstack(reference)).abs()))
    images = images * (expected / level * math.exp(rng.uniform(-_MOST_LOG_GAIN, _MOST_LOG_GAIN)))
    return Observation(assumed, images, expected, 0.0, saturated, signed)


def draw_guide(
    scaled: torch.Tensor,
    scaling: SpinScaling,
    reference: torch.Tensor,
    sequence: PulseSequence,
    rng: np.random.Generator,
    window: tuple[slice, slice] = (slice(None), slice(None)),
    weights: np.ndarray | None = None,
) -> torch.Tensor:
    """Make a guide from simulated images of a slice.

    Args:
        scaled: scaled maps of the slice, (3, rows, columns).
        scaling: their scaling.
        reference: PD, T1 (ms), T2 (ms) of the voxels to compare images and pixels with, (3, n).
        sequence: the sequence that images the slice.
        rng: random generator.
        window: rows and columns of the slice that the guide is for; by default all.
        weights: what labels of the slice say (`labels.tissue_weights`), (3, rows, columns); None without labels.

    Returns:
        guide of the window (`Likelihood.pixelwise_posterior`), (6, rows, columns).
    """
    observation = observe(scaling.decode(scaled[None]), sequence, reference, rng)
    rows, columns = window
    images = observation.images[..., rows, columns]
    observation = replace(observation, images=images, saturated=observation.saturated[..., rows, columns])
    everywhere = torch.ones(images.shape[1:], dtype=torch.bool)
    labels = None
    if weights is not None:
        labels = TissueLabels(torch.from_numpy(weights[None, :, rows, columns]), scaling)
    return Likelihood((observation,), everywhere, scaling, labels).pixelwise_posterior(library_voxels(reference))[0]
