"""A missing channel of MyoPS's patients, made by several methods and compared with the acquired one.

    python benchmarks/missing_channels run -work FOLDER -maps MAPS       # trains and scores: one JSON per method, fold
    python benchmarks/missing_channels segment -work FOLDER              # segments all images by one nnU-Net per fold
    python benchmarks/missing_channels report -work FOLDER               # the tables

Patients come from myops2020/train in the folder that NNUNET_PHYS_DATA names, cross-validated by patient. Each command
skips what is done.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]  # its files are no top modules
if str(FOLDER.parent) not in sys.path:
    sys.path.insert(0, str(FOLDER.parent))


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 1 with one line per fault on stderr."""
    from nnunet_phys.errors import InputError

    parser = argparse.ArgumentParser(
        prog="missing_channels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in ("run", "segment", "report"):
        module = importlib.import_module(f"missing_channels.{name}")
        command = commands.add_parser(name, help=module.__doc__, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    try:
        args.run(args)
    except InputError as error:
        for line in error.faults:
            print(f"missing_channels: {line}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
