"""The spin prior: a denoising diffusion model of PD, T1 and T2 maps, which images can guide."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.precomputed_spin.prior_files import (
    DEFAULT_PRIOR,
    FOLD,
    FORMAT,
    IN_CHANNELS,
    OUT_CHANNELS,
    PriorDescription,
    PriorFiles,
    Scaling,
    find_prior,
    read_prior_files,
    read_published_files,
    write_prior_files,
)
from nnunet_phys.precomputed_spin.reference import library_voxels
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST, SpinScaling
from nnunet_phys.spin import SpinMaps

_KNOTS = 33
"""Number of timesteps at which the denoising error is saved; it is smooth, and measured at 24."""


@dataclass(frozen=True, eq=False)
class SpinPrior:
    """A trained prior, on one device.

    Attributes:
        unet: predicts the velocity v (Salimans and Ho, ICLR 2022) of scaled maps, given these maps with noise and a
            guide. Blocks of 2x2 pixels are folded into channels (`FOLD`). Or Zhao et al.'s network, which takes maps
            with noise alone, not folded, and predicts their noise (`takes_guide`).
        scheduler: the noise schedule it was trained with.
        scaling: physical units to network numbers.
        pixel_mm: in-plane pixel size of the maps it learned.
        denoising_error: tensor (timesteps, 3): mean squared error of the denoised PD, T1, T2 (scaled) on held-out
            maps at each timestep. The likelihood takes it for the variance of the prior's estimate.
        reference: PD, T1 (ms), T2 (ms) of a few thousand voxels of the maps it learned from, (3, n): what an image's
            brightness and its pixels' values are compared with.
        record: how it was made (training command, steps, data); free form.
        guide: the guide bound by `guided`, or None.
        bf16: run the network in bfloat16 where that is safe (autocast); set where the device has it.
    """

    unet: UNet2DModel
    scheduler: DDPMScheduler
    scaling: SpinScaling
    pixel_mm: float
    denoising_error: torch.Tensor
    reference: torch.Tensor
    record: dict[str, Any] = field(default_factory=dict)
    guide: torch.Tensor | None = None
    bf16: bool = False

    @property
    def takes_guide(self) -> bool:
        """Whether its network sees a guide; only such networks fold pixels."""
        return self.unet.config["in_channels"] == IN_CHANNELS

    @property
    def multiple(self) -> int:
        """Rows and columns must be multiples of this (pixel folding, then the U-Net's halvings)."""
        return (FOLD if self.takes_guide else 1) * 2 ** (len(self.unet.config["block_out_channels"]) - 1)

    @property
    def minimum(self) -> int:
        """Fewest rows and columns that the prior takes: four pixels at the U-Net's coarsest level.

        One pixel suffices for Zhao et al.'s network, at whose coarsest level a whole field of view has four.
        """
        return 4 * self.multiple if self.takes_guide else self.multiple

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return self.unet.device

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """abar of each timestep, on the prior's device."""
        return self.scheduler.alphas_cumprod.to(self.device)

    @property
    def library(self) -> torch.Tensor:
        """PD, T1 (ms), T2 (ms) of the voxels that pixels are compared with for a guide: some of `reference`, (3, n)."""
        return library_voxels(self.reference)

    @cached_property
    def library_moments(self) -> torch.Tensor:
        """The guide where nothing was measured: mean and standard deviation over the library, (6, 1, 1)."""
        voxels = SpinMaps.unstack(self.library[:, None, None])
        scaled = self.scaling.encode(voxels)[0, :, 0].clamp(LEAST, GREATEST)
        return torch.cat((scaled.mean(1), scaled.std(1, correction=0))).view(6, 1, 1).to(self.device)

    def guided(self, guide: torch.Tensor) -> SpinPrior:
        """This prior, guided by images of the slices that it will denoise next.

        Guided by the shapes in the images, a prior recognises tissues at much stronger noise than from noisy maps
        alone. The guide describes tissue and not contrast (`Likelihood.pixelwise_posterior`), so that one prior serves
        every sequence.

        Args:
            guide: (slices, 6, rows, columns), mean and standard deviation of scaled PD, T1 and T2 pixel by pixel.
        """
        return replace(self, guide=guide)

    def velocity(self, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Velocity v of noisy scaled maps (slices, 3, rows, columns) at `timesteps` (slices,)."""
        if not self.takes_guide:
            output = self._run(noisy, timesteps)
            if self.scheduler.config["prediction_type"] == "v_prediction":
                return output
            abar = self.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            return (output - (1 - abar).sqrt() * noisy) / abar.sqrt()  # v of the predicted noise
        guide = self.library_moments if self.guide is None else self.guide
        guide = guide.expand(len(noisy), 6, *noisy.shape[2:])
        return pixel_shuffle(self._run(pixel_unshuffle(torch.cat((noisy, guide), 1), FOLD), timesteps), FOLD)

    def _run(self, channels: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """The network's output, float32."""
        with torch.autocast(channels.device.type, torch.bfloat16, enabled=self.bf16):
            output: torch.Tensor = self.unet(channels, timesteps).sample
        return output.float()

    def denoise(self, noisy: torch.Tensor, timestep: int) -> torch.Tensor:
        """Posterior mean of the clean scaled maps given noisy ones, both (slices, 3, rows, columns).

        It is clipped if the scheduler says so (`clip_sample`), as diffusers' samplers clip it.
        """
        abar = self.alphas_cumprod[timestep]
        steps = torch.full((len(noisy),), timestep, device=noisy.device)
        clean = abar.sqrt() * noisy - (1 - abar).sqrt() * self.velocity(noisy, steps)
        if not self.scheduler.config["clip_sample"]:
            return clean
        most = self.scheduler.config["clip_sample_range"]
        return clean.clamp(-most, most)

    def timesteps(self, steps: int, least_abar: float = 1e-3, most_abar: float = 1.0) -> list[int]:
        """Descending timesteps, evenly spaced from where abar reaches `least_abar` to where it reaches `most_abar`."""
        start, end = (
            max(0, int((self.scheduler.alphas_cumprod >= abar).sum()) - 1) for abar in (least_abar, most_abar)
        )
        return np.linspace(start, end, steps).round().astype(int).tolist()

    def sha256(self) -> str:
        """Hash of all that affects the maps, weights in fp16 as saved: identifies a prior wherever its folder lies."""
        description = asdict(self._description())
        del description["record"]
        for name, part in (("scheduler", self.scheduler), ("network", self.unet)):
            description[name] = {key: value for key, value in part.config.items() if not key.startswith("_")}
        digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
        digest.update(self.reference.float().cpu().numpy().tobytes())
        for name, values in sorted(self.unet.state_dict().items()):
            digest.update(name.encode() + values.half().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _description(self) -> PriorDescription:
        """The content of prior.json, with the denoising error rounded, at a few timesteps."""
        knots = torch.linspace(0, len(self.denoising_error) - 1, _KNOTS).round().long()
        error: dict[str, tuple[float, float, float]] = {}
        for knot in knots.tolist():
            pd, t1, t2 = (float(f"{value:.3g}") for value in self.denoising_error[knot].tolist())
            error[str(knot)] = (pd, t1, t2)
        return PriorDescription(FORMAT, self.scaling, self.pixel_mm, error, self.record)

    def save(self, folder: Path) -> None:
        """Write a new folder (`prior_files`), whole or not at all; the network in fp16.

        Raises:
            InputError: something is there already, or it cannot be written.
        """
        network = deepcopy(self.unet).half()
        write_prior_files(folder, PriorFiles(self._description(), network, self.scheduler, self.reference.cpu()))

    @classmethod
    def load(
        cls,
        name_or_folder: str | Path = DEFAULT_PRIOR,
        device: str | torch.device = "cpu",
        scaling: Scaling | None = None,
    ) -> SpinPrior:
        """Load a prior from a folder, or the shipped one by its name.

        Args:
            name_or_folder: the folder or the name.
            device: where its network goes.
            scaling: "published" for the folder of Zhao et al.'s network (`read_published_files`).

        Raises:
            InputError: the folder is missing or holds no whole and plausible prior.
        """
        folder = find_prior(name_or_folder, scaling)
        files = read_prior_files(folder) if scaling is None else read_published_files(folder)
        unet = files.unet.to(device)  # type: ignore[arg-type]  # its decorator hides the method
        return cls(
            unet,
            files.scheduler,
            files.description.scaling,
            files.description.pixel_mm,
            files.description.error_by_timestep(len(files.scheduler.alphas_cumprod)).to(device),
            files.reference,
            files.description.record,
            bf16=computes_in_bfloat16(unet.device),
        )


def new_unet(channels: tuple[int, ...] = (48, 96, 144, 192)) -> UNet2DModel:
    """An untrained network of the default prior's size: no attention, so that slices of any size pass."""
    return UNet2DModel(
        in_channels=IN_CHANNELS,
        out_channels=OUT_CHANNELS,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        add_attention=False,
        norm_num_groups=16,
    )


def new_scheduler() -> DDPMScheduler:
    """The noise schedule of all trainings here: cosine, velocity prediction, no clipping of the estimate."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
    )
