"""T1 per segment and region of a slice."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnunet_phys.quantification.heart_slice import HeartSlice
from nnunet_phys.quantification.inner_pixels import inner_cavity, inner_wall
from nnunet_phys.quantification.levels import Level
from nnunet_phys.quantification.segments import SEGMENTS, SEPTAL, segment_map

_USUAL_SEPTUM_DEG = (60.0, 180.0)
"""Usual angles between the insertion points of basal and mid slices. Assumed: half and one and a half times 120."""
_MOST_INVALID = 0.1
"""A share of pixels without a T1 above this is flagged. A choice."""


@dataclass(frozen=True)
class RegionValues:
    """T1 of a region in ms. SD is that of the pixels (n - 1); None for fewer than two.

    Attributes:
        pixels: number of pixels with a T1.
        mean, sd, median: of these pixels; None without any.
    """

    pixels: int
    mean: float | None
    sd: float | None
    median: float | None

    @classmethod
    def of(cls, t1: np.ndarray) -> RegionValues:
        """The statistics of values, (n,)."""
        if t1.size == 0:
            return cls(0, None, None, None)
        values = t1.astype(np.float64)
        sd = float(values.std(ddof=1)) if values.size > 1 else None
        return cls(values.size, float(values.mean()), sd, float(np.median(values)))


@dataclass(frozen=True, eq=False)
class SliceRegions:
    """The regions of a slice.

    Attributes:
        heart: the slice.
        level: its level.
        erode_mm: what is removed from each edge of wall and cavity.
    """

    heart: HeartSlice
    level: Level
    erode_mm: float

    @cached_property
    def segments(self) -> np.ndarray:
        """The segment of each pixel of the whole wall (`segment_map`)."""
        return segment_map(self.heart, self.level)

    @cached_property
    def _inner(self) -> tuple[np.ndarray, np.ndarray]:
        return inner_wall(self.heart, self.erode_mm)

    @property
    def wall(self) -> np.ndarray:
        """The pixels of the wall that are measured, bool (rows, columns)."""
        return self._inner[0]

    @cached_property
    def masks(self) -> dict[str, np.ndarray]:
        """The pixels of each region, bool (rows, columns), by its segment's number, or septal, global and blood."""
        present = [int(number) for number in np.unique(self.segments) if number]
        masks = {str(number): self.wall & (self.segments == number) for number in present}
        if septal := SEPTAL.intersection(present):
            masks["septal"] = self.wall & np.isin(self.segments, list(septal))
        masks["global"] = self.wall
        if not self.heart.is_apex:
            masks["blood"], _ = inner_cavity(self.heart, self.erode_mm)
        return masks

    def values(self, t1_ms: np.ndarray) -> dict[str, RegionValues]:
        """Statistics of each region.

        Args:
            t1_ms: (rows, columns); 0 where there is none.
        """
        return {region: RegionValues.of(t1_ms[mask & (t1_ms > 0)]) for region, mask in self.masks.items()}

    def flags(self) -> list[str]:
        """What is doubtful about the regions."""
        heart, septum, flags = self.heart, self.heart.septum, []
        if self.level != "apex" and septum is None:
            missing = "touches the wall" if heart.rv.any() else "is in the mask"
            flags.append(f"no right ventricle {missing}, so the insertion points are unknown and segments are left out")
        elif self.level != "apex" and septum is not None:
            if not septum.clear:
                flags.append(
                    "both insertion points lie equally far forward by the header's orientation: anterior and inferior "
                    "may be exchanged"
                )
            least, greatest = _USUAL_SEPTUM_DEG
            if self.level != "apical" and not least <= septum.width_deg <= greatest:
                flags.append(
                    f"{septum.width_deg:.0f} degrees between the insertion points (usual: {least:.0f} to "
                    f"{greatest:.0f}): look at the mask"
                )
        kept, middle = self._inner
        if middle.any():
            flags.append(
                f"the wall is too thin to be eroded by {self.erode_mm:g} mm in places: its middle was kept there "
                f"({middle.sum()} of {kept.sum()} pixels)"
            )
        if not heart.is_apex and inner_cavity(heart, self.erode_mm)[1]:
            flags.append("the cavity is too small to be eroded: T1 of blood may hold muscle, and change every ECV")
        flags.extend(f"no pixel is left of segment {region}" for region, mask in self.masks.items() if not mask.any())
        return [f"{heart.title}: {flag}" for flag in flags]

    def invalid_flags(self, t1_ms: np.ndarray, method: str) -> list[str]:
        """Regions with many pixels without a T1."""
        return [
            f"{self.heart.title}: {method} has no T1 in {100 * share:.0f} % of {region_name(region)}"
            for region, mask in self.masks.items()
            if mask.any() and (share := float((t1_ms[mask] <= 0).mean())) > _MOST_INVALID
        ]


def region_name(region: str) -> str:
    """A region's name: that of the segment for a number."""
    return SEGMENTS[int(region)] if region.isdigit() else region
