"""Which files make up a scan: one image, the images of a series, or the frames of a 4-D file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.errors import InputError
from nnunet_phys.mapping import fit_inversion_recovery
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.likelihood import Sequence, signals
from nnunet_phys.precomputed_spin.reverse_imaging import Scan, Series
from nnunet_phys.precomputed_spin.store import Geometry, read_image
from nnunet_phys.protocol import make_sequence
from nnunet_phys.sequences import MOLLI
from nnunet_phys.spin import SpinMaps

_NAME = re.compile(r"(?P<case>.+?)(_ti(?P<time>\d+(\.\d+)?))?(_(?P<channel>\d{4}))?", re.IGNORECASE)


@dataclass(frozen=True)
class ScanFiles:
    """The files of one volume's images.

    Attributes:
        case: the case's name.
        paths: one file per image in acquisition order; or one 4-D file.
        frame: of a 4-D file, the volume that is the only image; None: all of its volumes are images.
        times_ms: the numbers after `_ti` in the file names, if they have them: an index or an inversion time.
    """

    case: str
    paths: tuple[Path, ...]
    frame: int | None = None
    times_ms: tuple[float, ...] = ()

    @property
    def geometry(self) -> Geometry:
        """Grid of one volume."""
        return Geometry.read(self.paths[0])

    @property
    def count(self) -> int:
        """How many images there are."""
        if self.frame is not None:
            return 1
        return len(self.paths) if len(self.paths) > 1 else self.geometry.volumes

    def apart(self) -> list[ScanFiles]:
        """Every image as a case of its own, named after its file or volume."""
        if len(self.paths) == 1:
            return [ScanFiles(f"{self.case}_t{t:02d}", self.paths, frame=t) for t in range(self.count)]
        return [ScanFiles(p.name.partition(".")[0].removesuffix("_0000"), (p,)) for p in self.paths]

    def read(self) -> np.ndarray:
        """All images, float32 (images, z, y, x).

        Raises:
            InputError: as `read_image`; or the files differ in geometry.
        """
        first = self.geometry
        for path in self.paths[1:]:
            if not first.agrees(Geometry.read(path)):
                raise InputError(f"{path} differs in geometry from {self.paths[0]}. Resample the series to one grid.")
        if len(self.paths) == 1 and self.frame is None and self.count > 1:
            return np.stack([read_image(self.paths[0], frame) for frame in range(self.count)])
        return np.stack([read_image(path, self.frame or 0) for path in self.paths])


def find_scans(paths: Iterable[Path], ending: str, series: bool) -> list[ScanFiles]:
    """Sort files into scans.

    Args:
        paths: image files.
        ending: which they share, with the dot.
        series: each volume was imaged more than once. Files of one case belong together (`CASE_0000`, `CASE_0001`, ...
            or `CASE_ti00_0000`, `CASE_ti01_0000`, ...), as do the volumes of a 4-D file. Otherwise every file is a
            case, and so is every volume of a 4-D file (`CASE_t00`, `CASE_t01`, ...).
    """
    if series:
        groups: dict[str, list[tuple[float, int, Path]]] = {}
        for path in paths:
            found = _NAME.fullmatch(path.name[: -len(ending)])
            time = float(found["time"]) if found["time"] else -1.0
            groups.setdefault(found["case"], []).append((time, int(found["channel"] or 0), path))
        scans = []
        for case, members in sorted(groups.items()):
            times, _, files = zip(*sorted(members), strict=True)
            scans.append(ScanFiles(case, files, times_ms=times if min(times) >= 0 else ()))
        return scans
    scans = []
    for path in sorted(paths):
        case = path.name[: -len(ending)].removesuffix("_0000")
        whole = ScanFiles(case, (path,))
        try:
            scans.extend([whole] if whole.count == 1 else whole.apart())
        except InputError:  # told with all other faults, when images are checked
            scans.append(whole)
    return scans


def in_acquisition_order(files: ScanFiles) -> ScanFiles:
    """The same series, sorted from inversion times in its file names to the order in which a MOLLI acquires them.

    Images of one heartbeat after their inversions lie closer than 300 ms; the first of each beat belong to the first
    inversion, and so on.
    """
    beats: list[list[int]] = []
    for i, time in enumerate(files.times_ms):
        if not beats or time - files.times_ms[i - 1] > 300:
            beats.append([])
        beats[-1].append(i)
    order = [beat[k] for k in range(max(map(len, beats))) for beat in beats if k < len(beat)]
    return replace(files, paths=tuple(files.paths[i] for i in order), times_ms=tuple(files.times_ms[i] for i in order))


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

    def resolve(self, files: ScanFiles) -> list[tuple[ScanFiles, tuple[Sequence, ...]]]:
        """A case's files in acquisition order with their sequences; or, for `single`, one such pair per image.

        Raises:
            InputError: no inversion times, or another number of images than the sequences make.
        """
        descriptions, sequences = [dict(d) for d in self.descriptions], []
        for description in descriptions:
            timing = {"inversion_times_ms", "scheme", "first_inversion_times_ms"}
            if description.get("sequence") == "molli" and not timing & set(description):
                files, description["inversion_times_ms"] = self._times(files)
            sequences.append(make_sequence(description))
        made = sum(image_count(s) for s in sequences)
        if made != files.count:
            raise InputError(
                f"{files.count} images ({files.paths[0].name}, ...) where its sequences make {made}. "
                "Give all images of the series, or inversion times for those that are there."
            )
        if not self.single:
            return [(files, tuple(sequences))]
        (sequence,) = sequences
        return [(one, (replace(sequence, readout=i),)) for i, one in enumerate(files.apart())]

    def _times(self, files: ScanFiles) -> tuple[ScanFiles, tuple[float, ...]]:
        """A MOLLI's files in acquisition order and their inversion times, from its JSON or its file names."""
        path = self.times_folder / f"{files.case}.json"
        if path.is_file():
            try:
                times = tuple(float(t) for t in json.loads(path.read_text())["inversion_times_ms"])
            except (ValueError, TypeError, KeyError):
                raise InputError(f"{path} holds no list inversion_times_ms. Write one, in ms.") from None
            if len(times) != files.count:
                raise InputError(
                    f"{len(times)} inversion times in {path} for {files.count} images. Give one per "
                    "image, in acquisition order."
                )
        elif files.times_ms and max(files.times_ms) > files.count:
            files = in_acquisition_order(files)
            times = files.times_ms
        else:
            raise InputError(
                f'no inversion times. Write {path} with {{"inversion_times_ms": [...]}} in acquisition '
                "order, or put them into the file names (CASE_ti120_0000)."
            )
        if max(times) < 30:
            raise InputError(f"inversion times up to {max(times):g} look like seconds: give ms.")
        return files, times


