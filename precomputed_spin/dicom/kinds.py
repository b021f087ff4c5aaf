"""What kind of series a header describes: told from its attributes and names, or refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_phys.errors import InputError, counted
from nnunet_phys.precomputed_spin.dicom.frame import Frame
from nnunet_phys.precomputed_spin.dicom.stack import by_position

FOLDERS = {
    "molli": "molli",
    "sasha": "sasha",
    "t2prep": "t2prep",
    "t2prep_gre": "t2prep",
    "lge_gre": "lge",
    "lge_bssfp": "lge",
    "black_blood": "black_blood",
    "bssfp": "cine",
    "gre": "cine",
}
"""Sequences (keys of `sequences.SEQUENCES`) that are imported, and the folder for their images."""
_SCOUT = re.compile(r"localiz|localis|scout|survey|\b3-?plane\b", re.IGNORECASE)
_MOLLI = re.compile(r"molli", re.IGNORECASE)
_SASHA = re.compile(r"(?<!m)(?<!m-)sasha|smart ?1 ?map|saturation recovery", re.IGNORECASE)
_MULTIPARAMETRIC = re.compile(r"\bm[ _-]?sasha", re.IGNORECASE)
_T2_PREPARED = re.compile(r"t2 ?-?prep|t2 ?-?map", re.IGNORECASE)
_LATE = re.compile(r"\b(lge|psir|mde|late ?(gad|enh)\w*|delayed ?enh\w*)\b", re.IGNORECASE)
_MAP = re.compile(r"\b(T[12](star|\*)?[ _-]?map|ECV)\b", re.IGNORECASE)
_NO_CINE = re.compile(r"perf|first.?pass|\bdyn|dynamic|time.?course|\btag|\bgrid", re.IGNORECASE)
_BALANCED = re.compile(r"tru ?fi|true ?fisp|\btfi\d?|\bb-?[ft]fe\b|balanced|fiesta|ssfp", re.IGNORECASE)
_SPOILED = re.compile(r"\b(t?fl\d|flash|spgr|fgre|gre|t1-?[ft]fe)", re.IGNORECASE)
_NO_SATURATION_MS = 1e4
"""Saturation times from here on stand for no saturation. Assumed: five times the longest T1 in the heart."""
_FEWEST_PHASES = 4
"""Fewest trigger times of a cine. Assumed: fewer do not show a heartbeat."""
_LONGEST_HEARTBEAT_MS = 3000.0
"""Trigger times beyond are those of several heartbeats, as of perfusion. Assumed."""


@dataclass(frozen=True)
class _Looks:
    """What the magnitude images of a series have in common.

    Attributes:
        frames: the images.
        places: images at each place.
        names: all names.
        scanning: all words on the sequence.
    """

    frames: tuple[Frame, ...]
    places: tuple[tuple[Frame, ...], ...]
    names: str
    scanning: frozenset[str]

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> _Looks:
        scanning = frozenset().union(*(frame.scanning for frame in frames))
        names = " ".join(dict.fromkeys(frame.names for frame in frames))
        return cls(tuple(frames), by_position(frames), names, scanning)

    @property
    def images(self) -> int:
        """Most images at one place."""
        return max(map(len, self.places))

    @property
    def inversion_ms(self) -> list[float]:
        """The different inversion or saturation times."""
        return sorted({frame.inversion.value for frame in self.frames if frame.inversion is not None})

    @property
    def spin_echo(self) -> bool:
        return bool(self.scanning & {"SE", "SPIN"})

    @property
    def inverted(self) -> bool:
        by_philips = any(frame.prepulse.startswith("INV") for frame in self.frames)
        return bool(self.scanning & {"IR", "InversionRecovery"}) or by_philips

    @property
    def saturated(self) -> bool:
        return "SaturationRecovery" in self.scanning or any(frame.prepulse.startswith("SAT") for frame in self.frames)

    @property
    def balanced(self) -> bool | None:
        """Whether it is read out by bSSFP; False for a spoiled gradient echo, None if nothing tells."""
        if _BALANCED.search(self.names) or "FREE_PRECESSION" in self.scanning:
            return True
        if "SP" in self.scanning or _SPOILED.search(self.names):
            return False
        return None

    @property
    def shows_a_heartbeat(self) -> bool:
        """Whether the images of each place are phases of one heartbeat, by their trigger times."""
        for place in self.places:
            times = {frame.trigger_ms for frame in place if frame.trigger_ms is not None}
            if not _FEWEST_PHASES <= len(times) == len(place) or max(times) - min(times) > _LONGEST_HEARTBEAT_MS:
                return False
        return not self.saturated and not _NO_CINE.search(self.names)

    @property
    def found(self) -> str:
        """What the header says, for a message."""
        parts = [counted(len(self.frames), "image"), f"names '{self.names.strip()}'"]
        parts.append(f"ScanningSequence, SequenceVariant and ScanOptions {', '.join(sorted(self.scanning)) or 'none'}")
        for what, values in (
            ("inversion times", self.inversion_ms),
            ("echo times", sorted({frame.echo_ms for frame in self.frames if frame.echo_ms is not None})),
            ("trigger times", sorted({frame.trigger_ms for frame in self.frames if frame.trigger_ms is not None})),
        ):
            listed = ", ".join(f"{value:g}" for value in values[:8]) + (", ..." if len(values) > 8 else "")
            parts.append(f"{what} {listed} ms" if values else f"no {what}")
        return "; ".join(parts)


def is_scout(frames: Sequence[Frame]) -> bool:
    """Whether a series is there to plan others: a localizer, or a scout for the inversion time."""
    return any(_SCOUT.search(frame.names) for frame in frames)


def tell_sequence(frames: Sequence[Frame]) -> str:
    """The sequence of a series, a key of `FOLDERS`.

    Args:
        frames: its magnitude images.

    Raises:
        InputError: the header does not tell, or tells two things; the line says what was found.
    """
    looks = _Looks.of(frames)
    named = next((kind for kind in (_MOLLI, _SASHA, _MAP) if kind.search(looks.names)), None)
    if looks.images == 1 and looks.inversion_ms and named is not None:
        raise InputError(
            f"its names '{looks.names.strip()}' say that it is a map or a readout of a series, but it has one image of "
            "each slice. Export the readouts of all inversion times as one series, or leave it out with -protocol."
        )
    sequence = _told(looks)
    if sequence is None:
        raise InputError(
            f"its header does not tell what it is. Found: {looks.found}. Name its sequence, or leave it out, with "
            "-protocol."
        )
    return sequence


def _told(looks: _Looks) -> str | None:
    """The sequence, or None."""
    if looks.spin_echo:
        return "black_blood" if looks.images == 1 else None
    prepared = [frame.t2_preparation is not None for frame in looks.frames]
    named_prepared = bool(_T2_PREPARED.search(looks.names)) or "T2Preparation" in looks.scanning
    several_times = looks.images > 1 and len(looks.inversion_ms) > 1
    if _MULTIPARAMETRIC.search(looks.names) or (several_times and (any(prepared) or named_prepared)):
        return None  # mSASHA: saturation and T2 preparation
    if any(prepared) or (looks.images > 1 and named_prepared and not looks.inversion_ms):
        return "t2prep_gre" if looks.balanced is False else "t2prep"
    if looks.images > 1 and _MOLLI.search(looks.names):
        return "molli"
    if looks.images > 1 and _SASHA.search(looks.names):
        return "sasha"
    if several_times:
        kinds = [name for name, is_it in (("molli", looks.inverted), ("sasha", looks.saturated)) if is_it]
        return kinds[0] if len(kinds) == 1 else None
    if looks.images == 1 and looks.inversion_ms and (looks.inverted or _LATE.search(looks.names)):
        return {True: "lge_bssfp", False: "lge_gre", None: None}[looks.balanced]
    if not looks.inversion_ms and looks.shows_a_heartbeat:
        return {True: "bssfp", False: "gre", None: None}[looks.balanced]
    return None


def saturation_ms(frame: Frame) -> float | None:
    """The saturation time of a SASHA image; None without saturation: no time, or one beyond 10 s."""
    if frame.inversion is None or frame.inversion.value >= _NO_SATURATION_MS:
        return None
    return frame.inversion.value
