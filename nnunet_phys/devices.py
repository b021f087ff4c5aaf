"""The device that a user asks for, whether it computes in bfloat16, and how many threads a CPU uses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from nnunet_phys.errors import InputError

logger = logging.getLogger(__name__)


def device_name(name: str) -> str:
    """The name of a device; of auto, cuda where there is one, and else cpu, with a warning, since it takes longer."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    logger.warning("-device: PyTorch finds no GPU, so this runs on the CPU and takes longer.")
    return "cpu"


def torch_device(name: str) -> torch.device:
    """The torch device of that name (auto, cpu, cuda, cuda:1, mps).

    Raises:
        InputError: this machine has no such device.
    """
    name = device_name(name)
    try:
        torch.empty(1, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError, NotImplementedError):
        raise InputError(f"-device {name} is not available on this machine. Use -device cpu.") from None


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies in bfloat16: a CPU with AVX512-BF16 on Linux, an NVIDIA GPU from Ampere on."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    cpu_info = Path("/proc/cpuinfo")
    return device.type == "cpu" and cpu_info.is_file() and "avx512_bf16" in cpu_info.read_text()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute on one CPU thread until the context ends.

    That is faster for small tensors, and its last bits depend on the number of threads on some CPUs.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
