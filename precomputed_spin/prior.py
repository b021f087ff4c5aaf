"""The spin prior: a denoising diffusion model of PD, T1 and T2 maps, which images of them may guide."""

from __future__ import annotations

import hashlib
import json
import math
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from nnunet_phys.errors import InputError
from nnunet_phys.spin import T1_MIN_MS, T2_MIN_MS, SpinMaps

SHIPPED = Path(__file__).parent / "priors"
DEFAULT_PRIOR = "digital_heart"
LEAST, GREATEST = -1.0, 1.3
"""Bounds of scaled maps: PD is not negative, and a little beyond the prior's range is allowed upwards."""
_FORMAT = 3
_LIBRARY = 512


@dataclass(frozen=True)
class SpinScaling:
    """How PD, T1 and T2 become numbers of about [-1, 1] for the network.

    PD is linear; T1 and T2 are logarithmic, since signal equations depend on their ratios and tissues spread over two
    orders of magnitude.

    Attributes:
        pd: PD that maps to -1 and 1. The upper end leaves room for the receive bias, which an inferred PD contains.
        t1_ms: T1 that maps to -1 and 1, ms.
        t2_ms: T2 that maps to -1 and 1, ms.
    """

    pd: tuple[float, float] = (0.0, 2.5)
    t1_ms: tuple[float, float] = (220.0, 2500.0)
    t2_ms: tuple[float, float] = (22.0, 300.0)

    def encode(self, maps: SpinMaps) -> torch.Tensor:
        """Scale maps of shape (slices, rows, columns) to a tensor (slices, 3, rows, columns)."""
        low, high = self.pd
        channels = [2 * (maps.pd - low) / (high - low) - 1]
        for time, (low, high) in ((maps.t1, self.t1_ms), (maps.t2, self.t2_ms)):
            channels.append(2 * torch.log(time / low) / math.log(high / low) - 1)
        return torch.stack(channels, 1)

    def decode(self, scaled: torch.Tensor) -> SpinMaps:
        """The reverse of `encode`. Differentiable."""
        unit = (scaled + 1) / 2
        low, high = self.pd
        times = (b * torch.exp(unit[:, i] * math.log(t / b)) for i, (b, t) in ((1, self.t1_ms), (2, self.t2_ms)))
        return SpinMaps(low + (high - low) * unit[:, 0], *times)


