"""`nnunet_phys phantom`: a data set of digital hearts in nnU-Net's raw format; see `experiments.heart_dataset`."""

from __future__ import annotations

import argparse
import logging
from contextlib import suppress

from nnunet_phys.commands.shared.numbers import PROCESSES, whole_number
from nnunet_phys.errors import InputError, counted
from nnunet_phys.whole_files import making_alone

logger = logging.getLogger(__name__)

_GREATEST_ID = 999
"""nnU-Net reads the id from three digits of a data set's name."""
_MOST_HEARTS = 100_000
"""Assumed: about 200 GB of images, and days of work."""
_MOST_SLICES = 16
"""Slices lie 10 mm apart, from the base to the apex. Assumed: no heart is longer than 16 cm."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The size of the data set, and its id."""
    parser.add_argument(
        "-d", type=whole_number(1, _GREATEST_ID), required=True, metavar="ID", help="id of the new data set"
    )
    parser.add_argument(
        "-train", type=whole_number(1, _MOST_HEARTS), default=20, help="number of training cases (default %(default)s)"
    )
    parser.add_argument(
        "-test", type=whole_number(0, _MOST_HEARTS), default=6, help="number of test anatomies (default %(default)s)"
    )
    parser.add_argument(
        "-slices", type=whole_number(1, _MOST_SLICES), default=6, help="slices per case (default %(default)s)"
    )
    parser.add_argument("-np", type=PROCESSES, default=2, help="worker processes (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the data set if it exists")


def run(args: argparse.Namespace) -> None:
    """Write the data set, unless its id is taken."""
    from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results

    from nnunet_phys.experiments.heart_dataset import write_heart_dataset
    from nnunet_phys.experiments.heart_scans import CONTRASTS
    from nnunet_phys.precomputed_spin.raw_dataset import require_folder

    raw = require_folder(nnUNet_raw)
    if not raw.is_dir():
        raise InputError(f"nnUNet_raw is {raw}, and there is no such folder. Make it, or correct the variable.")
    folder = raw / f"Dataset{args.d:03d}_DigitalHeart"
    places = [raw]
    for variable in (nnUNet_preprocessed, nnUNet_results):
        with suppress(InputError):  # it need not be set yet
            places.append(require_folder(variable))
    taken = [path for place in places for path in place.glob(f"Dataset{args.d:03d}_*") if path.name != folder.name]
    if taken:
        raise InputError(f"-d {args.d} is taken by {taken[0]}. Choose another id.")
    with making_alone(folder):
        if folder.exists() and not args.overwrite:
            raise InputError(f"{folder} exists. Choose another id or add --overwrite.")
        if folder.is_symlink():
            raise InputError(f"{folder} is a link. Remove it, or choose another id.")
        write_heart_dataset(folder, args.train, args.test, args.slices, processes=args.np)
    anatomies = counted(args.test, "test anatomy", "test anatomies")
    logger.info(f"{folder}: {counted(args.train, 'training case')}, {anatomies} in {', '.join(CONTRASTS)}")
