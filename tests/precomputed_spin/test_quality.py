"""The quality of maps: figures over the body, and the slices that look wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_phys.precomputed_spin.quality import body_mask, quality
from nnunet_phys.precomputed_spin.quality_record import Flag, QualityRecord
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


def _masks(rows):
    """A left cavity and myocardium of 6 columns and some rows each, in slice 1."""
    lv, myo = np.zeros((2, 3, 10, 10), bool)
    lv[1, 2 : 2 + rows, 2:8], myo[1, 2 + rows : 2 + 2 * rows, 2:8] = True, True
    return {"LV": lv, "MYO": myo}


def test_good_maps_have_no_flags():
    judgement = quality(_inferred(torch.full((3, 10, 10), 0.01)), SpinScaling())
    assert judgement == QualityRecord(
        residual_rms=0.01, share_at_bound=0.0, flags=(), t1_spread=None, residual_by_slice=(0.01,) * 3
    )


def test_air_does_not_count_but_bounds_do():
    error = torch.full((3, 10, 10), 9.0)
    error[:, 2:8, 2:8] = 0.02
    judgement = quality(_inferred(error, t1=(1e5,)), SpinScaling())
    assert judgement.residual_rms == 0.02 and judgement.share_at_bound == 1.0
    assert body_mask(_inferred(error).scan).sum() == 3 * 36


def test_few_pixels_beside_a_coil_do_not_count():
    error = torch.full((3, 10, 10), 0.01)
    error[:, 2, 2:5] = 5.0
    judgement = quality(_inferred(error), SpinScaling())
    assert judgement.residual_rms > 1 and not judgement.flags


def test_clipped_pixels_do_not_count():
    error = torch.full((3, 10, 10), 0.01)
    error[:, 7, 2:8] = 0.5
    inferred = _inferred(error)
    assert quality(inferred, SpinScaling()).flags
    inferred.scan.series[0].images[:, :, 7, 2:8] = 130.0
    judgement = quality(inferred, SpinScaling())
    assert judgement.residual_rms == 0.01 and not judgement.flags


def test_slices_with_large_residuals_and_samples_that_disagree_are_flagged():
    error = torch.full((3, 10, 10), 0.01)
    error[2] = 0.2
    judgement = quality(_inferred(error, samples=(600.0, 1400.0)), SpinScaling())
    samples = Flag(0, "samples differ by 57 % in T1", "samples", 36)
    assert judgement.flags[0] == samples and len(judgement.flags) == 4
    reason = "residual above 20 % in a tenth of the pixels"
    assert Flag(2, reason, "residual", 35) in judgement.flags


def test_cavities_like_fat_and_samples_that_disagree_in_a_structure_alone_are_flagged():
    cavity = np.zeros((3, 10, 10), bool)
    cavity[1, 2:4, 2:8], cavity[2, 2:7, 3:8] = True, True  # too few pixels in slice 1
    inferred = _inferred(torch.full((3, 10, 10), 0.01), t1=(400.0,))
    flags = quality(inferred, SpinScaling(), {"RV": cavity, "MYO": ~cavity}).flags
    assert flags == (Flag(2, "RV has T1 400 and T2 60 ms, as fat has", "tissue", 25),)
    samples = _inferred(torch.full((3, 10, 10), 0.01), samples=(1000.0, 1000.0)).samples
    samples[1].t1[torch.from_numpy(cavity)] = 400.0
    inferred = _inferred(torch.full((3, 10, 10), 0.01))
    flags = quality(replace(inferred, samples=samples), SpinScaling(), {"RV": cavity}).flags
    assert flags[-1] == Flag(2, "samples differ by 42 % in T1 of RV", "samples", 25)
    assert flags[:-1] == quality(replace(inferred, samples=samples), SpinScaling()).flags


@pytest.mark.parametrize(("pd", "rows", "flagged"), [(1.5, 4, False), (2.5, 4, True), (0.5, 4, True), (2.5, 3, False)])
def test_densities_that_blood_and_muscle_cannot_have_are_flagged(pd, rows, flagged):
    inferred, masks = _inferred(torch.full((3, 10, 10), 0.01)), _masks(rows)
    inferred.maps.pd[torch.from_numpy(masks["LV"])] = pd
    flags = quality(inferred, SpinScaling(), masks).flags
    expected = Flag(1, f"PD of LV is {pd:.1f} times that of MYO", "density", 48)
    assert flags == ((expected,) if flagged else ())
