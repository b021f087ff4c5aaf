"""Which files make up a scan: one image, the images of a series, or the volumes of a 4-D file."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from nnunet_phys.errors import InputError
from nnunet_phys.image_files import TIFF, Geometry, read_image

_NAME = re.compile(r"(?P<case>.+?)(_ti(?P<time>\d+(\.\d+)?))?(_(?P<channel>\d{4}))?", re.IGNORECASE)


@dataclass(frozen=True)
class _NameParts:
    """What a file name says: CASE, CASE_0000, CASE_ti120 or CASE_ti120_0000.

    Attributes:
        case: the case's name.
        time: the number after `_ti`, an index or an inversion time in ms; None if there is no `_ti`.
        channel: the number at the end; None if there is none.
    """

    case: str
    time: float | None
    channel: int | None

    @classmethod
    def of(cls, name: str) -> _NameParts:
        parts = _NAME.fullmatch(name)
        if parts is None:  # a line break in a file name
            return cls(name, None, None)
        time = None if parts["time"] is None else float(parts["time"])
        channel = None if parts["channel"] is None else int(parts["channel"])
        return cls(parts["case"], time, channel)


@dataclass(frozen=True)
class ScanFiles:
    """The files of one volume's images.

    Attributes:
        case: the case's name.
        files: name (without ending) to path, one per image, in acquisition order once a `ScanProtocol` has resolved
            them; or one 4-D file.
        frame: index of the one volume of a 4-D file that is the image; None if all of its volumes are images.
    """

    case: str
    files: dict[str, Path]
    frame: int | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Paths of the images, in their order."""
        return tuple(self.files.values())

    @property
    def geometry(self) -> Geometry:
        """Grid of one volume.

        Raises:
            InputError: the file cannot be read.
        """
        return Geometry.read(self.paths[0])

    @property
    def count(self) -> int:
        """How many images there are."""
        if self.frame is not None:
            return 1
        return len(self.files) if len(self.files) > 1 else self.geometry.volumes

    @property
    def marked(self) -> tuple[bool, ...]:
        """For each file, whether its name holds `_ti` and a number."""
        return tuple(_NameParts.of(name).time is not None for name in self.files)

    @property
    def times_ms(self) -> tuple[float, ...]:
        """Inversion times in the file names; empty if these hold none, or indices (numbers up to `count`)."""
        numbers = [time for name in self.files if (time := _NameParts.of(name).time) is not None]
        return tuple(numbers) if len(numbers) == len(self.files) and max(numbers) > self.count else ()

    @property
    def channels(self) -> tuple[int, ...]:
        """The numbers at the end of the file names, such as 1 in CASE_0001; 0 for a name without a number."""
        return tuple(_NameParts.of(name).channel or 0 for name in self.files)

    def check_numbers(self) -> None:
        """Refuse images of a series whose numbers leave a gap.

        Raises:
            InputError: the files, not named by `_ti`, are not numbered 0, 1, ...
        """
        if not any(self.marked) and self.channels != tuple(range(len(self.channels))):
            raise InputError(
                f"{', '.join(path.name for path in self.paths)}: the images of a series are numbered from _0000 "
                "without a gap. Rename them, or add those that are missing."
            )

    def check_marks(self) -> None:
        """Refuse readouts that are not all named by `_ti`, or whose indices in the names leave a gap.

        Raises:
            InputError: they are refused.
        """
        numbers = [time for name in self.files if (time := _NameParts.of(name).time) is not None]
        if 0 < len(numbers) < len(self.files):
            raise InputError(f"{self.paths[0].name}, ...: only some names hold _ti. Rename the others alike.")
        if numbers and not self.times_ms and sorted(numbers) != list(range(len(numbers))):
            raise InputError(
                f"{', '.join(path.name for path in self.paths)}: readouts are numbered from _ti00 without a gap. Add "
                "those that are missing, or rename them."
            )

    def ordered(self, order: list[int]) -> ScanFiles:
        """The same images in another order."""
        names = list(self.files)
        return replace(self, files={names[i]: self.files[names[i]] for i in order})

    def apart(self) -> list[ScanFiles]:
        """Every image as a case of its own, named after its file or volume."""
        if len(self.files) == 1 and self.count > 1:
            return [ScanFiles(f"{self.case}_t{t:02d}", self.files, frame=t) for t in range(self.count)]
        return [ScanFiles(name.removesuffix("_0000"), {name: path}) for name, path in self.files.items()]

    def read(self) -> np.ndarray:
        """All images, float32 (images, slices, rows, columns).

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


def frame_of_case(case: str, image: Path) -> int:
    """Index of the volume of a 4-D image that a case named by `ScanFiles.apart` is; 0 for any other case or image."""
    try:
        volumes = ScanFiles(case.rpartition("_t")[0], {"": image}).apart()
    except InputError:  # reported where the image is read
        return 0
    return next((volume.frame for volume in volumes if volume.case == case and volume.frame is not None), 0)


def image_paths(folder: Path, case: str, count: int, ending: str) -> list[Path]:
    """Paths of a case's images that are to be written: one CASE_0000, or CASE_ti00_0000, CASE_ti01_0000, ...

    Raises:
        InputError: a series of TIFF files, whose spacing one CASE.json cannot hold for nnU-Net's reader.
    """
    if count > 1 and ending in TIFF:
        raise InputError(f"{case}: a series of {ending} files would lack its spacing. Convert the data to .nii.gz.")
    names = ["_0000"] if count == 1 else [f"_ti{i:02d}_0000" for i in range(count)]
    return [folder / f"{case}{name}{ending}" for name in names]


def scans_of_cases(images: dict[str, Path]) -> list[ScanFiles]:
    """Images whose cases are known, such as a data set's: each is one scan, and its case keeps its name.

    Args:
        images: case to path.
    """
    return [ScanFiles(case, {case: path}) for case, path in sorted(images.items())]


def four_dimensional(scans: list[ScanFiles]) -> list[str]:
    """A line for each case of a data set whose image is 4-D; unreadable images are left to `check_images`."""
    faults = []
    for files in scans:
        try:
            several = files.count > 1
        except InputError:
            continue
        if several:
            path = files.paths[0]
            faults.append(f"{files.case}: {path} is 4-D. A data set holds volumes: write each volume as a case.")
    return faults


def scans_of_files(files: dict[str, Path], series: bool) -> list[ScanFiles]:
    """Sort files into scans by their names.

    Args:
        files: name, without ending, to path.
        series: each volume was imaged more than once. Files of one case belong together (`CASE_0000`, `CASE_0001`, ...
            or `CASE_ti00_0000`, `CASE_ti01_0000`, ...), as do the volumes of a 4-D file. Otherwise every file is a
            case, and so is every volume of a 4-D file (`CASE_t00`, `CASE_t01`, ...).
    """
    if series:
        return _grouped(files)
    scans = []
    for name, path in sorted(files.items()):
        whole = ScanFiles(name.removesuffix("_0000"), {name: path})
        try:
            scans.extend([whole] if whole.count == 1 else whole.apart())
        except InputError:  # reported with all other faults when the images are checked
            scans.append(whole)
    return scans


def _grouped(files: dict[str, Path]) -> list[ScanFiles]:
    """Files grouped by case, and sorted by the numbers in their names."""
    cases: dict[str, list[tuple[float, int, str]]] = {}
    for name in files:
        parts = _NameParts.of(name)
        time = -1.0 if parts.time is None else parts.time
        cases.setdefault(parts.case, []).append((time, parts.channel or 0, name))
    names = {case: [name for _, _, name in sorted(members)] for case, members in sorted(cases.items())}
    return [ScanFiles(case, {name: files[name] for name in case_names}) for case, case_names in names.items()]
