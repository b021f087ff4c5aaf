"""What a prior's training shows of itself: its loss, maps that the prior draws, and in the end a model card.

PRIOR.training/, while it trains; then PRIOR/training/
    loss.csv, loss.png     the running mean of the loss
    samples.png            PD, T1 and T2 maps drawn by the prior
PRIOR/README.md            the model card
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from matplotlib.figure import Figure

from nnunet_phys.errors import counted
from nnunet_phys.pictures import MAP_COLOURS, MAP_WINDOWS, png
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST
from nnunet_phys.spin import SpinMaps
from nnunet_phys.whole_files import write_bytes

_SAMPLES = 4
"""Maps on a sample sheet."""
_SAMPLE_STEPS = 40
"""Network evaluations of a drawn map. Assumed: DDIM needs few (Song et al., ICLR 2021)."""
_DPI = 90

CurvePoint = tuple[str, int, float]
"""Phase of the training ("images" or "maps"), step of the phase, running mean of the loss."""


@torch.inference_mode()
def draw_maps(prior: SpinPrior, count: int, size: int) -> SpinMaps:
    """Draw maps from a prior without a guide, by DDIM (Song et al., ICLR 2021); the same noise in every call.

    Args:
        prior: the prior.
        count: number of slices.
        size: rows and columns, a multiple of `SpinPrior.multiple`.

    Returns:
        Maps (count, size, size), on the CPU.
    """
    scheduler = DDIMScheduler.from_config(prior.scheduler.config, timestep_spacing="trailing")
    scheduler.set_timesteps(_SAMPLE_STEPS)
    u = torch.randn((count, 3, size, size), generator=torch.Generator().manual_seed(0)).to(prior.device)
    for timestep in scheduler.timesteps.tolist():
        velocity = prior.velocity(u, torch.full((count,), timestep, device=u.device))
        u = scheduler.step(velocity, timestep, u).prev_sample
    return prior.scaling.decode(u.clamp(LEAST, GREATEST).cpu())


@dataclass(frozen=True)
class Journal:
    """A folder with the loss and with maps that a prior draws as it learns.

    Attributes:
        folder: made when something is written.
    """

    folder: Path

    @classmethod
    def beside(cls, folder: Path) -> Journal:
        """The journal of the prior that will lie in a folder."""
        return cls(folder.with_name(f"{folder.name}.training"))

    def write(self, curve: list[CurvePoint], prior: SpinPrior | None) -> None:
        """Write the loss and maps that a prior draws, each file whole or not at all.

        Args:
            curve: the loss, in the order of the training.
            prior: the prior; None while it learns from images, which are no maps.

        Raises:
            InputError: a file cannot be written.
        """
        contents = {"loss.csv": _table(curve), "loss.png": _loss_picture(curve)}
        if prior is not None:
            contents["samples.png"] = _sample_sheet(draw_maps(prior, _SAMPLES, prior.minimum))
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_bytes(self.folder / name, content)

    def remove(self) -> None:
        """Remove what `write` wrote; other files stay."""
        for name in ("loss.csv", "loss.png", "samples.png"):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # the user put files there, or nothing was written
            self.folder.rmdir()


def model_card(name: str, prior: SpinPrior, versions: Mapping[str, str]) -> str:
    """A README of a prior, in Markdown: what it learned from, for how long, its scaling, versions.

    Args:
        name: the prior's name.
        prior: the prior as `train_prior` trained it.
        versions: package to version.
    """
    scaling, record = prior.scaling, prior.record
    on_images = f"{record['pretraining_steps']:,} on images, then " if "pretraining_steps" in record else ""
    number_format = "bfloat16 (autocast)" if record["bf16"] else "float32"
    facts = {
        "Command": f"`{record.get('command', 'none, a Python program')}`",
        "Learned from": f"{counted(record['slices'], 'slice')} of {prior.pixel_mm:g} mm pixels; its error was measured "
        f"on {counted(record['held_out_slices'], 'other slice')}",
        "Started from": f"`{json.dumps(record['init'])}`" if "init" in record else "random weights",
        "Steps": f"{on_images}{record['schedule']['steps']:,} on maps, by "
        f"{counted(record['processes'], 'process', 'processes')} in {number_format}",
        "Final loss": f"{record['final_loss']:.4f}, the mean squared error of denoised maps in network numbers",
        "Versions": ", ".join(f"{package} {number}" for package, number in versions.items()),
        "Licence": "not given. State it here before you share the prior; it may depend on the data.",
    }
    rows = (("PD", scaling.pd, "linear"), ("T1 (ms)", scaling.t1_ms, "log"), ("T2 (ms)", scaling.t2_ms, "log"))
    lines = [
        f"# {name}",
        "",
        "A spin prior of `nnunet_phys`, a diffusion model of PD, T1 and T2 maps, for "
        f"`nnunet_phys reverse -prior {name}`.",
        "",
        *(f"- **{heading}**: {text}" for heading, text in facts.items()),
        "",
        "| Map | -1 in the network | 1 in the network | Scale |",
        "|---|---|---|---|",
        *(f"| {title} | {low:g} | {high:g} | {scale} |" for title, (low, high), scale in rows),
        "",
        "Maps that it draws without an image, and its loss while it learned (`training/loss.csv`):",
        "",
        "![maps drawn by the prior](training/samples.png)",
        "![loss](training/loss.png)",
    ]
    return "\n".join(lines) + "\n"


def _table(curve: list[CurvePoint]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("phase", "step", "loss"))
    writer.writerows((phase, step, f"{loss:.6g}") for phase, step, loss in curve)
    return text.getvalue().encode()


def _loss_picture(curve: list[CurvePoint]) -> bytes:
    """The loss over the steps of all phases, one line per phase."""
    figure = Figure((7, 3.5), layout="constrained")
    axes = figure.subplots()
    start = 0
    for phase in dict.fromkeys(phase for phase, _, _ in curve):
        points = [(step, loss) for other, step, loss in curve if other == phase]
        axes.semilogy([start + step for step, _ in points], [loss for _, loss in points], label=f"on {phase}")
        start += points[-1][0]
    axes.set(xlabel="step", ylabel="loss, running mean")
    if curve:
        axes.legend()
    return png(figure, _DPI)


def _sample_sheet(maps: SpinMaps) -> bytes:
    """One row of slices for each of PD, T1 and T2, with its colour scale."""
    stacked = maps.stack()
    figure = Figure((2 * stacked.shape[1] + 1, 6.3), layout="constrained")
    axes = figure.subplots(3, stacked.shape[1], squeeze=False)
    for row, (title, top), slices in zip(axes, MAP_WINDOWS.items(), stacked, strict=True):
        for axis, values in zip(row, slices, strict=True):
            shown = axis.imshow(values.numpy(), vmin=0, vmax=top, cmap=MAP_COLOURS)
            axis.set_axis_off()
        figure.colorbar(shown, ax=list(row), label=title)
    return png(figure, _DPI)
