"""`nnunet_phys trainers`: where nnU-Net finds our trainers."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from nnunet_phys.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It takes no arguments."""


def run(arguments: argparse.Namespace) -> None:
    """Print the absolute folder, for `nnUNet_extTrainer`."""
    spec = importlib.util.find_spec("nnunet_phys.trainers")
    if spec is None or spec.origin is None:
        raise InputError("nnunet_phys.trainers is missing. Install the package again.")
    print(Path(spec.origin).resolve().parent)
