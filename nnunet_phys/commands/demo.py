"""`nnunet_phys demo`: the whole chain on digital hearts, from images to a table and a picture.

A self-consistency check, not evidence about patients: one program draws training and test hearts, though the
test contrasts come from a Bloch simulation with protocols that training does not see.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
import time
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.map_options import add_prior_arguments
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError

logger = logging.getLogger(__name__)

_DATASET = 900


@dataclass(frozen=True)
class DemoSize:
    """Size of the demo.

    Attributes:
        train: number of training cases.
        test: number of test anatomies.
        slices: slices per case.
        steps: network evaluations of reverse imaging per slice.
        trainers: class names of the trainers without and with Phys.
    """

    train: int
    test: int
    slices: int
    steps: int
    trainers: tuple[str, str]


_FULL = DemoSize(24, 6, 5, 12, ("nnUNetTrainerDemo", "nnUNetTrainerPhysDemo"))
_QUICK = DemoSize(5, 1, 2, 6, ("nnUNetTrainerQuick", "nnUNetTrainerPhysQuick"))
_TITLES = ("plain nnU-Net", "with Phys")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the results go, and how they are made."""
    parser.add_argument(
        "-o",
        type=named_path,
        default=Path("nnunet_phys_demo"),
        metavar="FOLDER",
        help="new folder (default %(default)s)",
    )
    add_prior_arguments(parser)
    add_device_argument(parser)
    parser.add_argument("--quick", action="store_true", help="a smoke test: every step runs, nothing is learned")


def run(args: argparse.Namespace) -> None:
    """Make the hearts and their maps, train both models, and compare them."""
    from nnunet_phys.devices import torch_device
    from nnunet_phys.experiments.small_training import DEMO_TRAINERS, own_folders
    from nnunet_phys.precomputed_spin.prior_files import find_prior
    from nnunet_phys.progress import silenced

    size = _QUICK if args.quick else _FULL
    folder = args.o.resolve()
    if folder.exists() and not folder.is_dir():
        raise InputError(f"-o {folder} is a file. Name a folder.")
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"-o {folder} is not empty. Choose another folder or remove it.")
    find_prior(args.prior, args.scaling)
    device = str(torch_device(args.device))
    start = time.monotonic()
    own_folders(folder, DEMO_TRAINERS)  # before anything imports nnunetv2
    from nnunet_phys.commands import main
    from nnunet_phys.experiments.comparison import Example, dice_table, draw_comparison
    from nnunet_phys.experiments.heart_dataset import write_heart_dataset
    from nnunet_phys.experiments.heart_scans import CONTRASTS
    from nnunet_phys.experiments.small_training import plan_and_preprocess, predict_and_score, train

    raw = folder / "nnUNet_raw" / f"Dataset{_DATASET}_DigitalHeart"
    _stage(1, "digital hearts")
    write_heart_dataset(raw, size.train, size.test, size.slices)
    _stage(2, "PD, T1 and T2 maps by reverse imaging")
    reverse = ["reverse", "-d", str(_DATASET), "--labels", "-device", device]
    reverse += ["-steps", str(size.steps), "-prior", args.prior]
    if args.scaling is not None:
        reverse += ["-scaling", args.scaling]
    _exit_on_failure(main(reverse))
    scores = {}
    predictions = {}
    with redirect_stdout(None if silenced() else sys.stdout):  # where nnU-Net tells what it does
        _stage(3, "nnU-Net's plan and preprocessing, then the maps'")
        plan_and_preprocess(_DATASET, patch_size=(96, 96))
        _exit_on_failure(main(f"preprocess -d {_DATASET} -c 2d -np 2".split()))
        for number, (trainer, title) in enumerate(zip(size.trainers, _TITLES, strict=True), start=4):
            _stage(number, f"{title}: training, prediction, Dice")
            train(_DATASET, trainer, device)
            predictions[title] = folder / "predictions" / trainer
            scores[title] = predict_and_score(raw, CONTRASTS, trainer, predictions[title], device)
    minutes = (time.monotonic() - start) / 60
    (folder / "scores.json").write_text(json.dumps({"dice": scores, "minutes": round(minutes, 2)}, indent=1) + "\n")
    examples = [
        Example("cine", "heart000", "cine, as in training"),
        Example("molli", "heart000_ti08", "MOLLI, ninth readout"),
        Example("gre", "heart000", "GRE cine"),
        Example("lge", "heart000", "late enhancement (LGE)"),
    ]
    draw_comparison(raw, predictions, examples, size.slices // 2, folder / "demo.png")
    if args.quick:
        logger.warning(
            "--quick shows only that the chain runs. The networks have learned nothing, so the numbers mean nothing."
        )
    print(f"\n{dice_table(scores)}")
    logger.info(f"\n{minutes:.1f} min. Table: {folder / 'scores.json'}, picture: {folder / 'demo.png'}")
    variables = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
    folders = " ".join(f"{name}={shlex.quote(str(folder / name))}" for name in variables)
    logger.info(f"To continue with its data set {_DATASET}: export {folders}")


def _stage(number: int, title: str) -> None:
    logger.info(f"\n== {number} of 5: {title}")


def _exit_on_failure(status: int) -> None:
    if status:
        raise SystemExit(status)
