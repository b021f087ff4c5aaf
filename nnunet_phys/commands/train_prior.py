"""`nnunet_phys train_prior`: train a spin prior on digital hearts or on maps on disk."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.numbers import PROCESSES, SEED, number, whole_number
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.prior_maps import TrainingMaps

    MapSource = Callable[[], TrainingMaps]

MOST_STEPS = 1_000_000
"""Optimiser steps. Assumed: 150 times the default, which takes weeks on a CPU."""
MOST_BATCHES = 100
"""Multiple of a CPU's batch. Assumed: 1600 crops of 64 pixels fill a GPU."""
MOST_HEARTS = 20_000
"""Digital hearts, whose maps take 1 MB each, and 2 MB while they are put together."""
DEFAULT_HEARTS = 2000
DEFAULT_PROCESSES = 2
HELD_OUT_HEARTS = 8
"""Hearts on which the denoising error is measured; their seeds start at 0."""
FIRST_SEED = 1000
"""The seeds of the hearts to train on start here."""
PIXEL_MM = (0.5, 10.0)
"""Same as `prior_files.PIXEL_MM`, whose import would load diffusers for every `-h`."""


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
        "-steps", type=whole_number(1, MOST_STEPS), default=6400, help="optimiser steps (default %(default)s)"
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
    parser.add_argument("-device", default="cpu", help="cpu, cuda or mps (default %(default)s)")
    parser.add_argument(
        "-np",
        type=PROCESSES,
        default=DEFAULT_PROCESSES,
        help="processes that draw digital hearts and, for another device than a CPU, images of them "
        "(default %(default)s)",
    )
    phantom = parser.add_argument_group("with -i phantom")
    phantom.add_argument(
        "-hearts", type=whole_number(1, MOST_HEARTS), help=f"digital hearts of 4 slices (default {DEFAULT_HEARTS})"
    )


def run(args: argparse.Namespace) -> None:
    """Train and write the prior."""
    from nnunet_phys.devices import torch_device
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.prior_schedule import Schedule
    from nnunet_phys.precomputed_spin.prior_training import train_prior

    device = torch_device(args.device)
    if args.i == "phantom" and args.hearts is None:
        args.hearts = DEFAULT_HEARTS
    pool, held_out = _digital_hearts(args) if args.i == "phantom" else _maps_on_disk(args)
    recorded = ("i", "init", "steps", "hearts", "pixel_mm", "batch_factor", "seed")
    options = [f"-{name} {getattr(args, name)}" for name in recorded if getattr(args, name) is not None]
    prior = train_prior(
        pool,
        held_out,
        folder=args.o,
        pixel_mm=args.pixel_mm,
        schedule=Schedule(steps=args.steps, batch_factor=args.batch_factor),
        device=device,
        seed=args.seed,
        record={"command": " ".join(["nnunet_phys train_prior -o PRIOR", *options])},
        init=SpinPrior.load(args.init, device) if args.init else None,
        processes=0 if device.type == "cpu" else args.np,
    )
    print(f"prior written to {args.o}, final loss {prior.record['final_loss']:.4f}")


def _digital_hearts(args: argparse.Namespace) -> tuple[MapSource, MapSource]:
    """Functions that make the maps to train on, and held-out maps."""
    from nnunet_phys.precomputed_spin.prior_maps import phantom_maps

    hearts = partial(phantom_maps, pixel_mm=args.pixel_mm, processes=args.np)
    return partial(hearts, args.hearts, first_seed=FIRST_SEED + args.seed), partial(hearts, HELD_OUT_HEARTS)


def _maps_on_disk(args: argparse.Namespace) -> tuple[MapSource, MapSource]:
    """Functions that return the maps to train on, and held-out maps; the first call reads both."""
    from nnunet_phys.precomputed_spin.prior_maps import folder_maps

    if args.hearts is not None:
        raise InputError("-hearts goes with -i phantom, not with a folder of maps. Leave it out.")
    maps = cache(partial(folder_maps, Path(args.i), args.pixel_mm))
    return (lambda: maps()[0]), (lambda: maps()[1])
