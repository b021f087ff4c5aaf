"""nnU-Net's search for trainers, by name, in its own and other folders."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import nnunet_phys.trainers

_VARIABLE = "nnUNet_extTrainer"


@contextmanager
def trainers_at_hand() -> Iterator[None]:
    """Let nnU-Net find this package's trainers beside those of nnUNet_extTrainer, and keep it silent meanwhile."""
    ours = str(Path(nnunet_phys.trainers.__file__).parent)
    folders = os.pathsep.join(filter(None, (os.environ.get(_VARIABLE), ours)))
    with patch.dict(os.environ, {_VARIABLE: folders}), redirect_stdout(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nnU-Net tells where it searches, and imports all trainers to find one
        yield
