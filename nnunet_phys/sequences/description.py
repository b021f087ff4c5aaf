"""Sequences as text: a name and parameters, as a command line, a JSON file or a record of provenance holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields

import torch

from nnunet_phys.errors import InputError, did_you_mean
from nnunet_phys.sequences.molli import MOLLI
from nnunet_phys.sequences.pulse_sequence import SEQUENCES, PulseSequence
from nnunet_phys.spin import SpinMaps

TYPICAL = {
    "bssfp": {"flip_angle_deg": 45.0},  # cine's where nothing is known
    "gre": {"flip_angle_deg": 15.0, "inflow_pulses": 50.0},  # 50 pulses seen by inflowing blood are an assumption
}
"""Parameters of a sequence where they differ from its class's defaults."""

LEAST_MS = {
    "tr_ms": 0.5,
    "te_ms": 0.1,
    "echo_spacing_ms": 0.1,
    "t2_prep_ms": 1,
    "ts_ms": 5,
    "inversion_time_ms": 5,
    "first_inversion_times_ms": 5,
    "rr_ms": 30,
}
"""Times below these are taken for seconds."""


def make_sequence(description: Mapping[str, object]) -> PulseSequence:
    """The sequence that a description names.

    Args:
        description: `sequence` (a key of `SEQUENCES`) and any of its attributes; lists become tuples. For molli,
            `inversion_times_ms` of all images in acquisition order may stand for scheme and timing.

    Raises:
        InputError: an unknown name (the nearest is given), or a value that the sequence refuses.
    """
    parameters = {k: tuple(v) if isinstance(v, list) else v for k, v in description.items()}
    name = parameters.pop("sequence", None)
    if not isinstance(name, str) or name not in SEQUENCES:
        near = did_you_mean(str(name), SEQUENCES)
        raise InputError(f"No sequence '{name}'{near}. There are: {', '.join(SEQUENCES)}.")
    kind, make = SEQUENCES[name], SEQUENCES[name]
    known = {f.name for f in fields(kind)}
    if kind is MOLLI and "inversion_times_ms" in parameters:
        known.add("inversion_times_ms")
        make = MOLLI.from_inversion_times
        for told in ("first_inversion_times_ms", "rr_intervals_ms"):
            if told in parameters:
                raise InputError(f"Sequence {name}: inversion_times_ms tells {told}, too. Leave one of them out.")
    for parameter in parameters:
        if parameter not in known:
            raise InputError(
                f"Sequence {name} has no parameter '{parameter}'{did_you_mean(parameter, known)}. It has: "
                f"{', '.join(sorted(known))}."
            )
    for f in fields(kind):
        value = parameters.get(f.name)
        if str(f.type).startswith("tuple") and isinstance(value, int | float):
            parameters[f.name] = (value,)
        if f.type in ("int", "int | None") and value is not None and not _is_whole(value):
            raise InputError(f"Sequence {name}: {f.name} = {value} must be a whole number.")
        if f.type == "bool" and value is not None and not isinstance(value, bool):
            raise InputError(f"Sequence {name}: {f.name} = {value} must be true or false.")
    for parameter, value in parameters.items():
        if any(isinstance(one, float) and not math.isfinite(one) for one in _listed(value) if parameter != "ts_ms"):
            raise InputError(f"Sequence {name}: {parameter} = {value} must be finite.")
    by_hand = {f.name for f in fields(kind)} - set(parameters)  # a record holds all, and its times are what they are
    for parameter, value in parameters.items() if by_hand else ():
        times = [t for t in _listed(value) if isinstance(t, (int, float)) and t > 0]
        if times and max(times) < LEAST_MS.get(parameter, 0):
            raise InputError(f"Sequence {name}: {parameter} = {max(times):g} looks like seconds: give ms.")
    try:
        sequence = make(**{**TYPICAL.get(name, {}), **parameters})
        voxel = torch.ones(1)
        sequence(SpinMaps(voxel, 1000 * voxel, 50 * voxel))
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        raise InputError(f"Sequence {name}: {error}.") from None
    return sequence


def describe_sequence(sequence: PulseSequence) -> dict[str, object]:
    """The reverse of `make_sequence`: name and all attributes, plain JSON."""
    return {"sequence": sequence.name, **asdict(sequence)}


def _is_whole(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0


def _listed(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,)
