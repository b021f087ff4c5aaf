"""What holds for every sequence: shape, type, precision, maps of the flip angle, gradients."""

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from nnunet_phys.forward import signals
from nnunet_phys.sequences import (
    BSSFP,
    MOLLI,
    MSASHA,
    SASHA,
    SEQUENCES,
    BlackBloodTSE,
    InversionRecoveryBSSFP,
    InversionRecoveryGRE,
    LookLocker,
    SaturationRecoveryGRE,
    SpoiledGRE,
    T2PreparedBSSFP,
    T2PreparedGRE,
)
from nnunet_phys.sequences.description import describe_sequence, make_sequence
from nnunet_phys.sequences.ernst import Ernst
from nnunet_phys.sequences.multi_echo_gre import MultiEchoGRE
from nnunet_phys.sequences.protocol_ranges import RANGES
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import TissueState

EVERY_SEQUENCE = [
    BSSFP(),
    BSSFP(off_resonance_hz=60.0),
    BSSFP(inflow_pulses=12.5),
    BSSFP(off_resonance_hz=60.0, inflow_pulses=12.5, blood=0.4),
    LookLocker(),
    MOLLI(),
    SpoiledGRE(),
    MultiEchoGRE(),
    Ernst(),
    SpoiledGRE(inflow_pulses=40.5),
    SpoiledGRE(inflow_pulses=40.5, blood=0.4),
    MSASHA(600.0, 55.0, 10.0),
    MSASHA(None),
    SASHA(600.0, 55.0),
    SASHA(None),
    T2PreparedBSSFP(),
    T2PreparedGRE(),
    InversionRecoveryGRE(),
    InversionRecoveryBSSFP(),
    SaturationRecoveryGRE(),
    SaturationRecoveryGRE(saturation_efficiency=0.9),
    BlackBloodTSE(),
    BlackBloodTSE(inversion_time_ms=170.0, blood=0.4),
]
WITH_FLIP_ANGLE = {
    "bssfp": lambda fa: BSSFP(fa),
    "bssfp_off": lambda fa: BSSFP(fa, off_resonance_hz=60.0),
    "bssfp_inflow": lambda fa: BSSFP(fa, inflow_pulses=10.0),
    "bssfp_both": lambda fa: BSSFP(fa, off_resonance_hz=60.0, inflow_pulses=10.0),
    "looklocker": lambda fa: LookLocker(fa),
    "molli": lambda fa: MOLLI(flip_angle_deg=fa),
    "molli_one": lambda fa: MOLLI(flip_angle_deg=fa, readout=6),
    "gre": lambda fa: SpoiledGRE(fa),
    "gre_inflow": lambda fa: SpoiledGRE(fa, inflow_pulses=30.0),
    "sasha": lambda fa: SASHA(t2_prep_ms=40.0, flip_angle_deg=fa),
    "t2prep": lambda fa: T2PreparedBSSFP(flip_angle_deg=fa),
    "t2prep_gre": lambda fa: T2PreparedGRE(flip_angle_deg=fa),
    "lge_gre": lambda fa: InversionRecoveryGRE(flip_angle_deg=fa),
    "lge_bssfp": lambda fa: InversionRecoveryBSSFP(flip_angle_deg=fa),
    "multi_echo_gre": lambda fa: MultiEchoGRE(flip_angle_deg=fa),
    "ernst": lambda fa: Ernst(fa),
    "perfusion": lambda fa: SaturationRecoveryGRE(flip_angle_deg=fa, saturation_efficiency=0.9),
}


def name_of(sequence) -> str:
    return type(sequence).__name__


def test_every_sequence_is_here_and_has_ranges():
    assert {type(sequence) for sequence in EVERY_SEQUENCE} == set(SEQUENCES.values())
    assert set(SEQUENCES) == set(RANGES) and all(RANGES[name].sequence is kind for name, kind in SEQUENCES.items())


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=lambda sequence: type(sequence).__name__)
def test_signals_have_images_first_and_single_images_make_up_a_series(sequence):
    maps = SpinMaps(*torch.tensor([[[0.9, 0.8]], [[1500.0, 1000.0]], [[200.0, 50.0]]]))
    images = signals(sequence, maps)
    assert images.shape == (sequence.image_count, *maps.shape)
    assert torch.equal(images, torch.cat([signals(single, maps) for single in sequence.single_images()]))


