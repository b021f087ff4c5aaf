"""The phases of a training, one after the other: what each learns from, its optimiser, and the checkpoint of all."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from nnunet_phys.completion.augmentation import random_views, with_random_gains
from nnunet_phys.completion.heat_map import HeatMap
from nnunet_phys.completion.schedule import CompletionSchedule
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.averaged_optimiser import AveragedOptimiser, running_loss
from nnunet_phys.progress import ProgressBar
from nnunet_phys.training_checkpoint import Checkpoint

_WARMUP = 0.05  # share of a phase's steps
_COPIES_IN_CHECKPOINT = 3  # of all networks, before optimisers: pretrained, trained, averaged


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a model learns from.

    Attributes:
        slices: slices of the user's cases.
        synthetic: slices from maps, for pretraining; or None.
        channels: names of the channels.
        pixel_mm: pixel size of all slices.
        dark, bright: of each channel, what -1 and 1 are in images.
    """

    slices: ChannelSlices
    synthetic: ChannelSlices | None
    channels: Sequence[str]
    pixel_mm: float
    dark: Sequence[float]
    bright: Sequence[float]

    def sha256(self) -> str:
        """Hash of all of it."""
        digest = hashlib.sha256(repr((*self.channels, self.pixel_mm, *self.dark, *self.bright)).encode())
        for slices in (self.slices, self.synthetic):
            for values in () if slices is None else (slices.images, slices.regions):
                digest.update(repr(values.shape).encode() + values.numpy().tobytes())
        return digest.hexdigest()


