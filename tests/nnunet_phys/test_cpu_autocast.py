"""Bfloat16 on CPUs: in the layers, not in the loss, and only where a CPU has it."""

from __future__ import annotations

import copy

import pytest
import torch

from nnunet_phys import cpu_autocast
from nnunet_phys.cpu_autocast import CPUAutocastMixin, autocast_in_place


def test_bfloat16_reaches_the_layers_and_not_the_loss():
    layer = torch.nn.Conv2d(1, 3, 3)
    seen = []
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, images):
            output = self.layer(images)
            return [output, output[..., ::2]]

    network = Network()
    autocast_in_place(network)
    outputs = network(torch.randn(2, 1, 8, 8))
    assert seen == [torch.bfloat16] and [o.dtype for o in outputs] == [torch.float32] * 2
    sum(o.mean() for o in outputs).backward()
    assert layer.weight.grad.dtype == torch.float32 and layer.weight.grad.isfinite().all()


def test_a_copy_has_weights_of_its_own():
    network = torch.nn.Linear(2, 2)
    autocast_in_place(network)
    copied = copy.deepcopy(network)
    torch.nn.init.zeros_(copied.weight)
    torch.nn.init.zeros_(copied.bias)
    assert not copied(torch.ones(1, 2)).any() and network(torch.ones(1, 2)).any()


class Trainer:
    """What the mixin needs of nnU-Net's trainer."""

    def __init__(self, device: str) -> None:
        self.device, self.was_initialized, self.log = torch.device(device), False, []

    def initialize(self) -> None:
        self.network, self.was_initialized = torch.nn.Linear(2, 2), True

    def print_to_log_file(self, line: str) -> None:
        self.log.append(line)


class AutocastTrainer(CPUAutocastMixin, Trainer):
    pass


@pytest.mark.parametrize(("device", "capable", "used"), [("cpu", True, 1), ("cpu", False, 0), ("meta", True, 0)])
def test_only_a_cpu_that_has_bfloat16_uses_it(monkeypatch, device, capable, used):
    monkeypatch.setattr(cpu_autocast, "computes_in_bfloat16", lambda device: capable)
    trainer = AutocastTrainer(device)
    trainer.initialize()
    assert len(trainer.log) == used and hasattr(trainer.network.forward, "__wrapped__") == bool(used)
