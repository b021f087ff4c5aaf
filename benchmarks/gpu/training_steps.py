"""What the stages on training steps share: the norm of the gradient as a training clips it, and the comparison."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch

from gpu.stages import Report

COLUMNS = ("Compared with the CPU", "CPU", "Device", "Difference, %", "At most, %", "Agrees")


@dataclass(frozen=True)
class Step:
    """Figures of a training step.

    Attributes:
        loss: the loss.
        gradient_norm: norm of the gradient of all weights, before it is clipped.
    """

    loss: float
    gradient_norm: float


@contextmanager
def gradient_norms() -> Iterator[list[float]]:
    """The norms of the gradients that are clipped within the context, in their order; both trainings clip them."""
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def recorded(*args: Any, **options: Any) -> torch.Tensor:
        norm = clip(*args, **options)
        norms.append(float(norm))
        return norm

    with mock.patch.object(torch.nn.utils, "clip_grad_norm_", recorded):
        yield norms


def compare(report: Report, what: str, step: Step, expected: Step, most_loss: float, most_norm: float) -> None:
    """Report the differences of loss and gradient norm, in percent of the CPU's.

    Args:
        report: gets a row for each.
        what: what was trained, and how.
        step, expected: on the device and on the CPU.
        most_loss, most_norm: the largest differences that count as agreement.
    """
    for name, title, most in (("loss", "loss", most_loss), ("gradient_norm", "gradient norm", most_norm)):
        value, on_cpu = getattr(step, name), getattr(expected, name)
        report.compare(f"{what}: {title}", on_cpu, value, percent=100 * abs(value / on_cpu - 1), most=most)
