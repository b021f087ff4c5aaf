"""`nnunet_phys train_prior`: train a spin prior on digital hearts or on maps on disk, if asked first on images."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.numbers import PROCESSES, SEED, number, whole_number
from nnunet_phys.commands.shared.scan_options import open_dataset, scans_of_dataset
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.prior_schedule import PIXEL_MM

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.prior_images import Pretraining
    from nnunet_phys.precomputed_spin.prior_maps import TrainingMaps
    from nnunet_phys.precomputed_spin.scan_files import ScanFiles

    MapSource = Callable[[], TrainingMaps]

logger = logging.getLogger(__name__)

MOST_STEPS = 1_000_000
"""Optimiser steps. Assumed: 150 times the default, which takes weeks on a CPU."""
MOST_BATCHES = 100
"""Multiple of a CPU's batch. Assumed: 1600 crops of 64 pixels fill a GPU."""
MOST_HEARTS = 20_000
"""Digital hearts, whose maps take 1 MB each, and 2 MB while they are put together."""
DEFAULT_STEPS = 6400
PRETRAINING_STEPS = 36_000
"""Steps on images before those on maps, as published (Zhao et al., MICCAI 2025)."""
FINE_TUNING_STEPS = 6000
"""Steps on maps after those on images, as published."""
DEFAULT_HEARTS = 2000
DEFAULT_PROCESSES = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the prior is trained on, for how long, and where it goes."""
    parser.add_argument("-i", required=True, metavar="MAPS", help="folder of *_PDmap, *_T1map, *_T2map; or: phantom")
    parser.add_argument(
        "-o",
        required=True,
        type=named_path,
        metavar="PRIOR",
        help="new folder for the prior; a rerun continues the training",
    )
    parser.add_argument("-init", metavar="PRIOR", help="prior to start from: a folder, or the name of a shipped prior")
    parser.add_argument(
        "-pretrain",
        metavar="IMAGES",
        help="learn from images first: a folder, or the id or name of a data set in nnUNet_raw",
    )
    parser.add_argument(
        "-steps",
        type=whole_number(1, MOST_STEPS),
        help=f"optimiser steps on maps (default {DEFAULT_STEPS}, after -pretrain {FINE_TUNING_STEPS})",
    )
    parser.add_argument(
        "-pixel_mm", type=number(*PIXEL_MM), default=2.5, help="pixel size of the maps (default %(default)s)"
    )
    parser.add_argument(
        "-batch_factor",
        type=whole_number(1, MOST_BATCHES),
        default=1,
        help="crops per step, as a multiple of a CPU's 16 and 6; a GPU takes more in the same time "
        "(default %(default)s)",
    )
    parser.add_argument("-seed", type=SEED, default=0)
    add_device_argument(parser)
    parser.add_argument(
        "--fp32", action="store_true", help="calculate in float32 also where the device has bfloat16, which is faster"
    )
    parser.add_argument(
        "-np",
        type=PROCESSES,
        default=DEFAULT_PROCESSES,
        help="processes that draw digital hearts and, for another device than a CPU, images of them "
        "(default %(default)s)",
    )
    images = parser.add_argument_group("with -pretrain")
    images.add_argument(
        "-pretrain_steps",
        type=whole_number(1, MOST_STEPS),
        help=f"optimiser steps on images (default {PRETRAINING_STEPS})",
    )
    phantom = parser.add_argument_group("with -i phantom")
    phantom.add_argument(
        "-hearts", type=whole_number(1, MOST_HEARTS), help=f"digital hearts of 4 slices (default {DEFAULT_HEARTS})"
    )


def run(args: argparse.Namespace) -> None:
    """Train and write the prior."""
    from nnunet_phys.devices import computes_in_bfloat16
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.prior_schedule import Schedule
    from nnunet_phys.precomputed_spin.prior_training import train_prior
    from nnunet_phys.precomputed_spin.training_processes import TrainingProcesses
    from nnunet_phys.precomputed_spin.work_parts import device_of_process
    from nnunet_phys.whole_files import making_alone

    device = device_of_process(args.device)
    pretrain = _pretraining(args)
    if args.steps is None:
        args.steps = DEFAULT_STEPS if pretrain is None else FINE_TUNING_STEPS
    if args.i == "phantom" and args.hearts is None:
        args.hearts = DEFAULT_HEARTS
    pool, held_out = _digital_hearts(args) if args.i == "phantom" else _maps_on_disk(args)
    recorded = ("i", "init", "pretrain", "pretrain_steps", "steps", "hearts", "pixel_mm", "batch_factor", "seed")
    options = [f"-{name} {getattr(args, name)}" for name in recorded if getattr(args, name) is not None]
    init = SpinPrior.load(args.init, device) if args.init else None
    record = {"command": " ".join(["nnunet_phys train_prior -o PRIOR", *options])}
    if args.i != "phantom":
        record["maps_sha256"] = _hash_of_maps(Path(args.i))
    with TrainingProcesses.joined(device) as team, nullcontext() if team.index else making_alone(args.o.absolute()):
        prior = train_prior(
            pool,
            held_out,
            folder=args.o,
            pixel_mm=args.pixel_mm,
            schedule=Schedule(steps=args.steps, batch_factor=args.batch_factor),
            device=device,
            seed=args.seed,
            record=record,
            init=init,
            processes=0 if device.type == "cpu" else args.np,
            pretrain=pretrain,
            bf16=not args.fp32 and computes_in_bfloat16(device),
            team=team,
        )
    if team.index == 0:
        logger.info(f"prior written to {args.o}, final loss {prior.record['final_loss']:.4f}")


def _pretraining(args: argparse.Namespace) -> Pretraining | None:
    """The images to learn from first, which are listed but not read yet, and the number of steps.

    Raises:
        InputError: no images, or options that do not go together.
    """
    from nnunet_phys.file_identity import files_sha256
    from nnunet_phys.precomputed_spin.prior_images import Pretraining, pretraining_images

    if args.pretrain is None:
        if args.pretrain_steps is not None:
            raise InputError("-pretrain_steps goes with -pretrain IMAGES. Leave it out, or name the images.")
        return None
    if args.init is not None:
        raise InputError("-init goes on from a trained prior, which -pretrain would spoil. Leave one of them out.")
    if args.pretrain_steps is None:
        args.pretrain_steps = PRETRAINING_STEPS
    try:
        scans = _scans(args.pretrain)
    except InputError as error:
        raise error.prefixed("-pretrain ") from None
    sha256 = files_sha256({name: path for scan in scans for name, path in scan.files.items()})
    return Pretraining(partial(pretraining_images, scans, args.pixel_mm), args.pretrain_steps, sha256)


def _scans(images: str) -> list[ScanFiles]:
    """The volumes of a folder of images or, if there is no such folder, of a data set.

    Raises:
        InputError: there are no images there, or 4-D ones in a data set.
    """
    from nnunet_phys.precomputed_spin.image_folder import ImageFolder
    from nnunet_phys.precomputed_spin.scan_files import scans_of_files

    if Path(images).is_dir() or not re.fullmatch(r"\d{1,3}|Dataset\d{3}_.+", images):
        return scans_of_files(ImageFolder.read(Path(images)).files, series=False)
    return scans_of_dataset(open_dataset(images).images)


def _digital_hearts(args: argparse.Namespace) -> tuple[MapSource, MapSource]:
    """Functions that make the maps to train on, and held-out maps."""
    from nnunet_phys.precomputed_spin.prior_maps import FIRST_SEED, HELD_OUT_HEARTS, phantom_maps

    hearts = partial(phantom_maps, pixel_mm=args.pixel_mm, processes=args.np)
    return partial(hearts, args.hearts, first_seed=FIRST_SEED + args.seed), partial(hearts, HELD_OUT_HEARTS)


def _hash_of_maps(folder: Path) -> str:
    """Hash of all maps in a folder; those that are missing are reported when the maps are read."""
    from nnunet_phys.file_identity import files_sha256
    from nnunet_phys.map_files import find_maps, map_paths

    paths = [path for case, ending in find_maps(folder).items() for path in map_paths(folder, case, ending).values()]
    return files_sha256({path.name: path for path in paths if path.is_file()})


def _maps_on_disk(args: argparse.Namespace) -> tuple[MapSource, MapSource]:
    """Functions that return the maps to train on, and held-out maps; the first call reads both."""
    from nnunet_phys.precomputed_spin.prior_maps import folder_maps

    if args.hearts is not None:
        raise InputError("-hearts goes with -i phantom, not with a folder of maps. Leave it out.")
    maps = cache(partial(folder_maps, Path(args.i), args.pixel_mm))
    return (lambda: maps()[0]), (lambda: maps()[1])
