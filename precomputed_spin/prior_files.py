"""A prior's folder: what its files may hold, and reading and writing it whole or not at all.

PRIOR/prior.json              scaling, pixel size, denoising error, how it was made
PRIOR/unet/                   the network in fp16, as diffusers saves it
PRIOR/scheduler/              the noise schedule, as diffusers saves it
PRIOR/reference.safetensors   voxels of the maps it learned from

Beside this form, the folder of Zhao et al.'s network is read: a DDPM as diffusers' `DDPMPipeline.save_pretrained`
writes it, without prior.json.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nnunet_phys.errors import InputError, did_you_mean, last_line
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.prior_schedule import PIXEL_MM
from nnunet_phys.precomputed_spin.spin_scaling import PublishedScaling, SpinScaling
from nnunet_phys.whole_files import working_folder

SHIPPED = Path(__file__).parent / "priors"
DEFAULT_PRIOR = "digital_heart"
Scaling = Literal["published"]
"""Scalings of networks that come without prior.json; "published" is `PublishedScaling`."""
FORMAT = 3
FOLD = 2
"""Blocks of this many rows and columns are folded into channels, which reduces the network's cost to a quarter."""
IN_CHANNELS = FOLD**2 * (3 + 6)
"""Noisy PD, T1 and T2 and the guide's six channels, folded."""
OUT_CHANNELS = FOLD**2 * 3
"""The velocity of PD, T1 and T2, folded."""
_PUBLISHED_REMEDY = (
    "With -scaling published, give the folder of a DDPM of three channels (PD, T1, T2) that predicts noise or "
    "velocity, as DDPMPipeline.save_pretrained of diffusers writes it."
)
_PUBLISHED_CHANNELS = 3
"""Channels into and out of Zhao et al.'s network: PD, T1 and T2."""
_PUBLISHED_PIXEL_MM = 2.8
"""Pixel size of Zhao et al.'s maps. They resize each image to 128x128 pixels, whatever its field of view. Assumed: it
is 360 mm wide, usual in cardiac imaging."""
TIMESTEPS = (1000, 10_000)
"""Fewest and most timesteps of a noise schedule: a sampler may take 1000 steps, and priors are trained with 1000."""
_MOST_WIDTH = 1024
"""Most channels of a network's level. Assumed: five times as many as the shipped prior has (192)."""
_MOST_LEVELS = 6
"""Most levels of a network. Assumed: the shipped prior has 4."""
_MOST_LAYERS = 8
"""Most layers per level. Assumed: the shipped prior has 1."""
_MOST_REFERENCE = 1_000_000
"""Most voxels of the reference. Assumed: a prior is trained with a few thousand."""
_FAULTS_OF_LIBRARIES = (OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, SafetensorError)
"""What diffusers and safetensors raise for broken files."""


def _check_format(value: int) -> None:
    if value != FORMAT:
        raise ValueError(f"it is {value}, expected {FORMAT}")


def _check_pixel_mm(value: float) -> None:
    least, greatest = PIXEL_MM
    if not least <= value <= greatest:
        raise ValueError(f"{value:g} mm, expected {least:g} to {greatest:g}")


def _check_denoising_error(table: dict[str, tuple[float, float, float]]) -> None:
    if not table or not all(knot.isdecimal() for knot in table):
        raise ValueError("timesteps must be whole numbers from 0")
    knots = [int(knot) for knot in table]
    if knots[0] != 0 or any(later <= earlier for earlier, later in pairwise(knots)):
        raise ValueError("timesteps must increase from 0")
    if any(value < 0 for row in table.values() for value in row):
        raise ValueError("mean squared errors must not be negative")


def _check_record(record: dict[str, Any]) -> None:
    json.dumps(record, allow_nan=False)  # a ValueError that says so


