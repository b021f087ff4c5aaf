"""Images that a prior learns to be guided by: protocols at random, and what a scanner might make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation, bright_level
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.sequences import BSSFP, MOLLI, MSASHA, SpoiledGRE, T2PreparedBSSFP
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

_SCHEMES = {"5(3)3": (120.0, 200.0), "4(1)3(1)2": (100.0, 180.0, 260.0), "3(3)3(3)5": (120.0, 200.0, 280.0)}


def _molli(rng: np.random.Generator, readout: int | None) -> MOLLI:
    scheme = str(rng.choice(list(_SCHEMES)))
    pulses, centre, tr_ms = int(rng.integers(45, 76)), int(rng.integers(10, 31)), rng.uniform(2.3, 3.0)
    earliest = (centre + 1) * tr_ms
    return MOLLI(
        scheme=scheme,
        flip_angle_deg=rng.uniform(25, 50),
        tr_ms=tr_ms,
        pulses=pulses,
        centre_pulse=centre,
        rr_ms=rng.uniform(600, 1200),
        first_inversion_times_ms=tuple(max(t + rng.uniform(-10, 10), earliest) for t in _SCHEMES[scheme]),
        inversion_efficiency=rng.uniform(0.88, 1.0),
        readout=readout,
    )


def _t2_prepared(rng: np.random.Generator, times: tuple[float, ...]) -> T2PreparedBSSFP:
    return T2PreparedBSSFP(times, flip_angle_deg=rng.uniform(40, 70), tr_ms=rng.uniform(2.3, 3.0))


GUIDES: dict[str, tuple[float, Callable[[np.random.Generator], PulseSequence]]] = {
    "bssfp": (0.5, lambda rng: BSSFP(flip_angle_deg=rng.uniform(25, 80), tr_ms=rng.uniform(2.5, 4.0))),
    "gre": (
        0.12,
        lambda rng: SpoiledGRE(
            flip_angle_deg=rng.uniform(8, 25),
            tr_ms=rng.uniform(4, 10),
            te_ms=rng.uniform(1.2, 4),
            r2_prime_hz=rng.uniform(5, 40),
            inflow_pulses=math.exp(rng.uniform(math.log(20), math.log(300))),
        ),
    ),
    "molli readout": (0.13, lambda rng: _molli(rng, int(rng.integers(8)))),
    "molli series": (0.08, lambda rng: _molli(rng, None)),
    "t2 prepared": (0.07, lambda rng: _t2_prepared(rng, (rng.uniform(20, 80),))),
    "t2 series": (0.05, lambda rng: _t2_prepared(rng, (0.0, rng.uniform(20, 35), rng.uniform(45, 80)))),
    "sasha": (0.05, lambda rng: MSASHA(ts_ms=rng.uniform(80, 1000), t2_prep_ms=rng.choice([0.0, 55.0]))),
}
"""What a prior learns to be guided by: how often, and a draw of the protocol. The shares are a choice: most training
images are cine."""


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
        assumed = replace(sequence, flip_angle_deg=sequence.flip_angle_deg * rng.uniform(0.85, 1.15))
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
