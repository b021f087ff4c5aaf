"""The methods, by their names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from missing_channels.image_networks import ImageTraining, train_image_network
from missing_channels.physics import Physics
from missing_channels.protocol import CHANNELS, PIXEL_MM, REGIONS, SEQUENCES
from missing_channels.simple_methods import Acquired, Copy, Lookup
from nnunet_phys.completion.channel_files import ChannelCase, read_slices
from nnunet_phys.completion.model_files import load_model
from nnunet_phys.completion.pipeline import CompletionPipeline
from nnunet_phys.completion.schedule import CompletionSchedule
from nnunet_phys.completion.slices import ChannelSlices
from nnunet_phys.completion.synthetic_slices import synthetic_slices
from nnunet_phys.completion.training import train_completion
from nnunet_phys.completion.training_run import TrainingData
from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.precomputed_spin.prior import SpinPrior


class Completer(Protocol):
    """What a method makes of the training slices."""

    def complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """The wanted channel.

        Args:
            images: float32 (slices, channels, rows, columns) from -1 to 1, pixels of `PIXEL_MM`.
            given: numbers of the given channels.
            wanted: number of the wanted one.

        Returns:
            float32 (slices, rows, columns), from -1 to 1.
        """
        ...


@dataclass(frozen=True)
class Setting:
    """What trainings have in common.

    Attributes:
        steps: steps of the denoiser and of the image networks.
        batch_factor: factor of a CPU's views per step.
        maps: folder of maps for pretraining; None where there is none.
        device: where models are trained and run.
        seed: of all trainings.
    """

    steps: int
    batch_factor: int
    maps: Path | None
    device: torch.device
    seed: int = 0

    @property
    def bf16(self) -> bool:
        """Whether the device computes in bfloat16."""
        return computes_in_bfloat16(self.device)


SLICES = 16
"""Slices that are made at a time."""

Fit = Callable[[Sequence[ChannelCase], Path, Setting], Completer]
"""Training cases, a folder for the method's files, the setting -> a trained method."""


class Method(NamedTuple):
    """A method of the table.

    Attributes:
        title: its name in the table.
        fit: trains it.
        needs_maps: it is pretrained on slices from maps.
    """

    title: str
    fit: Fit
    needs_maps: bool = False


@dataclass(frozen=True, eq=False)
class Sampling:
    """A completion model, asked in one way.

    Attributes:
        pipeline: the model.
        samples: number of samples, whose mean is taken; 0: the regressor's image.
        scale: guidance scale of both given channels.
        start: begin from the first given channel.
    """

    pipeline: CompletionPipeline
    samples: int = 1
    scale: float = 1.0
    start: bool = False

    def complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """See `Completer`."""
        return torch.cat([self._complete(part, given, wanted) for part in images.split(SLICES)])

    def _complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        if self.samples == 0:
            return self.pipeline.regressed(images, given, wanted)
        return self.pipeline(
            images,
            given,
            wanted,
            (self.scale,) * len(given),
            samples=self.samples,
            start=given[0] if self.start else None,
            generator=torch.Generator().manual_seed(0),
        ).images.mean(0)


def training_slices(cases: Sequence[ChannelCase], regions: bool = True) -> ChannelSlices:
    """Slices of the training cases; with the regions of the heat map if asked for."""
    codes = {"myocardium": list(REGIONS.myocardium), "lesions": list(REGIONS.lesions)} if regions else {}
    return read_slices(cases, len(CHANNELS), codes, PIXEL_MM, CompletionSchedule.slice_size)[0]


def _image_network(adversarial: bool) -> Fit:
    def fit(cases: Sequence[ChannelCase], folder: Path, setting: Setting) -> Completer:
        how = ImageTraining(setting.steps, setting.batch_factor, PIXEL_MM, adversarial, setting.seed)
        path = folder / f"{'gan' if adversarial else 'regression'}.pt"
        return train_image_network(training_slices(cases, regions=False), how, path, setting.device)

    return fit


