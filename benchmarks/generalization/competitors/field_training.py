"""The train step of methods that compute their losses in their own way, on the bed's schedule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import autocast
from torch.nn.utils import clip_grad_norm_

from generalization.training import BenchTraining
from nnunet_phys.errors import InputError


class FieldTraining(BenchTraining):
    """A train step whose losses a subclass gives one after the other: `class Mine(FieldTraining, nnUNetTrainer): ...`.

    Optimiser, clipping and mixed precision are nnU-Net's, but for what a subclass changes.
    """

    largest_gradient = 12.0
    """Norm to which gradients are clipped; nnU-Net's."""

    def initialize(self) -> None:
        """The parent's.

        Raises:
            InputError: a configuration, label or channel that the methods of the field are not made for.
        """
        unsupported = {
            f"configuration {self.configuration_name}": len(self.configuration_manager.patch_size) != 2,
            "regions": self.label_manager.has_regions,
            "the ignore label": self.label_manager.has_ignore_label,
            "several input channels": len(self.dataset_json["channel_names"]) != 1,
            "training on several GPUs": self.is_ddp,
        }
        for case, applies in unsupported.items():
            if applies:
                raise InputError(
                    f"{type(self).__name__} does not support {case}. Train on one GPU or CPU, in a 2d configuration "
                    "of a data set with one channel and plain labels."
                )
        super().initialize()

    def losses(self, data: torch.Tensor, target: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The losses of a batch, summed by their gradients: each is back-propagated before the next is computed.

        Args:
            data: images (batch, channels, rows, columns), on the device.
            target: labels (batch, 1, rows, columns), then the same at the lower resolutions of deep supervision.
        """
        raise NotImplementedError

    def predict(self, images: torch.Tensor) -> Any:
        """What the network returns, in float32; on CUDA it computes in float16 where nnU-Net does."""
        if self.device.type != "cuda":
            return self.network(images)
        with autocast("cuda"):
            output = self.network(images)
        if isinstance(output, dict):
            return {name: _float(value) for name, value in output.items()}
        return _float(output)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One gradient step; returns the sum of the losses as `loss`."""
        data = batch["data"].to(self.device, non_blocking=True)
        target = [labels.to(self.device, non_blocking=True) for labels in batch["target"]]
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        for loss in self.losses(data, target):
            total += loss.detach()
            (loss if self.grad_scaler is None else self.grad_scaler.scale(loss)).backward()
        if self.grad_scaler is not None:
            self.grad_scaler.unscale_(self.optimizer)
        clip_grad_norm_(self.network.parameters(), self.largest_gradient)
        if self.grad_scaler is None:
            self.optimizer.step()
        else:
            self.grad_scaler.step(self.optimizer)
            self.grad_scaler.update()
        return {"loss": total.cpu().numpy()}


def _float(output: Any) -> Any:
    return [scale.float() for scale in output] if isinstance(output, list | tuple) else output.float()
