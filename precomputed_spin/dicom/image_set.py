"""The files that a series becomes: one per readout, with the times and the protocol that `fit` and `reverse` read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnunet_phys.errors import InputError, counted
from nnunet_phys.image_files import Geometry
from nnunet_phys.precomputed_spin.dicom.folder import DicomSeries
from nnunet_phys.precomputed_spin.dicom.frame import Frame
from nnunet_phys.precomputed_spin.dicom.image_times import ECHO_TIME, timed_frames, where_stated
from nnunet_phys.precomputed_spin.dicom.kinds import FOLDERS, tell_sequence
from nnunet_phys.precomputed_spin.dicom.overrides import Override
from nnunet_phys.precomputed_spin.dicom.stack import Slices
from nnunet_phys.precomputed_spin.scan_protocol import ScanProtocol, SequenceDescription
from nnunet_phys.precomputed_spin.series_times import TIME_NAMES, TIMES
from nnunet_phys.sequences import MOLLI, SASHA

REFERENCES = "references"
"""Folder for what the scanner computed, and for phase images."""
_SAME_TIME_MS = 1.0
"""Largest difference of the times of slices that are fitted together. Assumed: 0.1 % of T1 at most."""
_LONGEST_ECHO_SPACING_MS = 10.0
"""A longer RepetitionTime is that of the shot or the heartbeat. Siemens's are (the ShMOLLI phantom has 379.4 ms with an
echo spacing of 2.14 ms; see also rordenlab/dcm2niix, issue 439); the echo spacing of cardiac sequences is 2-8 ms."""
_LONGEST_STIR_MS = 300.0
"""A longer inversion time of a spin echo is that of double inversion. Assumed: STIR nulls fat at 140-220 ms."""
_RR_MS = (250.0, 3000.0)
"""R-R intervals that can be a heart's; scanners also write 0."""
_SCHEME = re.compile(r"(?<![\d(])[1-9](?:\(\d{1,2}s?\)[1-9])+(?!\d)")


@dataclass(frozen=True)
class ImageSet:
    """Images of one case, and what is known of them.

    Attributes:
        folder: the folder's name, such as `molli`.
        case: the case's name.
        geometry: their grid.
        files: name, without ending, to volumes, each of which is its images by slice; several volumes make a 4-D file.
        content: of CASE.json.
    """

    folder: str
    case: str
    geometry: Geometry
    files: dict[str, tuple[tuple[Frame, ...], ...]]
    content: dict[str, Any]

    @property
    def frames(self) -> list[Frame]:
        """The images of all files, file by file, each from the first to the last slice."""
        return [frame for volumes in self.files.values() for volume in volumes for frame in volume]

    @property
    def summary(self) -> str:
        """Its name, images and times in a line."""
        times = next((self.content[name] for name in TIME_NAMES.values() if name in self.content), None)
        told = "" if times is None else f", {', '.join('none' if time is None else f'{time:g}' for time in times)} ms"
        where = f" ({self.content['times_from']})" if "times_from" in self.content else ""
        return f"{self.case}, {counted(sum(map(len, self.files.values())), 'image')}{told}{where}"

    @property
    def voxels(self) -> int:
        """Of all files together."""
        return sum(len(volumes) for volumes in self.files.values()) * int(np.prod(self.geometry.size))


def image_sets(series: DicomSeries, case: str, override: Override | None = None) -> list[ImageSet]:
    """The image sets of a series: its readouts, and what the scanner computed or kept of their phase as references.

    Args:
        series: the series.
        case: its case's name. Where slices were read out at different times, or unevenly spaced, each becomes a case,
            CASE_sl00, CASE_sl01, ...
        override: what the user says of it.

    Raises:
        InputError: one line per fault: it cannot be told what the series is, times are missing or doubled, or its
            images make no stack.
    """
    override = override or Override()
    frames = [frame for frame in series.frames if not frame.colour]
    _check_doubled(frames)
    readouts = [frame for frame in frames if frame.part == "magnitude"]
    if override.sequence is not None and not readouts:
        readouts = frames
    sets: list[ImageSet] = []
    if readouts:
        sequence = override.sequence or tell_sequence(readouts)
        _check_override(sequence, override)
        slices = Slices.of(readouts)
        if FOLDERS[sequence] in TIME_NAMES:
            sets += _series_sets(sequence, slices, case, override)
        else:
            sets += _single_sets(sequence, slices, case, override)
    return [*sets, *_reference_sets([frame for frame in frames if frame not in readouts], case)]


def _check_override(sequence: str, override: Override) -> None:
    """Refuse times of another sequence."""
    taken = TIME_NAMES.get(FOLDERS[sequence])
    for name in override.times_ms:
        if name != taken:
            remedy = f"Give {taken}" if taken else "Leave them out"
            raise InputError(f"{name} in -protocol are no times of {sequence}. {remedy}, or name another sequence.")


