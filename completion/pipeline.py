"""A completion model: given images -> samples of the wanted image. On disk it is a folder in diffusers' format."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.utils.outputs import BaseOutput
from torch import nn

from nnunet_phys.completion.autoencoder import images_of, latents_of, reduction
from nnunet_phys.completion.conditions import Conditions, TokenProjection
from nnunet_phys.completion.defaults import STEPS, STRENGTH
from nnunet_phys.completion.denoiser import multiple_of, predict_velocity
from nnunet_phys.completion.guidance import GuidanceTerm, guidance_terms, guided
from nnunet_phys.completion.image_encoder import ImageEncoder, features_of
from nnunet_phys.completion.middle_view import MiddleView
from nnunet_phys.completion.regressor import MULTIPLE, regress
from nnunet_phys.completion.schedule import CompletionSchedule
from nnunet_phys.completion.slices import DARKEST, fit_about_centre
from nnunet_phys.devices import computes_in_bfloat16

__all__ = ["AutoencoderKL", "CompletionPipeline", "ImageEncoder", "TokenProjection"]  # found here by from_pretrained


@dataclass
class CompletionOutput(BaseOutput):
    """What the pipeline makes.

    Attributes:
        images: float32 (samples, slices, rows, columns), from -1 to 1.
    """

    images: torch.Tensor


class CompletionPipeline(DiffusionPipeline):
    """Makes one channel of slices from others.

    Args:
        autoencoder: images to latents and back.
        image_encoder: an `ImageEncoder`, or a CLIP vision model of transformers.
        projection: features to tokens.
        unet: the denoiser.
        scheduler: the noise schedule of its training.
        regressor: given images to the wanted one, from whose latents the denoiser's differ; or None.
        residual_scale: standard deviation, of each latent channel, of what latents have beyond the regressor's.
        channels: names of the channels, by their numbers.
        pixel_mm: pixel size of the slices that it learned.
        view: rows and columns of the views that it learned; see `middle_view`.
        dark, bright: of each channel, what -1 and 1 are in images; the medians of the training volumes.
        record: how it was made; free form.
    """

    _optional_components = ["regressor"]  # noqa: RUF012  # may be None on disk, too

    def __init__(
        self,
        autoencoder: AutoencoderKL,
        image_encoder: nn.Module,
        projection: TokenProjection,
        unet: UNet2DConditionModel,
        scheduler: DDPMScheduler,
        regressor: UNet2DModel | None = None,
        residual_scale: list[float] | float = 1.0,
        channels: list[str] | tuple[()] = (),  # diffusers takes arguments without a default for networks
        pixel_mm: float = 1.0,
        view: int = CompletionSchedule.view,
        dark: list[float] | tuple[()] = (),
        bright: list[float] | tuple[()] = (),
        record: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            autoencoder=autoencoder,
            image_encoder=image_encoder,
            projection=projection,
            unet=unet,
            scheduler=scheduler,
            regressor=regressor,
        )
        self.register_to_config(
            residual_scale=residual_scale,
            channels=list(channels),
            pixel_mm=pixel_mm,
            view=view,
            dark=list(dark),
            bright=list(bright),
            record=record,
        )

    @property
    def multiple(self) -> int:
        """Slices are padded to multiples of this many rows and columns."""
        of_unet = multiple_of(self.unet, self.autoencoder.config["latent_channels"], reduction(self.autoencoder))
        return math.lcm(of_unet, MULTIPLE)

    @torch.inference_mode()
    def __call__(
        self,
        images: torch.Tensor,
        given: Sequence[int],
        wanted: int,
        scales: Sequence[float] | None = None,
        steps: int = STEPS,
        samples: int = 1,
        start: int | None = None,
        strength: float = STRENGTH,
        generator: torch.Generator | None = None,
    ) -> CompletionOutput:
        """Make the wanted channel.

        Args:
            images: float32 (slices, channels, rows, columns) from -1 to 1; anything where a channel is not given.
            given: numbers of the given channels, at least one, ascending.
            wanted: number of the wanted channel, none of the given ones.
            scales: guidance scale of each given channel, in their order; None: 1, without guidance.
            steps: steps from noise to image.
            samples: number of images to make of each slice, from different noise.
            start: number of a given channel whose noised latents are the beginning, not noise alone.
            strength: with `start`, share of the steps that are taken.
            generator: generator of the noise, on the CPU.

        Returns:
            The images. All slices of a sample begin with the same noise, so that neighbours resemble each other.

        Raises:
            ValueError: numbers of channels, or scales, that do not go together.
        """
        given = self._checked(given, wanted)
        if scales is not None and len(scales) != len(given):
            raise ValueError(f"{len(scales)} scales for {len(given)} given channels")
        if start is not None and start not in given:
            raise ValueError(f"start {start} is not among the given channels {given}")

        padded, middle = self._padded(images)
        coarse = middle.reduced(reduction(self.autoencoder))
        scale = torch.tensor(self.config["residual_scale"], device=self.device).view(-1, 1, 1)
        with self._autocast():
            # 1. What the denoiser sees of the given channels
            conditions = [self._conditions(part, given, wanted) for part in middle.parts(padded)]
            terms = guidance_terms(scales or (1.0,) * len(given))

            # 2. From noise, or from a given channel with noise, to what latents have beyond the regression
            solver = DPMSolverMultistepScheduler.from_config(self.scheduler.config)
            made = []
            for _ in self.progress_bar(range(samples)):
                shape = conditions[0].regressed.shape
                latents = torch.randn((1, *shape[1:]), generator=generator).to(self.device).expand(shape)
                solver.set_timesteps(timesteps=self._trailing_timesteps(steps))
                timesteps = solver.timesteps
                if start is not None:
                    timesteps = timesteps[steps - max(1, round(steps * strength)) :]
                    residual = coarse.joined([(part.latents[:, start] - part.regressed) / scale for part in conditions])
                    latents = solver.add_noise(residual, latents, timesteps[:1])
                for timestep in timesteps:
                    velocities = [
                        self._guided_velocity(part, timestep, seen, terms)
                        for part, seen in zip(coarse.parts(latents), conditions, strict=True)
                    ]
                    latents = solver.step(coarse.joined(velocities), timestep, latents).prev_sample

                # 3. Latents to images
                decoded = [
                    images_of(self.autoencoder, seen.regressed + scale * part)
                    for part, seen in zip(coarse.parts(latents), conditions, strict=True)
                ]
                made.append(middle.joined(decoded))
        return CompletionOutput(_cropped(torch.stack(made), images))

    @torch.inference_mode()
    def regressed(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """The regressor's image of the wanted channel, which samples scatter about: smooth, and made in one step.

        Args:
            images, given, wanted: as in `__call__`.

        Returns:
            float32 (slices, rows, columns), from -1 to 1.

        Raises:
            ValueError: numbers of channels that do not go together; the model has no regressor.
        """
        given = self._checked(given, wanted)
        if self.regressor is None:
            raise ValueError("the model has no regressor")
        padded, middle = self._padded(images)
        with self._autocast():
            regressions = [self._regression(part, given, wanted) for part in middle.parts(padded)]
        return _cropped(middle.joined(regressions), images)

    def _checked(self, given: Sequence[int], wanted: int) -> list[int]:
        """The given channels.

        Raises:
            ValueError: numbers of channels that do not go together.
        """
        given, known = list(given), range(len(self.config["channels"]))
        if not given or given != sorted(set(given)) or not {*given, wanted} <= {*known} or wanted in given:
            raise ValueError(f"given {given}, ascending, and wanted {wanted} must be different channels of {known}")
        return given

    def _padded(self, images: torch.Tensor) -> tuple[torch.Tensor, MiddleView]:
        """Slices on the device, padded as the networks need it, and where their middle lies."""
        view, multiple = self.config["view"], self.multiple
        rows, columns = (max(view, -(-length // multiple) * multiple) for length in images.shape[2:])
        return fit_about_centre(images, (rows, columns), DARKEST).to(self.device), MiddleView((rows, columns), view)

    def _trailing_timesteps(self, steps: int) -> list[int]:
        """Evenly spaced time steps from the last, where all is noise (Lin et al., WACV 2024, arXiv:2305.08891).

        diffusers' own "trailing" spacing takes a step too many for some numbers, such as 61.
        """
        count = self.scheduler.config["num_train_timesteps"]
        return [-(-count * step // steps) - 1 for step in range(steps, 0, -1)]

    def _conditions(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> Conditions:
        """Latents and features of the given channels, zeros for the others; latents of the regression."""
        slices, channels = images.shape[:2]
        shown = images[:, list(given)].flatten(0, 1)
        numbers = torch.tensor(list(given), device=self.device)

        def scatter(values: torch.Tensor) -> torch.Tensor:
            spread = values.new_zeros(slices, channels, *values.shape[1:])
            spread[:, numbers] = values.view(slices, len(given), *values.shape[1:])
            return spread

        latents = scatter(latents_of(self.autoencoder, shown))
        regressed = torch.zeros_like(latents[:, 0])
        if self.regressor is not None:
            regressed = latents_of(self.autoencoder, self._regression(images, given, wanted))
        mask, wanted_of_slices = self._task(slices, given, wanted)
        return Conditions(latents, scatter(features_of(self.image_encoder, shown)), mask, wanted_of_slices, regressed)

    def _regression(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        return regress(self.regressor, images, *self._task(len(images), given, wanted)).clamp(-1, 1)

    def _task(self, slices: int, given: Sequence[int], wanted: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Which channels are given, bool (slices, channels), and which is wanted, (slices,)."""
        mask = torch.zeros(slices, len(self.config["channels"]), dtype=torch.bool, device=self.device)
        mask[:, list(given)] = True
        return mask, torch.full((slices,), wanted, device=self.device)

    def _guided_velocity(
        self, latents: torch.Tensor, timestep: torch.Tensor, conditions: Conditions, terms: Sequence[GuidanceTerm]
    ) -> torch.Tensor:
        timesteps = timestep.to(self.device).expand(len(latents))
        outputs = [
            predict_velocity(self.unet, self.projection, latents, timesteps, conditions.with_first(term.shown))
            for term in terms
        ]
        return guided(outputs, terms)

    def _autocast(self) -> torch.autocast:
        """bfloat16 where the device has it, which is faster."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=computes_in_bfloat16(self.device))


def _cropped(made: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """What was made of padded slices, in the size of the slices, on the CPU."""
    rows, columns = images.shape[2:]
    return fit_about_centre(made, (rows, columns), DARKEST).cpu()
