"""The table of `quantify`: one row per case, slice, region and method."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

from nnunet_phys.quantification.measured_slice import MeasuredSlice
from nnunet_phys.quantification.region_values import region_name

_DECIMALS = 2
_LEAST_VALID = 50.0
"""Share of a region's pixels, in %, that need a T1 for the region to be shown in figures. Assumed."""


@dataclass(frozen=True)
class SegmentRow:
    """T1 of a region in ms, and its extracellular volume in percent; None where it is unknown.

    Attributes:
        case, slice, level: where; slices count from 0.
        segment: 1 to 17, or septal, global, blood.
        name: of the segment.
        method: fit, joint, or scanner for its own map.
        pixels, mean_ms, sd_ms, median_ms: of T1, over the pixels that are left after erosion and have one.
        valid_percent: share of the pixels left after erosion that have a T1; None if none is left.
        post_mean_ms: after contrast agent; of blood, its median, as for the extracellular volume.
        ecv_percent: extracellular volume.
    """

    case: str
    slice: int
    level: str
    segment: str
    name: str
    method: str
    pixels: int
    valid_percent: float | None
    mean_ms: float | None
    sd_ms: float | None
    median_ms: float | None
    post_mean_ms: float | None
    ecv_percent: float | None

    @property
    def is_representative(self) -> bool:
        """Whether T1 is known in enough of the region to stand for it."""
        return self.valid_percent is not None and self.valid_percent >= _LEAST_VALID


def segment_rows(measured: MeasuredSlice, method: str) -> Iterator[SegmentRow]:
    """The rows of a slice."""
    heart = measured.regions.heart
    for region, values in measured.values.items():
        after = None if measured.post is None else measured.post.values.get(region)
        whole = int(measured.regions.masks[region].sum())
        numbers = (
            100 * values.pixels / whole if whole else None,
            values.mean,
            values.sd,
            values.median,
            None if after is None else after.median if region == "blood" else after.mean,
            measured.ecv(region),
        )
        rounded = (None if number is None else round(number, _DECIMALS) for number in numbers)
        where = heart.case, heart.index, measured.regions.level, region, region_name(region)
        yield SegmentRow(*where, method, values.pixels, *rounded)


def as_csv(rows: Iterable[SegmentRow]) -> str:
    """Comma-separated values with a heading; what is unknown stays empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, [field.name for field in fields(SegmentRow)], lineterminator="\n")
    table.writeheader()
    table.writerows(map(asdict, rows))
    return text.getvalue()


def as_json(rows: Iterable[SegmentRow]) -> list[dict[str, Any]]:
    """The same as plain JSON."""
    return [asdict(row) for row in rows]
