"""Infarcts lie in the layer next to blood, as deep, as wide and as often as their parameters say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, label

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.fields import grid_positions
from nnunet_phys.infarct import Infarct, blood_distance
from nnunet_phys.spin import SpinMaps

SPACING = (10.0, 1.5, 1.5)
BLOOD, MUSCLE = (0.9, 1550.0, 230.0), (0.8, 1050.0, 50.0)


def tissue(blood: np.ndarray) -> SpinMaps:
    """Maps of blood where the mask is true, of myocardium elsewhere."""
    values = torch.tensor([MUSCLE, BLOOD])[torch.from_numpy(blood).long()]
    return SpinMaps.unstack(values, dim=-1)


def block_of_blood(shape=(3, 60, 70), rows=slice(0, 10)) -> SpinMaps:
    blood = np.zeros(shape, bool)
    blood[:, rows] = True
    return tissue(blood)


def everywhere(maps: SpinMaps, spacing=SPACING) -> tuple:
    shape = tuple(maps.shape)
    return grid_positions((0, 0, 0), shape, shape, spacing)


def infarcted(infarct: Infarct, maps: SpinMaps, spacing=SPACING) -> np.ndarray:
    return infarct(everywhere(maps, spacing), blood_distance(maps, spacing)).numpy() > 0


@pytest.fixture(scope="module")
def heart():
    return digital_heart(4, slices=4, shape=(128, 128), pixel_mm=1.8)


def test_the_distance_is_in_mm():
    distance = blood_distance(block_of_blood(), SPACING)
    assert distance.shape == (3, 60, 70) and (distance[:, :10] == 0).all()
    torch.testing.assert_close(distance[1, 10:23, 30], torch.arange(1, 14) * 1.5)
    assert torch.isinf(distance[1, 23:]).all()  # nothing within 20 mm


@pytest.mark.parametrize("spacing", [(10.0, 1.8, 1.8), (1.6, 1.6, 2.1)], ids=["thick slices", "thin slices"])
def test_the_distance_is_euclidean(heart, spacing):
    distance = blood_distance(heart.maps, spacing, 12.0).numpy()
    exact = distance_transform_edt(distance > 0, sampling=spacing)
    near = exact <= 12
    assert near[distance > 0].any() and np.allclose(distance[near], exact[near], rtol=1e-5)
    assert (distance[~near] > 12).all()


def test_the_next_slice_counts_where_it_is_near():
    blood = np.zeros((2, 20, 20), bool)
    blood[0] = True
    thin, thick = (blood_distance(tissue(blood), (mm, 1.5, 1.5))[1] for mm in (2.0, 10.0))
    assert (thin == 2).all() and (thick == 10).all()


def test_vessels_and_single_voxels_are_no_pool():
    blood = np.zeros((1, 60, 60), bool)
    blood[0, 30, 30] = True
    blood[0, 10:12] = True  # 3 mm wide
    assert torch.isinf(blood_distance(tissue(blood), SPACING)).all()


def test_no_infarct_without_blood():
    maps = tissue(np.zeros((2, 30, 30), bool))
    assert not infarcted(Infarct(20.0, 0.99, 40.0, 0), maps).any()


@pytest.mark.parametrize("seed", range(8))
def test_infarcts_are_contiguous_with_blood(heart, seed):
    distance = blood_distance(heart.maps, heart.spacing_mm).numpy()
    infarct = infarcted(Infarct(9.0, 0.3, 45.0, seed), heart.maps, heart.spacing_mm)
    assert not infarct[distance == 0].any()
    contiguous = 0
    for mask, pool in zip(infarct, distance == 0, strict=True):
        pieces, _ = label(mask | pool, np.ones((3, 3)))
        contiguous += (mask & np.isin(pieces, np.unique(pieces[pool]))).sum()
    assert contiguous >= 0.98 * infarct.sum()


def test_the_depth_is_reached_in_the_middle_and_not_at_the_edge():
    maps = block_of_blood((1, 60, 400))
    distance = blood_distance(maps, SPACING).numpy()
    at_edge, deepest = [], []
    for seed in range(20):
        mask = infarcted(Infarct(12.0, 0.3, 50.0, seed), maps)
        assert not mask[distance > 12].any()
        depth = np.where(mask, distance, 0)[0].max(0)
        at_edge.extend(depth[1:][(depth[1:] > 0) & (depth[:-1] == 0)])
        deepest.append(depth.max())
    assert np.median(deepest) == 12 and np.median(at_edge) < 6


def test_the_share_and_the_width_are_those_asked_for():
    maps = block_of_blood((1, 20, 600))
    for share, width_mm in ((0.15, 40.0), (0.3, 40.0), (0.3, 60.0)):
        rows = [infarcted(Infarct(10.0, share, width_mm, seed), maps)[0, 10] for seed in range(60)]
        assert np.mean(rows) == pytest.approx(share, abs=0.03)
        borders = sum((row[1:] & ~row[:-1]).sum() for row in rows)
        assert 1.5 * np.sum(rows) / borders == pytest.approx(width_mm, rel=0.2)


def test_of_the_layer_four_fifths_of_the_share_are_infarcted():
    positions = grid_positions((0, 0, 0), (1, 120, 120), (1, 120, 120), (10.0, 1.8, 1.8))
    depth_mm = 10 * torch.rand(1, 120, 120, generator=torch.Generator().manual_seed(0)) + 1e-6
    infarcts = [Infarct(10.0, 0.25, 45.0, seed)(positions, depth_mm) for seed in range(100)]
    assert float(torch.stack(infarcts).mean()) == pytest.approx(0.8 * 0.25, abs=0.02)


def test_the_seed_decides(heart):
    first, same, other = (infarcted(Infarct(10.0, 0.3, 45.0, seed), heart.maps, heart.spacing_mm) for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_most_of_them_show_in_the_left_ventricles_wall(heart):
    wall = heart.labels == LABELS["MYO"]
    shares = [
        infarcted(Infarct(10.0, 0.3, 45.0, seed), heart.maps, heart.spacing_mm)[wall].mean() for seed in range(40)
    ]
    assert np.mean(np.array(shares) > 0.02) > 0.7 and 0.1 < np.mean(shares) < 0.35


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((30.0, 0.3, 40.0, 1), "depth_mm must lie between 0.5 and 20 mm, got 30"),
        ((8.0, 0.0, 40.0, 1), "share must lie between 0.01 and 0.99, got 0"),
        ((8.0, 0.3, 2.0, 1), "scale_mm must lie between 5 and 200 mm, got 2"),
        ((8.0, 0.3, 40.0, -1), "seed must be a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        Infarct(*values)
