"""Maps of one tissue, likelihoods of single images, and an imager with a small untrained prior."""

from collections.abc import Callable

import pytest
import torch

from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation
from nnunet_phys.precomputed_spin.prior import SpinPrior, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.samplers import ProximalMean
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP
from nnunet_phys.spin import SpinMaps

CINE = BSSFP(flip_angle_deg=45.0)
LEVEL = 0.2


def _observation(images, sequence=CINE, sigma=0.003, saturated=None, signed=False) -> Observation:
    unsaturated = torch.zeros_like(images, dtype=bool)
    return Observation(sequence, images, LEVEL, sigma, unsaturated if saturated is None else saturated, signed)


def _likelihood(image, sequence=CINE, sigma=0.003, observed=None, saturated=None) -> Likelihood:
    observed_image = _observation(image[None], sequence, sigma, None if saturated is None else saturated[None])
    everywhere = torch.ones_like(image, dtype=bool)
    return Likelihood((observed_image,), everywhere if observed is None else observed, SpinScaling())


def _tissue(pd, t1, t2, shape=(1, 6, 6)) -> SpinMaps:
    return SpinMaps(*(torch.full(shape, float(value)) for value in (pd, t1, t2)))


@pytest.fixture(scope="session")
def observation() -> Callable[..., Observation]:
    """Makes an observation of images (images, slices, rows, columns)."""
    return _observation


@pytest.fixture(scope="session")
def likelihood() -> Callable[..., Likelihood]:
    """Makes the likelihood of one magnitude image (slices, rows, columns)."""
    return _likelihood


@pytest.fixture(scope="session")
def tissue() -> Callable[..., SpinMaps]:
    """Makes uniform maps of PD, T1 and T2."""
    return _tissue


@pytest.fixture(scope="session")
def reference() -> torch.Tensor:
    """PD, T1 (ms), T2 (ms) of voxels of blood, muscle and air, (3, 150)."""
    tissues = torch.tensor([[0.9, 1500.0, 200.0], [0.8, 1050.0, 50.0], [0.0, 1000.0, 60.0]])
    return tissues.T.repeat(1, 50).contiguous()


@pytest.fixture(scope="session")
def imager(reference) -> ReverseImager:
    """An imager with a small untrained prior."""
    torch.manual_seed(0)
    unet = new_unet((16, 32)).eval().requires_grad_(False)
    prior = SpinPrior(unet, new_scheduler(), SpinScaling(), 2.5, torch.full((1000, 3), 0.02), reference)
    return ReverseImager(prior, ProximalMean(4), batch=2)
