"""The checkpoint of a training, a file beside the folder of its result, which appears when the training is done."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.whole_files import remove_leftovers, whole_file

_LONGEST_VALUE = 40
"""Characters of a setting that a message shows."""
_GROWTH = 2
"""Factor by which a checkpoint grows at the first step: from then on AdamW keeps two moments of each weight, beside the
weight and its average."""


@dataclass(frozen=True)
class Checkpoint:
    """The file that keeps a training's state.

    Attributes:
        path: path of the file.
        identity: describes the training, plain JSON; a checkpoint with another identity is refused.
    """

    path: Path
    identity: dict[str, Any]

    @classmethod
    def of(cls, folder: Path, identity: dict[str, Any]) -> Checkpoint:
        """The checkpoint of what will lie in a folder."""
        return cls(folder.with_name(f"{folder.name}.checkpoint.pt"), json.loads(json.dumps(identity)))

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The saved state, its tensors on a device; None if there is none.

        Removes what killed processes have left beside it.

        Raises:
            InputError: the file is broken, or belongs to another training.
        """
        if not self.path.is_file():
            return None
        remove_leftovers(self.path.parent)
        try:
            content = torch.load(self.path, map_location=device, weights_only=True)
            identity, state = content["identity"], content["state"]
        except Exception as error:  # torch.load raises what its pickle, zip and tensor readers raise
            raise InputError(
                f"{self.path} is not a checkpoint ({last_line(error)}). Remove it to start over."
            ) from None
        if not isinstance(identity, dict):
            raise InputError(f"{self.path} was made by another version of nnunet_phys. Remove it to start over.")
        differing = [name for name in {**identity, **self.identity} if identity.get(name) != self.identity.get(name)]
        if differing:
            names = ", ".join(f"{name}{_difference(identity.get(name), self.identity.get(name))}" for name in differing)
            raise InputError(
                f"{self.path} belongs to another training, which differs in {names}. Remove it to start over."
            )
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Save a state. If that fails, the previous checkpoint is kept.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            with whole_file(self.path) as temporary:
                torch.save({"identity": self.identity, "state": state}, temporary)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{self.path} cannot be written ({last_line(error)}). Is the disk full? Make room and run the same "
                "command again: it continues from the last checkpoint."
            ) from None

    def check_disk(self, state: dict[str, Any]) -> None:
        """Make sure, before any work, that the disk has room for a checkpoint and for a second one that replaces it.

        Args:
            state: the state before the first step, which is written as a test and removed.

        Raises:
            InputError: there is no room, or the folder cannot be written to.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.path.parent)
        except OSError as error:
            raise InputError(f"{self.path.parent} cannot be made ({last_line(error)}). Choose another -o.") from None
        self.save(state)
        size, free = self.path.stat().st_size, shutil.disk_usage(self.path.parent).free
        self.path.unlink()
        needed = 2 * _GROWTH * size - size  # `free` was measured while the test file was there
        if free < needed:
            raise InputError(
                f"{self.path.parent} has {free / 2**20:.0f} MiB free, but checkpoints need {needed / 2**20:.0f} MiB. "
                "Make room or choose another -o."
            )

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def _difference(before: Any, now: Any) -> str:
    """Two values of a setting as a message shows them; nothing where they are long, such as hashes and commands."""
    short = all(len(str(value)) <= _LONGEST_VALUE for value in (before, now))
    return f" ({before}, now {now})" if short else ""
