"""Sequences of other packages: an installed package names its classes as entry points of the group `GROUP`.

They are imported when a sequence is first looked up by its name, not when this package is imported: a module of theirs
may import this package first.
"""

from __future__ import annotations

from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from inspect import isabstract

import torch

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.sequences.protocol_ranges import RANGES, ProtocolRanges
from nnunet_phys.sequences.pulse_sequence import SEQUENCES, PulseSequence
from nnunet_phys.spin import SpinMaps

GROUP = "nnunet_phys.sequences"
"""Group of the entry points, of which each names a class of `PulseSequence`."""


def all_sequences() -> dict[str, type[PulseSequence]]:
    """Every sequence by its name: those of this package, and those of installed packages.

    Raises:
        InputError: entry points that name no usable sequence, one line each.
    """
    _import_plugins()
    return SEQUENCES


def all_ranges() -> dict[str, type[ProtocolRanges]]:
    """The ranges of `all_sequences` by the sequence's name.

    Raises:
        InputError: as `all_sequences`.
    """
    _import_plugins()
    return RANGES


@cache
def _import_plugins() -> None:
    faults = [(entry, fault) for entry in entry_points(group=GROUP) if (fault := _import_fault(entry))]
    if faults:
        raise InputError(*(f"{_named(entry)}: {fault}. Correct or uninstall that package." for entry, fault in faults))


def _named(entry: EntryPoint) -> str:
    assert entry.dist is not None, "entry points of installed packages know theirs"
    return f"Package {entry.dist.name} {entry.dist.version}, entry point {entry.name} = {entry.value} of {GROUP}"


def _import_fault(entry: EntryPoint) -> str | None:
    """Import what an entry point names, and so register it. Returns why it is not usable; None: it is."""
    try:
        kind = entry.load()
    except Exception as error:  # whatever the code of others raises
        return f"it cannot be imported ({type(error).__name__}: {last_line(error)})"
    if not (isinstance(kind, type) and issubclass(kind, PulseSequence)):
        return "it is no class of PulseSequence"
    name = vars(kind).get("name")
    if not isinstance(name, str):
        return "the class has no name of its own, by which recipes and commands would find it"
    if name not in RANGES:
        return f"sequence '{name}' has no ProtocolRanges in the module"
    for part in (kind, RANGES[name]):
        if isabstract(part):
            return f"{part.__name__} lacks {', '.join(sorted(part.__abstractmethods__))}"
        if not (is_dataclass(part) and part.__dataclass_params__.frozen):
            return f"{part.__name__} is no frozen dataclass"
    return _image_fault(kind)


def _image_fault(kind: type[PulseSequence]) -> str | None:
    """Why a sequence with its default parameters makes no images of the documented shape; None: it does."""
    voxels = torch.ones(2, 3)
    try:
        sequence = kind()
        shape = tuple(sequence(SpinMaps(voxels, 1000 * voxels, 50 * voxels)).shape)
    except Exception as error:
        return (
            f"with its default parameters, {kind.__name__} makes no image ({type(error).__name__}: {last_line(error)})"
        )
    expected = (sequence.image_count, 2, 3) if sequence.is_series else (2, 3)
    return None if shape == expected else f"of maps of shape (2, 3), {kind.__name__} makes {shape}, not {expected}"
