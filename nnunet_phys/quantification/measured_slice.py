"""What was measured in a slice by one method: T1 of its regions, and extracellular volume."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from nnunet_phys.quantification.extracellular_volume import extracellular_volume
from nnunet_phys.quantification.region_values import RegionValues, SliceRegions, region_name


@dataclass(frozen=True, eq=False)
class MeasuredSlice:
    """A slice's T1 map and what it gives.

    Attributes:
        regions: the slice and its regions.
        t1_ms: (rows, columns), 0 where there is no T1.
        post: the same position after contrast agent, by the same method; None without it.
        haematocrit: share of the cells in blood; used with `post` alone.
    """

    regions: SliceRegions
    t1_ms: np.ndarray
    post: MeasuredSlice | None = None
    haematocrit: float = 0.0

    @cached_property
    def values(self) -> dict[str, RegionValues]:
        """Statistics of T1 of each region (`SliceRegions.masks`)."""
        return self.regions.values(self.t1_ms)

    def ecv(self, region: str) -> float | None:
        """Extracellular volume of a region in percent, from mean T1; None without contrast agent or pixels.

        T1 of blood is the median of the cavity, as its mean would hold papillary muscles.

        Raises:
            ValueError: T1 of blood did not fall.
        """
        values, blood = self.values.get(region), self.blood_ms
        after = None if self.post is None else self.post.values.get(region)
        if values is None or after is None or blood is None or region == "blood":
            return None
        if values.mean is None or after.mean is None:
            return None
        return extracellular_volume(values.mean, after.mean, *blood, self.haematocrit)

    def impossible_volumes(self) -> list[str]:
        """A line for the regions whose extracellular volume is no share of anything."""
        volumes = {region: ecv for region in self.values if (ecv := self.ecv(region)) is not None}
        impossible = [f"{ecv:.0f} % in {region_name(region)}" for region, ecv in volumes.items() if not 0 <= ecv <= 100]
        listed = ", ".join(impossible)
        return [f"extracellular volume of {listed}: look at masks, maps and -post"] if impossible else []

    def ecv_map(self) -> np.ndarray | None:
        """Extracellular volume in percent of each pixel, (rows, columns), 0 where a T1 is missing; None without blood.

        Both slices must lie on one grid.

        Raises:
            ValueError: T1 of blood did not fall.
        """
        blood = self.blood_ms
        if self.post is None or blood is None:
            return None
        known = (self.t1_ms > 0) & (self.post.t1_ms > 0)
        before, after = (np.where(known, t1, 1.0) for t1 in (self.t1_ms, self.post.t1_ms))
        return np.where(known, extracellular_volume(before, after, *blood, self.haematocrit), 0.0)

    @property
    def blood_ms(self) -> tuple[float, float] | None:
        """Median T1 of blood before and after contrast agent; None without either."""
        if self.post is None:
            return None
        before, after = (slice_.values.get("blood") for slice_ in (self, self.post))
        if before is None or after is None or before.median is None or after.median is None:
            return None
        return before.median, after.median
