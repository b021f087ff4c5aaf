"""Segments: their numbers in any orientation of the image, their levels, and what is said of doubtful masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from nnunet_phys.quantification.heart_slice import HeartSlice
from nnunet_phys.quantification.region_values import SliceRegions
from nnunet_phys.quantification.segments import SEGMENTS, levels_of, segment_map
from nnunet_phys.quantification.stack import LongAxis, same_position_mm, stacks

ORIENTATIONS = [(0, False), (0, True), (63, False), (151, True), (180, False), (260, True)]


def expected(angles, level, half):
    """The segment at each angle from the middle of the septum (towards inferior), written out."""
    if level == "apical":
        starts = {14: -45, 15: 45, 16: 135, 13: 225}
    else:
        free = (360 - 2 * half) / 4
        first = 1 if level == "basal" else 7
        starts = {first + k: -half + sum((half, half, free, free, free)[: k - 1]) for k in range(1, 6)}
        starts[first] = 360 - half - free
    angles = (angles - min(starts.values())) % 360 + min(starts.values())
    segments = np.zeros(angles.shape, int)
    for number, start in sorted(starts.items(), key=lambda item: item[1]):
        segments[angles >= start] = number
    return segments


@pytest.mark.parametrize("level", ["basal", "mid", "apical"])
@pytest.mark.parametrize(("turn", "mirrored"), ORIENTATIONS)
def test_segments_are_the_same_in_any_orientation(drawn_heart, half_septum_deg, level, turn, mirrored):
    drawn = drawn_heart(turn, mirrored)
    (heart,) = drawn.hearts
    assert heart.septum.width_deg == pytest.approx(2 * half_septum_deg, abs=8) and heart.septum.clear
    segments = segment_map(heart, level)
    assert (segments[~heart.myo] == 0).all()
    agree = segments[heart.myo] == expected(drawn.angles[heart.myo], level, half_septum_deg)
    assert agree.mean() > 0.95
    assert len(np.unique(segments[heart.myo])) == (4 if level == "apical" else 6)


def test_names_of_segments():
    names = {1: "basal anterior", 6: "basal anterolateral", 8: "mid anteroseptal", 10: "mid inferior"}
    names |= {13: "apical anterior", 14: "apical septal", 16: "apical lateral", 17: "apex"}
    assert {number: SEGMENTS[number] for number in names} == names and len(SEGMENTS) == 17


@pytest.mark.parametrize("from_apex", [False, True])
@pytest.mark.parametrize("turn", [0, 200])
def test_slices_are_ordered_from_base_to_apex(drawn_heart, from_apex, turn):
    drawn = drawn_heart(turn, turn > 0, from_apex, scales=(1.0, 0.9, 0.8, 0.7, 0.6, 0.5))
    (axis,), _ = stacks(drawn.hearts)
    order = [place[0].index for place in axis.places]
    assert order == sorted(order, reverse=from_apex) and not axis.flags
    assert axis.levels() == ["basal"] * 2 + ["mid"] * 2 + ["apical"] * 2


def test_slices_of_several_series_share_a_stack(drawn_heart):
    hearts = drawn_heart(scales=(1.0, 0.8, 0.6)).hearts
    again = [replace(heart, case="again") for heart in hearts[1:]]
    (axis,), _ = stacks([*again, *hearts])
    assert [len(place) for place in axis.places] == [1, 2, 2] and axis.levels() == ["basal", "mid", "apical"]


def test_planes_that_are_tilted_are_stacks_of_their_own_and_long_axis_views_none(drawn_heart):
    hearts = drawn_heart(scales=(1.0, 0.8, 0.6)).hearts
    row, column = hearts[0].plane.directions
    through = np.cross(row, column)

    def tilted(degrees: float) -> HeartSlice:
        t = np.deg2rad(degrees)
        directions = np.stack((row, np.cos(t) * column + np.sin(t) * through))
        return replace(hearts[0], case=f"{degrees}", plane=replace(hearts[0].plane, directions=directions))

    across, along = tilted(20), tilted(80)
    axes, long = stacks([along, across, *hearts])
    assert [axis.places[0][0].case for axis in axes] == ["20", "heart"] and long == [along]
    (axis,), long = stacks([along, hearts[1]])  # one position each
    assert axis.places == ((hearts[1],),) and long == [along]


def test_levels_do_not_depend_on_where_in_its_plane_a_slice_lies(drawn_heart):
    """Of another breath-hold, the basal slice lies aside."""
    first, *others = drawn_heart(scales=(1.0, 0.9, 0.8, 0.7, 0.6)).hearts
    aside = replace(first, plane=replace(first.plane, origin=first.plane.origin + 20 * first.plane.directions[0]))
    (axis,), _ = stacks([aside, *others])
    assert axis.levels() == ["basal", "basal", "mid", "apical", "apical"]


def test_levels_by_position():
    assert levels_of([3.0]) == ["mid"]
    assert levels_of([0.0, 20.0, 40.0]) == ["basal", "mid", "apical"]
    assert levels_of([0, 8, 16, 24, 32, 40, 48]) == ["basal"] * 2 + ["mid"] * 3 + ["apical"] * 2


def test_muscle_without_cavity_is_the_apex(drawn_heart):
    *hearts, last = drawn_heart(scales=(1.0, 0.8, 0.6, 0.4)).hearts
    tip = replace(last, lv=np.zeros_like(last.lv))
    (axis,), _ = stacks([*hearts, tip])
    assert axis.levels() == ["basal", "mid", "apical"] and len(axis.cavities) == 3 and axis.places[-1] == (tip,)
    regions = SliceRegions(tip, "apex", 1.5)
    assert set(regions.masks) == {"17", "global"} and not regions.flags()


def test_far_slices_do_not_show_the_same_position(drawn_heart):
    heart = drawn_heart(scales=(1.0, 0.8)).hearts[0]
    apart = [replace(heart, plane=replace(heart.plane, spacing_mm=spacing)) for spacing in (8.0, 20.0)]
    assert [same_position_mm(one, one) for one in apart] == [4.0, 5.0]


def test_a_heart_on_the_right_side_is_flagged(drawn_heart):
    hearts = drawn_heart(scales=(1.0, 0.8, 0.6)).hearts
    turned = np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    right = [replace(h, plane=replace(h.plane, directions=h.plane.directions @ turned)) for h in hearts]
    assert any("the apex points to the right or upwards" in flag for flag in LongAxis.of(right).flags)


def test_a_wrong_header_is_flagged(drawn_heart):
    hearts = drawn_heart(scales=(1.0, 0.8, 0.6)).hearts
    wrong = [replace(heart, plane=replace(heart.plane, directions=-heart.plane.directions)) for heart in hearts]
    axis = LongAxis.of(wrong)
    assert any("the apex points to the right or upwards" in flag for flag in axis.flags)
    assert any("the left ventricle grows towards" in flag for flag in axis.flags)


def test_without_a_right_ventricle_the_size_orders_and_segments_are_left_out(drawn_heart):
    hearts = [replace(heart, rv=np.zeros_like(heart.rv)) for heart in drawn_heart(scales=(0.6, 0.8, 1.0)).hearts]
    (axis,), _ = stacks(hearts)
    assert [place[0].index for place in axis.places] == [2, 1, 0] and "by the size" in axis.flags[0]
    regions = SliceRegions(hearts[0], "mid", 1.5)
    assert set(regions.masks) == {"global", "blood"}
    assert regions.flags() == [
        "heart, slice 0: no right ventricle is in the mask, so the insertion points are unknown and segments are left "
        "out"
    ]
    far = np.zeros_like(hearts[0].rv)
    far[:2, :2] = True
    assert "no right ventricle touches the wall" in SliceRegions(replace(hearts[0], rv=far), "mid", 1.5).flags()[0]


def test_insertion_points_that_cannot_be_told_are_flagged(drawn_heart):
    (heart,) = drawn_heart().hearts
    sideways = replace(heart.plane, directions=np.array(((-1.0, 0, 0), (0, -1.0, 0))))
    assert any("may be exchanged" in flag for flag in SliceRegions(replace(heart, plane=sideways), "mid", 0).flags())


def test_stray_pieces_of_the_right_ventricle_do_not_move_the_insertion_points(drawn_heart):
    drawn = drawn_heart()
    (heart,) = drawn.hearts
    stray = heart.rv | (binary_dilation(heart.myo | heart.lv) & ~heart.myo & ~heart.lv & (np.abs(drawn.angles) > 160))
    assert (stray & ~heart.rv).sum() > 5
    assert replace(heart, rv=stray).septum == heart.septum