def _check_readouts(slices: Slices, override: Override) -> None:
    """Refuse to keep more images than there are."""
    count = len(slices.frames[0])
    if override.readouts is not None and override.readouts > count:
        raise InputError(f"readouts in -protocol is {override.readouts}, but each slice has {counted(count, 'image')}.")


def _check_doubled(frames: Sequence[Frame]) -> None:
    """Refuse an image that is there twice."""
    seen: dict[str, Frame] = {}
    for frame in frames:
        if frame.instance in seen:
            raise InputError(f"{frame.file} and {seen[frame.instance].file} are the same image. Remove one of them.")
        seen[frame.instance] = frame


def _series_sets(sequence: str, slices: Slices, case: str, override: Override) -> Iterator[ImageSet]:
    """The sets of a series with one time per image.

    Raises:
        InputError: slices have different numbers of images; or as `timed_frames`.
    """
    slices.check_counts()
    _check_readouts(slices, override)
    timed = [timed_frames(sequence, list(group), override) for group in slices.frames]
    firsts = timed[0][1]
    together = not slices.faults and all(
        (a is None) == (b is None) and abs((a or 0) - (b or 0)) < _SAME_TIME_MS
        for _, times in timed
        for a, b in zip(firsts, times, strict=True)
    )
    if together:
        slices = replace(slices, frames=tuple(tuple(group) for group, _ in timed))
        yield _series_set(sequence, slices, firsts, case, override)
        return
    for z, (alone, (group, times)) in enumerate(zip(slices.apart(), timed, strict=True)):
        ordered = replace(alone, frames=(tuple(group),))
        yield _series_set(sequence, ordered, times, f"{case}_sl{z:02d}", override)


def _series_set(
    sequence: str, slices: Slices, times: Sequence[float | None], case: str, override: Override
) -> ImageSet:
    """The set of slices that were read out at the same times; their images are in acquisition order."""
    name, first = TIME_NAMES[FOLDERS[sequence]], slices.frames[0][0]
    where = "-protocol" if name in override.times_ms else where_stated(sequence, slices.frames[0])
    if where == ECHO_TIME or len({frame.echo_ms for frame in slices.frames[0]}) > 1:
        first = replace(first, echo_ms=None)  # it is not that of the read-out
    TIMES[FOLDERS[sequence]](**{name: tuple(times)}).check(len(times), where)
    acquisition = _acquisition(first)
    scheme = None
    if sequence == "molli":
        molli = _molli(first, tuple(time for time in times if time is not None))
        if molli is not None:
            scheme = molli.scheme
            acquisition = {**acquisition, "scheme": scheme}
            acquisition.setdefault("rr_interval_ms", molli.rr_ms)
    suffix = "_ti{:02d}_0000" if sequence == "molli" else "_{:04d}"
    files: dict[str, tuple[tuple[Frame, ...], ...]] = {
        case + suffix.format(k): (tuple(group[k] for group in slices.frames),) for k in range(len(times))
    }
    content = {
        name: list(times),
        "protocol": _checked(_series_protocol(sequence, times, scheme, first, override)),
        "acquisition": acquisition,
        "times_from": where,
    }
    return ImageSet(FOLDERS[sequence], case, slices.geometry, files, content)


def _single_sets(sequence: str, slices: Slices, case: str, override: Override) -> Iterator[ImageSet]:
    """One set; of LGE with several inversion times, one per slice."""
    times = [group[0].inversion.value for group in slices.frames if group[0].inversion is not None]
    if sequence.startswith("lge") and times and max(times) - min(times) >= _SAME_TIME_MS:
        for z, alone in enumerate(slices.apart()):
            yield _single_set(sequence, alone, f"{case}_sl{z:02d}", override)
    else:
        yield _single_set(sequence, slices, case, override)


def _single_set(sequence: str, slices: Slices, case: str, override: Override) -> ImageSet:
    if slices.faults:
        raise InputError(*slices.faults)
    is_cine = FOLDERS[sequence] == "cine"
    slices.check_counts()
    _check_readouts(slices, override)
    count = len(slices.frames[0])
    if count > 1 and not is_cine:
        raise InputError(
            f"it has {count} images of each slice where {sequence} makes one. Move those that belong together into a "
            "folder of their own."
        )
    groups = [sorted(group, key=lambda frame: (frame.trigger_ms or 0.0, frame.order)) for group in slices.frames]
    volumes = tuple(tuple(group[k] for group in groups) for k in range(count))[: override.readouts]
    first = groups[0][0]
    content: dict[str, Any] = {
        "protocol": _checked([_parameters(sequence, first, override)]),
        "acquisition": _acquisition(first),
    }
    if len(volumes) > 1:
        content["trigger_times_ms"] = [frame.trigger_ms for frame in groups[0][: len(volumes)]]
    geometry = replace(slices.geometry, volumes=len(volumes))
    return ImageSet(FOLDERS[sequence], case, geometry, {f"{case}_0000": volumes}, content)