@dataclass(frozen=True)
class PriorDescription:
    """prior.json: all of a prior but its weights, noise schedule and reference voxels.

    Attributes:
        format: version of the folder's format.
        scaling: physical units to network numbers.
        pixel_mm: in-plane pixel size of the maps it learned.
        denoising_error: by timestep, linear in between: mean squared error of the denoised PD, T1 and T2 (scaled).
        record: how it was made, free form.
    """

    format: int = field(metadata={"check": _check_format})
    scaling: SpinScaling
    pixel_mm: float = field(metadata={"check": _check_pixel_mm})
    denoising_error: dict[str, tuple[float, float, float]] = field(metadata={"check": _check_denoising_error})
    record: dict[str, Any] = field(metadata={"check": _check_record})

    def error_by_timestep(self, timesteps: int) -> torch.Tensor:
        """The denoising error at every timestep, float32 (timesteps, 3)."""
        knots, errors = [int(knot) for knot in self.denoising_error], np.array(list(self.denoising_error.values()))
        return interpolate_knots(knots, errors, timesteps)


def interpolate_knots(knots: list[int], errors: np.ndarray, timesteps: int) -> torch.Tensor:
    """Interpolate errors (knots, 3) at the timesteps `knots` linearly to all timesteps, float32 (timesteps, 3)."""
    steps = np.arange(timesteps)
    return torch.from_numpy(np.stack([np.interp(steps, knots, channel) for channel in errors.T], 1)).float()


def _check_timesteps(value: int) -> None:
    least, greatest = TIMESTEPS
    if not least <= value <= greatest:
        raise ValueError(f"{value} timesteps, expected {least} to {greatest}")


def _one_of(*predictions: str) -> dict[str, Any]:
    def check(value: str) -> None:
        if value not in predictions:
            raise ValueError(f"it is '{value}', expected {' or '.join(map(repr, predictions))}")

    return {"check": check}


@dataclass(frozen=True)
class _SchedulerConfig:
    """What must be known of scheduler/scheduler_config.json before diffusers allocates its tables."""

    num_train_timesteps: int = field(metadata={"check": _check_timesteps})
    prediction_type: str = field(metadata=_one_of("v_prediction"))


@dataclass(frozen=True)
class _PublishedSchedulerConfig(_SchedulerConfig):
    """The same for Zhao et al.'s network."""

    prediction_type: str = field(metadata=_one_of("epsilon", "v_prediction"))


def _exactly(channels: int) -> dict[str, Any]:
    def check(value: int) -> None:
        if value != channels:
            raise ValueError(f"it is {value}, expected {channels}: this is not the network of a spin prior")

    return {"check": check}


def _check_widths(widths: tuple[int, ...]) -> None:
    if not 1 <= len(widths) <= _MOST_LEVELS or not all(1 <= width <= _MOST_WIDTH for width in widths):
        raise ValueError(f"expected 1 to {_MOST_LEVELS} levels of 1 to {_MOST_WIDTH} channels")


def _check_layers(layers: int) -> None:
    if not 1 <= layers <= _MOST_LAYERS:
        raise ValueError(f"it is {layers}, expected 1 to {_MOST_LAYERS}")


@dataclass(frozen=True)
class _NetworkSize:
    """The size of a network, in unet/config.json, which must be known before diffusers allocates it."""

    block_out_channels: tuple[int, ...] = field(metadata={"check": _check_widths})
    layers_per_block: int = field(metadata={"check": _check_layers})


@dataclass(frozen=True)
class _NetworkConfig(_NetworkSize):
    """What must be known of unet/config.json."""

    in_channels: int = field(metadata=_exactly(IN_CHANNELS))
    out_channels: int = field(metadata=_exactly(OUT_CHANNELS))


@dataclass(frozen=True)
class _PublishedNetworkConfig(_NetworkSize):
    """The same for Zhao et al.'s network. Its channels out are checked by running it: one line for one fault."""

    in_channels: int = field(metadata=_exactly(_PUBLISHED_CHANNELS))


@dataclass(frozen=True, eq=False)
class PriorFiles:
    """What a prior's folder holds.

    Attributes:
        description: prior.json.
        unet: the network.
        scheduler: the noise schedule.
        reference: PD, T1 (ms) and T2 (ms) of voxels, (3, n).
    """

    description: PriorDescription
    unet: UNet2DModel
    scheduler: DDPMScheduler
    reference: torch.Tensor


