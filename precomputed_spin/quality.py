"""How far maps can be trusted: how well they explain the images, and whether they are tissue where labels show it.

The thresholds were chosen on digital hearts with right and with wrong descriptions and on real scans; precision and
recall come from `benchmarks/flags.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nnunet_phys.brightness import bright_level, saturation_mask
from nnunet_phys.precomputed_spin.quality_record import Flag, QualityRecord
from nnunet_phys.precomputed_spin.scan import Inferred, Scan
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST, SpinScaling
from nnunet_phys.spin import SpinMaps

MOST_RESIDUAL = 0.15
"""A slice is flagged if the residual of a tenth of its pixels exceeds this share of the bright level. Measured, 90th
percentile: 0.02 in a MOLLI series of a digital heart, 0.05 and 0.10 in two real ones, 0.24 if two readouts moved by 5
mm. The root mean square would not do: a few pixels beside a coil give it 0.22 and 0.63 in T2 images whose hearts are
explained to 0.006. PD explains a single image almost entirely, whatever its sequence."""
_BADLY_EXPLAINED = 0.9
"""Quantile of the pixels that `MOST_RESIDUAL` bounds."""
DENSITY_RATIO = (0.7, 1.9)
"""A slice is flagged if PD of the left cavity over PD of myocardium lies outside. Blood has 1.0-1.2 times the PD of
myocardium (`nnunet_phys.tissues`). Measured: 1.2-1.3 in cine of digital hearts, 1.9-2.1 if a flip angle of 50 degrees
is described as 20, 2.7 if cine is described as GRE; 1.0-2.0 (1st and 99th percentile) in ACDC."""
MOST_SPREAD = 0.25
"""A slice with a larger spread is flagged: median relative standard deviation of T1 over the samples. Assumed."""
FAT_IN_CAVITY_T1_MS, FAT_IN_CAVITY_T2_MS = 800.0, 100.0
"""A cavity with T1 and T2 below these is flagged: native blood has longer times, fat shorter ones
(`nnunet_phys.tissues`)."""
_FEWEST_PIXELS = 20
"""Fewest pixels of a structure in a slice that are judged. Assumed: a median over fewer is unreliable."""
_AIR_SHARE = 0.1
"""Share of the bright level below which pixels are air or lung (assumed)."""
_AT_BOUND = 1e-3
"""Scaled values this close to a bound count as set to it; float32 rounds off less."""


@dataclass(frozen=True)
class FlagKind:
    """What a kind of flags says: what is found, above which threshold, and what a user can do about it."""

    finding: str
    remedy: str


RESIDUAL, DENSITY, TISSUE, SAMPLES = "residual", "density", "tissue", "samples"
KINDS = {
    RESIDUAL: FlagKind(
        f"the maps explain the images badly: the residual of a tenth of the pixels exceeds {100 * MOST_RESIDUAL:g} % "
        "of the bright level",
        "describe the sequence and its times (-sequence, -protocol, -ti), take images that moved out of the series, or "
        "crop the images to the part that did not move; a gel phantom is no body",
    ),
    DENSITY: FlagKind(
        f"PD of the left cavity is less than {DENSITY_RATIO[0]:g} or more than {DENSITY_RATIO[1]:g} times that of "
        "myocardium",
        "give the flip angle (-fa) and the sequence (-sequence, -protocol)",
    ),
    TISSUE: FlagKind(
        f"a cavity has T1 below {FAT_IN_CAVITY_T1_MS:g} and T2 below {FAT_IN_CAVITY_T2_MS:g} ms, as fat has",
        "give labels (--labels), or correct them; a cavity only a few pixels wide is left to the image: accept it, or "
        "leave the case out (nnunet_phys preprocess -exclude)",
    ),
    SAMPLES: FlagKind(
        f"posterior samples differ by more than {100 * MOST_SPREAD:g} % in T1",
        "give labels (--labels) or a series that measures T1, or use another prior (-prior, nnunet_phys refine_prior)",
    ),
}
"""The kinds of flags."""


def body_mask(scan: Scan) -> torch.Tensor:
    """The pixels that are brighter than air in any image, bool (slices, rows, columns)."""
    masks = []
    for series in scan.series:
        signal = torch.from_numpy(np.abs(series.images).max(0)).float()
        masks.append(signal > _AIR_SHARE * bright_level(signal))
    return torch.stack(masks).any(0)


def _clipped(scan: Scan) -> torch.Tensor:
    """The pixels that are clipped in any image, of whose brightness it says too little, (slices, rows, columns)."""
    masks = [saturation_mask(torch.from_numpy(series.images)).any(0) for series in scan.series if not series.signed]
    return torch.stack(masks).any(0) if masks else torch.zeros(scan.shape, dtype=torch.bool)


def quality(inferred: Inferred, scaling: SpinScaling, structures: dict[str, np.ndarray] | None = None) -> QualityRecord:
    """Figures over the body of a scan, and the slices that look wrong.

    The residual is that of the pixels that are not clipped, a value is at a bound at the edge of what the prior allows,
    and the spread of T1 is the median over voxels of the samples' relative standard deviation.

    Args:
        inferred: maps and the scan that they were made from.
        scaling: the prior's scaling.
        structures: masks (slices, rows, columns) of RV, MYO and LV, as far as these are labelled.
    """
    body, maps = body_mask(inferred.scan), inferred.maps
    judged = body & ~_clipped(inferred.scan)
    scaled = scaling.encode(maps)
    outside = (scaled <= LEAST + _AT_BOUND).any(1) | (scaled[:, 1:] >= GREATEST - _AT_BOUND).any(1)
    spread = inferred.spread.t1 / maps.t1 if inferred.samples else None
    flags: list[Flag] = []
    residual_by_slice: list[float | None] = [None] * len(body)
    for z, inside in enumerate(judged):
        if not inside.any():
            continue
        error = inferred.error[z][inside]
        residual_by_slice[z] = round(float(error.square().mean().sqrt()), 5)
        high = float(error.quantile(_BADLY_EXPLAINED))
        if high > MOST_RESIDUAL:
            reason = f"residual above {100 * high:.0f} % in a tenth of the pixels"
            flags.append(Flag(z, reason, RESIDUAL, int(inside.sum())))
        masks = {name: torch.from_numpy(mask[z]) for name, mask in (structures or {}).items()}
        regions = {name: mask for name, mask in masks.items() if int(mask.sum()) >= _FEWEST_PIXELS}
        flags += _tissue_flags(z, SpinMaps(maps.pd[z], maps.t1[z], maps.t2[z]), regions)
        if spread is not None:
            places = {"": body[z], **{f" of {name}": mask for name, mask in regions.items()}}
            flags += _sample_flags(z, spread[z], places)
    return QualityRecord(
        residual_rms=round(float(inferred.error[judged].square().mean().sqrt()), 5),
        share_at_bound=round(float(outside[body].float().mean()), 5),
        flags=tuple(flags),
        t1_spread=None if spread is None else round(float(spread[body].median()), 4),
        residual_by_slice=tuple(residual_by_slice),
    )


def _tissue_flags(z: int, maps: SpinMaps, regions: dict[str, torch.Tensor]) -> list[Flag]:
    """Flags of cavities that have the times of fat, and of PD that no blood or muscle has; maps of a slice."""
    flags = []
    for name, mask in regions.items():
        t1, t2 = float(maps.t1[mask].median()), float(maps.t2[mask].median())
        if name != "MYO" and t1 < FAT_IN_CAVITY_T1_MS and t2 < FAT_IN_CAVITY_T2_MS:
            flags.append(Flag(z, f"{name} has T1 {t1:.0f} and T2 {t2:.0f} ms, as fat has", TISSUE, int(mask.sum())))
    if {"MYO", "LV"} <= regions.keys():
        least, greatest = DENSITY_RATIO
        ratio = float(maps.pd[regions["LV"]].median() / maps.pd[regions["MYO"]].median().clamp(min=1e-6))
        if not least <= ratio <= greatest:
            pixels = int(regions["LV"].sum() + regions["MYO"].sum())
            flags.append(Flag(z, f"PD of LV is {ratio:.1f} times that of MYO", DENSITY, pixels))
    return flags


def _sample_flags(z: int, spread: torch.Tensor, places: dict[str, torch.Tensor]) -> list[Flag]:
    """Flags of places, by the end of a sentence that names them, where samples disagree in T1; spread of a slice."""
    disagreements = {place: float(spread[mask].median()) for place, mask in places.items()}
    return [
        Flag(z, f"samples differ by {100 * disagreement:.0f} % in T1{place}", SAMPLES, int(places[place].sum()))
        for place, disagreement in disagreements.items()
        if disagreement > MOST_SPREAD
    ]