def _reference_sets(frames: Sequence[Frame], case: str) -> Iterator[ImageSet]:
    """Maps and parts of the complex images, one file each."""
    if not frames:
        return
    slices = Slices.of(frames)
    together = not slices.faults and len({tuple(sorted(_parts(group))) for group in slices.frames}) == 1
    for z, part in enumerate([slices] if together else slices.apart()):
        name = case if together else f"{case}_sl{z:02d}"
        files: dict[str, tuple[tuple[Frame, ...], ...]] = {}
        for kind, count in Counter(_parts(part.frames[0])).items():
            of_slices = [[frame for frame in group if frame.part == kind] for group in part.frames]
            for k in range(count):
                number = "" if count == 1 else f"{k:02d}"
                files[f"{name}_{kind}{number}"] = (tuple(group[k] for group in of_slices),)
        content = {"acquisition": _acquisition(part.frames[0][0])}
        yield ImageSet(REFERENCES, name, part.geometry, files, content)


def _parts(frames: Sequence[Frame]) -> list[str]:
    """What each of the images of a slice is, such as a T1 map."""
    return [frame.part for frame in frames]


def _acquisition(frame: Frame) -> dict[str, Any]:
    """What the header states beside the times, without what is missing."""
    rr_ms = frame.rr_ms if frame.rr_ms and _RR_MS[0] <= frame.rr_ms <= _RR_MS[1] else None
    content = {
        "vendor": frame.vendor or None,
        "model": frame.model or None,
        "field_strength_t": frame.field_t,
        "series_number": frame.number,
        "flip_angle_deg": frame.flip_angle_deg,
        "repetition_time_ms": frame.repetition_ms,
        "echo_time_ms": frame.echo_ms,
        "rr_interval_ms": rr_ms,
    }
    return {name: value for name, value in content.items() if value is not None}


def _molli(frame: Frame, times_ms: tuple[float, ...]) -> MOLLI | None:
    """The MOLLI with these times, by the scheme that its name states or else a published one; None if none fits."""
    named = _SCHEME.findall(re.sub(r"(\d)b", r"\1", frame.names))
    for scheme in (*named, None):
        try:
            return MOLLI.from_inversion_times(times_ms, **({} if scheme is None else {"scheme": scheme}))
        except ValueError:
            continue
    return None


def _series_protocol(
    sequence: str, times: Sequence[float | None], scheme: str | None, frame: Frame, override: Override
) -> list[dict[str, Any]]:
    """How `reverse` is told about a series: as in its -protocol."""
    parameters = _parameters(sequence, frame, override)
    if sequence == "molli":  # `reverse` takes the times from inversion_times_ms, which `fit` reads, too
        return [{"sequence": "molli", **({} if scheme is None else {"scheme": scheme}), **parameters}]
    if sequence != "sasha":
        return [{**parameters, "t2_prep_ms": list(times)}]
    tr_ms, centre = parameters.get("tr_ms", SASHA.tr_ms), parameters.get("centre_pulse", SASHA.centre_pulse)
    to_centre_ms = (centre + 1) * tr_ms  # the header's time ends at the centre of k-space, SASHA's at the shot's start
    return [
        {
            **parameters,
            "ts_ms": None if time is None else round(time - to_centre_ms, 3),
            **({"same_gain": True} if k else {}),
        }
        for k, time in enumerate(times)
    ]


def _parameters(sequence: str, frame: Frame, override: Override) -> dict[str, Any]:
    """A sequence's parameters as far as the header states them, and what the user says of them."""
    balanced = sequence in ("molli", "sasha", "t2prep", "lge_bssfp", "bssfp")
    tr_ms = frame.repetition_ms if (frame.repetition_ms or 0) <= _LONGEST_ECHO_SPACING_MS else None
    if balanced and not tr_ms and frame.echo_ms and frame.echo_ms <= _LONGEST_ECHO_SPACING_MS / 2:
        tr_ms = 2 * frame.echo_ms  # bSSFP is read out in the middle of TR
    te_ms = None if balanced else frame.echo_ms
    stated: dict[str, Any] = {"flip_angle_deg": frame.flip_angle_deg, "tr_ms": tr_ms or None, "te_ms": te_ms}
    inversion_ms = None if frame.inversion is None else frame.inversion.value
    if sequence == "black_blood":
        is_stir = inversion_ms is not None and inversion_ms <= _LONGEST_STIR_MS
        stated = {
            "tr_ms": frame.repetition_ms,
            "te_ms": te_ms,
            "inversion_time_ms": inversion_ms if is_stir else None,
        }
    elif sequence.startswith("lge"):
        stated |= {"inversion_time_ms": inversion_ms, "rr_ms": _acquisition(frame).get("rr_interval_ms")}
    known = {name: value for name, value in stated.items() if value is not None}
    return {"sequence": sequence, **known, **override.parameters}


def _checked(protocol: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A protocol that `reverse` takes.

    Raises:
        InputError: a sequence refuses its parameters.
    """
    try:
        ScanProtocol(tuple(SequenceDescription.of(entry, "its protocol") for entry in protocol))
    except InputError as error:
        raise InputError(*(f"{fault} Correct it with -protocol." for fault in error.faults)) from None
    return protocol
