"""Slices keep their brightness and place on the way to the networks and back."""

from __future__ import annotations

import numpy as np
import torch

from nnunet_phys.completion.augmentation import random_views, with_random_gains
from nnunet_phys.completion.regressor import RegressionTask
from nnunet_phys.completion.slices import DARKEST, Brightness, ChannelSlices, fit_about_centre, resample, resampled_size


def test_brightness_there_and_back():
    volume = np.random.default_rng(0).uniform(0, 1000, (3, 20, 20)).astype(np.float32)
    brightness = Brightness.of(volume)
    inside = np.minimum(volume, brightness.bright)
    back = brightness.to_image(brightness.to_network(torch.from_numpy(volume)))
    np.testing.assert_allclose(back, inside, atol=1e-3)


def test_signed_images_keep_their_sign():
    """Phase-sensitive images: 0 is not the darkest."""
    volume = np.random.default_rng(0).normal(0, 100, (3, 40, 40)).astype(np.float32)
    brightness = Brightness.of(volume)
    assert brightness.dark < -200
    assert abs(float(brightness.to_network(torch.zeros(1)))) < 0.1


def test_resampling_keeps_the_field_of_view():
    """A gradient over the field stays the same gradient, there and back."""
    ramp = torch.linspace(0, 1, 60)[None, None, None].expand(1, 1, 40, 60)
    size = resampled_size((40, 60), (1.0, 1.0), 1.7)
    assert size == (24, 35)
    there_and_back = resample(resample(ramp, size), (40, 60))
    assert float((there_and_back - ramp)[..., 3:-3].abs().max()) < 0.01


def test_fit_about_centre_reverses():
    values = torch.rand(2, 7, 9)
    padded = fit_about_centre(values, (16, 12), DARKEST)
    assert torch.equal(fit_about_centre(padded, (7, 9), 0.0), values)


def _pattern(channels: int) -> ChannelSlices:
    coarse = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1)).round()
    pattern = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3).expand(3, channels, 64, 64) * 2 - 1
    return ChannelSlices(pattern.half(), pattern[:, :1] > 0)


def test_views_move_all_channels_and_regions_alike():
    views = random_views(_pattern(2), torch.tensor([0, 1, 2]), 48, 1.5, torch.Generator().manual_seed(0))
    bright = (views.images + 1) / 2
    torch.testing.assert_close(bright[:, 1], bright[:, 0], atol=1e-3, rtol=1e-3)
    inside = bright[:, 0] > 0.6
    assert float((views.regions[:, 0] == inside).float().mean()) > 0.9


def test_views_are_hardly_blurred():
    """Of white noise, linear interpolation would leave two thirds of the standard deviation."""
    noise = torch.rand(8, 1, 96, 96, generator=torch.Generator().manual_seed(2)) - 0.5
    slices = ChannelSlices(noise.half(), torch.zeros(8, 0, 96, 96, dtype=torch.bool))
    views = random_views(slices, torch.arange(8), 32, 1.0, torch.Generator().manual_seed(0)).images
    assert float(views.std()) > 0.8 * float(noise.std())


def test_gains_change_each_channel_and_no_target():
    images = torch.rand(50, 2, 4, 4, generator=torch.Generator().manual_seed(0)) - 1
    generator = torch.Generator().manual_seed(1)
    gains = ((with_random_gains(images, generator) + 1) / (images + 1)).amax((2, 3))
    assert 0.9 <= float(gains.min()) < 0.92 and 1.08 < float(gains.max()) <= 1.1001
    assert not torch.allclose(gains[:, 0], gains[:, 1], atol=0.01)
    task = RegressionTask.draw(images, generator)
    assert torch.equal(task.truth, images[torch.arange(50), task.wanted])


def test_views_differ_and_are_drawn_again_by_the_same_generator():
    indices = torch.tensor([0, 0])
    first, second = (
        random_views(_pattern(1), indices, 32, 1.0, torch.Generator().manual_seed(5)).images for _ in range(2)
    )
    assert torch.equal(first, second)
    assert not torch.allclose(first[0], first[1], atol=0.1)
