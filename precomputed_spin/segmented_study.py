"""An examination whose MOLLI series have masks: `images/`, `masks/`, `dataset.json`, and maps of the scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import inside
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.image_folder import ImageFolder
from nnunet_phys.precomputed_spin.label_names import structure_codes
from nnunet_phys.precomputed_spin.scan_files import ScanFiles, scans_of_files
from nnunet_phys.precomputed_spin.scan_loading import ImageReader
from nnunet_phys.precomputed_spin.scanner_maps import ScannerMaps
from nnunet_phys.precomputed_spin.series_fitting import SeriesJob
from nnunet_phys.precomputed_spin.series_times import read_times
from nnunet_phys.progress import ProgressBar
from nnunet_phys.quantification.heart_slice import HeartSlice, largest_piece
from nnunet_phys.quantification.planes import slice_planes

_T1_MS = (50.0, 5000.0)
"""Bounds of the median T1 of a wall, with and without contrast agent. Assumed: far beyond what occurs."""
T1Maps = dict[str, np.ndarray]
"""Case to its T1 map in ms, (slices, rows, columns), 0 where there is none."""
_MOST_MISFIT = 0.05
"""Residual of the fit, as a share of the signal at equilibrium, above which a slice is flagged; the median over its
myocardium. Two real MOLLI have 0.02 and 0.03 (`benchmarks/fit.py`), a heart whose times are reversed 0.07."""
_SEGMENT = "Segment the series first, one mask per series."
_LABELS = 'Write {"labels": {"background": 0, "RV": 1, "MYO": 2, "LV": 3}}.'


@dataclass(frozen=True)
class _LabelNames:
    """What is read of dataset.json."""

    labels: dict[str, int | list[int]]


@dataclass(frozen=True, eq=False)
class SegmentedCase:
    """A MOLLI series with its masks.

    Attributes:
        series: the images and their inversion times.
        hearts: the slices that show myocardium.
        scanner_t1: the scanner's T1, ms, (slices, rows, columns); None if there is none.
    """

    series: SeriesJob
    hearts: tuple[HeartSlice, ...]
    scanner_t1: np.ndarray | None

    @property
    def case(self) -> str:
        """The case's name."""
        return self.series.case


