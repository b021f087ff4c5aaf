"""A channel that is made, in the unit and on the grid of the images: the mean of samples and their spread."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.completion.channel_files import ChannelCase
from nnunet_phys.completion.completing import CompletionSettings, MissingChannel, complete_channel


class Known:
    """Two samples of known brightness; notes what it is asked for."""

    def __init__(self) -> None:
        self.config = {"channels": ["a", "b"], "pixel_mm": 1.0, "dark": [0.0, 20.0], "bright": [1.0, 120.0]}
        self.asked: list[SimpleNamespace] = []

    def __call__(self, images, given, wanted, scales, steps, samples, start, strength, generator):
        self.asked.append(SimpleNamespace(images=images, scales=scales, seed=generator.initial_seed()))
        made = torch.full((samples, len(images), *images.shape[2:]), -0.5)
        made[1] = 0.5
        made[..., : images.shape[2] // 2, :] = made[..., : images.shape[2] // 2, :] / 2
        return SimpleNamespace(images=made)


@pytest.fixture
def missing(tmp_path):
    """A case whose channel 0 has rows of 2 mm and columns of 1 mm, five slices."""
    image = sitk.GetImageFromArray(np.random.default_rng(0).uniform(1, 2, (5, 12, 20)).astype(np.float32))
    image.SetSpacing((1.0, 2.0, 8.0))
    sitk.WriteImage(image, str(tmp_path / "a_0000.nii.gz"))
    return MissingChannel(ChannelCase("a", {0: tmp_path / "a_0000.nii.gz"}), 1)


def test_samples_become_mean_and_spread_in_the_unit_of_the_images(missing):
    pipeline = Known()
    made = complete_channel(pipeline, missing, CompletionSettings((1.5,), samples=2, seed=7))
    assert made.mean.shape == (5, 12, 20)
    torch.testing.assert_close(made.mean, torch.full((5, 12, 20), 70.0))  # in the middle of 20 and 120
    deviation = torch.tensor([-0.5, 0.5]).std() * 50  # half of the range of brightness is a unit of the network's
    torch.testing.assert_close(made.spread[:, 8:], deviation.expand(5, 4, 20))
    torch.testing.assert_close(made.spread[:, :4], (deviation / 2).expand(5, 4, 20))


def test_slices_reach_the_model_in_its_pixels_and_begin_with_the_same_noise(missing):
    pipeline = Known()
    complete_channel(pipeline, missing, CompletionSettings((1.5,), samples=2, seed=7))
    assert [asked.images.shape for asked in pipeline.asked] == [(4, 2, 24, 20), (1, 2, 24, 20)]
    assert {asked.seed for asked in pipeline.asked} == {7} and {asked.scales for asked in pipeline.asked} == {(1.5,)}
    assert all(bool((asked.images[:, 1] == 0).all()) for asked in pipeline.asked)
