"""Modified Look-Locker inversion recovery: the readouts of cardiac T1 mapping."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import accumulate, islice, pairwise
from typing import Any, ClassVar

import torch

from nnunet_phys.quantities import (
    COUNT,
    EFFICIENCY,
    FLIP_ANGLE,
    HEARTBEAT,
    RECOVERY_TIME,
    REPETITION_TIME,
    Range,
    Whole,
    described,
    number,
    span,
)
from nnunet_phys.sequences.blocks import (
    Affine,
    decay,
    inversion,
    recovery,
    single_shot_bssfp,
)
from nnunet_phys.sequences.checks import check_centre
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, whole_number
from nnunet_phys.sequences.pulse_sequence import BalancedSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState

PUBLISHED_SCHEMES = {(5, 3): "5(3)3", (4, 3, 2): "4(1)3(1)2", (3, 3, 5): "3(3)3(3)5", (5, 1, 1): "5(1)1(1)1"}
"""Published schemes by their images per inversion."""


def parse_scheme(scheme: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Images per inversion and the pauses between: '5(3s)3' -> (5, 3), ('3s',).

    Raises:
        ValueError: the text is not such a scheme.
    """
    if not re.fullmatch(r"[1-9]\d?(\(\d{1,3}(\.\d+)?s?\)[1-9]\d?){0,9}", scheme):
        raise ValueError(
            f"{scheme!r} is not a MOLLI scheme: write images(pause)images, such as 5(3)3 in beats or 5(3s)3 in seconds"
        )
    parts = re.split(r"[()]", scheme)
    return tuple(int(part) for part in parts[::2]), tuple(parts[1::2])


