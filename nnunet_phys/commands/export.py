"""`nnunet_phys export`: a trained model as a zip that predicts with nnU-Net alone."""

from __future__ import annotations

import argparse
import logging

from nnunet_phys.commands.shared.numbers import whole_number
from nnunet_phys.commands.shared.targets import check_new_file, named_path
from nnunet_phys.errors import InputError, counted, last_line

logger = logging.getLogger(__name__)

_MOST_FOLDS = 1000
"""Assumed: no cross-validation has more folds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """nnU-Net's own options `-d -c -f -tr -p -o`."""
    parser.add_argument("-d", required=True, help="id or name of the data set")
    parser.add_argument("-c", required=True, nargs="+", metavar="CONFIGURATION", help="configuration, such as 2d")
    parser.add_argument(
        "-f",
        nargs="+",
        type=_fold,
        default=[str(fold) for fold in range(5)],
        metavar="FOLD",
        help="folds, such as 0 1 or all (default: 0 1 2 3 4)",
    )
    parser.add_argument("-tr", default="nnUNetTrainerPhys", metavar="TRAINER", help="trainer (default: %(default)s)")
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="name of the plans (default: %(default)s)")
    parser.add_argument("-o", required=True, type=named_path, metavar="ZIP", help="the new zip")


def run(args: argparse.Namespace) -> None:
    """Check the model, write the zip, and say how it is used."""
    from nnunet_phys.commands.parts.trained_model import open_trained_model
    from nnunet_phys.whole_files import remove_leftovers

    if len(args.c) > 1:
        raise InputError(f"-c {' '.join(args.c)}: a zip holds one configuration. Export each into a zip of its own.")
    check_new_file(args.o, (".zip",))
    model = open_trained_model(args.d, args.tr, args.p, args.c[0], args.f)
    from nnunet_phys.commands.parts.stock_model import (
        STOCK,
        model_folder_name,
        previous_stage,
        write_stock_model,
    )  # takes seconds to import

    remove_leftovers(args.o.absolute().parent)
    try:
        notes = write_stock_model(model, args.o)
    except OSError as error:
        raise InputError(f"{args.o} cannot be written ({last_line(error)}). Is the disk full?") from None
    for note in notes:
        logger.warning(note)
    plans = "" if args.p == "nnUNetPlans" else f" -p {args.p}"
    logger.info(f"{args.o}: {counted(len(model.folds), 'fold')}, {args.o.stat().st_size / 2**20:.1f} MiB, as {STOCK}.")
    logger.info("Without nnunet_phys, it is installed and used by:")
    logger.info(f"  nnUNetv2_install_pretrained_model_from_zip {args.o.name}")
    predict = f"  nnUNetv2_predict -i IMAGES -d {model.dataset}{plans} -o"
    first = previous_stage(model)
    if first is not None:
        logger.info(f"{predict} FIRST -c {first} -f FOLDS   # of a zip of its own: nnunet_phys export -c {first}")
    stage = "" if first is None else " -prev_stage_predictions FIRST"
    logger.info(f"{predict} OUT -c {args.c[0]} -f {' '.join(model.folds)}{stage}")
    logger.info(
        f"Installing overwrites files in {model.dataset}/{model_folder_name(model)} of nnUNet_results and leaves other "
        "folds there: if it exists, remove it first."
    )


def _fold(text: str) -> str:
    """An argparse type: a fold's number, or `all`."""
    return text if text == "all" else str(whole_number(0, _MOST_FOLDS)(text))
