"""Fields over the body: the same at a voxel in whatever patch it lies; magnitudes as their parameters say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from nnunet_phys.fields import (
    Device,
    OffResonance,
    ReceiveBias,
    Region,
    TransmitField,
    grid_positions,
    smooth_noise,
)
from nnunet_phys.scanner import Ghost, Noise, PartialVolume, ZeroFilling, displace
from nnunet_phys.tissue_state import ContrastAgent, TissueState

SHAPE, SPACING = (6, 60, 70), (8.0, 2.5, 2.5)
FIELDS = [
    TransmitField(0.8, 0.1, 1),
    OffResonance(100.0, 2),
    ReceiveBias(3.0, 100.0, 0.2, 3),
    Device(200.0, 90.0, 800.0, 4),
    Region(0.2, 12.0, 5),
]


def everywhere():
    return grid_positions((0, 0, 0), SHAPE, SHAPE, SPACING)


def as_points(positions, pick) -> tuple:
    shape = torch.broadcast_shapes(*(p.shape for p in positions))
    return tuple(p.expand(shape).reshape(-1)[pick] for p in positions)


@pytest.mark.parametrize("field", FIELDS, ids=lambda f: type(f).__name__)
def test_a_voxel_has_one_value_in_every_patch(field):
    whole = field(everywhere())
    assert whole.shape == SHAPE and torch.isfinite(whole).all()
    part = field(grid_positions((2, 10, 20), (3, 15, 11), SHAPE, SPACING))
    tolerance = 1e-4 * float(whole.abs().max())
    assert (part - whole[2:5, 10:25, 20:31]).abs().max() < tolerance
    pick = torch.arange(0, math.prod(SHAPE), 97)
    assert (field(as_points(everywhere(), pick)) - whole.reshape(-1)[pick]).abs().max() < tolerance


def test_positions_are_relative_to_the_middle():
    z, y, x = grid_positions((0, 1, 0), (2, 2, 3), (2, 4, 3), (10.0, 2.0, 1.0))
    assert z.flatten().tolist() == [-5, 5] and y.flatten().tolist() == [-1, 1] and x.flatten().tolist() == [-1, 0, 1]


def test_smooth_noise_has_unit_variance_and_its_scale():
    points = tuple(torch.tensor([[0.0, 20.0], [0.0, 0.0], [0.0, 0.0]]))
    values = np.array([smooth_noise(seed, points, 20.0).numpy() for seed in range(3000)])
    assert abs(values.mean()) < 0.06 and abs(values.std() - 1) < 0.05
    assert abs(np.corrcoef(values.T)[0, 1] - math.exp(-0.5)) < 0.05  # one scale apart


def test_transmit_field_around_its_mean():
    means = [float(TransmitField(0.81, 0.1, seed)(everywhere()).mean()) for seed in range(200)]
    assert abs(np.mean(means) - 0.81) < 0.02
    for mean in (0.3, 1.5):  # the bounds of what a recipe may ask for are delivered
        assert float(TransmitField(mean, 0.0, 0)(everywhere()).mean()) == pytest.approx(mean)


def test_bias_is_one_in_the_middle_and_its_factor_at_the_coil():
    centre = tuple(torch.zeros(3, 1))
    assert float(ReceiveBias(3.0, 100.0, 0.0, 7)(centre)) == pytest.approx(1.0)
    field = ReceiveBias(3.0, 70.0, 0.0, 7)(everywhere())
    assert float(field.max()) == pytest.approx(3.0, rel=0.02) and float(field.min()) < 0.8


def test_a_dipole_falls_with_the_cube_of_the_distance():
    device = Device(200.0, 0.0, 800.0, 11)
    rng = np.random.default_rng(11)
    rng.uniform(0, 2 * np.pi)
    b0 = rng.standard_normal(3)
    b0 /= np.linalg.norm(b0)
    centre = np.array([rng.uniform(-30, 30), 0, 0])
    across = np.cross(b0, [1.0, 0, 0])
    across /= np.linalg.norm(across)
    far = [centre + r * d for r, d in ((100, across), (200, across), (100, b0))]
    values = device(tuple(torch.tensor(np.array(far).T, dtype=torch.float32)))
    assert values.tolist() == pytest.approx([200, 25, -400], rel=1e-3)


def test_a_gradient_echo_loses_signal_near_the_device_and_the_more_the_later():
    device, places = Device(200.0, 60.0, 800.0, 4), everywhere()
    early, late = (device.remaining(places, SPACING, te) for te in (1.0, 5.0))
    assert float(late.min()) >= 0 and float(early.max()) <= 1
    assert late.mean() < early.mean() - 0.02
    assert device.remaining(tuple(torch.full((3, 1), 500.0)), SPACING, 5.0) > 0.99


def test_no_spin_beyond_the_pulses_bandwidth_is_displaced_into_the_void():
    """Where spins are not excited, the image stays dark, whatever lies beyond."""
    shape, spacing = (1, 200, 200), (8.0, 1.0, 1.0)
    for seed in range(8):
        device, places = Device(300.0, 50.0, 500.0, seed), grid_positions((0, 0, 0), shape, shape, spacing)
        kept, pixels = device.remaining(places, spacing, 2.0), device.displacement(places)
        void = (device(places).abs() > 6000).expand(shape)
        assert bool(void.any())
        assert float(displace(kept.expand(shape), pixels.expand(shape), along_rows=False)[void].max()) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TransmitField(0.0, 0.1, 1), "mean must lie between 0.3 and 1.5, got 0"),
        (lambda: OffResonance(float("nan"), 1), "span_hz must lie between 0 and 10000 Hz, got nan"),
        (lambda: ReceiveBias(0.0, 100.0, 0.1, 1), "factor must lie"),
        (lambda: Device(100.0, 100.0, 0.0, 1), "bandwidth_hz_per_pixel must lie"),
        (lambda: Region(0.2, 0.0, 1), "scale_mm must lie"),
        (lambda: Region("a", 10.0, 1), "share must lie between 0 and 1, got a"),
        (lambda: Region(0.2, 10.0, 1.5), "seed must be a whole number, 0 or more, got 1.5"),
        (lambda: PartialVolume(0.0), "sigma_pixels must lie"),
        (lambda: ZeroFilling(1.5), "kept must lie"),
        (lambda: Ghost(2.0, 0.2, True), "amplitude must lie"),
        (lambda: Noise(100.0, 1), "fraction must lie between 0 and 1, got 100"),
        (lambda: ContrastAgent(-1.0, 0.0), "blood must lie"),
        (lambda: TissueState(t1_factor=0.0), "t1_factor must lie"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_regions_fill_their_share():
    shares = [float(Region(0.2, 10.0, seed)(everywhere()).mean()) for seed in range(40)]
    assert abs(np.mean(shares) - 0.2) < 0.03
    weight = Region(0.2, 10.0, 0)(everywhere())
    assert weight.min() >= 0 and weight.max() <= 1 and float(((weight > 0.1) & (weight < 0.9)).float().mean()) > 0.05
