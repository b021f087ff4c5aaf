"""The part of a case's record that says how far its maps can be trusted, as `quality.quality` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunet_phys.case_records import load_record, record_path
from nnunet_phys.json_files import structure


@dataclass(frozen=True)
class Flag:
    """A slice that looks wrong, and why."""

    slice: int
    reason: str


@dataclass(frozen=True)
class QualityRecord:
    """Figures over the body of a case (`quality.quality`).

    Attributes:
        residual_rms: root mean square residual of the whole case, a share of the bright level.
        share_at_bound: share of values at the edge of what the prior allows.
        flags: slices that look wrong.
        t1_spread: relative spread of T1 over posterior samples; None without samples.
        residual_by_slice: root mean square residual of each slice; None for a slice that shows no body.
    """

    residual_rms: float
    share_at_bound: float
    flags: tuple[Flag, ...]
    t1_spread: float | None = None
    residual_by_slice: tuple[float | None, ...] = ()

    @property
    def badness(self) -> tuple[int, float]:
        """The key that cases are sorted by: the number of flags, then the residual."""
        return len(self.flags), self.residual_rms


@dataclass(frozen=True)
class InferredRecord:
    """What a report reads of the record of maps that `nnunet_phys reverse` made.

    Attributes:
        quality: how far the maps can be trusted.
        sequences: the images' sequences, each as plain JSON for `make_sequence`.
    """

    quality: QualityRecord
    sequences: tuple[dict, ...]


def load_inferred_record(folder: Path, case: str) -> InferredRecord | None:
    """Read how far a case's maps can be trusted; None without a record, or if the maps are from elsewhere.

    Raises:
        InputError: the record is broken.
    """
    content = load_record(folder, case)
    if content is None or "quality" not in content:
        return None
    where, remedy = str(record_path(folder, case)), "Make the case's maps again."
    return structure(content, InferredRecord, where, remedy, extra=True)
