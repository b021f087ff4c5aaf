"""`nnunet_phys phantom`: a data set of digital hearts in nnU-Net's raw format; see `experiments.heart_dataset`."""

from __future__ import annotations

import argparse

from nnunet_phys.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", type=int, required=True, metavar="ID", help="id of the new data set")
    parser.add_argument("-train", type=int, default=20, help="training cases (default %(default)s)")
    parser.add_argument("-test", type=int, default=6, help="test anatomies (default %(default)s)")
    parser.add_argument("-slices", type=int, default=6, help="slices a case (default %(default)s)")
    parser.add_argument("-np", type=int, default=2, help="processes (default %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace the data set if it is there")


def run(args: argparse.Namespace) -> None:
    from nnunetv2.paths import nnUNet_raw

    from nnunet_phys.experiments.heart_dataset import write_heart_dataset
    from nnunet_phys.experiments.heart_scans import CONTRASTS
    from nnunet_phys.precomputed_spin.raw_dataset import require_folder

    for option, least in (("train", 1), ("test", 0), ("slices", 1)):
        if getattr(args, option) < least:
            raise InputError(f"-{option} {getattr(args, option)}: give {least} or more.")
    raw = require_folder(nnUNet_raw)
    if not raw.is_dir():
        raise InputError(f"nnUNet_raw is {raw}, and there is no such folder.")
    folder = raw / f"Dataset{args.d:03d}_DigitalHeart"
    taken = [p for p in raw.glob(f"Dataset{args.d:03d}_*") if p != folder]
    if taken:
        raise InputError(f"-d {args.d} is taken by {taken[0]}. Choose another id.")
    if folder.exists() and not args.overwrite:
        raise InputError(f"{folder} exists. Choose another id or add --overwrite.")
    write_heart_dataset(folder, args.train, args.test, args.slices, processes=args.np)
    print(f"{folder}: {args.train} training cases, {args.test} test anatomies in {', '.join(CONTRASTS)}")
