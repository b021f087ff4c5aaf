"""`nnunet_phys trainers`: where nnU-Net finds our trainers."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(arguments: argparse.Namespace) -> None:
    """Print the absolute folder, for `nnUNet_extTrainer`."""
    print(Path(importlib.util.find_spec("nnunet_phys.trainers").origin).resolve().parent)
