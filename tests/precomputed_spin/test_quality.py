"""The quality of maps: figures over the body, and the slices that look wrong."""

from dataclasses import replace

import numpy as np
import torch

from nnunet_phys.precomputed_spin.quality import body_mask, quality
from nnunet_phys.precomputed_spin.scan import Inferred, Scan, Series
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
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
    judgement = quality(_inferred(torch.full((3, 10, 10), 0.01)), SpinScaling())
    assert judgement == {
        "residual_rms": 0.01,
        "residual_by_slice": [0.01] * 3,
        "share_at_bound": 0.0,
        "t1_spread": None,
        "flags": [],
    }


def test_air_does_not_count_but_bounds_do():
    error = torch.full((3, 10, 10), 9.0)
    error[:, 2:8, 2:8] = 0.02
    judgement = quality(_inferred(error, t1=(1e5,)), SpinScaling())
    assert judgement["residual_rms"] == 0.02 and judgement["share_at_bound"] == 1.0
    assert body_mask(_inferred(error).scan).sum() == 3 * 36


def test_slices_with_large_residuals_and_samples_that_disagree_are_flagged():
    error = torch.full((3, 10, 10), 0.01)
    error[2] = 0.2
    judgement = quality(_inferred(error, samples=(600.0, 1400.0)), SpinScaling())
    assert judgement["flags"][0] == {"slice": 0, "reason": "samples differ by 57 % in T1"}
    assert {"slice": 2, "reason": "residual 20.0 %"} in judgement["flags"] and len(judgement["flags"]) == 4


def test_cavities_like_fat_and_samples_that_disagree_in_a_structure_alone_are_flagged():
    cavity = np.zeros((3, 10, 10), bool)
    cavity[1, 2:4, 2:8], cavity[2, 2:7, 3:8] = True, True  # too few voxels in slice 1
    inferred = _inferred(torch.full((3, 10, 10), 0.01), t1=(400.0,))
    flags = quality(inferred, SpinScaling(), {"RV": cavity, "MYO": ~cavity})["flags"]
    assert flags == [{"slice": 2, "reason": "RV has T1 400 and T2 60 ms, as fat has"}]
    samples = _inferred(torch.full((3, 10, 10), 0.01), samples=(1000.0, 1000.0)).samples
    samples[1].t1[torch.from_numpy(cavity)] = 400.0
    inferred = _inferred(torch.full((3, 10, 10), 0.01))
    flags = quality(replace(inferred, samples=samples), SpinScaling(), {"RV": cavity})["flags"]
    assert flags[-1] == {"slice": 2, "reason": "samples differ by 42 % in T1 of RV"}
    assert flags[:-1] == quality(replace(inferred, samples=samples), SpinScaling())["flags"]
