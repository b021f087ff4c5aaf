"""The device that a user asks for."""

from __future__ import annotations

import torch

from nnunet_phys.errors import InputError


def torch_device(name: str) -> torch.device:
    """The torch device of that name (cpu, cuda, cuda:1, mps).

    Raises:
        InputError: this machine has no such device.
    """
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"-device {name} is not available on this machine. Use -device cpu.") from None
