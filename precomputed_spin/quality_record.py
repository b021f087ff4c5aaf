"""The part of a case's record that says how far its maps can be trusted, as `quality.quality` writes it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_phys.case_records import AGAIN, load_record, record_path
from nnunet_phys.errors import InputError, counted
from nnunet_phys.json_files import structure


@dataclass(frozen=True)
class Flag:
    """A slice that looks wrong, and why.

    Attributes:
        slice: the slice, from 0.
        reason: what was found, in words.
        kind: key of `quality.KINDS`; None in records from before there were kinds.
        pixels: how many pixels the finding rests on; None in such records.
    """

    slice: int
    reason: str
    kind: str | None = None
    pixels: int | None = None

    def __str__(self) -> str:
        rests_on = "" if self.pixels is None else f" ({counted(self.pixels, 'pixel')})"
        return f"slice {self.slice}: {self.reason}{rests_on}"


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

    @property
    def flagged_slices(self) -> list[int]:
        """The slices with flags, in the order of their first flags."""
        return list(dict.fromkeys(flag.slice for flag in self.flags))


@dataclass(frozen=True)
class _Named:
    """A prior or a sampler as a record names it, and what a reader wants to know about it."""

    name: str = "?"
    steps: int | None = None


@dataclass(frozen=True)
class _Samples:
    """Posterior samples of a case."""

    drawn: int = 1


@dataclass(frozen=True)
class InferredRecord:
    """What a report reads of the record of maps that `nnunet_phys reverse` made.

    Attributes:
        quality: how far the maps can be trusted.
        sequences: the images' sequences, each as plain JSON for `make_sequence`; none in records of translations.
        prior: the prior.
        sampler: the sampler.
        seed: random seed of the noise.
        samples: posterior samples.
        labels: codes of the structures whose labels decided about tissue; empty without labels.
        versions: versions of packages.
    """

    quality: QualityRecord
    sequences: tuple[dict, ...] = ()
    prior: _Named = _Named()
    sampler: _Named = _Named()
    seed: int | None = None
    samples: _Samples = _Samples()
    labels: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> str:
        """How the maps were made, in words."""
        steps = "" if self.sampler.steps is None else f" with {self.sampler.steps} steps"
        labels = "labels of " + ", ".join(self.labels) if self.labels else "no labels"
        samples = counted(self.samples.drawn, "sample")
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"prior {self.prior.name}, sampler {self.sampler.name}{steps}, {samples}, {labels}{seed}"

    @property
    def protocol(self) -> str:
        """The images' sequences and their flip angles, in words."""
        return "; ".join(
            ", ".join(
                f"flip angle {sequence[key]}°" if key == "flip_angle_deg" else str(sequence[key])
                for key in ("sequence", "flip_angle_deg")
                if key in sequence
            )
            for sequence in self.sequences
        )


def load_inferred_record(folder: Path, case: str) -> InferredRecord | None:
    """Read how far a case's maps can be trusted; None without a record, or if the maps are from elsewhere.

    Raises:
        InputError: the record is broken.
    """
    content = load_record(folder, case)
    if content is None or "quality" not in content:
        return None
    return structure(content, InferredRecord, str(record_path(folder, case)), AGAIN, extra=True)


def flags_in_folder(folder: Path) -> dict[str, tuple[Flag, ...]]:
    """The flags of all flagged cases whose records lie in a folder, by case; broken records have none."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            record = load_inferred_record(folder, path.stem)
        except InputError:
            continue
        if record is not None and record.quality.flags:
            found[path.stem] = record.quality.flags
    return found


def count_kinds(flags: dict[str, tuple[Flag, ...]]) -> dict[str | None, tuple[int, int]]:
    """How many slices and cases have flags of each kind.

    Args:
        flags: flags by case.

    Returns:
        kind to numbers of slices and cases, the most frequent kind first.
    """
    slices = Counter(kind for found in flags.values() for kind, _ in {(flag.kind, flag.slice) for flag in found})
    cases = Counter(kind for found in flags.values() for kind in {flag.kind for flag in found})
    return {kind: (number, cases[kind]) for kind, number in slices.most_common()}
