"""Whether PD, T1 and T2 maps are plausible: not in wrong units, not exchanged, not rates instead of times.

Only the bright voxels of a case where all three maps are above 0 are judged, so the values of the background do not
matter.
"""

from __future__ import annotations

import torch

from nnunet_phys.spin import SpinMaps

BRIGHT_SHARE = 0.25
"""Voxels whose PD exceeds this share of its 99th percentile are tissue. Assumed: half the PD of
myocardium (0.8 of blood's), after a receive bias of 0.6."""
T1_MEDIAN_MS = (150.0, 3500.0)
"""Bounds for the median T1 of tissue. Fat at 0.5 T has about 190 ms, the least of any tissue; blood at 7 T has about
2600 ms. T1 in seconds or microseconds is outside by a factor of 40 or more; so is a rate R1, 0.3 to 5 per
second, by 30 or more."""
T2_MEDIAN_MS = (25.0, 500.0)
"""Bounds for the median T2 of tissue. Skeletal muscle at 3 T has about 30 ms, little more than rates R2 in 1/s: 22 for
45 ms, 5 for 200 ms. The upper bound is an assumption: twice the T2 of blood."""
SECONDS = {"T1": 10.0, "T2": 1.0}
"""Medians below these are likely seconds: tissue has a T1 of 0.2 to 3 s and a T2 of 0.03 to 0.3 s."""
MOST_INVERTED = 0.5
"""Largest plausible share of tissue voxels with T2 above T1. No tissue has that, but noise gives it to some voxels."""


def map_faults(case: str, maps: SpinMaps) -> list[str]:
    """Signs that maps are not PD, T1 in ms and T2 in ms.

    Args:
        case: the case's name, with which every line begins.
        maps: as read, of any shape; values out of bounds are not clamped yet.

    Returns:
        one line per fault, with a remedy; empty where the maps are plausible.
    """
    if not all(bool(torch.isfinite(values).all()) for values in (maps.pd, maps.t1, maps.t2)):
        return [f"{case}: its maps hold NaN or infinite values. Replace them."]
    for name, values in (("PD", maps.pd), ("T1", maps.t1), ("T2", maps.t2)):
        if not (values > 0).any():
            return [f"{case}: its {name} map has no value above 0. Give PD in any unit, T1 and T2 in ms."]
    known = (maps.pd > 0) & (maps.t1 > 0) & (maps.t2 > 0)
    if not known.any():
        return [f"{case}: PD, T1 and T2 are nowhere all above 0. Give three maps of the same tissue."]
    flat = maps.map(lambda values: values[known].float())
    tissue = flat.pd > BRIGHT_SHARE * flat.pd.kthvalue(max(1, round(0.99 * len(flat.pd)))).values
    faults = []
    for name, values, (least, greatest) in (("T1", flat.t1, T1_MEDIAN_MS), ("T2", flat.t2, T2_MEDIAN_MS)):
        median = float(values[tissue].median())
        if not least <= median <= greatest:
            faults.append(
                f"{case}: the median {name} of its bright voxels is {median:g}, expected {least:g} to {greatest:g} ms. "
                f"Give {name} in ms{_hint(name, median)}, neither in another unit nor as the rate R{name[1]}."
            )
    inverted = float((flat.t2 > flat.t1)[tissue].float().mean())
    if not faults and inverted > MOST_INVERTED:
        faults.append(f"{case}: T2 exceeds T1 in {100 * inverted:.0f} % of its bright voxels. Are the maps exchanged?")
    return faults


def _hint(name: str, median: float) -> str:
    """How to correct times that seem to be in seconds."""
    return " (these seem to be seconds: multiply by 1000)" if median < SECONDS[name] else ""
