"""The checkpoint of a prior's training, a file beside the prior's folder; the folder appears when the prior is done."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.whole_files import remove_leftovers, whole_file

_GROWTH = 2
"""A checkpoint's size after the first step over that before: AdamW then keeps two moments of each weight, beside the
weight and its average."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training's state is kept.

    Attributes:
        path: of the file.
        identity: what tells this training from another.
    """

    path: Path
    identity: str

    @classmethod
    def of(cls, folder: Path, identity: str) -> Checkpoint:
        """The checkpoint of the prior that will lie in a folder."""
        return cls(folder.with_name(f"{folder.name}.checkpoint.pt"), identity)

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The state that was kept, its tensors on a device; None where there is none.

        Raises:
            InputError: the file is broken, or belongs to another training.
        """
        if not self.path.is_file():
            return None
        try:
            kept = torch.load(self.path, map_location=device, weights_only=True)
            identity, state = kept["identity"], kept["state"]
        except Exception as error:  # torch.load raises what its pickle, zip and tensor readers raise
            raise InputError(f"{self.path} is no checkpoint ({last_line(error)}). Remove it to start anew.") from None
        if identity != self.identity:
            raise InputError(f"{self.path} belongs to another training: {identity}. Remove it to start anew.")
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Keep a state, whole or not at all: a failure leaves the last one.

        Raises:
            InputError: the disk does not take it.
        """
        try:
            with whole_file(self.path) as temporary:
                torch.save({"identity": self.identity, "state": state}, temporary)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{self.path} cannot be written ({last_line(error)}). Is the disk full? Make room and run the same "
                "command again: it goes on from the last checkpoint."
            ) from None

    def try_out(self, state: dict[str, Any]) -> None:
        """Make sure, before any work, that the disk takes a checkpoint and a second that replaces it.

        Raises:
            InputError: it does not.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.path.parent)
        except OSError as error:
            raise InputError(f"{self.path.parent} cannot be made ({last_line(error)}). Choose another -o.") from None
        self.save(state)
        size, free = self.path.stat().st_size, shutil.disk_usage(self.path.parent).free
        self.path.unlink()
        needed = 2 * _GROWTH * size - size  # beyond what this one took
        if free < needed:
            raise InputError(
                f"{self.path.parent} has {free / 2**20:.0f} MiB free, but checkpoints need {needed / 2**20:.0f} MiB. "
                "Make room or choose another -o."
            )

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)
