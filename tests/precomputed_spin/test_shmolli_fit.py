"""ShMOLLI's rule: how many readouts count, told from the images alone."""

import numpy as np
import pytest
import torch

from nnunet_phys.precomputed_spin.shmolli_fit import fit_shmolli, shmolli_order
from nnunet_phys.relaxation_fit import fit_series
from nnunet_phys.relaxation_models import InversionRecovery
from nnunet_phys.sequences import MOLLI
from nnunet_phys.spin import SpinMaps

T1_MS = torch.tensor([150.0, 300.0, 450.0, 700.0, 1000.0, 1200.0, 1600.0, 2000.0, 3000.0])
TIMES_MS = (100.0, 1100.0, 2100.0, 3100.0, 4100.0, 180.0, 260.0)
SEQUENCE = MOLLI.from_inversion_times(TIMES_MS)


def readouts(noise: float = 0.0) -> torch.Tensor:
    """Magnitudes (readouts, T1, 400); the noise is a share of the brightest pixel."""
    t1 = T1_MS[:, None].expand(-1, 400)
    maps = SpinMaps(torch.full_like(t1, 1000.0), t1, torch.full_like(t1, 60.0))
    images = SEQUENCE(maps).abs()
    return images + noise * images.amax() * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_t1_has_the_bias_of_a_molli_and_no_more(noise):
    """Long T1 is that of the first five readouts, which know nothing of the other inversions."""
    images = readouts(noise)
    fit = fit_shmolli(TIMES_MS, shmolli_order(TIMES_MS), images, magnitude=True)
    five, seven = (fit_series(InversionRecovery(TIMES_MS[:n]), images[:n]).maps["T1"] for n in (5, 7))
    long, short = T1_MS > 1100, T1_MS < 500
    torch.testing.assert_close(fit.maps["T1"][long], five[long])
    assert (seven[-1].median() < 0.5 * T1_MS[-1]) and fit.valid.float().mean() > 0.99
    bias = fit.maps["T1"].median(1).values / T1_MS - 1
    assert (bias[short].abs() < 0.08).all()
    steps = bias.diff()[1:] if noise else bias.diff()  # 150 ms has its null at 100 ms, whose sign noise hides
    assert (bias < 0).all() and (steps < 0).all()  # MOLLI reads the longer the lower


def test_short_t1_is_seen_by_all_seven():
    """Five readouts from 100 ms on hardly see a T1 of 150 ms; all seven do."""
    images = readouts(0.01)
    fit = fit_shmolli(TIMES_MS, shmolli_order(TIMES_MS), images, magnitude=True)
    five = fit_series(InversionRecovery(TIMES_MS[:5]), images[:5])
    assert five.valid[0].float().mean() < 0.6 and fit.valid[0].float().mean() > 0.99
    assert fit.maps["T1"][0].std() < 0.05 * T1_MS[0]


def test_the_order_of_the_images_does_not_matter():
    times, images = TIMES_MS, readouts(0.01)
    expected = fit_shmolli(times, shmolli_order(times), images, magnitude=True)
    for order in (np.argsort(times), np.random.default_rng(0).permutation(7)):
        shuffled = tuple(times[i] for i in order)
        fit = fit_shmolli(shuffled, shmolli_order(shuffled), images[list(order)], magnitude=True)
        torch.testing.assert_close(fit.maps["T1"], expected.maps["T1"])


@pytest.mark.parametrize("sets", [(5, 3), (4, 3, 2), (3, 3, 5), (5, 2), (4, 2, 1), (7,)])
def test_other_schemes_use_all_readouts(sets):
    times = tuple(100.0 + 80.0 * k + 900.0 * beat for k, count in enumerate(sets) for beat in range(count))
    assert shmolli_order(times) is None


def test_times_too_close_to_tell_the_inversions_apart_are_no_shmolli():
    assert shmolli_order((100.0, 1000.0, 1900.0, 2800.0, 3700.0, 110.0, 260.0)) is None
