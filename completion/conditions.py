"""What the denoiser sees: the given channels' latents, tokens of their features, and what a regression expects."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

CHANNEL_MISSING = 0.15
"""Probability with which each channel but the wanted one is missing in training. A choice: a quarter of samples have
one given channel of two then, from which a model must be able to complete, too."""
CHANNEL_DROPPED = 0.05
"""Probability with which each given channel is hidden from the denoiser, which guidance needs. A choice."""
ALL_DROPPED = 0.05
"""Probability with which all are hidden together. A choice."""


def some_available(wanted: torch.Tensor, channels: int, generator: torch.Generator) -> torch.Tensor:
    """Which channels are given, by chance; at least one of those that are not wanted.

    Args:
        wanted: number of the wanted channel, int64 (slices,).
        channels: number of channels.
        generator: on the CPU.

    Returns:
        bool (slices, channels).
    """
    chance = torch.rand((len(wanted), channels), generator=generator)
    chance[torch.arange(len(wanted)), wanted] = -1.0
    return (chance >= CHANNEL_MISSING) | (chance == chance.amax(1, keepdim=True))


@dataclass(frozen=True, eq=False)
class Conditions:
    """The given channels of some slices, and which channel is wanted.

    Attributes:
        latents: (slices, channels, latent channels, rows, columns); any number where a channel is not given.
        features: (slices, channels, places, length), likewise.
        given: bool (slices, channels).
        wanted: number of the wanted channel, int64 (slices,).
        regressed: latents of the regression's image (slices, latent channels, rows, columns); zeros without one.
    """

    latents: torch.Tensor
    features: torch.Tensor
    given: torch.Tensor
    wanted: torch.Tensor
    regressed: torch.Tensor

    def with_first(self, count: int) -> Conditions:
        """The same with only the first `count` of each slice's given channels."""
        return replace(self, given=self.given & (self.given.cumsum(1) <= count))

    def with_some_dropped(self, generator: torch.Generator) -> Conditions:
        """The same with channels hidden by chance, as in training.

        Args:
            generator: on the CPU.
        """
        slices, channels = self.given.shape
        kept = torch.rand((slices, channels), generator=generator) >= CHANNEL_DROPPED
        kept &= torch.rand((slices, 1), generator=generator) >= ALL_DROPPED
        return replace(self, given=self.given & kept.to(self.given.device))


class TokenProjection(ModelMixin, ConfigMixin):
    """Features of the given channels to tokens; channels that are not given become empty tokens.

    Args:
        channels: number of channels, each of which has an embedding of its own.
        features: length of a feature vector.
        tokens: length of a token.
    """

    config_name = "config.json"  # type: ignore[assignment]  # None in its base, which asks for it

    @register_to_config
    def __init__(self, channels: int, features: int, tokens: int = 128) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, tokens))
        self.channel = nn.Embedding(channels, tokens)
        self.empty = nn.Parameter(torch.zeros(tokens))

    def forward(self, features: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """Tokens (slices, channels * places, length) of features and a mask as in `Conditions`."""
        tokens = self.project(features) + self.channel.weight[None, :, None]
        return torch.where(given[:, :, None, None], tokens, self.empty).flatten(1, 2)
