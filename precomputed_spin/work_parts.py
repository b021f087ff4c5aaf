"""Which cases a process works on: job arrays split them, and so do the processes of torchrun or accelerate."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypeVar

import torch

from nnunet_phys.devices import device_name, torch_device
from nnunet_phys.errors import InputError

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class WorkPart:
    """A part of the work.

    Attributes:
        index: which part, from 0.
        count: number of parts.
        launched: a launcher's environment variables took part in choosing it.
    """

    index: int = 0
    count: int = 1
    launched: bool = False

    @classmethod
    def of_process(cls, part_id: int, num_parts: int) -> WorkPart:
        """This process's part: `part_id` of `num_parts`, shared by the processes of a launcher (RANK, WORLD_SIZE).

        Raises:
            InputError: there is no such part or process.
        """
        if num_parts < 1 or not 0 <= part_id < num_parts:
            raise InputError(f"-part_id {part_id} of -num_parts {num_parts}: give 0 to num_parts - 1.")
        rank, world = environment_number("RANK", 0), environment_number("WORLD_SIZE", 1)
        if not rank < world:
            raise InputError(f"RANK={rank} with WORLD_SIZE={world}: unset them, or start with torchrun or accelerate.")
        return cls(part_id * world + rank, num_parts * world, world > 1)

    def take(self, items: list[_Item]) -> list[_Item]:
        """Every `count`-th item, from `index` on."""
        return items[self.index :: self.count]

    def __str__(self) -> str:
        source = " (by RANK and WORLD_SIZE in the environment)" if self.launched else ""
        return f"part {self.index + 1} of {self.count}{source}"


def environment_number(name: str, default: int) -> int:
    """A whole number that a launcher leaves in the environment.

    Raises:
        InputError: the variable holds something else.
    """
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise InputError(f"{name}={value} in the environment is not a whole number. Unset it.")
    return int(value)


def device_of_process(name: str) -> torch.device:
    """The device of that name (as for `torch_device`); of `cuda`, a launcher's processes get one GPU each (LOCAL_RANK).

    Raises:
        InputError: this machine has no such device.
    """
    name = device_name(name)
    if name == "cuda" and torch.cuda.is_available():
        name = f"cuda:{environment_number('LOCAL_RANK', 0) % torch.cuda.device_count()}"
    return torch_device(name)
