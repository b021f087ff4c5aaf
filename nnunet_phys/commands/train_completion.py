"""`nnunet_phys train_completion`: train a model that makes a missing channel from the others."""

from __future__ import annotations

import argparse
import logging
from statistics import median
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.numbers import SEED, number, whole_number
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.completion.defaults import DENOISER_STEPS, PIXEL_MM
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.completion.slices import ChannelSlices

logger = logging.getLogger(__name__)

MOST_STEPS = 1_000_000
MOST_BATCHES = 100
"""Multiple of a CPU's batch. Assumed: 800 views of 192 pixels fill a GPU."""
MOST_DRAWS = 1000
PIXEL_RANGE_MM = (0.7, 2.0)
"""So that views, of a fixed number of pixels, show a heart with the chest around it. Assumed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the model learns from, for how long, and where it goes."""
    parser.add_argument(
        "-d", required=True, metavar="DATASET", help="id or name of a data set in nnUNet_raw, of two or more channels"
    )
    parser.add_argument(
        "-o", required=True, type=named_path, metavar="MODEL", help="new folder for the model; a rerun goes on"
    )
    parser.add_argument(
        "-steps",
        type=whole_number(1, MOST_STEPS),
        default=DENOISER_STEPS,
        help="steps of the denoiser; with more, the other networks take more, too (default %(default)s)",
    )
    parser.add_argument(
        "-batch_factor",
        type=whole_number(1, MOST_BATCHES),
        default=1,
        help="views per step, as a multiple of a CPU's 8; a GPU takes more in the same time (default %(default)s)",
    )
    parser.add_argument(
        "-pixel_mm",
        type=number(*PIXEL_RANGE_MM),
        default=PIXEL_MM,
        help="pixel size at which it works (default %(default)s)",
    )
    parser.add_argument(
        "-regions", nargs="+", metavar="LABEL", help="labels that count more (default: all but RV, LV and background)"
    )
    parser.add_argument("--no_regressor", action="store_true", help="latent diffusion alone, as CMRDiff was published")
    parser.add_argument("--no_heat", action="store_true", help="all pixels count the same; no labels are needed")
    parser.add_argument("-seed", type=SEED, default=0)
    add_device_argument(parser)
    parser.add_argument(
        "--fp32", action="store_true", help="train in float32 also where the device has bfloat16, which is faster"
    )
    parser.add_argument("-vae", type=named_path, metavar="FOLDER", help="pretrained autoencoder in diffusers' format")
    parser.add_argument(
        "-image_encoder", type=named_path, metavar="FOLDER", help="pretrained CLIP vision model of transformers"
    )
    physics = parser.add_argument_group("pretraining on synthetic channels")
    physics.add_argument("-maps", type=named_path, metavar="MAPS", help="folder of *_PDmap, *_T1map, *_T2map")
    physics.add_argument(
        "-sequences", nargs="+", metavar="SEQUENCE", help="of each channel, such as: bssfp lge_gre black_blood"
    )
    physics.add_argument(
        "-draws", type=whole_number(1, MOST_DRAWS), default=1, help="examinations of each case (default %(default)s)"
    )


def run(args: argparse.Namespace) -> None:
    """Read the data set, then train and write the model."""
    from dataclasses import replace

    from nnunet_phys.completion.autoencoder import load_autoencoder
    from nnunet_phys.completion.channel_files import MultiChannelDataset, read_slices
    from nnunet_phys.completion.image_encoder import load_clip
    from nnunet_phys.completion.model_files import check_vacant
    from nnunet_phys.completion.schedule import CompletionSchedule
    from nnunet_phys.completion.training import train_completion
    from nnunet_phys.completion.training_run import TrainingData
    from nnunet_phys.devices import computes_in_bfloat16, torch_device
    from nnunet_phys.whole_files import making_alone

    check_vacant(args.o)
    device, dataset = torch_device(args.device), MultiChannelDataset.open(args.d)
    if args.no_heat and args.regions:
        raise InputError("-regions and --no_heat exclude each other. Leave one of them out.")
    regions = {} if args.no_heat else dataset.regions(args.regions)
    autoencoder = load_autoencoder(args.vae) if args.vae else None
    image_encoder = load_clip(args.image_encoder) if args.image_encoder else None
    schedule = CompletionSchedule(heat=bool(regions)).scaled(args.steps, args.batch_factor)
    if args.no_regressor:
        schedule = replace(schedule, regressor_steps=0)
    _check_physics(args, len(dataset.channels))
    slices, brightness = read_slices(dataset.cases, len(dataset.channels), regions, args.pixel_mm, schedule.slice_size)
    options = ("pixel_mm", "regions", "no_heat", "sequences", "draws")
    folders = ("maps", "vae", "image_encoder")
    data = TrainingData(
        slices,
        _synthetic(args, schedule.slice_size),
        dataset.channels,
        args.pixel_mm,
        [median(case[number].dark for case in brightness) for number in range(len(dataset.channels))],
        [median(case[number].bright for case in brightness) for number in range(len(dataset.channels))],
    )
    with making_alone(args.o.absolute()):
        train_completion(
            data=data,
            folder=args.o,
            schedule=schedule,
            device=device,
            seed=args.seed,
            bf16=not args.fp32 and computes_in_bfloat16(device),
            record={
                "d": dataset.name,
                **{name: str(getattr(args, name)) for name in options if getattr(args, name)},
                **{name: getattr(args, name).resolve().name for name in folders if getattr(args, name)},
            },
            autoencoder=autoencoder,
            image_encoder=image_encoder,
        )
    logger.info(f"model written to {args.o}: it makes {', '.join(dataset.channels[:-1])} or {dataset.channels[-1]}.")


def _check_physics(args: argparse.Namespace, channels: int) -> None:
    """Refuse options of the pretraining that do not go together.

    Raises:
        InputError: they do not, or the recipe has no such sequence.
    """
    from nnunet_phys.augmentations.recipe_files import load_recipe
    from nnunet_phys.completion.synthetic_slices import RECIPE, entries_of

    if (args.maps is None) != (args.sequences is None):
        raise InputError("-maps and -sequences go together: name the sequence of each channel.")
    if args.maps is not None:
        if len(args.sequences) != channels:
            raise InputError(
                f"-sequences names {len(args.sequences)} sequences for {channels} channels. Name one each."
            )
        entries_of(load_recipe(RECIPE), args.sequences)


def _synthetic(args: argparse.Namespace, size: int) -> ChannelSlices | None:
    """Slices from maps, if there are maps to make them from.

    Raises:
        InputError: maps that cannot be used.
    """
    if args.maps is None:
        return None
    from nnunet_phys.completion.synthetic_slices import synthetic_slices

    return synthetic_slices(args.maps, args.sequences, args.draws, args.pixel_mm, size, args.seed)
