"""What differs from place to place in a contrast: coils, frequency, devices, flow, regions of other tissue."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from blocks_of_tissue import SPACING, some_maps, with_distance

from nnunet_phys.augmentations.contrast import synthesize
from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.fields import Device, OffResonance, ReceiveBias, Region, SlowFlow, TransmitField, grid_positions
from nnunet_phys.infarct import Infarct
from nnunet_phys.reservoir import draw_reservoir
from nnunet_phys.sequences import (
    BSSFP,
    BlackBloodTSE,
    InversionRecoveryGRE,
    LookLocker,
    SpoiledGRE,
    T2PreparedBSSFP,
)
from nnunet_phys.sequences.blocks import effective_flip_angle
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import ContrastAgent, TissueState

PARTS = {
    "transmit": TransmitField(0.8, 0.1, 1),
    "off_resonance": OffResonance(200.0, 2),
    "receive_bias": ReceiveBias(3.0, 60.0, 0.2, 3),
    "device": Device(20.0, 70.0, 1000.0, 4),
    "region": Region(0.3, 12.0, 5),
    "slow_flow": SlowFlow(0.3, 12.0, 5, 0.7),
}


@pytest.mark.parametrize("part", PARTS)
def test_what_depends_on_place_is_that_of_the_whole_case(part):
    """A patch anywhere, against the sequence called voxel by voxel with the fields of the whole case."""
    maps, spacing = some_maps((3, 60, 70)), SPACING
    sequence = {"device": InversionRecoveryGRE(300.0), "slow_flow": BlackBloodTSE(60.0)}.get(part, BSSFP(50.0))
    agent = TissueState(agent=ContrastAgent(0.5, 0.2))
    others = {"region_tissue": agent} if part == "region" else {}
    draw = ContrastDraw(sequence, **{part: PARTS[part]}, **others)
    places = grid_positions((0, 0, 0), (3, 60, 70), (3, 60, 70), spacing)
    field, spin = PARTS[part](places), SpinMaps.unstack(maps)
    plain = sequence(spin)
    if part == "transmit":
        truth = BSSFP(50.0 * field)(spin)
    elif part == "off_resonance":
        truth = BSSFP(50.0, off_resonance_hz=field)(spin)
    elif part == "receive_bias":
        truth = plain * field
    elif part == "device":
        truth = plain * PARTS[part].remaining(places, spacing, sequence.te_ms)
    elif part == "slow_flow":
        truth = torch.lerp(plain, replace(sequence, blood=0.0)(spin), field)
        assert float((truth - plain)[spin.t2 < 60].abs().max()) < 0.01 * float(plain.max())  # muscle does not flow
    else:
        truth = torch.lerp(plain, sequence(agent(spin)[0]), field)
    assert float((truth - plain).abs().max()) > 0.05 * float(plain.abs().max())  # the part does something
    case = draw_reservoir(maps.numpy(), None, spacing, 0)
    for start, size in (((1, 10, 20), (1, 40, 45)), ((0, 0, 0), (3, 60, 70)), ((2, 31, 7), (1, 25, 60))):
        box = tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))
        signal, acquisition = synthesize(with_distance(maps)[(slice(None), *box)], start, case, draw)
        signal = signal * acquisition.deviation + acquisition.mean
        error = (signal - truth[box]).abs() / float(truth.abs().max())
        # a device also displaces what it leaves, by up to a pixel here
        assert float(error.quantile(0.9 if part == "device" else 1.0)) < 0.03, (start, float(error.max()))


@pytest.mark.parametrize("part", ["region", "infarct"])
def test_blood_flows_as_slowly_in_a_region_and_an_infarct_as_elsewhere(part):
    """They change tissue; slow blood within them stays as bright as it was."""
    maps = torch.tensor([0.9, 1600.0, 240.0])[:, None, None, None].repeat(1, 2, 48, 48)
    maps[:, :, :, :24] = torch.tensor([0.7, 1050.0, 48.0])[:, None, None, None]
    slow = ContrastDraw(BlackBloodTSE(60.0), slow_flow=SlowFlow(0.5, 12.0, 5, 0.2))
    tissue = TissueState(t1_factor=1.1, t2_factor=1.1)
    place = Region(0.5, 12.0, 7) if part == "region" else Infarct(14.0, 0.5, 40.0, 7)
    draw = replace(slow, **{part: place, f"{part}_tissue": tissue})
    plain, shown = (d.scan(maps, SPACING) for d in (slow, draw))
    blood = maps[2] > 200
    assert float((shown - plain)[~blood].abs().max()) > 0.01
    torch.testing.assert_close(shown[blood], plain[blood], rtol=0.05, atol=0.01)


@pytest.mark.parametrize("seed", range(6))
def test_bands_are_where_the_frequency_has_them(seed):
    """The effective flip angle has a cusp at the edge of a band, which no coarse grid holds."""
    maps, places = some_maps((1, 128, 128)), grid_positions((0, 0, 0), (1, 128, 128), (1, 128, 128), SPACING)
    draw = ContrastDraw(BSSFP(60.0, tr_ms=4.0), off_resonance=OffResonance(300.0, seed))
    flips = effective_flip_angle(60.0, 4.0, draw.off_resonance(places))
    assert float(flips.max()) > 170
    truth = BSSFP(flips)(SpinMaps.unstack(maps))
    error = (draw.scan(maps, SPACING) - truth).abs().max() / truth.max()
    assert float(error) < 0.035


def test_a_device_dephases_gradient_echoes_alone():
    maps = some_maps((1, 40, 40))
    for sequence in (BlackBloodTSE(te_ms=60.0), T2PreparedBSSFP((40.0,))):
        draw = ContrastDraw(sequence, device=Device(5.0, 200.0, 1e4, 4))  # far: no bands, all spins excited
        plain, shown = (replace(draw, device=d).scan(maps, SPACING) for d in (None, draw.device))
        assert float((shown - plain).abs().mean() / plain.abs().mean()) < 0.05


def test_flip_angles_that_b1_makes_small_or_large():
    maps = some_maps((1, 9, 9))
    for sequence, mean in ((SpoiledGRE(2.5), 0.6), (BSSFP(150.0), 1.4)):
        assert torch.isfinite(ContrastDraw(sequence, transmit=TransmitField(mean, 0.0, 1)).scan(maps, SPACING)).all()
    assert torch.isfinite(ContrastDraw(LookLocker(), off_resonance=OffResonance(100.0, 1)).scan(maps, SPACING)).all()
