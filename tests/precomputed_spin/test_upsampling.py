"""Maps from a coarse grid to a fine image."""

import pytest
import torch

from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.precomputed_spin.upsampling import upsample_guided
from nnunet_phys.sequences import BSSFP
from nnunet_phys.spin import SpinMaps

SCALING = SpinScaling()
BSSFP_45 = BSSFP(flip_angle_deg=45.0)


@pytest.mark.parametrize("shape", [(48, 64), (37, 51), (100, 30)])
def test_upsampling_shifts_no_pixel(likelihood, shape):
    coarse = (20, 24)
    field = torch.linspace(-0.3, 0.3, coarse[0])[:, None] + torch.linspace(-0.2, 0.2, coarse[1])[None]
    u = field.expand(1, 3, *coarse)
    fine = likelihood(torch.zeros(1, *shape), observed=torch.zeros((1, *shape), dtype=bool))
    up = upsample_guided(u, fine)
    expected = torch.nn.functional.interpolate(u, shape, mode="bilinear")
    inner = (..., slice(6, -6), slice(6, -6))
    assert float((up - expected)[inner].abs().max()) < 0.02  # a coarse pixel is 0.03, a shift of half one 0.016
    assert abs(float((up - expected)[inner].mean())) < 1e-3


def test_edges_of_the_native_image_stay_sharp(likelihood, tissue):
    blood, muscle = tissue(0.9, 1500, 220, (1, 60, 60)), tissue(0.8, 1050, 50, (1, 60, 60))
    inside = torch.zeros((1, 60, 60), dtype=bool)
    inside[:, 17:41, 23:43] = True  # no multiple of a coarse pixel
    truth = SpinMaps(*(torch.where(inside, b, m) for b, m in zip(blood.stack(), muscle.stack(), strict=True)))
    coarse = torch.nn.functional.interpolate(SCALING.encode(truth), (36, 36), mode="bilinear", antialias=True)
    fine = likelihood(BSSFP_45(truth), sigma=0.003)
    t2 = SCALING.decode(upsample_guided(coarse, fine)).t2
    wrong = ((t2 > 105) != inside).float().mean()
    plain = torch.nn.functional.interpolate(coarse, (60, 60), mode="bilinear")
    assert float(wrong) < 0.01 and float(wrong) <= float(((SCALING.decode(plain).t2 > 105) != inside).float().mean())