@dataclass(frozen=True)
class Model:
    """What a completion model is made of.

    Attributes:
        regressor: the denoiser samples what goes beyond a regression.
        physics: pretrained on slices from maps.
        heat: with the heat map in the loss.
    """

    regressor: bool = False
    physics: bool = False
    heat: bool = True

    @property
    def name(self) -> str:
        """Such as model_regressor_physics."""
        parts = {"regressor": self.regressor, "physics": self.physics, "no_heat": not self.heat}
        return "_".join(("model", *(part for part, there in parts.items() if there)))


def _sampled(title: str, model: Model, **sampling: Any) -> Method:
    """A completion model; methods that differ in sampling alone share a training."""

    def fit(cases: Sequence[ChannelCase], folder: Path, setting: Setting) -> Completer:
        return Sampling(_trained_pipeline(cases, folder, setting, model), **sampling)

    return Method(title, fit, needs_maps=model.physics)


def _trained_pipeline(cases: Sequence[ChannelCase], folder: Path, setting: Setting, model: Model) -> CompletionPipeline:
    """Train a model, or read it where it was trained before; without heat map with the encoders of that with it."""
    path, heat = folder / model.name, model.heat
    if not path.is_dir():
        schedule = CompletionSchedule(heat=heat).scaled(setting.steps, setting.batch_factor)
        if not model.regressor:
            schedule = replace(schedule, regressor_steps=0)
        with_heat = None if heat else _trained_pipeline(cases, folder, setting, replace(model, heat=True))
        synthetic = None
        if model.physics:
            synthetic = synthetic_slices(setting.maps, SEQUENCES, 1, PIXEL_MM, schedule.slice_size, setting.seed)
        train_completion(
            TrainingData(training_slices(cases, heat), synthetic, CHANNELS, PIXEL_MM, (0.0,) * 3, (1.0,) * 3),
            path,
            schedule,
            setting.device,
            setting.seed,
            setting.bf16,
            {"benchmark": model.name},
            with_heat and with_heat.autoencoder,
            with_heat and with_heat.image_encoder,
        )
    return load_model(path, setting.device)


CMRDIFF = Model()
OURS = Model(regressor=True, physics=True)

METHODS: dict[str, Method] = {
    "pixels": Method("acquired image, in pixels of 1 mm", lambda cases, folder, setting: Acquired()),
    "copy": Method("copy of a given image", lambda cases, folder, setting: Copy()),
    "lookup": Method("joint-histogram look-up", lambda cases, folder, setting: Lookup(training_slices(cases, False))),
    "physics": Method("physics alone", lambda cases, folder, setting: Physics(SpinPrior.load(device=setting.device))),
    "regression": Method("regression U-Net (L1)", _image_network(adversarial=False)),
    "gan": Method("conditional GAN (pix2pix)", _image_network(adversarial=True)),
    "cmrdiff": _sampled("CMRDiff, 1 sample", CMRDIFF),
    "cmrdiff_8": _sampled("CMRDiff, mean of 8 samples", CMRDIFF, samples=8),
    "cmrdiff_guided": _sampled("CMRDiff, scales 1.5", CMRDIFF, scale=1.5),
    "cmrdiff_start": _sampled("CMRDiff, guided start", CMRDIFF, start=True),
    "cmrdiff_no_heat": _sampled("CMRDiff without heat map", replace(CMRDIFF, heat=False)),
    "cmrdiff_physics": _sampled("CMRDiff, pretrained on maps", replace(CMRDIFF, physics=True)),
    "no_physics_0": _sampled(
        "ours without pretraining on maps, its regressor alone", replace(OURS, physics=False), samples=0
    ),
    "no_physics": _sampled("ours without pretraining on maps, 1 sample", replace(OURS, physics=False)),
    "ours_0": _sampled("ours, its regressor alone", OURS, samples=0),
    "ours": _sampled("ours (regressor, pretraining on maps), 1 sample", OURS),
    "ours_8": _sampled("ours, mean of 8 samples", OURS, samples=8),
}
"""The methods by their short names."""
