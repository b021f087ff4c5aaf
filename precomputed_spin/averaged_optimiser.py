"""The optimiser of all trainings here: AdamW with a warm-up and a cosine, clipped gradients, averaged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel

_WEIGHT_DECAY = 1e-4
_GREATEST_GRADIENT = 1.0  # norm to which gradients are clipped, the usual value for diffusion models
_AVERAGE_DECAY = 0.999  # largest decay of the averaged weights: about the last 1000 steps
_AVERAGE_POWER = 0.75  # of the decay's warm-up; EMAModel advises it for long trainings
_LOSS_MEMORY = 0.98  # decay of the running mean of the loss that is shown: about the last 50 steps


def running_loss(before: float, value: float) -> float:
    """The running mean of a loss, after a step whose loss is `value`; NaN before the first."""
    return value if math.isnan(before) else _LOSS_MEMORY * before + (1 - _LOSS_MEMORY) * value


class AveragedOptimiser:
    """Optimises weights, and keeps their average over the steps.

    Args:
        weights: the weights, on their device.
        learning_rate: the greatest learning rate, after the warm-up; it then falls as a half cosine to 0.
        warmup_steps: steps in which it rises from 0.
        steps: all steps.
    """

    def __init__(
        self, weights: Iterable[torch.nn.Parameter], learning_rate: float, warmup_steps: int, steps: int
    ) -> None:
        self._weights = list(weights)
        self._optimiser = torch.optim.AdamW(self._weights, lr=learning_rate, weight_decay=_WEIGHT_DECAY)
        self._rate = get_cosine_schedule_with_warmup(self._optimiser, warmup_steps, steps)
        self._average = EMAModel(self._weights, decay=_AVERAGE_DECAY, use_ema_warmup=True, power=_AVERAGE_POWER)

    def zero_gradients(self) -> None:
        """Forget the gradients of the step before."""
        self._optimiser.zero_grad(set_to_none=True)

    def step(self) -> None:
        """Clip the gradients, step, and average the weights."""
        torch.nn.utils.clip_grad_norm_(self._weights, _GREATEST_GRADIENT)
        self._optimiser.step()
        self._rate.step()
        self._average.step(self._weights)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The weights are their average over the steps, until the context ends."""
        self._average.store(self._weights)
        self._average.copy_to(self._weights)
        yield
        self._average.restore(self._weights)

    def use_average(self) -> None:
        """Replace the weights by their average over the steps."""
        self._average.copy_to(self._weights)

    def state(self) -> dict[str, Any]:
        """The state that a checkpoint keeps, beside the weights."""
        return {
            "optimiser": self._optimiser.state_dict(),
            "rate": self._rate.state_dict(),
            "average": self._average.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` returned."""
        self._optimiser.load_state_dict(state["optimiser"])
        self._rate.load_state_dict(state["rate"])
        self._average.load_state_dict(state["average"])
