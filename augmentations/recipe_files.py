"""Recipes as JSON: reading them with all their faults, one line each.

    {"probability": 0.7, "t1_factor": [0.75, 1.35], "t2_factor": [0.8, 1.25],
     "sequences": [{"sequence": "bssfp", "weight": 1, "flip_angle_deg": [35, 80], ...}, ...],
     "scanner": {"noise": {"probability": 1, "fraction": [0, 0.05]}, ...}}

A sequence's further keys are the attributes of its class in `ranges`, and `contrast_agent` and `region` where wanted. A
scanner effect's keys are those of its class in `fields` or `scanner`. Pairs are ranges, drawn uniformly.
"""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_phys.augmentations.draw import PARTS
from nnunet_phys.augmentations.ranges import SEQUENCE_RANGES, AgentRanges, RegionRanges
from nnunet_phys.augmentations.recipe import ContrastRecipe, EffectRanges, SequenceEntry
from nnunet_phys.errors import InputError, did_you_mean
from nnunet_phys.sequences.description import LEAST_MS

SHIPPED = Path(__file__).parent / "recipes"
VARIABLE = "nnUNet_phys_recipe"
_EFFECTS = tuple(name for name in PARTS if name not in ("tissue", "region", "region_tissue"))


def load_recipe(recipe: str | Path) -> ContrastRecipe:
    """A recipe that ships, by name (default, gre, lge, molli, paper), or a file's.

    Raises:
        InputError: no such recipe, or faults in it, one line each.
    """
    path = SHIPPED / f"{recipe}.json"
    if not path.is_file():
        path = Path(recipe)
    if not path.is_file():
        known = sorted(p.stem for p in SHIPPED.glob("*.json"))
        raise InputError(f"No recipe '{recipe}'{_nearest(str(recipe), known)}: name {', '.join(known)}, or a file.")
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError) as error:  # not readable, not UTF-8, not JSON
        raise InputError(f"Recipe {path}: this is no JSON ({error}).") from None
    return read_recipe(description, str(recipe))


def read_recipe(description: Mapping[str, Any], name: str) -> ContrastRecipe:
    """A recipe from what its JSON says.

    Raises:
        InputError: faults, one line each.
    """
    return _Reader(name).recipe(description)


def recipe_in_force(default: str | Path | ContrastRecipe) -> ContrastRecipe:
    """The recipe that the variable nnUNet_phys_recipe names, or else the given one."""
    named = os.environ.get(VARIABLE)
    if named:
        return load_recipe(named)
    return default if isinstance(default, ContrastRecipe) else load_recipe(default)


