"""What is said about maps: figures over the body, and the slices that look wrong."""

import numpy as np
import torch

from nnunet_phys.precomputed_spin.prior import SpinScaling
from nnunet_phys.precomputed_spin.quality import body_mask, quality
from nnunet_phys.precomputed_spin.reverse_imaging import Inferred, Scan, Series
from nnunet_phys.sequences import BSSFP
from nnunet_phys.spin import SpinMaps


def _inferred(error, t1=(1000.0,), samples=()):
    image = np.zeros((3, 10, 10))
    image[:, 2:8, 2:8] = np.linspace(80, 120, 36).reshape(6, 6)

    def maps(value):
        return SpinMaps(torch.ones(3, 10, 10), torch.full((3, 10, 10), value), torch.full((3, 10, 10), 60.0))

    scan = Scan("case", (Series(BSSFP(), image[None]),), (2.0, 2.0))
    return Inferred(scan, maps(t1[0]), error, tuple(maps(v) for v in samples))


def test_good_maps_have_no_flags():
    found = quality(_inferred(torch.full((3, 10, 10), 0.01)), SpinScaling())
    assert found == {"residual_rms": 0.01, "share_at_bound": 0.0, "t1_spread": None, "flags": []}


def test_air_does_not_count_but_bounds_do():
    error = torch.full((3, 10, 10), 9.0)
    error[:, 2:8, 2:8] = 0.02
    found = quality(_inferred(error, t1=(1e5,)), SpinScaling())
    assert found["residual_rms"] == 0.02 and found["share_at_bound"] == 1.0
    assert body_mask(_inferred(error).scan).sum() == 3 * 36


def test_a_slice_that_is_not_explained_and_samples_that_disagree():
    error = torch.full((3, 10, 10), 0.01)
    error[2] = 0.2
    found = quality(_inferred(error, samples=(600.0, 1400.0)), SpinScaling())
    assert found["flags"][0] == {"slice": 0, "reason": "samples differ by 57 % in T1"}
    assert {"slice": 2, "reason": "residual 20.0 %"} in found["flags"] and len(found["flags"]) == 4
