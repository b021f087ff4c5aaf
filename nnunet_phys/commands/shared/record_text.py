"""What the records of maps say, in words: how the maps were made, and how well they explain a slice."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Mapping

from nnunet_phys.errors import counted
from nnunet_phys.precomputed_spin.quality_record import InferredRecord, QualityRecord

_MOST_SETTINGS = 10
"""Different settings that are listed; a page of MOLLI series may hold more protocols."""


def versions_text(versions: Mapping[str, str]) -> str:
    """Packages and their versions."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def made_how(records: Collection[InferredRecord]) -> str:
    """How maps were made, as lines of HTML, each with the number of cases where there are several."""
    lines = []
    for heading, texts in (
        ("Images", (record.protocol for record in records)),
        ("Maps", (record.settings for record in records)),
        ("Made with", (versions_text(record.versions) for record in records)),
    ):
        for text, number in Counter(texts).most_common(_MOST_SETTINGS):
            if text:
                cases = f" ({counted(number, 'case')})" if len(records) > 1 else ""
                lines.append(f"<div>{heading}: {html.escape(text)}{cases}</div>")
    return "".join(lines)


def residual_text(quality: QualityRecord, z: int) -> str:
    """The residual of a slice, where it is known, and of its case."""
    by_slice = quality.residual_by_slice
    own = by_slice[z] if z < len(by_slice) else None
    whole = f"{100 * quality.residual_rms:.2f} % in the whole case"
    return whole if own is None else f"residual {100 * own:.2f} %, {whole}"