class Learner:
    """Everything that changes while one phase runs, and that a checkpoint keeps.

    Attributes:
        step: optimiser steps that are done.
        loss: running mean of the loss.
        generator: random generator of the phase, on the CPU.
        heat_map: running errors of the regions.
    """

    def __init__(self, modules: nn.ModuleDict, rate: float, steps: int, seed: int, heat_map: HeatMap) -> None:
        self.modules, self.step, self.loss, self.heat_map = modules, 0, math.nan, heat_map
        self.generator = torch.Generator().manual_seed(seed)
        self._optimiser = AveragedOptimiser(modules.parameters(), rate, int(_WARMUP * steps), steps)

    def learn(self, loss: torch.Tensor) -> None:
        """One optimiser step."""
        self._optimiser.zero_gradients()
        loss.backward()
        self._optimiser.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError("The loss is not finite. Look for images with extreme values, or use --fp32.")
        self.loss = running_loss(self.loss, value)
        self.step += 1

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "step": self.step,
            "loss": self.loss,
            "generator": self.generator.get_state(),
            "modules": self.modules.state_dict(),
            **self._optimiser.state(),
            "ratios": self.heat_map.ratios,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The reverse of `state`."""
        self.step, self.loss, self.heat_map.ratios = state["step"], state["loss"], state["ratios"].cpu()
        self.generator.set_state(state["generator"].cpu())
        self.modules.load_state_dict(state["modules"])
        self._optimiser.restore(state)

    def use_average(self) -> None:
        """Replace the weights by their average."""
        self._optimiser.use_average()
        self.modules.eval().requires_grad_(False)


@dataclass(eq=False)
class TrainingRun:
    """The phases of a training, of which a checkpoint keeps the finished ones' networks and the state of the next.

    Attributes:
        losses: final loss of each finished phase.
    """

    data: TrainingData
    schedule: CompletionSchedule
    checkpoint: Checkpoint
    device: torch.device
    seed: int
    bf16: bool
    losses: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        loaded = self.checkpoint.load(self.device)
        self._is_new = loaded is None
        self._saved: dict[str, Any] = loaded or {"done": {}, "numbers": {}, "phase": None, "state": None}
        self.losses |= {name: done["loss"] for name, done in self._saved["done"].items()}

    def check_disk(self, networks: list[nn.Module]) -> None:
        """Make sure, before a new training begins, that its checkpoints will have room.

        Args:
            networks: all that will be trained.

        Raises:
            InputError: they have not.
        """
        if self._is_new:
            # torch.save writes a tensor once, so each of them is copied
            room = [deepcopy(network.state_dict()) for network in _COPIES_IN_CHECKPOINT * networks]
            self.checkpoint.check_disk({**self._saved, "room": room})  # a run can go on from it, if killed meanwhile

    @property
    def numbers(self) -> dict[str, list[float]]:
        """Numbers by their names, to add to: checkpoints keep them."""
        numbers: dict[str, list[float]] = self._saved["numbers"]
        return numbers

    def run(
        self,
        name: str,
        networks: dict[str, nn.Module],
        rate: float,
        steps: int,
        loss_of: Callable[[Learner], torch.Tensor],
        heat_map: HeatMap | None = None,
    ) -> None:
        """Run a phase, or take its networks from the checkpoint if it was finished before."""
        modules = nn.ModuleDict(networks)
        if name in self._saved["done"]:
            modules.load_state_dict(self._saved["done"][name]["modules"])
            modules.eval().requires_grad_(False)
            return
        modules.train().requires_grad_(True)
        learner = Learner(modules, rate, steps, self.seed, heat_map or HeatMap())
        if self._saved["phase"] == name:
            learner.restore(self._saved["state"])
        saved = time.monotonic()
        with ProgressBar(total=steps, initial=learner.step, desc=name, mininterval=5) as bar:
            while learner.step < steps:
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                    loss = loss_of(learner)
                learner.learn(loss)
                bar.set_postfix(loss=f"{learner.loss:.4f}", refresh=False)
                bar.update()
                if time.monotonic() - saved > 60 * self.schedule.checkpoint_minutes:
                    self._save(name, learner.state())
                    saved = time.monotonic()
        learner.use_average()
        self.losses[name] = learner.loss
        weights = deepcopy(modules.state_dict())  # a later phase may go on with these networks
        self._saved["done"][name] = {"modules": weights, "loss": learner.loss}
        self._save(None, None)

    def _save(self, phase: str | None, state: dict[str, Any] | None) -> None:
        self._saved |= {"phase": phase, "state": state}
        self.checkpoint.save(self._saved)

    def views(
        self, sources: Sequence[ChannelSlices], count: int, size: int, generator: torch.Generator
    ) -> torch.Tensor:
        """Random views (count, channels, size, size) on the device, of all sources equally often.

        No slice comes twice before all of its source have come.
        """
        parts = []
        for slices, share in zip(sources, torch.arange(count).tensor_split(len(sources)), strict=True):
            chosen = slices.shuffled(len(share), generator)
            parts.append(random_views(slices, chosen, size, self.data.pixel_mm, generator).images)
        return torch.cat(parts).to(self.device)

    def channel_views(self, sources: Sequence[ChannelSlices], generator: torch.Generator) -> torch.Tensor:
        """A batch for the autoencoder: one random channel of each view, (views, rows, columns)."""
        batch = self.schedule.autoencoder_batch
        views = with_random_gains(self.views(sources, batch, self.schedule.autoencoder_crop, generator), generator)
        channels = torch.randint(views.shape[1], (batch,), generator=generator).to(views.device)
        return views[torch.arange(batch, device=views.device), channels]

    def pairs(self, sources: Sequence[ChannelSlices], generator: torch.Generator) -> torch.Tensor:
        """A batch for the image encoder: two random channels of each view, (views, 2, rows, columns).

        All views are of different slices, so that there are fewer where there are few slices.
        """
        distinct = len(sources) * min(len(slices) for slices in sources)
        views = self.views(sources, min(2 * self.schedule.batch, distinct), self.schedule.view, generator)
        views = with_random_gains(views, generator)
        order = torch.rand(views.shape[:2], generator=generator).argsort(1)[:, :2].to(views.device)
        return views[torch.arange(len(views), device=views.device)[:, None], order]
