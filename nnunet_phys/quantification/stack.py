"""The slices of a study along the heart's long axis: their order from base to apex, and their levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nnunet_phys.quantification.heart_slice import HeartSlice
from nnunet_phys.quantification.levels import Level
from nnunet_phys.quantification.segments import levels_of

_APEX = np.array((1.0, -1.0, -1.0))
"""Roughly from base to apex, in the patient: to the left, to the front and down."""
_THICKEST_MM = 10.0
"""Thickness of short-axis slices at most: a greater spacing has a gap in it. Assumed."""
_LEAST_PARALLEL = float(np.cos(np.deg2rad(45)))
"""Cosine to the short-axis slices' normal below which a plane is a long-axis view. Assumed."""
_FEWEST_TO_JUDGE = 3
"""Fewest positions at which the size of the left ventricle tells base from apex. Assumed."""


@dataclass(frozen=True, eq=False)
class LongAxis:
    """Slices in order.

    Attributes:
        places: from base to apex, the slices that share a position.
        direction: unit vector across the slices, from base to apex, (3,).
        flags: what is doubtful about the order.
    """

    places: tuple[tuple[HeartSlice, ...], ...]
    direction: np.ndarray
    flags: tuple[str, ...]

    @classmethod
    def of(cls, hearts: Sequence[HeartSlice]) -> LongAxis:
        """Order the slices of one stack, which may come from several series.

        The septum tells the direction to the apex (`HeartSlice.to_apex`); without any, the base is where the left
        ventricle is larger.

        Args:
            hearts: parallel slices with myocardium, at least one.
        """
        normal = hearts[0].plane.normal
        found = [towards for heart in hearts if (towards := heart.to_apex) is not None]
        flags = []
        shrinks = _shrinking(hearts, normal)
        if found:
            axis = normal * np.sign(sum(towards @ normal for towards in found) or 1)
            if axis @ _APEX < 0 or axis[0] < 0:
                flags.append(
                    f"{hearts[0].case}: by the header's orientation, the apex points to the right or upwards. If "
                    "the heart does not lie so, correct the header: anterior and inferior may be exchanged."
                )
            if shrinks is not None and shrinks @ axis < 0:
                flags.append(
                    f"{hearts[0].case}: the left ventricle grows towards where the header's orientation puts the "
                    "apex. Check the header, and the levels of the slices."
                )
        else:
            axis = normal if shrinks is None else shrinks
            if shrinks is not None:
                flags.append(f"{hearts[0].case}: base and apex are told by the size of the left ventricle alone.")
        ordered = sorted(hearts, key=lambda heart: float(heart.place @ axis))
        places: list[list[HeartSlice]] = []
        for heart in ordered:
            if places and (heart.place - places[-1][0].place) @ axis < same_position_mm(heart, places[-1][0]):
                places[-1].append(heart)
            else:
                places.append([heart])
        flags += [
            f"{' and '.join(heart.title for heart in place)} show the same position, so there is no bull's eye"
            for place in places
            if len(place) > 1
        ]
        return cls(tuple(map(tuple, places)), axis, tuple(flags))

    @property
    def doubled(self) -> bool:
        """Whether several slices share a position."""
        return any(len(place) > 1 for place in self.places)

    @property
    def cavities(self) -> tuple[tuple[HeartSlice, ...], ...]:
        """The positions that show a cavity."""
        return tuple(place for place in self.places if not all(heart.is_apex for heart in place))

    def levels(self) -> list[Level]:
        """The level of each position with a cavity, from base to apex."""
        return levels_of([float(place[0].place @ self.direction) for place in self.cavities])


def same_position_mm(heart: HeartSlice, other: HeartSlice) -> float:
    """Distance below which two slices show the same position: half the thinner one's spacing, 5 mm at most."""
    return min(heart.plane.spacing_mm, other.plane.spacing_mm, _THICKEST_MM) / 2


def stacks(hearts: Sequence[HeartSlice]) -> tuple[list[LongAxis], list[HeartSlice]]:
    """Slices by the planes that they share, and those of long-axis views, which have no segments of the short axis.

    The planes with most positions are those of the short axis; of equally many, those most nearly across the usual
    axis of the heart.
    """
    groups: list[list[HeartSlice]] = []
    for heart in hearts:
        group = next((group for group in groups if group[0].plane.parallel(heart.plane)), None)
        if group is None:
            groups.append([heart])
        else:
            group.append(heart)
    axes = [LongAxis.of(group) for group in groups]
    main = max(axes, key=lambda axis: (len(axis.cavities), abs(axis.direction @ _APEX)))
    short = [axis for axis in axes if abs(axis.direction @ main.direction) >= _LEAST_PARALLEL]
    long = [heart for axis in axes if axis not in short for place in axis.places for heart in place]
    return short, long


def _shrinking(hearts: Sequence[HeartSlice], normal: np.ndarray) -> np.ndarray | None:
    """The unit vector along which the left ventricle becomes smaller; None for few slices."""
    positions = np.array([heart.place @ normal for heart in hearts])
    if len(np.unique(positions.round())) < _FEWEST_TO_JUDGE:
        return None
    areas = np.array([(heart.myo | heart.lv).sum() * np.prod(heart.plane.pixel_mm) for heart in hearts])
    slope = np.polyfit(positions - positions.mean(), areas, 1)[0]
    return -normal if slope > 0 else normal
