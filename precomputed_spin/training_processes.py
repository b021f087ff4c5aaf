"""The processes that train one prior together, one per GPU, as `accelerate launch` or torchrun starts them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import PartialState
from accelerate.utils import reduce
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from nnunet_phys.precomputed_spin.work_parts import WorkPart


@dataclass(frozen=True)
class TrainingProcesses:
    """This process among those that train one prior. Alone, it waits for nobody and averages nothing.

    Attributes:
        index: which process, from 0; the first one writes the files.
        count: number of processes.
    """

    index: int = 0
    count: int = 1

    @classmethod
    @contextmanager
    def joined(cls, device: torch.device) -> Iterator[TrainingProcesses]:
        """Join the other processes that a launcher started, until the context ends.

        Args:
            device: this process's device, which decides how tensors travel.

        Raises:
            InputError: the launcher's variables in the environment make no sense.
        """
        part = WorkPart.of_process(0, 1)
        if part.count == 1:
            yield cls()
            return
        state = PartialState(cpu=device.type == "cpu")
        yield cls(part.index, part.count)
        state.wait_for_everyone()
        state.destroy_process_group()

    def wait(self) -> None:
        """Wait until all processes have come here."""
        if self.count > 1:
            PartialState().wait_for_everyone()

    def average(self, tensors: list[torch.Tensor]) -> None:
        """Replace tensors by their mean over the processes, in one message."""
        if self.count > 1:
            vector_to_parameters(reduce(parameters_to_vector(tensors), "mean"), tensors)


ALONE = TrainingProcesses()
"""A process that trains a prior by itself."""
