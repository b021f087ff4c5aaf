"""Networks that see three copies of an image, each of which a random convolution may change in its own way.

GIN-IPA and RandConv were published so: for images of three colours, and for one grey image in three channels.
"""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

COPIES = 3


class ThreeCopies:
    """Gives a trainer's network three input channels: `class Mine(ThreeCopies, FieldTraining, nnUNetTrainer): ...`.

    An image of one channel, as in prediction, is copied.
    """

    @staticmethod
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """nnU-Net's network with three input channels for each of the images'."""
        network = nnUNetTrainer.build_network_architecture(
            plans_manager,
            configuration_manager,
            COPIES * num_input_channels,
            num_output_channels,
            enable_deep_supervision,
        )
        network.register_forward_pre_hook(_copy_single_channel)
        return network

    @staticmethod
    def copies(images: torch.Tensor) -> torch.Tensor:
        """Images (batch, 1, rows, columns) in three channels, (batch, 3, rows, columns)."""
        return images.expand(-1, COPIES, -1, -1)


def _copy_single_channel(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    images, *more = inputs
    return (ThreeCopies.copies(images) if images.shape[1] == 1 else images, *more)
