"""Sequences by name and parameters, as command lines, JSON files and records describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import torch

from nnunet_phys.errors import InputError, did_you_mean
from nnunet_phys.json_files import structure
from nnunet_phys.quantities import RECOVERY_TIME, quantity_of
from nnunet_phys.sequences.molli import MOLLI
from nnunet_phys.sequences.plugins import all_sequences
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

TYPICAL: dict[str, dict[str, float]] = {
    "gre": {"inflow_pulses": 50.0},  # GRE cine has bright blood; 50 pulses seen on its way through are an assumption
}
"""Default parameters of a sequence that a command or file names, where they differ from its class's defaults."""

REFUSALS = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError)
"""What a sequence, a user's own included, raises for values that do not fit."""
_MOLLI_TIMES = "inversion_times_ms"
_IMPLIED_BY_TIMES = ("first_inversion_times_ms", "rr_intervals_ms")


def make_sequence(description: Mapping[str, Any], record: bool = False) -> PulseSequence:
    """The sequence that a description names.

    Args:
        description: `sequence` (a key of `all_sequences`) and any of its attributes; lists become tuples. For molli,
            `inversion_times_ms` of all images in acquisition order may replace scheme and timing.
        record: it is a record of a sequence that was in use, so no value is in another unit.

    Raises:
        InputError: an unknown name (the nearest known one is suggested), or values that the sequence refuses, one line
            each; or as `all_sequences`.
    """
    name, known = description.get("sequence"), all_sequences()
    if not isinstance(name, str) or name not in known:
        suggestion = did_you_mean(str(name), known)
        raise InputError(f"No sequence '{name}'{suggestion}. There are: {', '.join(sorted(known))}.")
    kind = known[name]
    values = _parameters(kind, {key: value for key, value in description.items() if key != "sequence"}, record)
    times = values.pop(_MOLLI_TIMES, None)
    try:
        sequence = kind(**values) if times is None else MOLLI.from_inversion_times(times, **values)
        voxel = torch.ones(1)
        sequence(SpinMaps(voxel, 1000 * voxel, 50 * voxel))
    except REFUSALS as error:
        raise InputError(f"Sequence {name}: {error}.") from None
    return sequence


def describe_sequence(sequence: PulseSequence) -> dict[str, Any]:
    """The reverse of `make_sequence`: name and all attributes, plain JSON."""
    return {"sequence": sequence.name, **asdict(sequence)}  # type: ignore[call-overload]


def _parameters(kind: type[PulseSequence], described: Mapping[str, Any], record: bool) -> dict[str, Any]:
    """Attributes of a sequence, converted to the types of its fields; typical values where the description has none.

    Raises:
        InputError: unknown parameters and values of another type or unit, one line each.
    """
    types, faults = _json_types(kind), []
    if kind is MOLLI and _MOLLI_TIMES in described:
        types = {**types, _MOLLI_TIMES: tuple[float, ...]}
        faults += [
            f"Sequence molli: {_MOLLI_TIMES} implies {name}, too. Leave one of them out."
            for name in _IMPLIED_BY_TIMES
            if name in described
        ]
    quantities = {field.name: quantity_of(field) for field in fields(kind)}  # type: ignore[arg-type]
    quantities[_MOLLI_TIMES] = RECOVERY_TIME
    values: dict[str, Any] = dict(TYPICAL.get(kind.name, {}))
    for name, value in described.items():
        if name not in types:
            known = ", ".join(sorted(types))
            suggestion = did_you_mean(name, types)
            faults.append(f"Sequence {kind.name} has no parameter '{name}'{suggestion}. It has: {known}.")
            continue
        is_list = get_origin(types[name]) is tuple
        try:
            listed = [value] if is_list and isinstance(value, int | float) else value
            values[name] = structure(listed, types[name], f"Sequence {kind.name}, {name}", "")
            quantity = quantities.get(name)
            if quantity is not None and not record and values[name] is not None:
                numbers = values[name] if isinstance(values[name], tuple) else (values[name],)
                quantity.check(max(numbers, default=0.0))
        except InputError as error:
            faults.extend(error.faults)
        except ValueError as error:
            faults.append(f"Sequence {kind.name}: {name} = {error}.")
    if faults:
        raise InputError(*faults)
    return values


@cache
def _json_types(kind: type[PulseSequence]) -> dict[str, Any]:
    """The type of each attribute as JSON has it: a number where the sequence takes maps, too."""
    types = {}
    hints = get_type_hints(kind)
    for field in fields(kind):  # type: ignore[arg-type]
        hint = hints[field.name]
        if get_origin(hint) in (Union, UnionType):
            hint = Union[tuple(part for part in get_args(hint) if part is not torch.Tensor)]  # noqa: UP007
        types[field.name] = hint
    return types
