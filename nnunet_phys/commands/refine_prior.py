"""`nnunet_phys refine_prior`: let a spin prior learn from the images of a data set, as long as that improves it."""

from __future__ import annotations

import argparse
import logging
import os
import shutil

from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.map_options import add_batch_argument, usual_batch
from nnunet_phys.commands.shared.numbers import PROCESSES, SEED, number, whole_number
from nnunet_phys.commands.shared.scan_options import (
    Inputs,
    add_protocol_arguments,
    find_cases,
    open_dataset,
    read_labels,
    read_protocol,
)
from nnunet_phys.commands.shared.targets import check_target, named_path
from nnunet_phys.commands.train_prior import MOST_STEPS
from nnunet_phys.errors import InputError, counted

logger = logging.getLogger(__name__)

MOST_ROUNDS = 100
HELD_OUT = (0.01, 0.9)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which images the prior learns from, for how long, and where it goes."""
    parser.add_argument("-d", required=True, metavar="DATASET", help="id or name of a data set in nnUNet_raw")
    parser.add_argument(
        "-o", required=True, type=named_path, metavar="PRIOR", help="new folder for the prior; a rerun goes on"
    )
    add_protocol_arguments(parser, series=False)
    parser.add_argument("--labels", action="store_true", help="labelsTr decides what is blood and myocardium")
    parser.add_argument(
        "-prior", default="digital_heart", help="prior to refine, by folder or name (default %(default)s)"
    )
    parser.add_argument(
        "-rounds", type=whole_number(1, MOST_ROUNDS), default=3, help="most rounds (default %(default)s)"
    )
    parser.add_argument(
        "-steps", type=whole_number(1, MOST_STEPS), default=600, help="optimiser steps of a round (default %(default)s)"
    )
    parser.add_argument(
        "-held_out",
        type=number(*HELD_OUT),
        default=0.2,
        help="share of the cases, the last by name, that judge the prior without their labels (default %(default)s)",
    )
    parser.add_argument("-seed", type=SEED, default=0)
    add_batch_argument(parser)
    add_device_argument(parser)
    parser.add_argument(
        "-np", type=PROCESSES, default=2, help="processes that draw digital hearts (default %(default)s)"
    )
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Refine the prior, and write the best one."""
    from nnunet_phys.devices import computes_in_bfloat16
    from nnunet_phys.map_files import MAP_NAMES
    from nnunet_phys.precomputed_spin.map_work import bytes_of_results
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.prior_files import check_vacant
    from nnunet_phys.precomputed_spin.prior_refinement import Refinement
    from nnunet_phys.precomputed_spin.work_parts import WorkPart, device_of_process
    from nnunet_phys.whole_files import making_alone

    folder = args.o.absolute()
    check_vacant(folder)
    if WorkPart.of_process(0, 1).count > 1:
        raise InputError("refine_prior runs in one process. Start it without torchrun or accelerate (WORLD_SIZE).")
    device = device_of_process(args.device)
    prior = SpinPrior.load(args.prior, device)
    dataset = open_dataset(args.d)
    inputs = Inputs(dataset.images, dataset.ending, folder, dataset)
    jobs, faults = find_cases(inputs, read_protocol(args, inputs))
    if faults:
        raise InputError(*faults)
    held_out = max(1, round(args.held_out * len(jobs)))
    if held_out >= len(jobs):
        raise InputError(
            f"{dataset.name} has {counted(len(jobs), 'case')}: at least 2 are needed, one of them held out."
        )
    labels = read_labels(dataset, args.labels)
    rounds = folder.with_name(f"{folder.name}.rounds")
    labelled = " --labels" if args.labels else ""
    options = " ".join(f"-{name} {getattr(args, name)}" for name in ("prior", "steps", "held_out", "seed"))
    refinement = Refinement(
        folder=rounds,
        command=f"nnunet_phys refine_prior -d {dataset.name} -o PRIOR{labelled} {options}",
        learning=jobs[:-held_out],
        held_out=jobs[-held_out:],
        ending=dataset.ending,
        labels=labels,
        rounds=args.rounds,
        steps=args.steps,
        seed=args.seed,
        batch=args.batch or usual_batch(device),
        processes=args.np,
        bf16=computes_in_bfloat16(device),
        show_progress=not args.disable_progress_bar,
    )
    check_target(folder.parent, bytes_of_results(refinement.learning, len(MAP_NAMES)))  # of the first round
    learning = counted(len(refinement.learning), "case")
    logger.info(f"{learning} to learn from, {held_out} held out, from {jobs[-held_out].case} on")
    with making_alone(folder):
        check_vacant(folder)  # again, as another process may have made it meanwhile
        best = refinement(prior, args.prior, logger.info)
        if best is None:
            logger.info(f"No round improved on {args.prior}: go on using it. What was tried is in {rounds}.")
            return
        os.replace(best, folder)
        shutil.rmtree(rounds)
    logger.info(f"{folder}: the prior of {best.parent.name}")