@dataclass(frozen=True, eq=False)
class SegmentedStudy:
    """All cases of an examination.

    Attributes:
        images: folder of the images and their times.
        files: image paths by their names without ending.
        ending: file ending of images and masks, with the dot.
        cases: the cases, by name; at least one of them shows myocardium.
        reader: holds images that were checked.
        flags: what is missing or left out.
    """

    images: Path
    files: dict[str, Path]
    ending: str
    cases: tuple[SegmentedCase, ...]
    reader: ImageReader
    flags: tuple[str, ...]

    @property
    def masks(self) -> Path:
        """Folder of the masks."""
        return self.images.parent / "masks"

    @property
    def hearts(self) -> list[HeartSlice]:
        """The slices of all cases that show myocardium."""
        return [heart for case in self.cases for heart in case.hearts]

    def grid(self, case: str) -> Geometry:
        """The grid of a case's images and mask."""
        return self._by_name[case].series.files.geometry

    def fitted(self, show_progress: bool) -> tuple[T1Maps, list[str]]:
        """The three-parameter fit of each series (`nnunet_phys fit`), and a flag for each slice that it misses."""
        maps: T1Maps = {}
        flags: list[str] = []
        for case in ProgressBar(self.cases, desc="fit", unit="case", disable=not show_progress):
            fit = case.series.fit(self.reader)
            maps[case.case] = fit.maps["T1"].numpy()
            misfit = fit.misfit.numpy()
            for heart in case.hearts:
                explained = heart.myo & fit.valid[heart.index].numpy()
                if explained.any() and (missed := float(np.median(misfit[heart.index][explained]))) > _MOST_MISFIT:
                    flags.append(
                        f"{heart.title}: the fit misses the images by {100 * missed:.0f} % of the signal at "
                        "equilibrium (usual: 2 to 3 %). Are the inversion times those of the images, in their order?"
                    )
        return maps, flags

    def scanner_maps(self) -> T1Maps:
        """The scanner's T1 maps of the cases that have one."""
        return {case.case: case.scanner_t1 for case in self.cases if case.scanner_t1 is not None}

    def three_readouts(self, case: str) -> dict[str, np.ndarray]:
        """Three images of a series, (slices, rows, columns): of the shortest, the middle and the longest time."""
        series = self._by_name[case].series
        (times,) = series.times.lists.values()
        order = np.argsort(np.array(times, float))
        images = self.reader.take(series.files)
        return {f"TI {times[i]:.0f} ms": images[i] for i in (order[0], order[len(order) // 2], order[-1])}

    @cached_property
    def _by_name(self) -> dict[str, SegmentedCase]:
        return {case.case: case for case in self.cases}

    @classmethod
    def read(cls, folder: Path) -> SegmentedStudy:
        """Read all masks, and check masks, images and times.

        Args:
            folder: holds images/CASE_ti00_0000.nii.gz, ... and images/CASE.json, as `nnunet_phys import` writes them;
                masks/CASE.nii.gz; dataset.json with the names of the masks' labels; and, if the scanner computed maps,
                references/ (`ScannerMaps`).

        Raises:
            InputError: one line for each folder, label or case that is missing or does not fit.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder. Give one with images/, masks/ and dataset.json.")
        images = ImageFolder.read(folder / "images")
        if not (folder / "masks").is_dir():
            raise InputError(f"{folder / 'masks'}: there are no masks. {_SEGMENT}")
        codes = mask_codes(folder / "dataset.json")
        reader, cases = ImageReader(), []
        scanner_maps = ScannerMaps.read(folder / "references", images.ending)
        faults: list[str] = []
        flags = list(scanner_maps.flags)
        for files in scans_of_files(images.files, series=True):
            try:
                series = SeriesJob(files, "molli", read_times("molli", files, folder / "images"))
                mask = inside(folder / "masks", f"{files.case}{images.ending}")
                (hearts, stray), others = _hearts(files, mask, codes), _other_labels(mask, codes)
            except InputError as error:
                faults.extend(error.of_case(files.case).faults)
                continue
            faults.extend(series.faults(reader))
            scanner_t1, left_out = scanner_maps.of(files)
            if scanner_t1 is not None and (doubt := _no_t1(scanner_t1, hearts)):
                left_out, scanner_t1 = [*left_out, doubt], None
            flags.extend(f"{files.case}: {flag}" for flag in (*left_out, *_empty(files, hearts), *others, *stray))
            cases.append(SegmentedCase(series, hearts, scanner_t1))
        if not faults and not any(case.hearts for case in cases):
            faults.append(f"{folder / 'masks'}: no mask shows myocardium. {_SEGMENT}")
        if faults:
            raise InputError(*faults)
        return cls(folder / "images", images.files, images.ending, tuple(cases), reader, tuple(flags))


def mask_codes(path: Path) -> dict[str, int]:
    """Codes of the structures in the masks.

    Raises:
        InputError: no such file, or no label of the myocardium or of the left ventricle's cavity.
    """
    labels = read_json(path, _LabelNames, _LABELS, extra=True).labels
    try:
        codes = structure_codes(labels)
    except InputError as error:
        raise error.prefixed(f"{path}: ") from None
    missing = [name for name in ("MYO", "LV") if name not in codes]
    if missing:
        raise InputError(f"{path} names no {' and no '.join(missing)}, which T1 of myocardium needs. {_LABELS}")
    return codes


def _hearts(files: ScanFiles, path: Path, codes: dict[str, int]) -> tuple[tuple[HeartSlice, ...], list[str]]:
    """The slices of a case that show myocardium, each with the largest piece of the left ventricle; flags for the rest.

    Raises:
        InputError: no mask, one on another grid or of several frames, or images that do not say where they lie in the
            patient.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no mask. {_SEGMENT}")
    geometry, images = Geometry.read(path), files.geometry
    if (attribute := images.difference(geometry)) is not None:
        raise InputError(f"{path} differs from {files.paths[0]} in {attribute}. Segment these images.")
    if geometry.volumes > 1:
        raise InputError(f"{path} holds {geometry.volumes} frames. Give one mask for the series.")
    try:
        planes = slice_planes(images)
    except ValueError as error:
        raise InputError(f"{files.paths[0]}: {error}. Give 3-D files, as `nnunet_phys import` writes them.") from None
    mask = read_image(path)
    rv, myo, lv = (mask == codes.get(name, -1) for name in ("RV", "MYO", "LV"))
    hearts, stray = [], []
    for z, plane in enumerate(planes):
        ventricle = myo[z] | lv[z]
        if ventricle.any() and (apart := int((ventricle & ~(piece := largest_piece(ventricle))).sum())):
            stray.append(f"slice {z}: {apart} pixels of the left ventricle lie apart from the others, and are left out")
            myo[z] &= piece
            lv[z] &= piece
        if myo[z].any():
            hearts.append(HeartSlice(files.case, z, plane, rv[z], myo[z], lv[z]))
    return tuple(hearts), stray


def _no_t1(scanner_t1: np.ndarray, hearts: Sequence[HeartSlice]) -> str | None:
    """A flag for a map that can hold no T1 in ms, as by another unit; None if it can."""
    values = np.concatenate([scanner_t1[heart.index][heart.myo] for heart in hearts] or [np.zeros(0)])
    median = float(np.median(values[values > 0])) if (values > 0).any() else _T1_MS[0]
    if _T1_MS[0] <= median <= _T1_MS[1]:
        return None
    return f"the scanner's map is left out: its median in the wall is {median:.3g}, which is no T1 in ms"


def _other_labels(path: Path, codes: dict[str, int]) -> list[str]:
    """A flag for labels in a mask that are none of the structures, such as a scar in the wall."""
    found, counts = np.unique(read_image(path), return_counts=True)
    others = {int(code): int(n) for code, n in zip(found, counts, strict=True) if code not in (0, *codes.values())}
    if not others:
        return []
    listed = ", ".join(f"{code} ({n} pixels)" for code, n in others.items())
    return [f"the mask has labels beside {', '.join(codes)}, which count as outside of the heart: {listed}"]


def _empty(files: ScanFiles, hearts: tuple[HeartSlice, ...]) -> list[str]:
    """A flag for the slices without myocardium."""
    empty = sorted(set(range(files.geometry.size[2])) - {heart.index for heart in hearts})
    listed = ", ".join(map(str, empty))
    return [f"no myocardium in slice{'s' if len(empty) > 1 else ''} {listed} of the mask"] if empty else []
