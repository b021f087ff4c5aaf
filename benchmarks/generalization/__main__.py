"""The test bed: trained on one contrast, tested on others, this package beside what else a user could pick.

    python benchmarks/generalization prepare -work FOLDER      # training and test sets
    python benchmarks/generalization run -work FOLDER          # trainings, predictions, scores: one JSON per run
    python benchmarks/generalization report -work FOLDER       # docs/benchmark.md, and the README's table

Real scans come from the folder in NNUNET_PHYS_DATA; without it, only digital hearts are used. Each command skips what
is done, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import importlib
import signal
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]  # its files are no top modules
if str(FOLDER.parent) not in sys.path:
    sys.path.insert(0, str(FOLDER.parent))

COMMANDS = {"prepare": "make the training and test sets", "run": "train, predict, score", "report": "write the page"}


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Returns:
        0; 1 with one line per fault on stderr; 130 after Ctrl-C.
    """
    from nnunet_phys.commands import INTERRUPTED
    from nnunet_phys.errors import InputError

    parser = argparse.ArgumentParser(
        prog="generalization", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        module = importlib.import_module(f"generalization.{name}")
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    args = parser.parse_args(arguments)
    # SIGTERM, and SIGHUP of a terminal that is closed, unwind, so that commands it has started end, too. Their handlers
    # must not outlive this call: processes that are forked later would inherit them
    ending = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, _: sys.exit(128 + number)) for number in ending}
    try:
        args.run(args)
    except InputError as error:
        for line in error.faults:
            print(f"generalization: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("generalization: Interrupted; run again to go on", file=sys.stderr)
        return INTERRUPTED
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


if __name__ == "__main__":
    sys.exit(main())
