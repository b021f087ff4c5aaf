"""`prepare`: the training and test sets."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from generalization.digital_sets import DigitalSize, prepare_digital
from generalization.real_sets import prepare_real
from generalization.test_sets import TestFolder, described, read_test_sets, write_test_set
from nnunet_phys.commands.shared.numbers import PROCESSES, whole_number
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError
from nnunet_phys.whole_files import remove_leftovers

DATA_VARIABLE = "NNUNET_PHYS_DATA"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which sets are made, and of what size."""
    size = DigitalSize()
    parser.add_argument("-work", type=named_path, required=True, metavar="FOLDER", help="folder for all files")
    parser.add_argument(
        "-own", type=named_path, nargs="+", default=[], metavar="FOLDER", help="test sets of yours, with test_set.json"
    )
    parser.add_argument(
        "-train",
        type=whole_number(1, 10_000),
        default=size.train,
        help="digital hearts to train on (default %(default)s)",
    )
    parser.add_argument(
        "-hearts", type=whole_number(1, 10_000), default=size.hearts, help="to test on (default %(default)s)"
    )
    parser.add_argument(
        "-slices", type=whole_number(1, 40), default=size.slices, help="per heart (default %(default)s)"
    )
    parser.add_argument("-np", type=PROCESSES, default=2, help="worker processes (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Make all sets that do not exist yet, and list what there is.

    Raises:
        InputError: data are faulty, or of another size than asked for, or the disk is full.
    """
    raw, tests = args.work / "nnUNet_raw", args.work / "tests"
    for folder in (raw, tests):
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
    data = os.environ.get(DATA_VARIABLE)
    if data:
        for line in prepare_real(Path(data), raw, tests):
            print(line, flush=True)
    else:
        print(f"real scans are left out: {DATA_VARIABLE} is not set")
    for line in prepare_digital(raw, tests, DigitalSize(args.train, args.hearts, args.slices), args.np):
        print(line, flush=True)
    for folder in args.own:
        copy_own(folder, tests)
    print("\n".join(["", *(described(test) for test in read_test_sets(tests).values())]))


def copy_own(folder: Path, tests: Path) -> None:
    """Copy a test set of the user's to the others; one that was copied before and has not changed is skipped.

    Raises:
        InputError: it is faulty, or another test set has its name.
    """
    own, target = TestFolder.read(folder.resolve()), tests / folder.resolve().name
    if target.is_dir():
        existing = TestFolder.read(target)
        if existing.sha256 != own.sha256 or existing.test_set != own.test_set:
            raise InputError(f"{target} exists and differs from {folder}. Rename one of them, or remove the first.")
        return
    write_test_set(target, own.test_set, own.images, own.labels)
