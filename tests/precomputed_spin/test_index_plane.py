"""A patch's index plane records which case the patch is cut from, and where in it the patch lies."""

from __future__ import annotations

import numpy as np
import pytest

from nnunet_phys.precomputed_spin.index_plane import index_plane, read_index_plane


@pytest.mark.parametrize(
    ("shape", "pad"), [((3, 5, 7), ((0, 2), (1, 1), (3, 0))), ((1, 5, 7), ((0, 0), (0, 0), (4, 9)))]
)
def test_a_plane_records_case_and_position(shape, pad):
    plane = np.pad(index_plane(41, (2, 0, 13), shape), pad)
    case, start, box = read_index_plane(plane)
    assert (case, start) == (41, (2, 0, 13))
    assert box == tuple(slice(low, low + n) for (low, _), n in zip(pad, shape, strict=True))
    assert np.array_equal(plane > 0, np.pad(np.ones(shape), pad) > 0)
    if shape[0] == 1:  # as nnU-Net hands over a slice
        assert read_index_plane(plane[0]) == (41, (2, 0, 13), box[1:])


def test_a_plane_of_padding_alone():
    assert read_index_plane(np.zeros((4, 4))) is None


def test_a_patch_too_small_to_record_where_it_lies():
    with pytest.raises(ValueError, match="3 voxels"):
        read_index_plane(np.pad(index_plane(0, (0, 0, 0), (1, 1, 3)), 1))
