"""SpinMaps: shapes, stacking, mapping."""

import dataclasses

import pytest
import torch

from nnunet_phys.spin import SpinMaps


def maps_of(shape: tuple[int, ...]) -> SpinMaps:
    generator = torch.Generator().manual_seed(0)
    return SpinMaps(*(torch.rand(shape, generator=generator) for _ in range(3)))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"one shape, got \(2, 3\), \(2, 3\) and \(3, 2\)"):
        SpinMaps(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, 2))


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        maps_of((2,)).pd = torch.ones(2)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize("dim", [0, -1])
def test_stack_and_unstack(shape, dim):
    maps = maps_of(shape)
    assert maps.shape == torch.Size(shape)
    stacked = maps.stack(dim)
    assert stacked.shape[dim] == 3
    again = SpinMaps.unstack(stacked, dim)
    for name in ("pd", "t1", "t2"):
        torch.testing.assert_close(getattr(again, name), getattr(maps, name), rtol=0, atol=0)


def test_stack_order_is_pd_t1_t2():
    maps = SpinMaps(torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([3.0]))
    assert maps.stack().flatten().tolist() == [1.0, 2.0, 3.0]


def test_map_applies_to_each():
    maps = maps_of((4, 5)).map(lambda tensor: tensor[1:3].double())
    assert maps.shape == (2, 5)
    assert maps.pd.dtype == maps.t1.dtype == maps.t2.dtype == torch.float64