class _Reader:
    """Reads a description, collecting its faults."""

    def __init__(self, name: str) -> None:
        self.name, self.faults = name, []

    def recipe(self, description: Any) -> ContrastRecipe:
        known = ("probability", "t1_factor", "t2_factor", "sequences", "scanner")
        if not self._is_object("", description) or not self._keys("", description, known, ()):
            self._stop_at_faults()
        listed = description["sequences"]
        if not isinstance(listed, list) or not listed:
            self._fault("", "sequences must be a list of at least one")
            listed = []
        sequences = [self._sequence(i, one) for i, one in enumerate(listed)]
        scanner = []
        if self._is_object("scanner", description["scanner"]):
            scanner = [self._effect(name, one) for name, one in description["scanner"].items()]
        values = {key: self._value("", key, kind, description[key]) for key, kind in _TOP.items()}
        if sequences and not any(entry is None or entry.weight > 0 for entry in sequences):
            self._fault("", "all weights are 0: nothing would be drawn")
        self._stop_at_faults()
        recipe = ContrastRecipe(self.name, **values, sequences=tuple(sequences), scanner=tuple(scanner))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # the images are small: the threads that nnU-Net sets on a CPU only slow it
        try:
            self._try_out(recipe)
        finally:
            torch.set_num_threads(threads)
        self._stop_at_faults()
        return recipe

    def _is_object(self, where: str, value: Any) -> bool:
        if isinstance(value, Mapping):
            return True
        self._fault(where, f"{_short(value)} must be an object, {{...}}")
        return False

    def _sequence(self, index: int, description: Any) -> SequenceEntry | None:
        where = f"sequence {index + 1}"
        if not self._is_object(where, description):
            return None
        name = description.get("sequence")
        if not isinstance(name, str) or name not in SEQUENCE_RANGES:
            self._fault(where, f"no sequence '{_short(name)}'{_nearest(_short(name), SEQUENCE_RANGES)}")
            return None
        where = f"sequence {index + 1} ({name})"
        extras = {"contrast_agent": AgentRanges, "region": RegionRanges}
        protocol = {k: v for k, v in description.items() if k not in ("sequence", "weight", *extras)}
        ranges = self._build(where, SEQUENCE_RANGES[name], protocol, ("weight", *extras))
        parts = {
            key: self._build(f"{where}, {key}", kind, description[key])
            for key, kind in extras.items()
            if description.get(key) is not None
        }
        weight = self._value(where, "weight", "float", description.get("weight", 1.0))
        return None if ranges is None or weight is None else SequenceEntry(ranges, weight, **parts)

    def _effect(self, name: str, description: Mapping[str, Any]) -> EffectRanges | None:
        where = f"scanner, {name}"
        if name not in _EFFECTS:
            self._fault("scanner", f"no effect '{name}'{_nearest(name, _EFFECTS)}")
            return None
        if not self._is_object(where, description):
            return None
        wanted = {f.name: "Range" for f in fields(PARTS[name]) if f.type == "float"}
        if not self._keys(where, description, ("probability", *wanted), ()):
            return None
        ranges = {key: self._value(where, key, kind, description[key]) for key, kind in wanted.items()}
        return EffectRanges(name, self._value(where, "probability", "float", description["probability"]), ranges)

    def _build(self, where: str, kind: type, description: Mapping[str, Any], allowed: tuple[str, ...] = ()) -> Any:
        types = {f.name: f.type for f in fields(kind)}
        if not self._is_object(where, description) or not self._keys(where, description, tuple(types), allowed):
            return None
        values = {key: self._value(where, key, str(types[key]), value) for key, value in description.items()}
        return kind(**values)

    def _keys(self, where: str, given: Mapping[str, Any], wanted: tuple[str, ...], allowed: tuple[str, ...]) -> bool:
        """Whether exactly the wanted keys are there."""
        unknown = [key for key in given if key not in wanted]
        for key in unknown:
            self._fault(where, f"no field '{key}'{_nearest(key, (*wanted, *allowed))}")
        missing = [key for key in wanted if key not in given]
        if missing:
            self._fault(where, f"{', '.join(missing)} missing: take it from a recipe that ships ({SHIPPED})")
        return not unknown and not missing

    def _value(self, where: str, key: str, kind: str, value: Any) -> Any:
        """A value as its field's type wants it."""
        if kind == "Names":
            if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
                return tuple(value)
            self._fault(where, f"{key} = {_short(value)} must be a list of names")
            return None
        numbers = value if isinstance(value, list | tuple) else [value]
        pair = kind in ("Range", "Whole")
        plain = all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e9 for one in numbers)
        if not plain or len(numbers) != (2 if pair else 1) or pair != isinstance(value, list | tuple):
            self._fault(where, f"{key} = {_short(value)} must be {'[least, greatest]' if pair else 'a number'}")
            return None
        low, high = numbers[0], numbers[-1]
        if low > high:
            self._fault(where, f"{key} = {value} is upside down: write [{high:g}, {low:g}]")
        elif kind == "Whole" and any(one != int(one) for one in numbers):
            self._fault(where, f"{key} = {value} must be whole numbers")
        elif key in _SHARES and not 0 <= low <= high <= 1:
            self._fault(where, f"{key} = {value} is not within 0 to 1")
        elif key in ("t1_factor", "t2_factor") and (low < 0.1 or high > 10):
            self._fault(where, f"{key} = {value} is no factor of T1 or T2: give 0.1 to 10")
        elif key == "rr_ms" and 30 <= high < 250:
            self._fault(where, f"{key} = {value} looks like beats per minute: give ms")
        elif key.endswith("_ms") and 0 < high < LEAST_MS.get(key.removeprefix("least_"), 2.0):
            self._fault(where, f"{key} = {value} looks like seconds: give ms")
        elif key.endswith("_deg") and high < 2:
            self._fault(where, f"{key} = {value} looks like radians: give degrees")
        elif key == "blood_mmol_l" and high > 20:
            self._fault(where, f"{key} = {value} is more than blood ever holds: give mmol/l")
        elif low < 0:
            self._fault(where, f"{key} = {value} is negative")
        elif low == 0 and key in _POSITIVE:
            self._fault(where, f"{key} = {value} must be above 0")
        elif kind == "Whole":
            return tuple(int(one) for one in numbers)
        else:
            return tuple(float(one) for one in numbers) if pair else float(value)
        return None

    def _try_out(self, recipe: ContrastRecipe) -> None:
        """Draw, and make images at the ends of all ranges with all effects: what only the classes themselves refuse."""
        maps = torch.tensor([[0.9, 0.8, 0.7, 0.0], [1550.0, 1050.0, 300.0, 1000.0], [220.0, 50.0, 64.0, 60.0]])
        scanner = tuple(replace(effect, probability=1.0) for effect in recipe.scanner)
        for index, entry in enumerate(recipe.sequences):
            always = {"probability": 1.0}
            parts = {"contrast_agent": entry.contrast_agent, "region": entry.region}
            forced = {name: replace(part, **always) for name, part in parts.items() if part is not None}
            alone = replace(recipe, sequences=(replace(entry, weight=1.0, **forced),), scanner=scanner)
            try:
                for seed in range(24):
                    image = alone.draw_contrast(_Ends(seed)).scan(maps.reshape(3, 1, 2, 2), (8.0, 1.5, 1.5))
                    if not torch.isfinite(image).all():
                        raise ValueError("at the ends of its ranges the image holds NaN")
                still = replace(alone, scanner=())
                for rng in (_Ends(24), np.random.RandomState(0)):
                    for _ in range(_TRIALS):
                        still.draw_contrast(rng)
            except (ValueError, ArithmeticError) as error:
                self._fault(f"sequence {index + 1} ({entry.ranges.name})", str(error))

    def _fault(self, where: str, what: str) -> None:
        self.faults.append(f"Recipe {self.name}{', ' if where else ''}{where}: {what}.")

    def _stop_at_faults(self) -> None:
        if self.faults:
            raise InputError(*self.faults)


_TRIALS = 500  # draws of each sequence, without images: few combinations of values may be the ones that do not fit
_TOP = {"probability": "float", "t1_factor": "Range", "t2_factor": "Range"}
_SHARES = (
    *("probability", "anchor", "prepared", "unprepared", "phase_sensitive", "stir", "residual_blood", "share"),
    *("te_of_tr", "inversion_efficiency", "saturation_efficiency", "kept", "amplitude", "displacement", "fraction"),
)
_POSITIVE = (
    *("t1_factor", "t2_factor", "flip_angle_deg", "tr_ms", "rr_ms", "inflow_pulses", "of_null", "beats", "tr_beats"),
    *("ts_ms", "echo_spacing_ms", "nulled_t1_ms", "nulled_t2_ms", "factor"),
)


class _Ends:
    """In place of a random generator: one end of each range, or the other."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.RandomState(seed)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        return low if self._rng.rand() < 0.5 else math.nextafter(high, low)


def _short(value: Any) -> str:
    return textwrap.shorten(str(value), 40)


def _nearest(word: str, known: Any) -> str:
    return did_you_mean(word, known) or f"; there are {', '.join(known)}"
