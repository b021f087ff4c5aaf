"""The command `nnunet_phys`: one module per sub-command, imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import platform
import re
import sys
from typing import Any

import nnunet_phys
from nnunet_phys.commands.shared.messages import LOGGER, add_message_arguments, messages_on_stderr, show_from
from nnunet_phys.errors import InputError, did_you_mean

COMMANDS = {
    "demo": "run the whole chain on digital hearts: a table of Dice and a picture",
    "phantom": "write a data set of digital hearts in nnU-Net's raw format",
    "import": "sort a scanner's DICOM folder into image sets for reverse and fit, with their times",
    "train_prior": "train a spin prior on maps or digital hearts",
    "refine_prior": "refine a spin prior on the images of a data set",
    "reverse": "infer PD, T1 and T2 maps from images",
    "fit": "fit PD, T1 and T2 maps to quantitative series: mSASHA, SASHA, MOLLI, T2 preparation",
    "segment": "segment series of images, one mask per series, by a trained model",
    "quantify": "measure T1 and extracellular volume per segment of segmented MOLLI series",
    "export_dicom": "write masks and maps as DICOM objects that refer to the scanner's images",
    "report": "show images and maps on one page, suspicious cases first",
    "translate": "turn images of one sequence into images of another",
    "train_completion": "train a model that makes a missing channel from the others",
    "complete": "make the channels that cases lack, by a trained model",
    "synthesize": "make images of any contrast from maps: by a sequence, a recipe or a recorded draw",
    "recipe": "list, print or check recipes, which say what contrasts training draws",
    "gallery": "show one case in all contrasts, as a page or a figure",
    "preprocess": "bring maps into nnU-Net's preprocessed geometry",
    "trainers": "print the folder for nnUNet_extTrainer",
    "export": "write a trained model as a zip that predicts with nnU-Net alone",
}

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells report it: 128 plus the number of the signal."""

_NEGATIVE_NUMBER = re.compile(r"-\d+|-\d*\.\d+")
"""Arguments that argparse reads as values although they begin with a dash."""


def main(arguments: list[str] | None = None) -> int:
    """Run one sub-command.

    Returns:
        0; 1 with one line per fault on stderr; 130 after Ctrl-C.
    """
    with messages_on_stderr():
        return _run(sys.argv[1:] if arguments is None else arguments)


def _run(arguments: list[str]) -> int:
    """Run one sub-command and turn its errors into messages and an exit status, as `main` returns it."""
    try:
        parsed = _parse(arguments)
        show_from(parsed)
        if LOGGER.isEnabledFor(logging.DEBUG):
            LOGGER.debug(_versions())
        parsed.run(parsed)
    except InputError as error:
        for line in error.faults:
            LOGGER.error(line)
        LOGGER.debug("It arose here:", exc_info=True)
        return 1
    except KeyboardInterrupt:
        LOGGER.error("Interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # `nnunet_phys ... | head`: the reader has ended
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - Python flushes stdout once more as it ends
        return 1
    except OSError as error:
        LOGGER.error(f"{error}. Is the disk full, or a file protected?")
        LOGGER.debug("It arose here:", exc_info=True)
        return 1
    return 0


def _versions() -> str:
    """The versions of this package, of what it computes with, and of Python, and the system."""
    from nnunet_phys.case_records import package_versions

    versions = {**package_versions(), "Python": platform.python_version()}
    return ", ".join(f"{name} {version}" for name, version in versions.items()) + f" on {platform.platform()}"


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments; only the module of the command that is called is imported."""
    parser = argparse.ArgumentParser(
        prog="nnunet_phys",
        description="Train nnU-Net on bSSFP cine, segment contrasts never seen.",
    )
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version of nnunet_phys")
    add_message_arguments(parser)
    first = next((i for i, argument in enumerate(arguments) if not argument.startswith("-")), len(arguments))
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if arguments[first : first + 1] == [name]:
            module = importlib.import_module(f"nnunet_phys.commands.{name}")
            module.add_arguments(command)
            add_message_arguments(command)
            command.set_defaults(run=module.run)
    called = commands.choices.get(arguments[first]) if first < len(arguments) else None
    if called is None:
        return parser.parse_args(arguments)
    known = [option for action in called._actions for option in action.option_strings]
    unknown = [
        argument for argument in arguments[first + 1 :] if _is_option(argument) and argument.split("=")[0] not in known
    ]
    if not unknown:
        parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        called.error(f"unrecognized arguments: {' '.join(unknown)}{did_you_mean(unknown[0], known)}")
    return parsed


class _PrintVersion(argparse.Action):
    """argparse's own action takes the version before it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"{parser.prog} {nnunet_phys.__version__}")
        parser.exit()


def _is_option(argument: str) -> bool:
    """Whether an argument looks like an option. argparse would read an unknown one, -overwrite, as `-o verwrite`."""
    return len(argument) > 1 and argument.startswith("-") and not _NEGATIVE_NUMBER.fullmatch(argument)
