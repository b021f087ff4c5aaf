"""Random tissues, as arrays for the Bloch simulation and as maps for the sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from nnunet_phys.spin import SpinMaps


@pytest.fixture(scope="session")
def tissues() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """T1 200-2200 ms, a third of them short as after contrast agent, and T2 25-300 ms, at random."""

    def draw(seed: int, n: int = 50) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(seed)
        t1 = random.uniform(200, 2200, n)
        t1[::3] = random.uniform(200, 600, len(t1[::3]))
        return t1, np.minimum(random.uniform(25, 300, n), t1)

    return draw


@pytest.fixture(scope="session")
def as_maps() -> Callable[..., SpinMaps]:
    """Maps of these T1 and T2, of one PD."""

    def make(t1, t2, pd=1.0, dtype=torch.float64) -> SpinMaps:
        t1, t2 = torch.as_tensor(t1, dtype=dtype), torch.as_tensor(t2, dtype=dtype)
        return SpinMaps(torch.full_like(t1, pd), t1, t2)

    return make


@pytest.fixture(scope="session")
def relative() -> Callable[[torch.Tensor, np.ndarray], float]:
    """The greatest relative error of a signal."""
    return lambda signal, truth: float(np.max(np.abs(signal.numpy() / truth - 1)))