def find_prior(name_or_folder: str | Path, scaling: Scaling | None = None) -> Path:
    """A prior's folder, or a shipped prior's by its name.

    Args:
        name_or_folder: the folder or the name.
        scaling: the scaling of a network without prior.json; None where prior.json holds it.

    Raises:
        InputError: there is no such prior, or it has its own scaling although one was given.
    """
    folder = Path(name_or_folder)
    if not folder.is_dir():
        folder = SHIPPED / str(name_or_folder)
    if (folder / "prior.json").exists():
        if scaling is not None:
            raise InputError(f"Prior '{name_or_folder}' has its scaling in prior.json. Leave out -scaling {scaling}.")
    elif scaling is None:
        hint = " The network of Zhao et al. needs -scaling published (reverse, translate, segment, quantify, demo)."
        suggestion = did_you_mean(str(name_or_folder), _shipped())
        raise InputError(
            f"Prior '{name_or_folder}' has no prior.json{suggestion}. {_remedy()}"
            + (hint if (folder / "unet").is_dir() else "")
        )
    elif not folder.is_dir():
        raise InputError(f"Prior '{name_or_folder}' is not a folder. {_PUBLISHED_REMEDY}")
    return folder


def _shipped() -> list[str]:
    return sorted(path.name for path in SHIPPED.glob("*") if path.is_dir())


def _remedy() -> str:
    shipped = ", ".join(_shipped())
    return f"Give a folder written by `nnunet_phys train_prior` or the name of a shipped prior: {shipped}."


def read_prior_files(folder: Path) -> PriorFiles:
    """Read and check a prior's folder.

    Raises:
        InputError: a file is missing, broken, of another kind or of another size than a prior's, or holds numbers that
            are not finite.
    """
    remedy = _remedy()
    description = read_json(folder / "prior.json", PriorDescription, remedy)
    config = read_json(folder / "scheduler" / "scheduler_config.json", _SchedulerConfig, remedy, extra=True)
    read_json(folder / "unet" / "config.json", _NetworkConfig, remedy, extra=True)
    last = int(list(description.denoising_error)[-1])
    if last != config.num_train_timesteps - 1:
        raise InputError(
            f"{folder / 'prior.json'}.denoising_error: it ends at timestep {last}, the noise schedule at "
            f"{config.num_train_timesteps - 1}. {remedy}"
        )
    try:
        scheduler = _read_scheduler(folder / "scheduler")
        unet = _read_network(folder / "unet", OUT_CHANNELS)
        reference = _read_reference(folder / "reference.safetensors")
    except _FAULTS_OF_LIBRARIES as fault:
        raise InputError(f"Prior '{folder}' cannot be read ({last_line(fault)}). {remedy}") from None
    return PriorFiles(description, unet, scheduler, reference)


def read_published_files(folder: Path) -> PriorFiles:
    """Read and check the folder of Zhao et al.'s network, a DDPM of PD, T1 and T2 alone in `PublishedScaling`.

    What such a folder does not say is taken from the shipped prior: the reference voxels, and the denoising error,
    which is assumed to be that of the shipped prior at the same noise (cumulative alpha).

    Raises:
        InputError: a file is missing or broken, the network has other channels, or numbers are not finite.
    """
    read_json(folder / "scheduler" / "scheduler_config.json", _PublishedSchedulerConfig, _PUBLISHED_REMEDY, extra=True)
    read_json(folder / "unet" / "config.json", _PublishedNetworkConfig, _PUBLISHED_REMEDY, extra=True)
    try:
        scheduler = _read_scheduler(folder / "scheduler")
        unet = _read_network(folder / "unet", _PUBLISHED_CHANNELS)
    except _FAULTS_OF_LIBRARIES as fault:
        raise InputError(f"Prior '{folder}' cannot be read ({last_line(fault)}). {_PUBLISHED_REMEDY}") from None
    shipped = read_prior_files(SHIPPED / DEFAULT_PRIOR)
    abar = shipped.scheduler.alphas_cumprod.numpy()[::-1]  # np.interp takes increasing values
    errors = shipped.description.error_by_timestep(len(abar)).numpy()[::-1]
    at_same_noise = [np.interp(scheduler.alphas_cumprod.numpy(), abar, channel).tolist() for channel in errors.T]
    error = {str(timestep): (pd, t1, t2) for timestep, (pd, t1, t2) in enumerate(zip(*at_same_noise, strict=True))}
    record = {"scaling": "published"}
    description = PriorDescription(FORMAT, PublishedScaling(), _PUBLISHED_PIXEL_MM, error, record)
    return PriorFiles(description, unet, scheduler, shipped.reference)


