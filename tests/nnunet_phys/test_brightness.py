"""How bright an image is, and which pixels were clipped."""

import pytest
import torch

from nnunet_phys.brightness import bright_level, centre_weights, saturation_mask
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP

SCALING = SpinScaling()
BSSFP_45 = BSSFP(flip_angle_deg=45.0)


def test_saturation_is_found_only_where_values_pile_up():
    image = torch.linspace(0, 1, 10_000)
    assert not saturation_mask(image).any()
    assert int(saturation_mask(image.clamp(max=0.9)).sum()) >= 1000


def test_bright_level_ignores_the_amount_of_air():
    body = torch.rand(10_000, generator=torch.Generator().manual_seed(0)) + 1
    cropped, wide = bright_level(body), bright_level(torch.cat((body, torch.zeros(20_000))))
    assert float(wide) == pytest.approx(float(cropped), rel=0.02)


def test_bright_level_of_an_image_that_is_nearly_all_zero():
    sparse = torch.zeros(10_000)
    sparse[:50] = 3.0
    assert float(bright_level(sparse)) == 3.0


def test_bright_level_about_the_middle_ignores_a_bright_chest_wall():
    body = torch.rand((3, 64, 80), generator=torch.Generator().manual_seed(0)) + 1
    lit = body * torch.where(torch.arange(80) < 12, 5.0, 1.0)
    weights = centre_weights(64, 80)
    assert float(bright_level(lit) / bright_level(body)) > 2
    assert float(bright_level(lit, weights) / bright_level(body, weights)) == pytest.approx(1, rel=0.05)
    assert float(bright_level(body, weights) / bright_level(body)) == pytest.approx(1, rel=0.02)