def image_count(sequence: Sequence) -> int:
    """How many images a sequence makes."""
    one = torch.ones(1)
    return len(signals(sequence, SpinMaps(one, 1000 * one, 50 * one)))


def load_scan(
    files: ScanFiles,
    sequences: tuple[Sequence, ...],
    label_path: Path | None = None,
    codes: dict[str, int] | None = None,
) -> Scan:
    """Read a scan; a MOLLI series of magnitudes gets its polarity back (`fit_inversion_recovery`).

    Args:
        files: where the images are.
        sequences: how they were made.
        label_path: label image on the same grid.
        codes: of the structures in it.

    Raises:
        InputError: as `ScanFiles.read`.
    """
    images, series, start = files.read(), [], 0
    for sequence in sequences:
        part = images[start : start + image_count(sequence)]
        start += len(part)
        signed = bool((part < 0).any())
        if isinstance(sequence, MOLLI) and len(part) >= 4 and not signed:
            fit = fit_inversion_recovery(torch.from_numpy(part), sequence.inversion_times_ms)
            part, signed = part * fit.polarity.numpy(), True
        series.append(Series(sequence, part, signed))
    pixel_mm = files.geometry.pixel_mm
    weights = None if label_path is None else tissue_weights(read_image(label_path), codes, pixel_mm)
    return Scan(files.case, tuple(series), pixel_mm, weights)
