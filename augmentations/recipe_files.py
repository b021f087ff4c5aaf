"""Read recipes from JSON. All faults of a recipe are reported, one line each.

    {"description": "...", "probability": 0.7, "t1_factor": [0.75, 1.35], "t2_factor": [0.8, 1.25],
     "sequences": [{"sequence": "bssfp", "weight": 1, "flip_angle_deg": [35, 80], ...}, ...],
     "scanner": {"noise": {"probability": 1, "fraction": [0, 0.05]}, ...}}

A sequence's further keys are the fields of its ranges (`sequences.plugins.all_ranges`), which have defaults, and
optionally `contrast_agent`, `slow_flow`, `region` and `infarct` (`tissue_ranges`). The keys of a scanner effect are the
numbers of its class in `fields` or `scanner`. Pairs are ranges, drawn uniformly. `description` is for readers, and
optional.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, make_dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch

from nnunet_phys.augmentations.contrast_draw import EFFECTS
from nnunet_phys.augmentations.recipe import ContrastRecipe, EffectRanges, SequenceEntry
from nnunet_phys.augmentations.tissue_ranges import TISSUE_PARTS
from nnunet_phys.devices import one_thread
from nnunet_phys.errors import InputError, did_you_mean
from nnunet_phys.json_files import load_json, structure
from nnunet_phys.quantities import SHARE, Quantity, Range, number, quantity_of, span
from nnunet_phys.sequences.description import REFUSALS
from nnunet_phys.sequences.plugins import all_ranges
from nnunet_phys.sequences.protocol_ranges import ProtocolRanges
from nnunet_phys.tissue_state import RELAXATION_FACTOR

SHIPPED = Path(__file__).parent / "recipes"
VARIABLE = "nnUNet_phys_recipe"
"""Environment variable that names a recipe, which overrides the trainer's."""
CHECKPOINT_ENTRY = "contrast_recipe"
"""Entry of a checkpoint's `init_args` that describes the recipe of the training."""
MOST_SEQUENCES = 100
"""Sequences in a recipe. The trial of a sequence before the first batch takes 0.1 to 1.5 s on one core."""

_LINE = 100
"""Longest line of the JSON that a reader is shown, apart from long texts."""
_TRIALS = 500
"""Draws without images in the trial of a sequence, since only a few combinations of values may not fit together."""
_TRIAL_IMAGES = 24
"""Images in the trial of a sequence, at the ends of its ranges."""


def load_recipe(recipe: str | Path, tried: bool = True) -> ContrastRecipe:
    """A shipped recipe by its name (`shipped_recipes`), or the recipe in a file.

    Args:
        recipe: name or path.
        tried: as for `read_recipe`.

    Raises:
        InputError: no such recipe, or faults in it, one line each.
    """
    path = SHIPPED / f"{recipe}.json"
    if not path.is_file():
        path = Path(recipe)
    if not path.exists():
        known = shipped_recipes()
        suggestion = did_you_mean(str(recipe), known)
        raise InputError(f"No recipe '{recipe}'{suggestion}. Name a file, or one of {', '.join(known)}.")
    return read_recipe(load_json(path, "Give a recipe as docs/contrasts.md describes it."), str(recipe), tried)


def shipped_recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def recipe_text(recipe: ContrastRecipe) -> str:
    """The JSON of a recipe for readers: with its description, every range, and what is short on one line."""
    return _laid_out({"description": recipe.description, **recipe.describe()}, "")


