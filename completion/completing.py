"""Complete cases on disk: make the channels that are missing, copy those that were acquired."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_phys.case_records import (
    begin_case,
    discard,
    is_finished,
    package_versions,
    read_record,
    save_record,
)
from nnunet_phys.completion.channel_files import SYNTHETIC, ChannelCase
from nnunet_phys.completion.defaults import STEPS, STRENGTH
from nnunet_phys.completion.pipeline import CompletionPipeline
from nnunet_phys.completion.slices import Brightness, resample
from nnunet_phys.errors import InputError, last_line
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.image_files import read_notes, write_volume
from nnunet_phys.whole_files import whole_file, writing_alone

SPREAD_FOLDER = "spread"
"""Folder, in that of the results, for the spread of samples."""
BATCH = 4
"""Slices that are computed at a time: what the pipeline keeps of them fits any machine."""
GREATEST_DISAGREEMENT = 0.5
"""Disagreement from which a case is flagged: the samples then differ from each other half as much as tissues do.
A choice."""
_DARK = -0.9
"""Pixels at least as bright as this count for the disagreement: 5 % of the bright level."""


@dataclass(frozen=True)
class CompletionSettings:
    """How channels are made; see `CompletionPipeline.__call__`.

    Attributes:
        scales: guidance scale of each given channel, or one for all; None: 1.
        steps, samples, start, strength: as there. Of several samples the mean is written, and their spread; of none,
            the regressor's image, for which the other settings mean nothing.
        seed: of the noise, which is the same for all slices and cases.
    """

    scales: tuple[float, ...] | None = None
    steps: int = STEPS
    samples: int = 1
    start: int | None = None
    strength: float = STRENGTH
    seed: int = 0

    def described(self, model_sha256: str) -> dict[str, Any]:
        """What decides about a channel, for its record; plain JSON.

        Args:
            model_sha256: hash of the model.
        """
        if self.samples == 0:
            return {"samples": 0, "model": model_sha256}
        settings = {**asdict(self), "scales": None if self.scales is None else list(self.scales)}
        if self.start is None:
            del settings["strength"]
        return {**settings, "model": model_sha256}


@dataclass(frozen=True)
class MissingChannel:
    """A channel to make.

    Attributes:
        case: its case, with the given channels.
        wanted: its number.
    """

    case: ChannelCase
    wanted: int

    @property
    def given(self) -> tuple[int, ...]:
        """Numbers of the given channels, ascending."""
        return tuple(sorted(self.case.images))

    @property
    def sources(self) -> tuple[Path, ...]:
        """The given images."""
        return tuple(self.case.images[channel] for channel in self.given)

    @property
    def name(self) -> str:
        """Name of its file, without the ending; also that of its record."""
        return f"{self.case.name}_{self.wanted:04d}"

    def paths(self, folder: Path, ending: str, samples: int) -> tuple[Path, ...]:
        """The image, and with several samples their spread."""
        image = folder / f"{self.name}{ending}"
        return (image,) if samples <= 1 else (image, folder / SPREAD_FOLDER / image.name)


@dataclass(frozen=True, eq=False)
class CompletedChannel:
    """A channel that was made.

    Attributes:
        mean: the image, float32 (slices, rows, columns), in the unit of the training images.
        spread: standard deviation over the samples, in the same unit; None without several samples.
        disagreement: root mean square of the spread, relative to the deviation of the image, where it is not dark;
            None without several samples.
    """

    mean: torch.Tensor
    spread: torch.Tensor | None
    disagreement: float | None


def complete_channel(
    pipeline: CompletionPipeline, missing: MissingChannel, settings: CompletionSettings
) -> CompletedChannel:
    """Make a channel from those that are given.

    Raises:
        InputError: a given image cannot be used, or the model makes values that are not finite.
    """
    config, given = pipeline.config, list(missing.given)
    shown, native, _ = missing.case.slices(given, config["pixel_mm"])
    images = shown.new_zeros(len(shown), len(config["channels"]), *shown.shape[2:])
    images[:, given] = shown
    scales = settings.scales
    if scales is not None and len(scales) == 1:
        scales = scales * len(missing.given)

    def make(batch: torch.Tensor) -> torch.Tensor:
        if settings.samples == 0:
            return pipeline.regressed(batch, missing.given, missing.wanted)[None]
        return pipeline(
            batch,
            missing.given,
            missing.wanted,
            scales,
            settings.steps,
            settings.samples,
            settings.start,
            settings.strength,
            torch.Generator().manual_seed(settings.seed),
        ).images

    made = [make(batch) for batch in images.split(BATCH)]
    samples = torch.stack([resample(sample[:, None], native)[:, 0] for sample in torch.cat(made, 1)])
    if not samples.isfinite().all():
        raise InputError(
            f"{missing.name}: the model makes values that are not finite. Lower -scales, or train another model."
        )
    brightness = Brightness(config["dark"][missing.wanted], config["bright"][missing.wanted])
    mean = samples.mean(0)
    if settings.samples <= 1:
        return CompletedChannel(brightness.to_image(mean), None, None)
    spread, seen = samples.std(0), mean > _DARK
    contrast = float(mean[seen].std()) if int(seen.sum()) > 1 else 0.0
    disagreement = float(spread[seen].square().mean().sqrt()) / contrast if contrast > 0 else 0.0
    return CompletedChannel(brightness.to_image(mean), spread / 2 * (brightness.bright - brightness.dark), disagreement)


def find_missing(
    cases: Sequence[ChannelCase], channels: Sequence[str], wanted: Sequence[int] | None
) -> list[MissingChannel]:
    """The channels to make.

    Args:
        cases: the cases.
        channels: names of the model's channels.
        wanted: numbers of the channels to make where they are missing; None for all.

    Raises:
        InputError: a channel that the model does not know, in the cases or wanted.
    """
    known = ", ".join(f"{number} ({name})" for number, name in enumerate(channels))
    faults = [
        f"-wanted {number}: the model has channels {known}." for number in wanted or () if number >= len(channels)
    ]
    faults += [
        f"{case.images[number]}: the model has no channel {number}, but {known}. Remove the file, or rename it."
        for case in cases
        for number in case.images
        if number >= len(channels)
    ]
    if faults:
        raise InputError(*faults)
    numbers = range(len(channels)) if wanted is None else sorted(set(wanted))
    return [MissingChannel(case, number) for case in cases for number in numbers if number not in case.images]


def check_settings(missing: Sequence[MissingChannel], settings: CompletionSettings) -> None:
    """Refuse settings that do not fit the given channels of a case, and cases that cannot be read.

    Raises:
        InputError: one line each.
    """
    faults: list[str] = []
    for channel in missing:
        case, given = channel.case, channel.given
        count = None if settings.scales is None else len(settings.scales)
        if count not in (None, 1, len(given)):
            faults.append(
                f"{case.name} has {len(given)} given channels, but -scales has {count} values. Give one each."
            )
        if settings.start is not None and settings.start not in given:
            faults.append(f"{case.name} lacks channel {settings.start}, which -start names. Name a given one.")
    for case in {channel.case.name: channel.case for channel in missing}.values():
        try:
            case.geometry()
            for number in case.images:
                case.volume(number)
        except InputError as error:
            faults.extend(error.of_case(case.name).faults)
    if faults:
        raise InputError(*dict.fromkeys(faults))


def check_copies(cases: Sequence[ChannelCase], folder: Path) -> None:
    """Refuse a folder where copies of the acquired images would replace other files.

    Raises:
        InputError: one line for each such file.
    """
    faults = []
    for case in cases:
        for channel, path in case.images.items():
            name, copy = f"{case.name}_{channel:04d}", folder / path.name
            same = copy.is_file() and file_sha256(copy) == file_sha256(path)
            others = [copy] if os.path.lexists(copy) else _not_ours(folder, name, ())
            remedy = f"exists and is not {path}. Remove it, or choose another folder with -o."
            faults += [] if same else [f"{other} {remedy}" for other in others]
    if faults:
        raise InputError(*faults)


def copy_acquired(case: ChannelCase, folder: Path) -> None:
    """Copy a case's images into a folder that has passed `check_copies`; a copy that is there already stays.

    Where a computed image was before, its record and its spread are removed: they do not describe the acquired one.

    Raises:
        InputError: a copy cannot be written.
    """
    for channel, path in case.images.items():
        name, copy = f"{case.name}_{channel:04d}", folder / path.name
        try:
            if not copy.exists():
                if "completed" in (read_record(folder, name) or ({},))[0]:
                    discard(folder, name)
                with whole_file(copy) as temporary:
                    shutil.copyfile(path, temporary)
        except OSError as error:
            raise InputError(f"{copy} cannot be written ({last_line(error)}). Is the disk full?") from None


def _not_ours(folder: Path, name: str, paths: Sequence[Path]) -> list[Path]:
    """Files in the place of a channel, or that its record names, which this command did not make as they are now.

    Args:
        folder: folder for the results.
        name: name of the channel's record.
        paths: the files that will be written.

    Raises:
        InputError: the record is not one of this project's.
    """
    loaded = read_record(folder, name)
    record = None if loaded is None else loaded[1]
    names = () if record is None else (*(entry.file for entry in record.files), *record.unfinished)
    return [
        path
        for path in dict.fromkeys((*paths, *(folder / file for file in names)))
        if os.path.lexists(path)
        and not (record is not None and record.vouches_for(folder, path) and read_notes(path) == SYNTHETIC)
    ]


def left_to_make(
    missing: Sequence[MissingChannel],
    folder: Path,
    ending: str,
    settings: CompletionSettings,
    model_sha256: str,
    overwrite: bool,
) -> list[MissingChannel]:
    """The channels that are not finished; all of them with `overwrite`.

    Acquired images in their place are refused even then.

    Raises:
        InputError: files in the place of the results that this command did not make, or made with other settings or
            another model.
    """
    todo, faults = [], []
    for channel in missing:
        paths = channel.paths(folder, ending, settings.samples)
        foreign = _not_ours(folder, channel.name, paths)
        content, record = read_record(folder, channel.name) or ({}, None)
        made = record is not None and bool(record.images)  # and not only begun
        if foreign:
            faults.append(
                f"{foreign[0]} exists, and nnunet_phys complete did not make it, or it was changed since. Remove it, "
                "or choose another folder with -o."
            )
        elif made and content.get("completed") != settings.described(model_sha256) and not overwrite:
            faults.append(
                f"{paths[0]} was made with other settings. Add --overwrite, or choose another folder with -o."
            )
        elif overwrite or not is_finished(folder, channel.name, channel.sources):
            todo.append(channel)
    if faults:
        raise InputError(*faults)
    return todo


def write_channel(
    channel: MissingChannel,
    made: CompletedChannel,
    folder: Path,
    ending: str,
    settings: CompletionSettings,
    model_sha256: str,
    channels: Sequence[str],
) -> None:
    """Write a channel, the spread of its samples, and the record that says how it was made.

    Raises:
        InputError: they cannot be written.
    """
    geometry, paths = channel.case.geometry(), channel.paths(folder, ending, settings.samples)
    described = {"completed": settings.described(model_sha256)}
    record: dict[str, Any] = {
        **described,
        "synthetic": SYNTHETIC,
        "channel": channels[channel.wanted],
        "given": {channels[number]: channel.case.images[number].name for number in channel.given},
        "versions": package_versions(),
    }
    if made.disagreement is not None:
        record["disagreement"] = round(made.disagreement, 3)
        record["flagged"] = made.disagreement > GREATEST_DISAGREEMENT
    volumes = (made.mean,) if made.spread is None else (made.mean, made.spread)
    with writing_alone(folder):
        begin_case(folder, channel.name, paths, described)
        for path, volume in zip(paths, volumes, strict=True):
            path.parent.mkdir(exist_ok=True)
            write_volume(path, volume, geometry, SYNTHETIC)
        save_record(folder, channel.name, record, channel.sources, paths)


def needed_bytes(missing: Sequence[MissingChannel], samples: int) -> int:
    """Bytes that the results may take, without compression."""
    volumes = 1 if samples <= 1 else 2
    return sum(4 * volumes * int(np.prod(channel.case.geometry().size)) for channel in missing)
