"""A case's reservoir stands for the case."""

from __future__ import annotations

import numpy as np

from nnunet_phys.reservoir import Reservoir, draw_reservoir

SPACING = (8.0, 1.5, 1.25)


def random_maps(shape=(10, 40, 50)) -> np.ndarray:
    rng = np.random.default_rng(4)
    return rng.gamma(2.0, (1.0, 400.0, 40.0), (*shape, 3)).transpose(3, 0, 1, 2).astype(np.float32)


def test_it_has_the_statistics_of_the_case():
    maps = random_maps()
    reservoir = draw_reservoir(maps, None, SPACING, 1)
    assert reservoir.voxels.shape == reservoir.position_mm.shape == (3, 4096)
    assert reservoir.voxels.dtype == reservoir.position_mm.dtype == np.float32
    for whole, drawn in zip(maps, reservoir.voxels, strict=True):
        assert abs(drawn.mean() - whole.mean()) < 0.05 * whole.std()
        assert abs(drawn.std() / whole.std() - 1) < 0.05
    assert np.array_equal(reservoir.voxels, draw_reservoir(maps, None, SPACING, 1).voxels)
    assert not np.array_equal(reservoir.voxels, draw_reservoir(maps, None, SPACING, 2).voxels)


def test_each_voxel_comes_with_its_place():
    maps = random_maps()
    maps[0] = np.arange(10)[:, None, None]
    maps[1], maps[2] = np.arange(40)[:, None] + 100, np.arange(50) + 10
    inside = np.zeros((10, 40, 50), bool)
    inside[:, 5:30] = True
    reservoir = draw_reservoir(maps, inside, SPACING, 0)
    index = np.stack((reservoir.voxels[0], reservoir.voxels[1] - 100, reservoir.voxels[2] - 10))
    middle = np.array([[4.5], [19.5], [24.5]])
    assert np.allclose(reservoir.position_mm, (index - middle) * np.array(SPACING)[:, None])
    assert index[1].min() >= 5 and index[1].max() < 30


def test_a_small_case_comes_whole(tmp_path):
    maps = random_maps((1, 40, 50))
    reservoir = draw_reservoir(maps, None, SPACING, 0, (1, 80, 100), (8.0, 0.75, 0.625))
    assert np.array_equal(reservoir.voxels, maps.reshape(3, -1))
    assert tuple(reservoir.shape) == (1, 80, 100) and tuple(reservoir.spacing_mm) == (8.0, 0.75, 0.625)
    reservoir.save(tmp_path / "a.part")
    again = Reservoir.load(tmp_path / "a.part")
    assert all(np.array_equal(value, getattr(again, name)) for name, value in vars(reservoir).items())
