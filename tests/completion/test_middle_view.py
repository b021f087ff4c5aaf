"""The middle of a slice, made once more in a field of a view's size."""

from __future__ import annotations

import pytest
import torch

from nnunet_phys.completion.middle_view import MiddleView
from nnunet_phys.completion.model_files import load_model


@pytest.mark.parametrize("shape", [(48, 64), (32, 64), (48, 32), (32, 32)])
def test_parts_that_are_joined_are_the_slice_again(shape):
    planes = torch.rand(2, 3, *shape)
    middle = MiddleView(shape, 32)
    assert [part.shape[-2:] for part in middle.parts(planes)] == [shape, (32, 32)][: 1 + (shape != (32, 32))]
    torch.testing.assert_close(middle.joined(middle.parts(planes)), planes)


def test_the_middle_counts_but_at_its_border():
    middle = MiddleView((96, 64), 32)
    joined = middle.joined([torch.zeros(1, 96, 64), torch.ones(1, 32, 32)])[0]
    assert bool((joined[36:60, 20:44] == 1).all()) and float(joined.sum()) < 32 * 32
    assert [float(joined[row, 32]) for row in (31, 32, 33, 34, 35, 63, 64)] == [0, 0.25, 0.5, 0.75, 1, 0.25, 0]


def test_a_coarser_grid_has_its_middle_at_the_same_place():
    fine = MiddleView((96, 64), 32)
    planes = torch.arange(96.0 * 64).view(1, 96, 64)
    (_, of_fine), (_, of_coarse) = fine.parts(planes), fine.reduced(4).parts(planes[:, ::4, ::4])
    assert torch.equal(of_coarse, of_fine[:, ::4, ::4])


@pytest.mark.parametrize("make", ["regressed", "sampled"])
def test_the_middle_of_a_large_slice_is_that_of_a_view(model_folder, make):
    """What lies around a view of the training's size does not change what is made of the view's middle."""
    pipeline = load_model(model_folder, torch.device("cpu"))
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    darker = images.clone()
    darker[..., :16, :] = -1

    def made(shown: torch.Tensor) -> torch.Tensor:
        if make == "regressed":
            return pipeline.regressed(shown, (0, 2), 1)[0]
        return pipeline(shown, (0, 2), 1, steps=1, generator=torch.Generator().manual_seed(0)).images[0, 0]

    change = (made(images) - made(darker)).abs()
    assert float(change[:16].mean()) > 1e-3
    assert float(change[40:44, 28:36].max()) < (1e-6 if make == "regressed" else 0.02)
