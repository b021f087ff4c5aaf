"""JSON from disk, structured by a dataclass that says what a file may hold; all its faults are reported at once.

The schema of a file is a dataclass: its fields and their types. A number must be finite, and neither a text nor true or
false; a tuple is read from a list. A field may have its own check, a function of its value that raises a ValueError:
`field(metadata={"check": ...})`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import GenericAlias
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import cattrs
from cattrs.cols import list_structure_factory, mapping_structure_factory
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from nnunet_phys.errors import InputError, did_you_mean, last_line

_Schema = TypeVar("_Schema")

LARGEST_BYTES = 64 << 20
"""Larger files are refused. Assumed: no JSON file of this package or of nnU-Net is as large."""


def read_json(path: Path, schema: type[_Schema], remedy: str, extra: bool = False) -> _Schema:
    """Read a JSON file.

    Args:
        path: the file.
        schema: a dataclass, or another type that `structure` takes, such as dict[str, float].
        remedy: a sentence on how to correct a faulty file, with which every line ends.
        extra: ignore keys that the schema does not name, as in files of nnU-Net; otherwise they are faults.

    Raises:
        InputError: the file cannot be read, is not JSON, or does not follow the schema, one line per fault.
    """
    return structure(load_json(path, remedy), schema, str(path), remedy, extra)


def load_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file, whatever it is.

    Raises:
        InputError: the file cannot be read or is not JSON.
    """
    try:
        if not path.is_file():
            raise FileNotFoundError("it is not a regular file" if path.exists() else "no such file")
        if path.stat().st_size > LARGEST_BYTES:
            raise ValueError(f"it has more than {LARGEST_BYTES >> 20} MiB")
        return json.loads(path.read_bytes())  # UTF-8, with or without a mark, or UTF-16, as PowerShell writes it
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON ({last_line(error)}). {remedy}") from None


def structure(content: Any, schema: type[_Schema], where: str, remedy: str, extra: bool = False) -> _Schema:
    """Convert plain JSON to a dataclass.

    Args:
        content: what `json.loads` returns.
        schema: a dataclass, or another type that cattrs structures.
        where: the file or part of it, with which every line begins.
        remedy: as for `read_json`.
        extra: as for `read_json`.

    Raises:
        InputError: one line per fault.
    """
    try:
        return _converter(extra).structure(content, schema)
    except Exception as error:  # cattrs raises groups of whatever its hooks and the dataclasses raise
        lines = cattrs.transform_error(error, path=where, format_exception=_reason)
        raise InputError(*(f"{_place(line)}. {remedy}".rstrip() for line in lines)) from None


def _place(line: str) -> str:
    """'problem @ file.json.samples.drawn' -> 'file.json.samples.drawn: problem', by cattrs's own mark."""
    problem, _, place = line.rpartition(" @ ")
    return f"{place}: {problem}"


def _reason(error: BaseException, _: type | None) -> str:
    """What is wrong, in words."""
    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in fields(error.cl)]
        return ", ".join(f"there is no '{key}'{did_you_mean(key, known)}" for key in sorted(error.extra_fields))
    if isinstance(error, KeyError):
        return f"'{error.args[0]}' is missing"
    return last_line(error)


def _number(value: Any, _: type) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{short_json(value)} is not a finite number")
    return float(value)


def _whole(value: Any, _: type) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:
        raise ValueError(f"{short_json(value)} is not a whole number")
    return int(value)


def _exactly(kind: type, name: str) -> Callable[[Any, type], Any]:
    def check(value: Any, _: type) -> Any:
        if not isinstance(value, kind):
            raise ValueError(f"{short_json(value)} is not {name}")
        return value

    return check


def _checked(hook: Callable, kinds: type | tuple[type, ...], name: str) -> Callable[[Any, type], Any]:
    """A hook that first refuses values of other kinds than an object or a list, which `name` describes."""

    def structure_checked(value: Any, kind: type) -> Any:
        if not isinstance(value, kinds):
            raise ValueError(f"{short_json(value)} is not {name}")
        return hook(value, kind)

    return structure_checked


@cache
def _converter(extra: bool) -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=not extra)
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook(int, _whole)
    converter.register_structure_hook(bool, _exactly(bool, "true or false"))
    converter.register_structure_hook(str, _exactly(str, "a text"))

    def object_hook(kind: type) -> Callable:
        types, hooks = get_type_hints(kind), {}
        for field in fields(kind):
            if "check" in field.metadata:
                hooks[field.name] = override(struct_hook=_with_check(field.metadata["check"], types[field.name]))
        structure_fields: Callable = make_dict_structure_fn(kind, converter, **hooks)  # type: ignore[arg-type]
        return _checked(structure_fields, Mapping, "an object, {...}")

    def _with_check(check: Callable[[Any], None], kind: Any) -> Callable:
        def structure_and_check(value: Any, _: type) -> Any:
            structured = converter.structure(value, kind)
            check(structured)
            return structured

        return structure_and_check

    def tuple_hook(kind: type) -> Callable:
        parts = get_args(kind)
        if parts[1:] == (...,):
            items = list_structure_factory(GenericAlias(list, parts[:1]), converter)  # type: ignore[arg-type]
            return _checked(lambda value, _: tuple(items(value, list)), (list, tuple), "a list")

        def structure_tuple(value: Any, _: type) -> tuple:
            if len(value) != len(parts):
                raise ValueError(f"{short_json(value)} is not a list of {len(parts)} values")
            return tuple(converter.structure(item, part) for item, part in zip(value, parts, strict=True))

        return _checked(structure_tuple, (list, tuple), f"a list of {len(parts)} values")

    def list_hook(kind: type) -> Callable:
        return _checked(list_structure_factory(kind, converter), (list, tuple), "a list")

    def dict_hook(kind: type) -> Callable:
        return _checked(mapping_structure_factory(kind, converter), Mapping, "an object, {...}")

    def region_hook(value: Any, _: type) -> int | list[int]:
        """A label's code, or the codes of a region, as nnU-Net's dataset.json has them."""
        if isinstance(value, list):
            return converter.structure(value, list[int])
        return converter.structure(value, int)

    converter.register_structure_hook(int | list[int], region_hook)
    converter.register_structure_hook_factory(is_dataclass, object_hook)
    converter.register_structure_hook_factory(lambda kind: get_origin(kind) is tuple, tuple_hook)
    converter.register_structure_hook_factory(lambda kind: get_origin(kind) is list, list_hook)
    converter.register_structure_hook_factory(lambda kind: get_origin(kind) is dict, dict_hook)
    return converter


def short_json(value: Any) -> str:
    """A value as JSON, cut to 40 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
