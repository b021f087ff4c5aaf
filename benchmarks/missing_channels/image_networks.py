"""Competitors that map images to images: a regression U-Net, and a conditional GAN after pix2pix.

Both have the network of the regressor, and learn from the same random views, by the same optimiser with averaged
weights, as many steps as the denoiser.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, l1_loss, one_hot
from tqdm import tqdm

from nnunet_phys.completion.augmentation import random_views
from nnunet_phys.completion.middle_view import MiddleView
from nnunet_phys.completion.regressor import MULTIPLE, RegressionTask, new_regressor, regress
from nnunet_phys.completion.schedule import CompletionSchedule
from nnunet_phys.completion.slices import DARKEST, ChannelSlices, fit_about_centre
from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.precomputed_spin.averaged_optimiser import AveragedOptimiser
from nnunet_phys.whole_files import whole_file

BATCH = CompletionSchedule.batch
VIEW = CompletionSchedule.view
LEARNING_RATE = CompletionSchedule.learning_rate
ADVERSARIAL_RATE = 2e-4  # pix2pix (Isola et al., CVPR 2017), as the weight of L1
L1_WEIGHT = 100.0
BETAS = (0.5, 0.999)
"""Of the discriminator's AdamW, likewise."""


@dataclass(frozen=True)
class ImageTraining:
    """How an image network learns.

    Attributes:
        steps: optimiser steps.
        batch_factor: factor of the views per step; the learning rate grows by its square root.
        pixel_mm: pixel size.
        adversarial: with a discriminator, as in pix2pix.
        seed: of weights and views.
    """

    steps: int
    batch_factor: int
    pixel_mm: float
    adversarial: bool
    seed: int


@dataclass(frozen=True, eq=False)
class ImageNetwork:
    """A trained network.

    Attributes:
        unet: takes given images and planes that tell which are given.
    """

    unet: UNet2DModel

    @torch.inference_mode()
    def complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """See `methods.Completer`."""
        device, (rows, columns) = self.unet.device, images.shape[2:]
        larger = max(VIEW, -(-rows // MULTIPLE) * MULTIPLE), max(VIEW, -(-columns // MULTIPLE) * MULTIPLE)
        middle, made = MiddleView(larger, VIEW), []
        for shown in fit_about_centre(images, larger, DARKEST).split(4):
            mask = torch.zeros(len(shown), images.shape[1], dtype=torch.bool, device=device)
            mask[:, list(given)] = True
            where = torch.full((len(shown),), wanted, device=device)
            with _autocast(device):
                parts = [regress(self.unet, part, mask, where) for part in middle.parts(shown.to(device))]
            made.append(middle.joined(parts).cpu())
        return fit_about_centre(torch.cat(made), (rows, columns), DARKEST).clamp(-1, 1)


def train_image_network(slices: ChannelSlices, how: ImageTraining, path: Path, device: torch.device) -> ImageNetwork:
    """Train a network, or read it where it was trained before.

    Args:
        slices: the training slices.
        how: the training.
        path: file of its weights.
        device: where it is trained and runs.
    """
    channels = slices.images.shape[1]
    torch.manual_seed(how.seed)
    unet = new_regressor(channels).to(device)
    if path.is_file():
        unet.load_state_dict(torch.load(path, map_location=device, weights_only=True))
        return ImageNetwork(unet.eval())
    discriminator = _discriminator(channels).to(device) if how.adversarial else None
    rate = math.sqrt(how.batch_factor) * (ADVERSARIAL_RATE if how.adversarial else LEARNING_RATE)
    batch = how.batch_factor * BATCH
    optimiser = AveragedOptimiser(unet.parameters(), rate, how.steps // 20, how.steps)
    rival = None if discriminator is None else torch.optim.AdamW(discriminator.parameters(), lr=rate, betas=BETAS)
    generator = torch.Generator().manual_seed(how.seed)
    for _ in tqdm(range(how.steps), desc=path.stem, mininterval=5):
        views = random_views(slices, slices.shuffled(batch, generator), VIEW, how.pixel_mm, generator).images.to(device)
        task = RegressionTask.draw(views, generator)
        with _autocast(device):
            made = regress(unet, task.images, task.given, task.wanted)
            loss = l1_loss(made, task.truth)
            if discriminator is not None and rival is not None:
                shown = torch.where(task.given[:, :, None, None], task.images, DARKEST)
                wanted = one_hot(task.wanted, channels)[:, :, None, None].expand_as(shown)
                fake = torch.cat((shown, wanted, made[:, None]), 1)
                real = torch.cat((shown, wanted, task.truth[:, None]), 1)
                verdict = discriminator(fake.detach()), discriminator(real)
                against = (_judged(verdict[0], False) + _judged(verdict[1], True)) / 2
                rival.zero_grad()
                against.backward()
                rival.step()
                loss = L1_WEIGHT * loss + _judged(discriminator(fake), True)
        optimiser.zero_gradients()
        loss.backward()
        optimiser.step()
    optimiser.use_average()
    with whole_file(path) as temporary:
        torch.save(unet.state_dict(), temporary)
    return ImageNetwork(unet.eval())


def _autocast(device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=computes_in_bfloat16(device))


def _discriminator(channels: int) -> nn.Module:
    """pix2pix's discriminator of patches, of given images, which channel is wanted, and its image.

    Three halvings, so that each verdict sees 46 pixels.
    """
    layers: list[nn.Module] = []
    widths = (2 * channels + 1, 32, 64, 128)
    for number, (before, after) in enumerate(pairwise(widths)):
        layers.append(nn.Conv2d(before, after, 4, stride=2, padding=1))
        layers += [nn.GroupNorm(8, after)] if number else []
        layers.append(nn.LeakyReLU(0.2))
    return nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))


def _judged(verdict: torch.Tensor, real: bool) -> torch.Tensor:
    wanted = torch.full_like(verdict, float(real))
    return binary_cross_entropy_with_logits(verdict.float(), wanted.float())
