"""Values of regions: erosion, thin walls, statistics, and extracellular volume."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from nnunet_phys.quantification.extracellular_volume import extracellular_volume
from nnunet_phys.quantification.inner_pixels import inner_cavity, inner_wall
from nnunet_phys.quantification.region_values import RegionValues, SliceRegions


def test_a_pixel_is_removed_on_each_side(drawn_heart):
    (heart,) = drawn_heart(20).hearts
    kept, middle = inner_wall(heart, 1.5)
    assert not middle.any()
    np.testing.assert_array_equal(kept, binary_erosion(heart.myo))
    np.testing.assert_array_equal(inner_cavity(heart, 1.5)[0], binary_erosion(heart.lv))
    np.testing.assert_array_equal(inner_wall(heart, 0)[0], heart.myo)


def test_values_of_blood_do_not_reach_the_eroded_wall(drawn_heart):
    (heart,) = drawn_heart().hearts
    t1 = np.where(binary_dilation(heart.lv) | ~binary_erosion(heart.myo | heart.lv), 1600.0, 1000.0)
    for region, values in SliceRegions(heart, "mid", 1.5).values(t1).items():
        assert values.mean == (1600 if region == "blood" else 1000), region


def test_a_thin_wall_keeps_its_middle(drawn_heart):
    (heart,) = drawn_heart().hearts
    columns = np.arange(heart.myo.shape[1])
    wide = binary_dilation(heart.lv, iterations=5)  # leaves one or two pixels of the wall
    thin = replace(heart, lv=np.where(columns > 48, wide, heart.lv), myo=heart.myo & ~(wide & (columns > 48)))
    regions = SliceRegions(thin, "mid", 1.5)
    kept, middle = inner_wall(thin, 1.5)
    assert middle.any() and (kept & ~thin.myo).sum() == 0 and not middle[:, :45].any()
    assert all(mask.any() for mask in regions.masks.values())
    assert any("its middle was kept there" in flag for flag in regions.flags())


def test_statistics_leave_out_pixels_without_a_value(drawn_heart):
    (heart,) = drawn_heart().hearts
    regions = SliceRegions(heart, "mid", 1.5)
    t1 = np.where(regions.segments == 7, 0.0, 1000.0 + regions.segments)
    values = regions.values(t1)
    assert values["7"] == RegionValues(0, None, None, None)
    assert values["8"].mean == values["8"].median == 1008 and values["8"].sd == 0
    assert 1008 < values["septal"].mean < 1009 and values["septal"].pixels == values["8"].pixels + values["9"].pixels
    assert values["global"].pixels == sum(values[str(k)].pixels for k in range(7, 13))
    assert regions.invalid_flags(t1, "fit")[0] == "heart, slice 0: fit has no T1 in 100 % of mid anterior"
    assert RegionValues.of(np.array([1.0, 2.0, 6.0])) == RegionValues(3, 3.0, pytest.approx(7**0.5), 2.0)


@pytest.mark.parametrize("haematocrit", [0.0, 0.42])
def test_extracellular_volume_from_concentrations(haematocrit):
    """The agent fills plasma and interstitium at one concentration, and 1/T1 grows by relaxivity times its amount."""
    relaxivity, plasma, fraction = 4.5e-3, 0.6, 0.27  # per ms and mM, mM, share of the tissue
    blood_post = 1 / (1 / 1600 + relaxivity * plasma * (1 - haematocrit))
    myocardium = np.array([1000.0, 1150.0])
    post = 1 / (1 / myocardium + relaxivity * plasma * fraction)
    ecv = extracellular_volume(myocardium, post, 1600.0, blood_post, haematocrit)
    np.testing.assert_allclose(ecv, 27.0)


def test_blood_must_have_shortened():
    with pytest.raises(ValueError, match="1600 ms before and 1700 ms after"):
        extracellular_volume(1000.0, 500.0, 1600.0, 1700.0, 0.42)
