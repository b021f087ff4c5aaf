"""The option `-device`, the same in all commands that run a network."""

from __future__ import annotations

import argparse


def add_device_argument(parser: argparse.ArgumentParser) -> None:
    """Where networks compute; `nnunet_phys.devices` finds the device."""
    parser.add_argument(
        "-device",
        default="auto",
        metavar="DEVICE",
        help="cuda, cpu, mps, or auto: cuda where there is one, else cpu (default %(default)s)",
    )
