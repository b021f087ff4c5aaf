"""Train and score methods, fold by fold: one JSON per method and fold."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from missing_channels.image_scores import flicker, slice_scores
from missing_channels.methods import METHODS, Completer, Setting
from missing_channels.protocol import (
    CHANNELS,
    PIXEL_MM,
    REGIONS,
    TASKS,
    add_part_arguments,
    label_codes,
    made_images,
    parts,
)
from nnunet_phys.case_records import package_versions
from nnunet_phys.completion.channel_files import ChannelCase
from nnunet_phys.completion.slices import resample
from nnunet_phys.devices import torch_device
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import write_volume
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import write_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which methods, folds and patients."""
    add_part_arguments(parser)
    parser.add_argument("-methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("-steps", type=int, default=6000, help="steps of each network (default %(default)s)")
    parser.add_argument("-batch_factor", type=int, default=1, help="factor of the views per step (default %(default)s)")
    parser.add_argument("-maps", type=Path, help="maps of cine of other patients, for pretraining")


def run(args: argparse.Namespace) -> None:
    """Do what is not done.

    Raises:
        InputError: a method needs maps, and none are given; no data.
    """
    without = [method for method in args.methods if METHODS[method].needs_maps and args.maps is None]
    if without:
        raise InputError(f"{', '.join(without)}: pretrained on maps. Give -maps, or leave them out by -methods.")
    setting = Setting(args.steps, args.batch_factor, args.maps, torch_device(args.device))
    require_same_settings(args)
    for part in parts(args.folds, args.test):
        for method in args.methods:
            path = args.work / "scores" / f"{method}_{part.name}.json"
            if path.is_file():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            folder = args.work / part.name
            folder.mkdir(exist_ok=True)
            completer = METHODS[method].fit(part.trained, folder, setting)
            images = {task.wanted: made_images(args.work, part.name, method, task.wanted) for task in TASKS}
            write_json(
                path,
                {
                    "method": method,
                    "part": part.name,
                    "steps": args.steps,
                    "batch_factor": args.batch_factor,
                    "versions": package_versions(),
                    "device": str(setting.device),
                    **score(completer, part.tested, images),
                },
            )
            print(json.dumps({"method": method, "part": part.name}))


@dataclass(frozen=True)
class WorkSettings:
    """What everything in a folder shares; plain JSON. `maps` is None until a method takes some."""

    steps: int
    batch_factor: int
    maps: str | None
    test: str | None = None


def require_same_settings(args: argparse.Namespace) -> None:
    """Write the settings of a new -work, or compare them with those that it began with.

    Raises:
        InputError: they differ.
    """
    path = args.work / "settings.json"
    maps, test = (None if folder is None else str(folder.resolve()) for folder in (args.maps, args.test))
    settings = WorkSettings(args.steps, args.batch_factor, maps, test)
    if path.is_file():
        before = read_json(path, WorkSettings, "Remove it.")
        settings = replace(settings, maps=settings.maps or before.maps)
        if replace(before, maps=before.maps or settings.maps) != settings:
            raise InputError(f"{args.work} was begun with {before}. Repeat these, or choose another -work.")
    args.work.mkdir(parents=True, exist_ok=True)
    write_json(path, asdict(settings))


def score(completer: Completer, cases: Sequence[ChannelCase], folders: Mapping[int, Path]) -> dict:
    """Make the channel that each task wants, write it, and score it.

    Args:
        completer: a trained method.
        cases: the test cases.
        folders: folder for the images of each wanted channel; their values are from 0 to 1.

    Returns:
        Plain JSON: `slices`, one entry per task, case and slice; `volumes`, one per task and case.
    """
    slices, volumes = [], []
    for case in cases:
        geometry, labels = case.geometry(), label_codes(case)
        images, shape, brightness = case.slices(range(len(CHANNELS)), PIXEL_MM)
        for task in TASKS:
            begun = time.monotonic()
            made = completer.complete(images, task.given, task.wanted)
            seconds = time.monotonic() - begun
            shown = ((resample(made[:, None], shape)[:, 0] + 1) / 2).clamp(0, 1).numpy()
            folders[task.wanted].mkdir(parents=True, exist_ok=True)
            write_volume(folders[task.wanted] / f"{case.name}_0000.nii.gz", shown, geometry)
            volume, _ = case.volume(task.wanted)
            truth = ((brightness[task.wanted].to_network(torch.from_numpy(volume)) + 1) / 2).numpy()
            volumes.append(
                {
                    "task": task.name,
                    "case": case.name,
                    "seconds": round(seconds, 2),
                    "flicker": flicker(shown, truth) if len(shown) > 1 else None,
                }
            )
            slices += [
                {
                    "task": task.name,
                    "case": case.name,
                    "slice": number,
                    **slice_scores(shown[number], truth[number], labels[number], REGIONS, geometry.pixel_mm),
                }
                for number in range(len(shown))
            ]
    return {"slices": slices, "volumes": volumes}