@dataclass(frozen=True)
class MOLLI(BalancedSequence):
    """Single-shot bSSFP images, one per heartbeat, after each of several inversions.

    The sequence of Messroghli et al. 2004, Magn Reson Med 52:141, as a chain of events: inversion, recovery,
    `single_shot_bssfp`, recovery to the next beat, and so on. Agrees with `bloch` within 0.2 % of the maximum
    (T2 > 25 ms, flip angle 25-50 degrees).

    In 'n(p)m', p beats pass without an image: p + 1 beats from the start of the last image to the start of the next
    set. With 'ps', it is one beat and p seconds (an assumption: a scanner would wait for the next trigger).

    Attributes:
        scheme: images per inversion and pauses, such as '5(3)3', '5(3s)3', '4(1)3(1)2'.
        flip_angle_deg: a number or broadcastable to the maps.
        tr_ms: echo spacing.
        pulses: pulses of one shot.
        centre_pulse: the pulse, from 0, at the centre of k-space.
        rr_ms: duration of a heartbeat.
        rr_intervals_ms: measured intervals between neighbouring images of a set, set after set, where they differ from
            beat to beat; `rr_ms` is then used for the pauses only. See `from_inversion_times`.
        first_inversion_times_ms: per set, from the inversion to the first image's centre of k-space; surplus
            entries are ignored.
        inversion_efficiency: 1 is a perfect inversion.
        readout: return only this readout (from 0, in acquisition order); None: return all readouts.

    Raises:
        ValueError: a flip angle outside 0-180 degrees or looking like radians, a scheme that cannot be read,
            too few inversion times or beats, or a timing that does not fit into the heartbeat.
    """

    name: ClassVar[str] = "molli"

    scheme: str = "5(3)3"
    flip_angle_deg: NumberOrMap = field(default=35.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=2.7, metadata=number(REPETITION_TIME))
    pulses: int = 60
    centre_pulse: int = 25
    rr_ms: float = field(default=1000.0, metadata=number(HEARTBEAT))
    first_inversion_times_ms: tuple[float, ...] = field(default=(120.0, 200.0), metadata=number(RECOVERY_TIME))
    inversion_efficiency: float = field(default=0.96, metadata=number(EFFICIENCY))
    readout: int | None = None
    rr_intervals_ms: tuple[float, ...] | None = field(default=None, metadata=number(HEARTBEAT))

    def __post_init__(self) -> None:
        super().__post_init__()
        images, _ = parse_scheme(self.scheme)
        times = self.first_inversion_times_ms[: len(images)]
        check_centre(self.pulses, self.centre_pulse)
        if len(times) < len(images):
            raise ValueError(
                f"scheme {self.scheme} has {len(images)} sets, but first_inversion_times_ms has {len(times)} "
                "entries: give one per set"
            )
        early = [time for time in times if not time >= self._to_centre_ms]
        if early:
            raise ValueError(
                f"inversion time {early[0]:g} ms is too early: from the start of a shot to centre_pulse it takes "
                f"{self._to_centre_ms:g} ms"
            )
        if self.rr_intervals_ms is not None and len(self.rr_intervals_ms) != sum(images) - len(images):
            raise ValueError(
                f"scheme {self.scheme} has {sum(images) - len(images)} intervals between images of one set, but "
                f"rr_intervals_ms has {len(self.rr_intervals_ms)}"
            )
        beats, gaps = (self.rr_ms, *(self.rr_intervals_ms or ())), (gap for gap, _, _ in self._sets)
        if not all(beat >= self._shot_ms for beat in beats) or not all(gap >= 0 for gap in gaps):
            raise ValueError(
                f"shot ({self._shot_ms:g} ms) and inversion do not fit into rr_ms = {self.rr_ms:g} or rr_intervals_ms"
            )
        if self.readout is not None and not 0 <= self.readout < sum(images):
            raise ValueError(f"readout must lie between 0 and {sum(images) - 1}, got {self.readout}")

    @classmethod
    def from_inversion_times(cls, inversion_times_ms: Sequence[float], **protocol: Any) -> MOLLI:
        """The series that was read out at these inversion times.

        The heartbeats between images of a set follow from the times.

        Args:
            inversion_times_ms: inversion times of all images in acquisition order.
            protocol: further attributes. Without `scheme`, it is the published scheme that the times fit (5(3)3,
                4(1)3(1)2, 3(3)3(3)5 or 5(1)1(1)1), or a single set of rising times. Without `rr_ms`, it is the mean
                interval.

        Raises:
            ValueError: the times do not fit the scheme, or any published one; or as for the class.
        """
        times = tuple(float(time) for time in inversion_times_ms)
        if not times:
            raise ValueError("inversion_times_ms is empty: give one per image")
        scheme = protocol.get("scheme")
        if scheme is None:
            scheme = _scheme_of(times)
        sets = _sets_of(times, parse_scheme(str(scheme))[0])
        if sets is None:
            raise ValueError(
                f"inversion times {_listed(times)} ms do not fit scheme {scheme}. Give them in acquisition order, and "
                "the scheme that was scanned"
            )
        beats = tuple(later - earlier for times_of_set in sets for earlier, later in pairwise(times_of_set))
        mean = sum(beats) / len(beats) if beats else 1000.0
        return cls(
            **{"rr_ms": mean, **protocol, "scheme": scheme, "rr_intervals_ms": beats},
            first_inversion_times_ms=tuple(times_of_set[0] for times_of_set in sets),
        )

    @property
    def inversion_times_ms(self) -> tuple[float, ...]:
        """From its inversion to the centre of k-space of every readout, in acquisition order."""
        starts = self.first_inversion_times_ms
        return tuple(
            t
            for first, (_, _, beats) in zip(starts, self._sets, strict=False)
            for t in accumulate(beats, initial=first)
        )

    @property
    def is_series(self) -> bool:
        return self.readout is None

    @property
    def image_count(self) -> int:
        return sum(parse_scheme(self.scheme)[0]) if self.is_series else 1

    def single_images(self) -> list[MOLLI]:
        """One sequence per readout."""
        if not self.is_series:
            return [self]
        return [replace(self, readout=number) for number in range(self.image_count)]

    @property
    def _to_centre_ms(self) -> float:
        return (self.centre_pulse + 1) * self.tr_ms

    @property
    def _shot_ms(self) -> float:
        """From a shot's start to its last echo, where recovery sets in."""
        return self.pulses * self.tr_ms

    @property
    def _sets(self) -> list[tuple[float, float, tuple[float, ...]]]:
        """Per set: ms from the last shot to the inversion, ms from there to the first shot, beats between images."""
        images, pauses = parse_scheme(self.scheme)
        beats = iter(self.rr_intervals_ms or (self.rr_ms,) * sum(images))
        sets = []
        for first, n, pause in zip(self.first_inversion_times_ms, images, ("", *pauses), strict=False):
            lead = first - self._to_centre_ms
            if pause:
                pause_ms = float(pause[:-1]) * 1000 if pause.endswith("s") else float(pause) * self.rr_ms
                gap = self.rr_ms + pause_ms - self._shot_ms - lead
            else:
                gap = 0.0
            sets.append((gap, lead, tuple(islice(beats, n - 1))))
        return sets

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signed signal, readouts first: (readouts, *maps.shape), or maps.shape where `readout` names one."""
        r1, r2 = 1 / maps.t1, 1 / maps.t2
        echo, remainder = single_shot_bssfp(r1, r2, self.flip_angle_deg, self.tr_ms, self.pulses, self.centre_pulse)
        before_shots = self._before_shots(r1, remainder)
        if self.readout is not None:
            return maps.pd * echo(next(islice(before_shots, self.readout, None)))
        return torch.stack([maps.pd * echo(mz) for mz in before_shots])

    def _before_shots(self, r1: torch.Tensor, remainder: Affine) -> Iterator[torch.Tensor]:
        """Longitudinal magnetisation just before each shot, computed one shot at a time."""
        mz: NumberOrMap = 1.0

        @cache
        def beat(duration_ms: float) -> Affine:
            to_next = decay(r1, duration_ms - self._shot_ms)
            return Affine(recovery(remainder.offset, to_next), remainder.slope * to_next)

        for index, (gap, lead, beats) in enumerate(self._sets):
            if index > 0:
                mz = recovery(remainder(mz), decay(r1, gap))
            mz = recovery(inversion(mz, self.inversion_efficiency), decay(r1, lead))
            yield mz
            for duration_ms in beats:
                mz = beat(duration_ms)(mz)
                yield mz


def _scheme_of(times_ms: tuple[float, ...]) -> str:
    """The published scheme that inversion times in acquisition order fit, or that of a single set."""
    for images, scheme in PUBLISHED_SCHEMES.items():
        if _sets_of(times_ms, images) is not None:
            return scheme
    if _sets_of(times_ms, (len(times_ms),)) is not None:
        return str(len(times_ms))
    published = ", ".join(PUBLISHED_SCHEMES.values())
    raise ValueError(
        f"inversion times {_listed(times_ms)} ms fit no published scheme ({published}). Give them in acquisition "
        "order, or else the scheme, too"
    )


def _sets_of(times_ms: tuple[float, ...], images: tuple[int, ...]) -> list[tuple[float, ...]] | None:
    """Inversion times in acquisition order, inversion by inversion; None where they do not fit these numbers of images.

    Times rise within a set, and every set starts within the first heartbeat after its inversion: before the second
    image of any other set.
    """
    if sum(images) != len(times_ms):
        return None
    remaining = iter(times_ms)
    sets = [tuple(islice(remaining, count)) for count in images]
    if any(later <= earlier for members in sets for earlier, later in pairwise(members)):
        return None
    latest_start = min((members[1] for members in sets if len(members) > 1), default=float("inf"))
    return sets if max(members[0] for members in sets) < latest_start else None


def _listed(times_ms: tuple[float, ...]) -> str:
    return ", ".join(f"{time:g}" for time in times_ms)


@dataclass(frozen=True)
class MOLLIRanges(ProtocolRanges):
    """Single MOLLI readouts, all equally likely.

    The ranges lie around flip angle 35 degrees, first inversion time 100 ms and steps of 80 ms (Messroghli et al., JMRI
    26:1081, 2007). They include the schemes and the 50 degrees of McDiarmid et al. (QIMS 5:503, 2015), and ShMOLLI
    (Piechnik et al., JCMR 12:69, 2010).
    """

    sequence = MOLLI

    schemes: tuple[str, ...] = field(
        default=("5(3)3", "5(3s)3", "4(1)3(1)2", "3(3)3(3)5", "5(1)1(1)1"),
        metadata=described(
            "schemes: images per inversion, and the pauses between them in beats, or in seconds as in 5(3s)3"
        ),
    )
    flip_angle_deg: Range = field(default=(20.0, 50.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(2.3, 3.0), metadata=span(REPETITION_TIME, "echo spacing of a shot"))
    pulses: Whole = field(default=(45, 75), metadata=span(COUNT, "pulses of a shot"))
    centre_pulse: Whole = field(default=(10, 30), metadata=span(COUNT, "the pulse at the centre of k-space, from 0"))
    rr_ms: Range = field(default=(600.0, 1200.0), metadata=span(HEARTBEAT, "heartbeat"))
    first_inversion_time_ms: Range = field(
        default=(90.0, 130.0),
        metadata=span(RECOVERY_TIME, "inversion time of the first image; later where the shot itself takes longer"),
    )
    inversion_step_ms: float = field(
        default=80.0, metadata=number(RECOVERY_TIME, "what each further inversion adds to that time")
    )
    inversion_efficiency: Range = field(
        default=(0.88, 1.0), metadata=span(EFFICIENCY, "efficiency of the inversion; 1 is perfect")
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> MOLLI:
        """See `ProtocolRanges`."""
        series = self.draw_series(rng)
        return replace(series, readout=whole_number(rng, 0, series.image_count - 1))

    def draw_series(self, rng: Rng) -> MOLLI:
        """All readouts of one protocol.

        Raises:
            ValueError: no schemes.
        """
        if not self.schemes:
            raise ValueError("schemes is empty: name at least one, such as 5(3)3")
        scheme = self.schemes[whole_number(rng, 0, len(self.schemes) - 1)]
        sets, _ = parse_scheme(scheme)
        tr_ms = rng.uniform(*self.tr_ms)
        centre_pulse = whole_number(rng, *self.centre_pulse)
        first = max(rng.uniform(*self.first_inversion_time_ms), (centre_pulse + 1) * tr_ms)
        return MOLLI(
            scheme=scheme,
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            pulses=whole_number(rng, *self.pulses),
            centre_pulse=centre_pulse,
            rr_ms=rng.uniform(*self.rr_ms),
            first_inversion_times_ms=tuple(first + number * self.inversion_step_ms for number in range(len(sets))),
            inversion_efficiency=rng.uniform(*self.inversion_efficiency),
        )
