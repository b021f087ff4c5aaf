"""`nnunet_phys complete`: make the channels that cases lack."""

from __future__ import annotations

import argparse
import logging

from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.numbers import SEED, finite, number, whole_number
from nnunet_phys.commands.shared.targets import check_target, named_path, refuse_as_target
from nnunet_phys.completion.defaults import STEPS, STRENGTH
from nnunet_phys.errors import counted

logger = logging.getLogger(__name__)

MOST_STEPS = 1000
MOST_SAMPLES = 100
MOST_CHANNELS = 9999
"""nnU-Net numbers channels by four digits."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which cases are completed, by which model and how, and where they go."""
    parser.add_argument(
        "-i", type=named_path, required=True, metavar="IMAGES", help="folder of CASE_0000, CASE_0001, ..."
    )
    parser.add_argument("-o", type=named_path, required=True, metavar="FOLDER", help="folder for complete cases")
    parser.add_argument(
        "-model", type=named_path, required=True, metavar="MODEL", help="folder that train_completion wrote"
    )
    parser.add_argument(
        "-wanted",
        nargs="+",
        type=whole_number(0, MOST_CHANNELS),
        metavar="CHANNEL",
        help="channels to make where they are missing (default: all)",
    )
    parser.add_argument(
        "-scales",
        nargs="+",
        type=finite,
        metavar="SCALE",
        help="guidance scale of each given channel, or one for all; 1 is no guidance (default 1)",
    )
    parser.add_argument(
        "-start",
        type=whole_number(0, MOST_CHANNELS),
        metavar="CHANNEL",
        help="given channel to begin from, with noise (default: noise alone)",
    )
    parser.add_argument(
        "-strength", type=number(0.01, 1.0), help=f"with -start: share of the steps that are taken (default {STRENGTH})"
    )
    parser.add_argument(
        "-samples",
        type=whole_number(0, MOST_SAMPLES),
        help="samples whose mean and spread are written; 0: the regressor's image, which is smooth (default: 0; "
        "1 with -start or -scales, or if the model has no regressor)",
    )
    parser.add_argument(
        "-steps",
        type=whole_number(1, MOST_STEPS),
        default=STEPS,
        help="steps of a sample from noise to image (default %(default)s)",
    )
    parser.add_argument("-seed", type=SEED, default=0, help="of the samples (default %(default)s)")
    add_device_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="make computed images again")
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Check all cases, then make the missing channels and copy the others."""
    from nnunet_phys.case_records import load_record
    from nnunet_phys.completion import completing
    from nnunet_phys.completion.channel_files import cases_in_folder
    from nnunet_phys.completion.model_files import load_model, model_sha256
    from nnunet_phys.devices import torch_device
    from nnunet_phys.errors import InputError
    from nnunet_phys.progress import ProgressBar
    from nnunet_phys.whole_files import remove_leftovers

    if args.strength is not None and args.start is None:
        raise InputError("-strength goes with -start CHANNEL. Leave it out, or name the channel.")
    if args.samples == 0 and (args.start is not None or args.scales is not None):
        raise InputError("-samples 0 takes no samples, on which -start and -scales act. Leave these out.")
    refuse_as_target(args.o, args.i, args.model)
    if args.model.resolve() in args.o.resolve().parents:
        raise InputError(f"-o {args.o} lies in the folder of the model. Choose another.")
    pipeline = load_model(args.model, torch_device(args.device))
    if args.samples == 0 and pipeline.regressor is None:
        raise InputError(f"-samples 0: {args.model} has no regressor (--no_regressor). Take samples.")
    samples = args.samples
    if samples is None:
        samples = int(pipeline.regressor is None or args.start is not None or args.scales is not None)
    cases, ending = cases_in_folder(args.i)
    if ending == ".gipl":
        raise InputError(
            f"-i {args.i}: .gipl files hold no description, so nothing would tell computed images from acquired ones. "
            "Convert them to .nii.gz."
        )
    missing = completing.find_missing(cases, pipeline.config["channels"], args.wanted)
    settings = completing.CompletionSettings(
        None if args.scales is None else tuple(args.scales),
        args.steps,
        samples,
        args.start,
        STRENGTH if args.strength is None else args.strength,
        args.seed,
    )
    completing.check_settings(missing, settings)
    model = model_sha256(args.model)
    completing.check_copies(cases, args.o)
    todo = completing.left_to_make(missing, args.o, ending, settings, model, args.overwrite)
    check_target(args.o, completing.needed_bytes(todo, samples))
    for folder in (args.o, args.o / completing.SPREAD_FOLDER):
        remove_leftovers(folder)
    for case in cases:
        completing.copy_acquired(case, args.o)
    for channel in ProgressBar(todo, unit="channel", disable=args.disable_progress_bar):
        made = completing.complete_channel(pipeline, channel, settings)
        completing.write_channel(channel, made, args.o, ending, settings, model, pipeline.config["channels"])
    if not missing:
        wanted = "any channel" if args.wanted is None else f"channel {', '.join(map(str, args.wanted))}"
        logger.info(f"No case lacks {wanted}: nothing to compute. {counted(len(cases), 'case')} copied to {args.o}.")
        return
    flagged = [channel.name for channel in missing if (load_record(args.o, channel.name) or {}).get("flagged")]
    if flagged:
        logger.warning(f"samples disagree in {', '.join(flagged)}: look at {args.o / completing.SPREAD_FOLDER}")
    logger.info(
        f"SYNTHETIC: {counted(len(missing), 'channel')} in {args.o}, {len(todo)} of them made now, beside the acquired "
        f"images of {counted(len(cases), 'case')}. Synthetic images show no scar that the given sequences do not show."
    )