@pytest.mark.parametrize("kind", RANGES.values(), ids=RANGES)
def test_ranges_draw_single_images_of_their_sequence(kind):
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = kind().draw_sequence(rng, TissueState())
        assert type(drawn) is kind.sequence and drawn.image_count == 1


def test_a_new_sequence_is_one_class():
    """It is described, made, imaged and drawn from its own file alone."""

    @dataclass(frozen=True)
    class Invented(PulseSequence):
        name: ClassVar[str] = "invented"
        scale: float = 2.0

        def __call__(self, maps: SpinMaps) -> torch.Tensor:
            return self.scale * maps.pd

    try:
        made = make_sequence({"sequence": "invented", "scale": 3})
        assert describe_sequence(made) == {"sequence": "invented", "scale": 3.0}
        assert signals(made, SpinMaps(*torch.ones(3, 1))).item() == 3
    finally:
        del SEQUENCES["invented"]


def test_which_are_balanced():
    balanced = {name for name, kind in SEQUENCES.items() if kind.balanced}
    assert balanced == {"bssfp", "molli", "sasha", "t2prep", "lge_bssfp"}


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
def test_descriptions_are_plain(sequence):
    described = describe_sequence(sequence)
    assert "balanced" not in described and json.loads(json.dumps(described)).keys() == described.keys()


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 1, 3, 4)])
def test_shape_and_type(sequence, shape, as_maps):
    for dtype in (torch.float32, torch.float64):
        maps = as_maps(torch.full(shape, 1000.0), torch.full(shape, 50.0), dtype=dtype)
        signal = sequence(maps)
        images = (sequence.image_count,) if sequence.is_series else ()
        assert signal.shape == (*images, *shape)
        assert signal.dtype == dtype


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
def test_single_precision(sequence, tissues, as_maps):
    t1, t2 = tissues(0)
    double, single = (sequence(as_maps(t1, t2, dtype=dtype)) for dtype in (torch.float64, torch.float32))
    torch.testing.assert_close(single.double(), double, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
def test_pd_scales_the_signal(sequence, tissues, as_maps):
    t1, t2 = tissues(0)
    torch.testing.assert_close(sequence(as_maps(t1, t2, pd=0.7)), 0.7 * sequence(as_maps(t1, t2)))


@pytest.mark.parametrize("make", WITH_FLIP_ANGLE.values(), ids=WITH_FLIP_ANGLE)
def test_b1_map_equals_a_loop_over_voxels(make, tissues, as_maps):
    t1, t2 = tissues(0, 12)
    maps = as_maps(t1.reshape(3, 4), t2.reshape(3, 4))
    flip = torch.linspace(8, 60, 12, dtype=torch.float64).reshape(3, 4)
    whole = make(flip)(maps)
    for i in range(3):
        for j in range(4):
            alone = make(float(flip[i, j]))(maps.map(lambda m, i=i, j=j: m[i, j]))
            torch.testing.assert_close(whole[..., i, j], alone)


@pytest.mark.parametrize("make", WITH_FLIP_ANGLE.values(), ids=WITH_FLIP_ANGLE)
def test_flip_angle_broadcasts(make, as_maps):
    t1 = torch.linspace(300, 2000, 4)[:, None, None].expand(4, 3, 1)
    t2 = torch.linspace(30, 250, 3)[None, :, None].expand(4, 3, 1)
    flip = torch.linspace(10, 60, 6, dtype=torch.float64).view(1, 1, 6)
    signal = make(flip)(as_maps(t1, t2))
    whole = make(flip.expand(4, 3, 6))(as_maps(t1.expand(4, 3, 6), t2.expand(4, 3, 6)))
    assert signal.shape[-3:] == (4, 3, 6)
    torch.testing.assert_close(signal, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", WITH_FLIP_ANGLE.values(), ids=WITH_FLIP_ANGLE)
def test_no_signal_without_a_flip_angle(make, as_maps):
    signal = make(torch.tensor([35.0, 0.0, 180.0], dtype=torch.float64))(as_maps([1000.0] * 3, [50.0] * 3))
    assert torch.isfinite(signal).all() and (signal[..., 1] == 0).all()


@pytest.mark.parametrize("sequence", EVERY_SEQUENCE, ids=name_of)
def test_gradients(sequence, tissues):
    t1, t2 = tissues(0, 4)
    t2[0] = t1[0]

    def signal(pd, log_t1, log_t2):
        return sequence(SpinMaps(pd, torch.exp(log_t1), torch.exp(log_t2)))

    pd = torch.tensor([0.8, 0.9, 1.0, 0.0], dtype=torch.float64, requires_grad=True)
    logs = [torch.as_tensor(np.log(t)).requires_grad_() for t in (t1, t2)]
    assert torch.autograd.gradcheck(signal, (pd, *logs))


@pytest.mark.parametrize("flip", [2.0, 35.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_the_bounds(flip, dtype):
    pd, t1, t2 = (
        torch.tensor(values, dtype=dtype, requires_grad=True)
        for values in ([0.0, 1.0, 1.0, 0.0], [50.0, 5000.0, 2500.0, 5000.0], [50.0, 5.0, 2500.0, 2500.0])
    )
    b1 = torch.tensor([1.0, 0.0, 1.0, 1.2], dtype=dtype)
    for sequence in (
        BSSFP(flip),
        BSSFP(flip, 3.0, 500 / 3),
        BSSFP(flip * b1 + 2),
        LookLocker(flip),
        MOLLI(flip_angle_deg=flip),
        MOLLI(flip_angle_deg=40 * b1),
        SpoiledGRE(flip, inflow_pulses=300.0),
        SpoiledGRE(15 * b1, inflow_pulses=30.0),
        BSSFP(flip * b1 + 2, 3.0, 500 / 3, inflow_pulses=30.0),
        MSASHA(80.0, 55.0),
        SASHA(80.0, 55.0, flip_angle_deg=40 * b1),
        T2PreparedBSSFP(flip_angle_deg=40 * b1),
        T2PreparedGRE(flip_angle_deg=15 * b1, centre_pulse=0),
        InversionRecoveryGRE(flip_angle_deg=15 * b1),
        InversionRecoveryBSSFP(flip_angle_deg=40 * b1),
        SaturationRecoveryGRE(flip_angle_deg=15 * b1, saturation_efficiency=0.9),
        BlackBloodTSE(inversion_time_ms=170.0),
    ):
        signal = sequence(SpinMaps(pd, t1, t2))
        assert torch.isfinite(signal).all()
        for gradient in torch.autograd.grad(signal.sum(), (pd, t1, t2), allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


def test_gradient_reaches_flip_angle_and_field(tissues, as_maps):
    maps = as_maps(*tissues(0, 3))
    flip = torch.tensor([20.0, 35.0, 50.0], dtype=torch.float64, requires_grad=True)
    field = torch.tensor([5.0, 60.0, -90.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda fa, df: BSSFP(fa, 3.0, df)(maps), (flip, field))
    assert torch.autograd.gradcheck(lambda fa: MOLLI(flip_angle_deg=fa)(maps), flip)
    assert torch.autograd.gradcheck(lambda fa: SpoiledGRE(fa, inflow_pulses=30.0)(maps), flip)
    assert torch.autograd.gradcheck(lambda fa: InversionRecoveryBSSFP(flip_angle_deg=fa)(maps), flip)
    assert torch.autograd.gradcheck(lambda fa, df: BSSFP(fa, 3.0, df, 8.0, blood=1.0)(maps), (flip, field))
