"""Images to features: what a slice shows, whichever sequence shows it.

CLIP (Radford et al., ICML 2021) learns features that pictures share with their captions. Here the sequences of one
slice take the place of picture and caption: features of the same slice shall agree, and those of others not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from safetensors import SafetensorError
from torch import nn
from torch.nn.functional import cross_entropy, interpolate, normalize

from nnunet_phys.errors import InputError, last_line

TEMPERATURE = 0.1
"""Of the contrastive loss; the value of SimCLR (Chen et al., ICML 2020)."""


class ImageEncoder(ModelMixin, ConfigMixin):
    """A small convolutional encoder.

    Args:
        widths: channels of the stages, each of which halves rows and columns.
        features: length of a feature vector.
    """

    config_name = "config.json"  # type: ignore[assignment]  # None in its base, which asks for it

    @register_to_config
    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 96, 128), features: int = 64) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for before, after in zip((1, *widths[:-1]), widths, strict=True):
            stages += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.stages = nn.Sequential(*stages)
        self.project = nn.Conv2d(widths[-1], features, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """See `features_of`."""
        places = self.project(self.stages(images[:, None])).flatten(2).transpose(1, 2)
        return torch.cat((places.mean(1, keepdim=True), places), 1)


def load_clip(folder: Path) -> nn.Module:
    """A pretrained CLIP vision model from a folder in transformers' format.

    Raises:
        InputError: transformers is not installed, or the folder holds no such model.
    """
    try:
        from transformers import CLIPVisionModel
    except ImportError:
        raise InputError("-image_encoder needs transformers: pip install transformers.") from None
    try:
        loaded: Any = CLIPVisionModel.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise InputError(f"-image_encoder {folder} holds no CLIP vision model ({last_line(error)}).") from None
    model: nn.Module = loaded[0]
    missing = sorted(loaded[1]["missing_keys"])
    if missing:  # transformers leaves them at random values
        raise InputError(f"-image_encoder {folder} holds no CLIP vision model: it lacks {missing[0]}.")
    return model


def feature_length(encoder: nn.Module) -> int:
    """Length of an encoder's feature vectors."""
    config: Any = encoder.config
    return int(config["features"] if isinstance(encoder, ImageEncoder) else config.hidden_size)


def features_of(encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Features of images (images, rows, columns) from -1 to 1: one vector for all, then one for each place.

    Args:
        encoder: an `ImageEncoder`, or a CLIP vision model, for which images are brought to the size and the range of
            brightness that it learned.
        images: the images.

    Returns:
        float32 (images, 1 + places, length).
    """
    if isinstance(encoder, ImageEncoder):
        features: torch.Tensor = encoder(images)
    else:
        from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        config: Any = encoder.config
        side = config.image_size
        pixels = (interpolate(images[:, None], (side, side), mode="bilinear", antialias=True) + 1) / 2
        mean, deviation = (images.new_tensor(of).view(3, 1, 1) for of in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD))
        features = encoder(pixel_values=(pixels - mean) / deviation).last_hidden_state
    return features.float()


def contrastive_loss(encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """How poorly the features of a slice's sequences find each other among other slices (InfoNCE, both ways).

    Args:
        encoder: see `features_of`.
        images: two channels of each slice, (slices, 2, rows, columns); at least two slices.
    """
    slices = len(images)
    vectors = normalize(features_of(encoder, images.flatten(0, 1))[:, 0], dim=1).view(slices, 2, -1)
    similarity = vectors[:, 0] @ vectors[:, 1].T / TEMPERATURE
    own = torch.arange(slices, device=images.device)
    return (cross_entropy(similarity, own) + cross_entropy(similarity.T, own)) / 2