@dataclass(frozen=True)
class SpinPrior:
    """A trained prior, on one device.

    Attributes:
        unet: predicts the velocity v (Salimans and Ho, ICLR 2022) of scaled maps, given these maps with noise and a
            guide. 2x2 pixel blocks are folded into channels, which costs a quarter of a full-resolution network.
        scheduler: the noise schedule it was trained with.
        scaling: physical units to network numbers.
        pixel_mm: in-plane pixel size of the maps it learned.
        denoising_error: tensor (timesteps, 3): mean squared error of the denoised PD, T1, T2 (scaled) on held-out
            maps at each timestep: how far the prior's estimate may be off, which is what a likelihood needs to know.
        reference: PD, T1 (ms), T2 (ms) of a few thousand voxels of the maps it learned from, (3, n): what an image's
            brightness and its pixels' values are compared with.
        record: how it was made (training command, steps, data); free form.
        guide: the guide bound by `guided`, or None.
        bf16: run the network in bfloat16 where that is safe (autocast); set where a GPU has it.
    """

    unet: UNet2DModel
    scheduler: DDPMScheduler
    scaling: SpinScaling
    pixel_mm: float
    denoising_error: torch.Tensor
    reference: torch.Tensor
    record: dict = field(default_factory=dict)
    guide: torch.Tensor | None = None
    bf16: bool = False

    @property
    def multiple(self) -> int:
        """Rows and columns must be multiples of this (pixel folding, then the U-Net's halvings)."""
        return 2 ** len(self.unet.config.block_out_channels)

    @property
    def minimum(self) -> int:
        """Least rows and columns that the prior sees whole: four pixels at the U-Net's coarsest level."""
        return 4 * self.multiple

    @property
    def device(self) -> torch.device:
        return self.unet.device

    @property
    def alphas_cumprod(self) -> torch.Tensor:
        """abar of each timestep, on the prior's device."""
        return self.scheduler.alphas_cumprod.to(self.device)

    @property
    def library(self) -> torch.Tensor:
        """The voxels that pixels are compared with one by one, for a guide: some of `reference`, (3, n)."""
        return self.reference[:, :: max(1, self.reference.shape[1] // _LIBRARY)]

    @cached_property
    def library_moments(self) -> torch.Tensor:
        """The guide where nothing was measured: mean and standard deviation over the library, (6, 1, 1)."""
        voxels = SpinMaps.unstack(self.library[:, None, None])
        scaled = self.scaling.encode(voxels)[0, :, 0].clamp(LEAST, GREATEST)
        return torch.cat((scaled.mean(1), scaled.std(1, correction=0))).view(6, 1, 1).to(self.device)

    def guided(self, guide: torch.Tensor) -> SpinPrior:
        """This prior, bound to what images say about the slices that it will see next.

        A guided prior knows tissues from the images' shapes much sooner than from noisy maps alone. The guide speaks of
        tissue and not of contrast (`Likelihood.pixelwise_posterior`), so that one prior serves every sequence.

        Args:
            guide: (slices, 6, rows, columns), mean and standard deviation of scaled PD, T1 and T2 pixel by pixel.
        """
        return replace(self, guide=guide)

    def velocity(self, noisy: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Network output v for noisy scaled maps (slices, 3, rows, columns) at `timesteps` (slices,)."""
        guide = self.library_moments if self.guide is None else self.guide
        guide = guide.expand(len(noisy), 6, *noisy.shape[2:])
        folded = pixel_unshuffle(torch.cat((noisy, guide), 1), 2)
        with torch.autocast(folded.device.type, torch.bfloat16, enabled=self.bf16):
            velocity = self.unet(folded, timesteps).sample
        return pixel_shuffle(velocity.float(), 2)

    def denoise(self, noisy: torch.Tensor, timestep: int) -> torch.Tensor:
        """Posterior mean of the clean scaled maps given noisy ones, both (slices, 3, rows, columns)."""
        abar = self.alphas_cumprod[timestep]
        steps = torch.full((len(noisy),), timestep, device=noisy.device)
        return abar.sqrt() * noisy - (1 - abar).sqrt() * self.velocity(noisy, steps)

    def timesteps(self, steps: int, least_abar: float = 1e-3, most_abar: float = 1.0) -> list[int]:
        """Descending timesteps, evenly spaced from where abar reaches `least_abar` to where it reaches `most_abar`."""
        start, end = (
            max(0, int((self.scheduler.alphas_cumprod >= abar).sum()) - 1) for abar in (least_abar, most_abar)
        )
        return np.linspace(start, end, steps).round().astype(int).tolist()

    @torch.inference_mode()
    def sample(self, slices: int, shape: tuple[int, int], generator: torch.Generator, steps: int = 50) -> SpinMaps:
        """Draw maps from the prior alone (DDIM; Song et al., ICLR 2021).

        Args:
            slices: how many.
            shape: rows and columns, multiples of `multiple`.
            generator: source of the noise, on the CPU.
            steps: network evaluations.

        Returns:
            Maps (slices, rows, columns).
        """
        u = torch.randn((slices, 3, *shape), generator=generator).to(self.device)
        timesteps = self.timesteps(steps, 0.0)
        for t, following in zip(timesteps, [*timesteps[1:], None], strict=True):
            clean = self.denoise(u, t)
            u = (
                clean
                if following is None
                else renoise(u, clean, self.alphas_cumprod[t], self.alphas_cumprod[following])
            )
        return self.scaling.decode(u)

    def sha256(self) -> str:
        """Hash of all that decides the maps, weights in fp16 as saved: tells priors apart wherever they lie."""
        digest = hashlib.sha256(json.dumps(self._description(), sort_keys=True).encode())
        digest.update(self.reference.float().cpu().numpy().tobytes())
        for name, values in sorted(self.unet.state_dict().items()):
            digest.update(name.encode() + values.half().cpu().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write `folder`: unet/ and reference (safetensors), scheduler/, prior.json; the network in fp16."""
        folder.mkdir(parents=True, exist_ok=True)
        deepcopy(self.unet).half().save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")
        save_file({"reference": self.reference.cpu()}, folder / "reference.safetensors")
        description = {**self._description(), "record": self.record}
        (folder / "prior.json").write_text(json.dumps(description, indent=1) + "\n")

    def _description(self) -> dict:
        """All but the weights and the reference voxels, plain JSON."""
        knots = torch.linspace(0, len(self.denoising_error) - 1, 33).round().long()
        return {
            "format": _FORMAT,
            "scaling": asdict(self.scaling),
            "pixel_mm": self.pixel_mm,
            "denoising_error": {str(int(k)): [float(f"{v:.3g}") for v in self.denoising_error[k]] for k in knots},
        }

    @classmethod
    def load(cls, name_or_folder: str | Path = DEFAULT_PRIOR, device: str | torch.device = "cpu") -> SpinPrior:
        """Load a prior from a folder, or the shipped one by its name.

        Raises:
            InputError: the folder is missing, is no prior, or has another format or scaling.
        """
        folder = Path(name_or_folder)
        if not folder.is_dir():
            folder = SHIPPED / str(name_or_folder)
        remedy = "Give a folder written by `nnunet_phys train_prior` or the name of a shipped prior: " + ", ".join(
            sorted(p.name for p in SHIPPED.glob("*") if p.is_dir())
        )
        if not (folder / "prior.json").is_file():
            raise InputError(f"Prior '{name_or_folder}' has no prior.json. {remedy}.")
        try:
            description = json.loads((folder / "prior.json").read_text())
            if description["format"] != _FORMAT:
                raise ValueError(f"format {description['format']}, expected {_FORMAT}")
            names = {f.name for f in fields(SpinScaling)}
            if set(description["scaling"]) != names:
                raise ValueError(f"scaling of {sorted(description['scaling'])}, expected {sorted(names)}")
            scaling = SpinScaling(**{k: tuple(v) for k, v in description["scaling"].items()})
            if scaling.t1_ms[1] < T1_MIN_MS * 10 or scaling.t2_ms[1] < T2_MIN_MS * 10:
                raise ValueError(f"T1 up to {scaling.t1_ms[1]:g} and T2 up to {scaling.t2_ms[1]:g} are no milliseconds")
            table = description["denoising_error"]
            unet = UNet2DModel.from_pretrained(folder / "unet", local_files_only=True, low_cpu_mem_usage=False)
            reference = load_file(folder / "reference.safetensors")["reference"]
            scheduler = DDPMScheduler.from_pretrained(folder / "scheduler", local_files_only=True)
            knots, errors = [int(k) for k in table], np.array(list(table.values()))
            steps = np.arange(scheduler.config.num_train_timesteps)
            error = np.stack([np.interp(steps, knots, errors[:, c]) for c in range(3)], 1)
            pixel_mm, record = float(description["pixel_mm"]), description["record"]
        except (LookupError, ValueError, TypeError, OSError, AttributeError, RuntimeError, SafetensorError) as fault:
            reason = str(fault).splitlines()[0]
            raise InputError(f"Prior '{folder}' cannot be read ({type(fault).__name__}: {reason}). {remedy}.") from None
        unet = unet.float().to(device).eval().requires_grad_(False)
        error = torch.from_numpy(error).float().to(device)
        bf16 = unet.device.type == "cuda" and torch.cuda.get_device_capability(unet.device)[0] >= 8
        return cls(unet, scheduler, scaling, pixel_mm, error, reference, record, bf16=bf16)


def renoise(noisy: torch.Tensor, clean: torch.Tensor, abar: torch.Tensor, abar_next: torch.Tensor) -> torch.Tensor:
    """Carry an estimate of the clean maps to the next, lower noise level, with the noise that `noisy` holds (DDIM).

    Args:
        noisy: maps at the present level.
        clean: the estimate made from them.
        abar: cumulative alpha of the present level.
        abar_next: that of the next.

    Returns:
        Maps at the next level.
    """
    noise = (noisy - abar.sqrt() * clean) / (1 - abar).sqrt()
    return abar_next.sqrt() * clean + (1 - abar_next).sqrt() * noise


def new_unet(channels: tuple[int, ...] = (48, 96, 144, 192)) -> UNet2DModel:
    """An untrained network of the default prior's size: no attention, so that slices of any size pass."""
    return UNet2DModel(
        in_channels=36,
        out_channels=12,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * len(channels),
        up_block_types=("UpBlock2D",) * len(channels),
        add_attention=False,
        norm_num_groups=16,
    )


def new_scheduler() -> DDPMScheduler:
    """The default prior's noise schedule: cosine, velocity prediction, no clipping of the estimate."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        clip_sample=False,
    )
