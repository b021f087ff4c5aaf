"""What `quantify` measures: slices, their levels and regions, and their partners after contrast agent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nnunet_phys.errors import InputError, counted
from nnunet_phys.precomputed_spin.dicom.source_record import read_source
from nnunet_phys.precomputed_spin.segmented_study import SegmentedStudy, T1Maps
from nnunet_phys.quantification.contrast_pairs import Pairs, contrast_pairs
from nnunet_phys.quantification.heart_slice import HeartSlice
from nnunet_phys.quantification.inner_pixels import ROUNDED
from nnunet_phys.quantification.levels import LEVELS, Level
from nnunet_phys.quantification.measured_slice import MeasuredSlice
from nnunet_phys.quantification.region_values import SliceRegions
from nnunet_phys.quantification.stack import LongAxis, stacks

AFTER = "after contrast agent: "
"""Begins the flags of a study after contrast agent, whose cases may be called like those before it."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """All slices and their regions.

    Attributes:
        before, after: the studies before and after contrast agent; None without the latter.
        regions: the regions of each slice of `before`, from base to apex, and of their partners in `after`.
        pairs: partners after contrast agent.
        doubled: several slices show the same position, or lie in different planes, so that segments of all slices are
            not those of one heart.
        flags: what is doubtful.
    """

    before: SegmentedStudy
    after: SegmentedStudy | None
    regions: dict[HeartSlice, SliceRegions]
    pairs: Pairs
    doubled: bool
    flags: tuple[str, ...]

    @classmethod
    def plan(
        cls,
        before: SegmentedStudy,
        after: SegmentedStudy | None,
        levels: Sequence[Level] | None,
        erode_mm: float | None,
    ) -> Measurement:
        """Order the slices, find their regions and their partners.

        Args:
            before, after: the studies.
            levels: of the positions with a cavity, from base to apex; None: thirds of their length.
            erode_mm: as for `inner_pixels`; None: a pixel.

        Raises:
            InputError: no slice shows a cavity; another number of levels than of positions; contrast-enhanced slices
                that show none of the positions, or one of them twice; an erosion that leaves out nothing.
        """
        axes, long = stacks(before.hearts)
        by_slice, flags = _levels(axes, levels)
        flags += [f"{heart.title} is no short-axis slice like the others: left out" for heart in long]
        hearts = list(by_slice)
        pairs, missing = ({}, []) if after is None else _pairs(hearts, after.hearts)
        _check_erosion([*hearts, *pairs.values()], erode_mm)
        by_slice |= {pairs[heart]: level for heart, level in by_slice.items() if heart in pairs}
        regions = {
            heart: SliceRegions(heart, level, max(heart.plane.pixel_mm) if erode_mm is None else erode_mm)
            for heart, level in by_slice.items()
        }
        flags = [*before.flags, *flags, *missing]
        flags += [flag for pair in pairs.items() if (flag := _moved(*pair)) is not None]
        flags += [] if after is None else _positioned_anew(before, after, pairs)
        flags += _frames(before) + ([] if after is None else [f"{AFTER}{flag}" for flag in _frames(after)])
        flags += [flag for heart in hearts for flag in regions[heart].flags()]
        of_post = [flag for heart in pairs.values() if heart in regions for flag in regions[heart].flags()]
        flags += [f"{AFTER}{flag}" for flag in (*(() if after is None else after.flags), *of_post)]
        doubled = len(axes) > 1 or any(axis.doubled for axis in axes)
        return cls(before, after, regions, pairs, doubled, tuple(flags))

    def measured(
        self, method: str, before: T1Maps, after: T1Maps, haematocrit: float
    ) -> tuple[list[MeasuredSlice], list[str]]:
        """What a method's maps give in each slice, from base to apex, and what is doubtful about it.

        Args:
            method: its name, for the flags.
            before, after: its maps of both studies; cases without one are left out.
            haematocrit: share of cells in blood; used with `after` alone.
        """
        results, flags = [], []
        partners = set(self.pairs.values())
        for heart, regions in self.regions.items():
            if heart in partners or heart.case not in before:
                continue
            measured = MeasuredSlice(regions, before[heart.case][heart.index])
            if not measured.t1_ms.any():
                flags.append(f"{heart.title}: {method} has no T1 of this slice")
                continue
            flags += regions.invalid_flags(measured.t1_ms, method)
            other = self.pairs.get(heart)
            if other is not None and other.case in after:
                post = MeasuredSlice(self.regions[other], after[other.case][other.index])
                flags += post.regions.invalid_flags(post.t1_ms, f"{method} after contrast agent")
                measured = replace(measured, post=post, haematocrit=haematocrit)
                if measured.blood_ms is not None and measured.blood_ms[1] >= measured.blood_ms[0]:
                    flags.append(
                        f"{heart.title}: {method}: T1 of blood is {measured.blood_ms[0]:.0f} ms before and "
                        f"{measured.blood_ms[1]:.0f} ms after contrast agent: no extracellular volume. Is -post right?"
                    )
                    measured = replace(measured, post=None)
                flags += [f"{heart.title}: {method}: {doubt}" for doubt in measured.impossible_volumes()]
            results.append(measured)
        return results, flags

    def ecv_map(self, measured: MeasuredSlice) -> np.ndarray | None:
        """The map of extracellular volume of a slice.

        None if there is no partner, or if it lies on another grid, or its heart at another place.
        """
        heart = measured.regions.heart
        other = self.pairs.get(heart)
        if self.after is None or other is None or measured.post is None:
            return None
        same = self.before.grid(heart.case).agrees(self.after.grid(other.case)) and heart.index == other.index
        return measured.ecv_map() if same and _moved(heart, other) is None else None


def _moved(heart: HeartSlice, other: HeartSlice) -> str | None:
    """A flag where a heart lies elsewhere after contrast agent, in the next breath-hold; None where pixels match."""
    shift_mm = float(np.linalg.norm(heart.plane.directions @ (other.place - heart.place)))
    if shift_mm <= max(heart.plane.pixel_mm):
        return None
    return (
        f"{heart.title}: the heart lies {shift_mm:.1f} mm elsewhere in {other.title}: no map of extracellular volume, "
        "which compares pixels; segments have masks of their own"
    )


def _positioned_anew(before: SegmentedStudy, after: SegmentedStudy, pairs: Pairs) -> list[str]:
    """A flag for each two cases whose positions refer to different frames, though slices were paired by them."""
    flags = []
    for case, other in dict.fromkeys((heart.case, partner.case) for heart, partner in pairs.items()):
        frames = [
            source.frame_sha256
            for study, name in ((before, case), (after, other))
            if (source := read_source(study.images, name)) is not None and source.frame_sha256
        ]
        if len(set(frames)) > 1:
            flags.append(
                f"{case} and {other} have different frames of reference: the patient was positioned anew between them, "
                "so their slices may lie elsewhere in the heart"
            )
    return flags


def _frames(study: SegmentedStudy) -> list[str]:
    """A flag if the cases of a study refer to different frames."""
    frames: dict[str, str] = {}
    for case in study.cases:
        source = read_source(study.images, case.case)
        if case.hearts and source is not None and source.frame_sha256:
            frames.setdefault(source.frame_sha256, case.case)
    if len(frames) < 2:
        return []
    first, second, *_ = frames.values()
    return [
        f"{first} and {second} have different frames of reference: the patient was positioned anew between them, or "
        "they are of two patients, so their slices are not those of one heart"
    ]


def _check_erosion(hearts: Sequence[HeartSlice], erode_mm: float | None) -> None:
    """Refuse an erosion by less than a pixel, since distances are those of pixels' centres.

    Raises:
        InputError: it is refused.
    """
    for heart in hearts:
        pixel_mm = max(heart.plane.pixel_mm)
        if erode_mm is not None and erode_mm and erode_mm * ROUNDED < pixel_mm:
            raise InputError(
                f"-erode {erode_mm:g} is less than a pixel, as {heart.case} has pixels of {pixel_mm:.3g} mm. Give at "
                "least that, or 0."
            )


def _levels(axes: Sequence[LongAxis], names: Sequence[Level] | None) -> tuple[dict[HeartSlice, Level], list[str]]:
    """The level of each slice, from base to apex, and what is doubtful about them; not of slices that lack a cavity.

    Raises:
        InputError: another number of levels than of positions, or another order; no slice shows a cavity.
    """
    if not any(axis.cavities for axis in axes):
        raise InputError(
            f"{axes[0].places[0][0].title}: no mask shows a cavity of the left ventricle inside the myocardium. "
            "Correct the masks, or the names of their labels in dataset.json."
        )
    count = sum(len(axis.cavities) for axis in axes)
    if names is not None and (len(axes) > 1 or len(names) != count):
        planes = f" in {len(axes)} planes" if len(axes) > 1 else ""
        raise InputError(
            f"-levels {' '.join(names)}: the masks show {counted(count, 'position')} with a cavity{planes}. Give one "
            "level for each, from base to apex."
        )
    if names is not None and (ordered := sorted(names, key=LEVELS.index)) != list(names):
        raise InputError(f"-levels {' '.join(names)}: give them from base to apex, as in {' '.join(ordered)}.")
    levels: dict[HeartSlice, Level] = {}
    flags = [flag for axis in axes for flag in axis.flags]
    for axis in axes:
        given = iter(axis.levels() if names is None else names) if axis.cavities else iter(())
        last = max((axis.places.index(place) for place in axis.cavities), default=len(axis.places))
        for number, place in enumerate(axis.places):
            if place in axis.cavities:
                levels |= dict.fromkeys(place, next(given))
            elif number > last:
                levels |= dict.fromkeys(place, "apex")
            else:
                flags += [f"{heart.title}: no cavity in the mask, and it is not the apex: left out" for heart in place]
    if len(axes) > 1:
        flags.append(f"slices lie in {len(axes)} planes, each with levels of its own")
    return levels, flags


def _pairs(before: Sequence[HeartSlice], after: Sequence[HeartSlice]) -> tuple[Pairs, list[str]]:
    """Partners after contrast agent, and the slices without one.

    Raises:
        InputError: no slice has one, or one has several.
    """
    try:
        pairs, missing = contrast_pairs(before, after)
    except ValueError as error:
        raise InputError(f"-post: {error}. Leave one of them in the folder.") from None
    if not pairs:
        raise InputError(f"-post: {missing[0]}. Give series of the same slices of the same patient.")
    return pairs, missing