def _read_scheduler(folder: Path) -> DDPMScheduler:
    """Read the noise schedule, whose cumulative alphas must fall from 1 to 0, and not to 0 where noise is predicted."""
    scheduler: DDPMScheduler = DDPMScheduler.from_pretrained(folder, local_files_only=True)
    levels = scheduler.alphas_cumprod
    if not (torch.isfinite(levels).all() and (levels.diff() <= 0).all() and levels[0] < 1 and levels[-1] >= 0):
        raise ValueError("the cumulative alphas of scheduler do not fall from 1 to 0")
    if scheduler.config["prediction_type"] == "epsilon" and levels[-1] == 0:
        raise ValueError("the schedule ends in pure noise, from which predicted noise does not give maps")
    return scheduler


def _read_network(folder: Path, out_channels: int) -> UNet2DModel:
    """Read the network, and run it on the smallest input to prove that it works."""
    unet, loading = UNet2DModel.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False, output_loading_info=True
    )
    absent = [*loading["missing_keys"], *loading["mismatched_keys"]]
    if absent:
        raise ValueError(f"the weights of unet lack {absent[0]}")
    if not all(torch.isfinite(weights).all() for weights in unet.state_dict().values()):
        raise ValueError("the weights of unet hold NaN or infinite values")
    unet = unet.float().eval().requires_grad_(False)
    size = 2 ** len(unet.config["block_out_channels"])
    output = unet(torch.zeros(1, unet.config["in_channels"], size, size), 0).sample
    if output.shape != (1, out_channels, size, size) or not torch.isfinite(output).all():
        raise ValueError(f"unet gives {output.shape[1]} channels or values that are not finite, not PD, T1 and T2")
    return unet


def _read_reference(path: Path) -> torch.Tensor:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path.name}")
    reference = load_file(path)["reference"].float()
    if reference.ndim != 2 or len(reference) != 3 or not 1 <= reference.shape[1] <= _MOST_REFERENCE:
        raise ValueError(f"the reference has the shape {tuple(reference.shape)}, expected (3, voxels)")
    if not torch.isfinite(reference).all() or (reference[0] < 0).any() or (reference[1:] <= 0).any():
        raise ValueError("the reference holds values that PD, T1 and T2 cannot have")
    return reference


def check_vacant(folder: Path) -> None:
    """Refuse a folder for a new prior if something is there already.

    Raises:
        InputError: it is a file, or a folder that is not empty.
    """
    if (folder / "prior.json").exists():
        raise InputError(f"{folder} holds a finished prior. Choose another folder, or remove it.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} holds other files. Choose a new or an empty folder for the prior.")
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(f"{folder} is a file. Choose a new or an empty folder for the prior.")


def write_prior_files(folder: Path, files: PriorFiles) -> None:
    """Write a prior's folder, whole or not at all.

    Raises:
        InputError: something is there already, or the folder cannot be written.
    """
    check_vacant(folder)
    description = json.dumps(asdict(files.description), indent=1, allow_nan=False) + "\n"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(folder.parent, folder.name) as work:
            new = work / "prior"
            files.unet.save_pretrained(new / "unet")
            files.scheduler.save_pretrained(new / "scheduler")
            save_file({"reference": files.reference}, new / "reference.safetensors")
            (new / "prior.json").write_text(description)
            os.replace(new, folder)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder} cannot be written ({last_line(error)}). Is the disk full?") from None
