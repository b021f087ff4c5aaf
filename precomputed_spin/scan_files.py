"""Which files make up a scan: one image, the images of a series, or the frames of a 4-D file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.errors import InputError
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.polarity import fit_inversion_recovery
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.reverse_imaging import Scan, Series
from nnunet_phys.sequences import MOLLI
from nnunet_phys.sequences.description import make_sequence
from nnunet_phys.sequences.molli import PUBLISHED_SCHEMES, parse_scheme
from nnunet_phys.sequences.pulse_sequence import PulseSequence

_NAME = re.compile(r"(?P<case>.+?)(_ti(?P<time>\d+(\.\d+)?))?(_(?P<channel>\d{4}))?", re.IGNORECASE)


@dataclass(frozen=True)
class ScanFiles:
    """The files of one volume's images.

    Attributes:
        case: the case's name.
        files: name (without ending) to path, one per image, in acquisition order once a `Protocol` has resolved them;
            or one 4-D file.
        frame: of a 4-D file, the volume that is the only image; None: all of its volumes are images.
        times_ms: the numbers after `_ti` in the file names, if all have them: an index or an inversion time.
    """

    case: str
    files: dict[str, Path]
    frame: int | None = None
    times_ms: tuple[float, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.files.values())

    @property
    def geometry(self) -> Geometry:
        """Grid of one volume."""
        return Geometry.read(self.paths[0])

    @property
    def count(self) -> int:
        """How many images there are."""
        if self.frame is not None:
            return 1
        return len(self.files) if len(self.files) > 1 else self.geometry.volumes

    def ordered(self, order: list[int]) -> ScanFiles:
        """The same images in another order."""
        names = list(self.files)
        files = {names[i]: self.files[names[i]] for i in order}
        return replace(self, files=files, times_ms=tuple(self.times_ms[i] for i in order))

    def apart(self) -> list[ScanFiles]:
        """Every image as a case of its own, named after its file or volume."""
        if len(self.files) == 1:
            return [ScanFiles(f"{self.case}_t{t:02d}", self.files, frame=t) for t in range(self.count)]
        return [ScanFiles(name.removesuffix("_0000"), {name: path}) for name, path in self.files.items()]

    def read(self) -> np.ndarray:
        """All images, float32 (images, z, y, x).

        Raises:
            InputError: as `read_image`; or the files differ in geometry.
        """
        first = self.geometry
        for path in self.paths[1:]:
            other = Geometry.read(path)
            if not first.agrees(other):
                raise InputError(f"{path} differs in geometry from {self.paths[0]}. Resample the series to one grid.")
            if max(first.volumes, other.volumes) > 1:
                raise InputError(f"{path} and {self.paths[0]}: a series is one 4-D file or 3-D files, not both.")
        if len(self.files) == 1 and self.frame is None:
            return np.stack([read_image(self.paths[0], frame) for frame in range(self.count)])
        return np.stack([read_image(path, self.frame or 0) for path in self.paths])


def find_scans(files: dict[str, Path], series: bool) -> list[ScanFiles]:
    """Sort files into scans.

    Args:
        files: name, without ending, to path.
        series: each volume was imaged more than once. Files of one case belong together (`CASE_0000`, `CASE_0001`, ...
            or `CASE_ti00_0000`, `CASE_ti01_0000`, ...), as do the volumes of a 4-D file. Otherwise every file is a
            case, and so is every volume of a 4-D file (`CASE_t00`, `CASE_t01`, ...).
    """
    if series:
        groups: dict[str, list[tuple[float, int, str]]] = {}
        for name in files:
            found = _NAME.fullmatch(name)
            time = float(found["time"]) if found["time"] else -1.0
            groups.setdefault(found["case"], []).append((time, int(found["channel"] or 0), name))
        scans = []
        for case, members in sorted(groups.items()):
            times, _, names = zip(*sorted(members), strict=True)
            members_files = {name: files[name] for name in names}
            scans.append(ScanFiles(case, members_files, times_ms=times if min(times) >= 0 else ()))
        return scans
    scans = []
    for name, path in sorted(files.items()):
        whole = ScanFiles(name.removesuffix("_0000"), {name: path})
        try:
            scans.extend([whole] if whole.count == 1 else whole.apart())
        except InputError:  # told with all other faults, when its sequences are
            scans.append(whole)
    return scans


def acquisition_order(times_ms: tuple[float, ...], images: tuple[int, ...] | None = None) -> list[int]:
    """Order in which a MOLLI acquires images of these inversion times.

    Images of one heartbeat after their inversions lie closer than 300 ms, those of earlier inversions first.

    Args:
        times_ms: ascending.
        images: per inversion; by default those of the published scheme that has such beats, or else the more the
            earlier.

    Raises:
        InputError: two times of one beat are so close that a change of the heart rate may have swapped them, or
            they cannot come from so many images per inversion.
    """
    beats: list[list[int]] = []
    for i, time in enumerate(times_ms):
        if not beats or time - times_ms[i - 1] > 300:
            beats.append([])
        elif time - times_ms[i - 1] < 30:
            raise InputError(
                f"inversion times {times_ms[i - 1]:g} and {time:g} in the file names do not tell which was acquired "
                "first. Write inversion_times_ms in acquisition order into CASE.json."
            )
        beats[-1].append(i)
    found = tuple(sum(len(beat) > k for beat in beats) for k in range(max(map(len, beats))))
    if images is None:
        images = next((s for s in PUBLISHED_SCHEMES if sorted(s, reverse=True) == list(found)), found)
    sets: list[list[int]] = [[] for _ in images]
    for k, beat in enumerate(beats):
        taking = [one for one, count in zip(sets, images, strict=True) if count > k]
        if len(taking) != len(beat):
            raise InputError(
                f"inversion times {', '.join(f'{t:g}' for t in times_ms)} in the file names do not fit {images} images "
                "per inversion. Write inversion_times_ms in acquisition order into CASE.json."
            )
        for one, i in zip(taking, beat, strict=True):
            one.append(i)
    return [i for one in sets for i in one]


@dataclass(frozen=True)
class Protocol:
    """How images were made, as a user describes it for all cases.

    Attributes:
        descriptions: what `make_sequence` takes, one per sequence; they share a case's images in this order.
        times_folder: holds `CASE.json` with `inversion_times_ms` in acquisition order, for MOLLI without timing.
        single: every image of a MOLLI series is a case of its own.
    """

    descriptions: tuple[dict, ...]
    times_folder: Path
    single: bool = False

    @property
    def series(self) -> bool:
        """Whether a volume is imaged more than once."""
        return len(self.descriptions) > 1 or self.descriptions[0].get("sequence") in ("molli", "t2prep")

    def resolve(self, files: ScanFiles) -> list[tuple[ScanFiles, tuple[PulseSequence, ...]]]:
        """A case's files in acquisition order with their sequences; or, for `single`, one such pair per image.

        Raises:
            InputError: no inversion times, or another number of images than the sequences make.
        """
        marked = [_NAME.fullmatch(name)["time"] is not None for name in files.files]
        if any(marked) and (len(self.descriptions) > 1 or not all(marked)):
            raise InputError(
                f"{files.paths[0].name}, ...: _ti marks all images of one MOLLI. Number those of several sequences "
                "instead, in the protocol's order: CASE_0000, CASE_0001, ..."
            )
        own = files.count
        sequences: list[PulseSequence | None] = []
        for description in self.descriptions:
            timed = description.get("sequence") != "molli" or {"inversion_times_ms", "first_inversion_times_ms"} & set(
                description
            )
            sequences.append(make_sequence(without_gain(description)) if timed else None)
            own -= sequences[-1].image_count if timed else 0
        if sequences.count(None) > 1:
            raise InputError("several MOLLI series of one case: give each its inversion_times_ms in the protocol.")
        if None in sequences:
            place = sequences.index(None)
            description = without_gain(self.descriptions[place])
            files, times = self._times(files, own, description.get("scheme"))
            sequences[place] = make_sequence({**description, "inversion_times_ms": list(times)})
        elif isinstance(sequences[0], MOLLI) and _named(files):
            files = _ordered(files, sequences[0].inversion_times_ms, "the protocol")
        made = sum(s.image_count for s in sequences)
        if made != files.count:
            raise InputError(
                f"{files.count} images ({files.paths[0].name}, ...) where its sequences make {made}. "
                "Give all images of the series, or inversion times for those that are there."
            )
        if not self.single:
            return [(files, tuple(sequences))]
        return [(one, (replace(sequences[0], readout=i),)) for i, one in enumerate(files.apart())]

    def _times(self, files: ScanFiles, own: int, scheme: str | None) -> tuple[ScanFiles, tuple[float, ...]]:
        """A MOLLI's files in acquisition order and its `own` inversion times, from its JSON or its file names."""
        path = self.times_folder / f"{files.case}.json"
        if path.is_file():
            try:
                times = tuple(float(t) for t in json.loads(path.read_text())["inversion_times_ms"])
            except (ValueError, TypeError, KeyError):
                raise InputError(f"{path} holds no list inversion_times_ms. Write one, in ms.") from None
            if len(times) != own:
                raise InputError(
                    f"{len(times)} inversion times in {path} for {own} images. Give one per image, in acquisition "
                    "order."
                )
            if _named(files):
                files = _ordered(files, times, str(path))
        elif _named(files):
            images = None
            if scheme is not None:
                try:
                    images, _ = parse_scheme(scheme)
                except ValueError as error:
                    raise InputError(f"{error}.") from None
            files = files.ordered(acquisition_order(files.times_ms, images))
            times = files.times_ms
        else:
            names = ", or put them into the file names (CASE_ti120_0000)" if len(self.descriptions) == 1 else ""
            raise InputError(
                f'no inversion times. Write {path} with {{"inversion_times_ms": [...]}} in acquisition order{names}.'
            )
        if max(times) < 30:
            raise InputError(f"inversion times up to {max(times):g} look like seconds: give ms.")
        return files, times

    @property
    def same_gain(self) -> tuple[bool, ...]:
        """For each sequence, whether its images share the gain of the first's."""
        return tuple(bool(d.get("same_gain", False)) for d in self.descriptions)


