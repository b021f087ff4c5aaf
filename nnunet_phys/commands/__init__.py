"""The command `nnunet_phys`: one module per sub-command, imported when it is called."""

from __future__ import annotations

import argparse
import importlib
import sys
from difflib import get_close_matches

from nnunet_phys.errors import InputError

COMMANDS = {
    "demo": "the whole chain on a digital heart: a table and a picture",
    "phantom": "write a data set of digital hearts in nnU-Net's raw format",
    "train_prior": "learn a spin prior from maps or digital hearts",
    "reverse": "images to PD, T1 and T2 maps",
    "report": "one page to look through the maps, suspicious cases first",
    "translate": "images of one sequence as another would have made them",
    "synthesize": "maps to images of any contrast: a sequence, a recipe's draws, a recorded draw",
    "gallery": "one case in all contrasts: a page, or a figure",
    "preprocess": "maps into nnU-Net's preprocessed geometry",
    "trainers": "print the folder for nnUNet_extTrainer",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one sub-command; 0, or 1 with one line per fault on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="nnunet_phys",
        description="Train nnU-Net on bSSFP cine, segment contrasts never seen.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
        if arguments[:1] == [name]:  # the others need not be imported
            module = importlib.import_module(f"nnunet_phys.commands.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        known = [option for action in commands.choices[parsed.command]._actions for option in action.option_strings]
        near = get_close_matches(unknown[0], known, 1, 0.5)
        commands.choices[parsed.command].error(
            f"unrecognized arguments: {' '.join(unknown)}" + (f" (did you mean {near[0]}?)" if near else "")
        )
    try:
        parsed.run(parsed)
    except InputError as error:
        for line in error.faults:
            print(f"nnunet_phys: {line}", file=sys.stderr)
        return 1
    return 0