def _laid_out(value: Any, indent: str) -> str:
    line = json.dumps(value)
    if not isinstance(value, dict | list) or len(indent) + len(line) <= _LINE:
        return line
    inner = f"{indent}  "
    if isinstance(value, dict):
        items = [f"{json.dumps(key)}: {_laid_out(item, inner)}" for key, item in value.items()]
    else:
        items = [_laid_out(item, inner) for item in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return first + ",".join(f"\n{inner}{item}" for item in items) + f"\n{indent}{last}"


def recipe_in_force(default: str | Path | ContrastRecipe) -> ContrastRecipe:
    """The recipe that the variable nnUNet_phys_recipe names; if it is unset, the default."""
    named = os.environ.get(VARIABLE)
    if named:
        return load_recipe(named)
    return default if isinstance(default, ContrastRecipe) else load_recipe(default)


def read_recipe(description: Any, name: str, tried: bool = True) -> ContrastRecipe:
    """Make a recipe from parsed JSON.

    Args:
        description: the JSON.
        name: name of the recipe, or its file.
        tried: also draw from it, which finds combinations of values that a sequence cannot make. Without, it is quick,
            but only good to be shown.

    Raises:
        InputError: faults, one line each.
    """
    where = f"Recipe {name}"
    faults: list[str] = []

    def part(content: Any, schema: type, place: str) -> Any:
        try:
            return structure(content, schema, f"{where}{place}", "")
        except InputError as error:
            faults.extend(error.faults)
            return None

    top = part(description, _Top, "")
    listed = description.get("sequences") if isinstance(description, Mapping) else None
    entries = []
    for index, content in enumerate(listed if isinstance(listed, list) else []):
        schema = _entry_schema(content)
        if schema is None:
            known = all_ranges()
            named = content.get("sequence") if isinstance(content, Mapping) else content
            hint = did_you_mean(str(named), known) or f"; there are {', '.join(sorted(known))}"
            faults.append(f"{where}.sequences[{index}]: no sequence '{str(named)[:40]}'{hint}.")
        else:
            entries.append(part(content, schema, f".sequences[{index}] ({content['sequence']})"))
    if top is not None and not faults and not any(entry.weight > 0 for entry in entries):
        faults.append(f"{where}: all weights are 0, so nothing would be drawn.")
    if faults:
        raise InputError(*faults)
    recipe = ContrastRecipe(
        name,
        top.probability,
        top.t1_factor,
        top.t2_factor,
        tuple(_sequence_entry(entry) for entry in entries),
        tuple(_effect_ranges(name, ranges) for name, ranges in vars(top.scanner).items() if ranges is not None),
        top.description,
    )
    refused = _trial_faults(recipe) if tried else ()
    if refused:
        raise InputError(*(f"{where}{fault}." for fault in refused))
    return recipe


def _effect_fields(effect: str) -> list[Field]:
    """The fields of an effect's class that hold numbers."""
    return [entry for entry in fields(EFFECTS[effect]) if quantity_of(entry)]


def _effect_schema(effect: str) -> type:
    """The schema of an effect in JSON: how often it is drawn, and the range of each of its numbers."""
    ranges = [
        (entry.name, Range, field(metadata=span(entry.metadata["quantity"], ""))) for entry in _effect_fields(effect)
    ]
    return make_dataclass(effect, [("probability", float, field(metadata=number(SHARE))), *ranges], frozen=True)


_Scanner = make_dataclass("scanner", [(effect, _effect_schema(effect) | None, None) for effect in EFFECTS], frozen=True)


def _check_count(sequences: list[Any]) -> None:
    if not 1 <= len(sequences) <= MOST_SEQUENCES:
        raise ValueError(f"{len(sequences)} sequences: give 1 to {MOST_SEQUENCES}")


@dataclass(frozen=True)
class _Top:
    """A recipe's JSON; its sequences are structured separately."""

    probability: float = field(metadata=number(SHARE))
    t1_factor: Range = field(metadata=span(RELAXATION_FACTOR, ""))
    t2_factor: Range = field(metadata=span(RELAXATION_FACTOR, ""))
    sequences: list[Any] = field(metadata={"check": _check_count})
    scanner: _Scanner  # type: ignore[valid-type]
    description: str = ""


def _entry_schema(content: Any) -> type | None:
    """The schema of a sequence in JSON: the fields of its ranges and of `SequenceEntry`; None: no such sequence."""
    name = content.get("sequence") if isinstance(content, Mapping) else None
    ranges = all_ranges().get(name) if isinstance(name, str) else None
    return None if ranges is None else _schema_of(ranges)


@cache
def _schema_of(ranges: type[ProtocolRanges]) -> type:
    types = get_type_hints(ranges)
    protocol = [
        (entry.name, types[entry.name], field(default=entry.default, metadata=entry.metadata))
        for entry in fields(ranges)  # type: ignore[arg-type]
    ]
    common = [
        ("weight", float, field(default=1.0, metadata=number(Quantity("", 0, 1e6)))),
        *((part, ranges_of_part | None, None) for part, ranges_of_part in TISSUE_PARTS.items()),
    ]
    return make_dataclass(ranges.__name__, [("sequence", str), *protocol, *common], frozen=True)


def _sequence_entry(entry: Any) -> SequenceEntry:
    ranges = all_ranges()[entry.sequence]
    values = {item.name: getattr(entry, item.name) for item in fields(ranges)}  # type: ignore[arg-type]
    return SequenceEntry(ranges(**values), entry.weight, **{part: getattr(entry, part) for part in TISSUE_PARTS})


def _effect_ranges(effect: str, ranges: Any) -> EffectRanges:
    values = {entry.name: getattr(ranges, entry.name) for entry in _effect_fields(effect)}
    return EffectRanges(effect, ranges.probability, values)


@lru_cache(maxsize=32)
def _trial_faults(recipe: ContrastRecipe) -> tuple[str, ...]:
    """Faults that only a trial shows: each sequence is drawn many times, and imaged at the ends of its ranges."""
    with one_thread():  # the images are small: the threads that nnU-Net sets on a CPU only slow it
        refused = [_trial_fault(recipe, entry) for entry in recipe.sequences]
    return tuple(
        f".sequences[{index}] ({recipe.sequences[index].name}): {fault}" for index, fault in enumerate(refused) if fault
    )


def _trial_fault(recipe: ContrastRecipe, entry: SequenceEntry) -> str | None:
    """The first fault in a trial of one sequence, or None: images with all effects, then draws without."""
    parameters = {part.name for part in fields(entry.ranges.sequence)}  # type: ignore[arg-type]  # a dataclass
    if entry.slow_flow is not None and "blood" not in parameters:
        return "it does not depend on the flow of blood: remove slow_flow"
    maps = torch.tensor([[0.9, 0.8, 0.7, 0.0], [1550.0, 1050.0, 300.0, 1000.0], [220.0, 50.0, 64.0, 60.0]])
    always = partial(replace, probability=1.0)
    alone = replace(
        recipe,
        sequences=(
            replace(
                entry,
                weight=1.0,
                **{name: always(part) for name in TISSUE_PARTS if (part := getattr(entry, name)) is not None},
            ),
        ),
        scanner=tuple(always(effect) for effect in recipe.scanner),
    )
    ideal = replace(alone, scanner=())
    try:
        for seed in range(_TRIAL_IMAGES):
            image = alone.draw_contrast(_Ends(seed)).scan(maps.reshape(3, 1, 2, 2), (8.0, 1.5, 1.5))
            if not torch.isfinite(image).all():
                return "at the ends of its ranges the image holds NaN"
        for rng in (_Ends(_TRIAL_IMAGES), np.random.RandomState(0)):
            for _ in range(_TRIALS):
                ideal.draw_contrast(rng)
    except REFUSALS as error:
        return str(error)
    return None


class _Ends:
    """A source of draws that returns one end of a range or the other."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.RandomState(seed)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low if self._rng.rand() < 0.5 else math.nextafter(high, low)
