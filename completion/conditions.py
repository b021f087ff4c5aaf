"""What the denoiser sees of the given channels: their latents, and tokens of their features for cross-attention."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import nn

CHANNEL_DROPPED = 0.15
"""Probability with which each given channel is dropped in training. A choice: a quarter of the samples then have one
given channel of two, from which a model must be able to complete, too."""
ALL_DROPPED = 0.05
"""Probability with which all are dropped together, which guidance needs. A choice."""


@dataclass(frozen=True, eq=False)
class Conditions:
    """The given channels of some slices, and which channel is wanted.

    Attributes:
        latents: (slices, channels, latent channels, rows, columns); any number where a channel is not given.
        features: (slices, channels, places, length), likewise.
        given: bool (slices, channels).
        wanted: number of the wanted channel, int64 (slices,).
    """

    latents: torch.Tensor
    features: torch.Tensor
    given: torch.Tensor
    wanted: torch.Tensor

    def with_first(self, count: int) -> Conditions:
        """The same with only the first `count` of each slice's given channels."""
        return replace(self, given=self.given & (self.given.cumsum(1) <= count))

    def with_some_dropped(self, generator: torch.Generator) -> Conditions:
        """The same with channels dropped by chance, as in training.

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
