"""The tables of a recipe's fields in docs/contrasts.md, generated from the fields of the shipped sequences.

    python -m nnunet_phys.augmentations.recipe_tables docs/contrasts.md

updates them between the document's comments.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from nnunet_phys.augmentations.contrast_draw import EFFECTS
from nnunet_phys.augmentations.tissue_ranges import TISSUE_PARTS
from nnunet_phys.quantities import quantity_of
from nnunet_phys.sequences.protocol_ranges import RANGES

_MARK = re.compile(r"(<!-- fields of (\w+) -->\n).*?(\n<!-- end -->)", re.DOTALL)


def tables() -> dict[str, str]:
    """Markdown tables by the names in the document's comments: sequences, tissue, scanner."""
    sequences = [
        _row(f"`{name}`" if first else "", field, _kind(get_type_hints(ranges)[field.name]), field.default)
        for name, ranges in sorted(RANGES.items())
        for first, field in _with_first(fields(ranges))  # type: ignore[arg-type]
    ]
    tissue = [
        _row(f"`{name}`" if first else "", field, _kind(get_type_hints(ranges)[field.name]))
        for name, ranges in TISSUE_PARTS.items()
        for first, field in _with_first(fields(ranges))
    ]
    scanner = [
        _row(f"`{name}`" if first else "", field, "range")
        for name, effect in EFFECTS.items()
        for first, field in _with_first(field for field in fields(effect) if quantity_of(field))
    ]
    with_defaults = "| Sequence | Field | Meaning | Unit | Value | Default |\n|---|---|---|---|---|---|\n"
    without = "| Part | Field | Meaning | Unit | Value |\n|---|---|---|---|---|\n"
    return {
        "sequences": with_defaults + "\n".join(sequences),
        "tissue": without + "\n".join(tissue),
        "scanner": without + "\n".join(scanner),
    }


def fill(text: str) -> str:
    """The text of a document with up-to-date tables."""
    current = tables()
    return _MARK.sub(lambda marked: f"{marked[1]}{current[marked[2]]}{marked[3]}", text)


def _with_first(entries: Iterable[Field]) -> list[tuple[bool, Field]]:
    """Fields, each with whether it is the first of them."""
    return [(number == 0, entry) for number, entry in enumerate(entries)]


def _row(part: str, field: Field, kind: str, default: Any = MISSING) -> str:
    quantity = quantity_of(field)
    cells = [part, f"`{field.name}`", field.metadata["meaning"], quantity.unit if quantity else "", kind]
    if default is not MISSING:
        listed = default if isinstance(default, tuple) else (default,)
        cells.append(", ".join(value if isinstance(value, str) else f"{value:g}" for value in listed))
    return "| " + " | ".join(cells) + " |"


def _kind(hint: Any) -> str:
    """The kind of value in JSON: a number, a range, or a list of texts."""
    options = [hint, *get_args(hint)]
    tuples = [option for option in options if get_origin(option) is tuple]
    if not tuples:
        return "number"
    first = get_args(tuples[0])[0]
    return "list of texts" if first is str else "range of whole numbers" if first is int else "range"


if __name__ == "__main__":
    document = Path(sys.argv[1])
    document.write_text(fill(document.read_text()))
