"""Training in bfloat16 on CPUs that multiply in it, where nnU-Net autocasts on a GPU alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch

from nnunet_phys.devices import computes_in_bfloat16

if TYPE_CHECKING:  # the class with which the mixin is combined
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as _Trainer
else:
    _Trainer = object


class CPUAutocastMixin(_Trainer):
    """Bfloat16 autocast for a trainer on a CPU with AVX512-BF16: `class Mine(CPUAutocastMixin, nnUNetTrainer): pass`.

    The network returns float32, so losses are in float32; this holds wherever `self.network` is called. Weights stay
    float32, as in checkpoints. On a CPU without the instructions, where bfloat16 would be slower, and on a GPU, where
    nnU-Net's own autocast stays, nothing changes.
    """

    def initialize(self) -> None:
        """The parent's, with the network in autocast."""
        super().initialize()
        if self.device.type == "cpu" and computes_in_bfloat16(self.device):
            autocast_in_place(self.network)
            self.print_to_log_file("nnunet_phys: bfloat16 autocast on this CPU, loss in float32")


def autocast_in_place(network: torch.nn.Module) -> None:
    """Let a network compute in the CPU's bfloat16 autocast; its output is float32. Copies of it do so, too."""
    network.forward = MethodType(_in_bfloat16(type(network).forward), network)


def _in_bfloat16(forward: Callable[..., Any]) -> Callable[..., Any]:
    """A forward function in the CPU's bfloat16 autocast, whose output (a tensor or a list of these) is float32."""

    @wraps(forward)
    def autocast_forward(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = forward(*args, **kwargs)
        return _as_float(output)

    return autocast_forward


def _as_float(output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.float() if output.is_floating_point() else output
    if isinstance(output, dict):
        return {name: _as_float(value) for name, value in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(_as_float(value) for value in output)
    return output
