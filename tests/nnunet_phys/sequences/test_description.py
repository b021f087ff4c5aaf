"""Sequences as text: there and back, and what is refused."""

import json
import math

import pytest
import torch

from nnunet_phys.errors import InputError
from nnunet_phys.sequences import MOLLI, SEQUENCES, InversionRecoveryGRE, T2PreparedBSSFP
from nnunet_phys.sequences.description import describe_sequence, make_sequence
from nnunet_phys.spin import SpinMaps


@pytest.mark.parametrize("name", SEQUENCES)
def test_there_and_back(name):
    sequence = make_sequence({"sequence": name})
    assert type(sequence) is SEQUENCES[name]
    assert make_sequence(json.loads(json.dumps(describe_sequence(sequence)))) == sequence


def test_parameters_arrive():
    made = make_sequence({"sequence": "lge_gre", "inversion_time_ms": 280, "phase_sensitive": True})
    assert made == InversionRecoveryGRE(inversion_time_ms=280, phase_sensitive=True)


@pytest.mark.parametrize("name", SEQUENCES)
def test_a_series_is_its_single_images(name):
    maps = SpinMaps(*torch.tensor([[[0.9, 0.8]], [[1500.0, 1000.0]], [[200.0, 50.0]]]))
    sequence = make_sequence({"sequence": name})
    images = [one(maps).reshape(maps.shape) for one in sequence.single_images()]
    assert len(images) == {"molli": 8, "multi_echo_gre": 8, "t2prep": 3, "t2prep_gre": 3}.get(name, 1)
    assert torch.equal(torch.stack(images), sequence(maps).reshape(-1, *maps.shape))


def test_one_value_will_do_for_a_list():
    assert make_sequence({"sequence": "t2prep", "t2_prep_ms": 30}) == T2PreparedBSSFP(t2_prep_ms=(30,))


def test_one_readout_stays_one():
    assert MOLLI(readout=3).single_images() == [MOLLI(readout=3)]


def test_a_record_is_replayed_whatever_its_times():
    drawn = T2PreparedBSSFP(t2_prep_ms=(0.3,))  # as a recipe may draw it, though a hand would mean seconds
    assert make_sequence(json.loads(json.dumps(describe_sequence(drawn))), record=True) == drawn


@pytest.mark.parametrize("name", ["sasha", "msasha"])
def test_an_infinite_saturation_time_is_none(name):
    sequence = SEQUENCES[name](ts_ms=math.inf)
    assert sequence == SEQUENCES[name](ts_ms=None)
    assert make_sequence(json.loads(json.dumps(describe_sequence(sequence)))) == sequence


@pytest.mark.parametrize(
    "description, message",
    [
        ({"sequence": "lge"}, "No sequence 'lge'"),
        ({"sequence": "sasha", "tsms": 600}, r"has no parameter 'tsms' \(did you mean 'ts_ms'"),
        ({"sequence": "sasha", "ts_ms": 0.6}, "ts_ms = 0.6 looks like seconds: give ms"),
        ({"sequence": "t2prep_gre", "t2_prep_ms": [0, 0.025, 0.055]}, "t2_prep_ms = 0.055 looks like seconds"),
        ({"sequence": "lge_bssfp", "inversion_time_ms": 0.3}, "inversion_time_ms = 0.3 looks like seconds"),
        ({"sequence": "lge_gre", "rr_ms": 0.9}, "rr_ms = 0.9 looks like seconds"),
        ({"sequence": "black_blood", "echo_spacing_ms": 0.006}, "echo_spacing_ms = 0.006 looks like seconds"),
        ({"sequence": "black_blood", "te_ms": 0.06}, "te_ms = 0.06 looks like seconds"),
        ({"sequence": "black_blood", "tr_ms": 1.8}, "do not fit into tr_ms = 1.8"),
        ({"sequence": "ernst", "flip_angle_deg": 10, "tr_ms": 0.05, "te_ms": 0.01}, "tr_ms = 0.05 looks like seconds"),
        (
            {"sequence": "msasha", "ts_ms": 600, "t2_prep_ms": 40, "delay_ms": 0.01},
            "delay_ms = 0.01 looks like seconds",
        ),
        ({"sequence": "looklocker", "time_ms": 1.0}, "time_ms = 1.0 looks like seconds"),
        ({"sequence": "perfusion", "flip_angle_deg": 0.2}, "looks like radians"),
        ({"sequence": "perfusion", "ts_ms": 20}, "ts_ms = 20 is too early"),
        ({"sequence": "molli", "pulses": "sixty"}, 'pulses: "sixty" is not a whole number'),
        ({"sequence": "molli", "pulses": [60]}, r"pulses: \[60\] is not a whole number"),
        ({"sequence": "molli", "pulses": float("nan")}, "pulses: NaN is not a whole number"),
        ({"sequence": "lge_gre", "beats": float("inf")}, "beats: Infinity is not a whole number"),
        (
            {"sequence": "molli", "inversion_times_ms": [100, 900], "first_inversion_times_ms": [100]},
            "inversion_times_ms implies first_inversion_times_ms, too",
        ),
    ],
)
def test_refusals(description, message):
    with pytest.raises(InputError, match=message):
        make_sequence(description)