def _named(files: ScanFiles) -> bool:
    """Whether the numbers in the file names are inversion times and not indices."""
    return bool(files.times_ms) and max(files.times_ms) > files.count


def _ordered(files: ScanFiles, times_ms: tuple[float, ...], where: str) -> ScanFiles:
    """Files named after inversion times in the order of these times, which stand in `where`."""
    order = [int(np.abs(np.subtract(files.times_ms, t)).argmin()) for t in times_ms]
    same = sorted(order) == list(range(files.count))
    if not same or max(abs(np.subtract(times_ms, np.take(files.times_ms, order)))) > 1:
        raise InputError(f"inversion times in {where} are not those in the file names. Mend either.")
    return files.ordered(order)


def without_gain(description: dict) -> dict:
    """What of a description concerns the sequence."""
    return {key: value for key, value in description.items() if key != "same_gain"}


def load_scan(
    files: ScanFiles,
    sequences: tuple[PulseSequence, ...],
    same_gain: tuple[bool, ...] | None = None,
    label_path: Path | None = None,
    codes: dict[str, int] | None = None,
) -> Scan:
    """Read a scan; a MOLLI series of magnitudes gets its polarity back (`fit_inversion_recovery`).

    Args:
        files: where the images are.
        sequences: how they were made.
        same_gain: for each sequence, whether its images share the gain of the first's (default: none).
        label_path: label image on the same grid.
        codes: of the structures in it.

    Raises:
        InputError: as `ScanFiles.read`.
    """
    images, series, start = files.read(), [], 0
    for sequence, shared in zip(sequences, same_gain or (False,) * len(sequences), strict=True):
        part = images[start : start + sequence.image_count]
        start += len(part)
        signed = False
        if isinstance(sequence, MOLLI):
            # Interpolation leaves a few slightly negative pixels; only whole regions are meant.
            signed = float((part < -0.05 * np.quantile(np.abs(part), 0.99)).mean()) > 0.01
            if len(part) >= 4 and not signed:
                fit = fit_inversion_recovery(torch.from_numpy(np.abs(part)), sequence.inversion_times_ms)
                part, signed = np.abs(part) * fit.polarity.numpy(), True
        series.append(Series(sequence, part, signed, shared))
    pixel_mm = files.geometry.pixel_mm
    weights = None if label_path is None else tissue_weights(read_image(label_path), codes, pixel_mm)
    return Scan(files.case, tuple(series), pixel_mm, weights)
