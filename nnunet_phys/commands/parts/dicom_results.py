"""What `export_dicom` writes: masks of `segment`, maps of `quantify`, and the DICOM images each was made from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from nnunet_phys.commands.shared.report_folder import STUDY
from nnunet_phys.commands.shared.segmentation_results import SegmentRecord
from nnunet_phys.commands.shared.series_segmenter import IMAGES, MASKS
from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import HashedFile, file_sha256, inside
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.json_files import read_json
from nnunet_phys.pictures import MADE_BY
from nnunet_phys.precomputed_spin.dicom.objects import ECV, T1, MaskMaker, Quantity, parametric_map, segmentation
from nnunet_phys.precomputed_spin.dicom.source import SourceFolder, SourceImages
from nnunet_phys.precomputed_spin.dicom.source_record import SourceRecord, read_source
from nnunet_phys.precomputed_spin.image_folder import ImageFolder
from nnunet_phys.precomputed_spin.segmented_study import mask_codes

_SEGMENT = "Give the folder that nnunet_phys segment filled."
_QUANTIFY = "Give a report of nnunet_phys quantify on the folder of -i."
_QUANTIFY_AGAIN = "Run nnunet_phys quantify on the folder of -i again."
_QUANTITIES = {"T1map": T1, "ECVmap": ECV}
"""What the maps of `quantify` are called."""
_SLICE = re.compile(r"_sl\d\d$")
"""Ends the names of cases that are one slice of a series (`image_set`)."""


@dataclass(frozen=True)
class _Settings:
    """What is read of the settings in study.json."""

    methods: tuple[str, ...]
    haematocrit: float | None = None


@dataclass(frozen=True)
class _Inputs:
    """Hashes of the files that decided about a case's maps, beside its images."""

    mask: str
    description: str | None = None


@dataclass(frozen=True)
class _Study:
    """What is read of study.json."""

    generator: str
    settings: _Settings
    files: tuple[HashedFile, ...]
    sources: dict[str, SourceRecord | None] = field(default_factory=dict)
    post_sources: dict[str, SourceRecord | None] = field(default_factory=dict)
    inputs: dict[str, _Inputs] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)

    def partners(self, cases: Iterable[str]) -> set[str]:
        """The cases after contrast agent whose slices were compared with slices of these cases."""
        by_case = {(_case_of(before), _case_of(after)) for before, after in self.pairs.items()}
        return {after for before, after in by_case if before in cases}

    @property
    def has_ecv(self) -> bool:
        """Whether it has maps that were made from the series after contrast agent, too."""
        return any("_ECVmap" in entry.file for entry in self.files)


def _case_of(title: str) -> str:
    """The case of a slice's title (`HeartSlice.title`)."""
    return title.rpartition(", slice ")[0]


@dataclass(frozen=True, eq=False)
class _Placed:
    """Values of slices, (slices, rows, columns), and the images of these slices."""

    source: SourceImages
    values: np.ndarray

    def together(self, other: _Placed) -> _Placed:
        """These slices, and then others of the same series."""
        return _Placed(self.source.together(other.source), np.concatenate((self.values, other.values)))


@dataclass(frozen=True, eq=False)
class _Case:
    """A case: its mask, whether it was corrected by hand, and its maps by method and quantity."""

    mask: _Placed
    corrected: bool
    maps: dict[tuple[str, str], _Placed]


@dataclass(frozen=True, eq=False)
class DicomResults:
    """The objects to write.

    Attributes:
        objects: name, without ending, to what makes the object; that raises an InputError if an image's header does not
            allow for it.
        left_out: a line for each mask or map without any value.
        voxels: of all objects together.
    """

    objects: dict[str, Callable[[], Dataset]]
    left_out: tuple[str, ...]
    voxels: int

    @classmethod
    def read(cls, results: Path, dicom: Path, report: Path | None) -> DicomResults:
        """Read masks and maps, and find the DICOM images that each was made from.

        Args:
            results: the folder of `segment`.
            dicom: the folder of DICOM files that was imported.
            report: the folder of `quantify`; None: masks alone.

        Raises:
            InputError: a folder that no such command filled; and one line per fault: a case whose images are not in
                `dicom`, that lies on another grid than they do, or whose maps were made from other images.
        """
        record = SegmentRecord.read(results) if results.is_dir() else None
        if record is None or record.generator != MADE_BY:
            raise InputError(f"-i {results}: nnunet_phys segment did not fill it. {_SEGMENT}")
        codes = mask_codes(results / "dataset.json")
        masks = ImageFolder.read(results / MASKS)
        measured = None if report is None else _Report.read(report, masks.ending)
        folder = SourceFolder(dicom)
        further: dict[str, SourceImages] = {}
        faults: list[str] = []
        if measured is not None and measured.study.has_ecv:
            for case, source in measured.study.post_sources.items():
                try:
                    further[case] = folder.images(source)[0]
                except InputError as error:
                    faults.extend(error.prefixed(f"{case}, after contrast agent: ").faults)
        by_series: dict[str, dict[str, _Case]] = {}
        for case, path in masks.files.items():
            try:
                read = _case(results, case, path, record, folder, measured)
            except InputError as error:
                faults.extend(error.of_case(case).faults)
                continue
            by_series.setdefault(read.mask.source.series.frames[0].series, {})[case] = read
        if faults:
            raise InputError(*faults)
        haematocrit = None if measured is None else measured.study.settings.haematocrit
        objects: dict[str, Callable[[], Dataset]] = {}
        left_out: list[str] = []
        voxels = 0
        for cases in by_series.values():
            partners = set() if measured is None else measured.study.partners(cases)
            others = [images for case, images in further.items() if case in partners]
            for name, placed, make in _objects(cases, codes, _maker(record, cases), haematocrit, others):
                if make is None:
                    left_out.append(f"{name} is left out: it has no values.")
                else:
                    objects[name] = make
                    voxels += placed.values.size
        return cls(objects, tuple(left_out), voxels)


@dataclass(frozen=True, eq=False)
class _Report:
    """The folder of `quantify`.

    Attributes:
        folder: the folder.
        study: its record.
        ending: file ending of the maps, with the dot.
    """

    folder: Path
    study: _Study
    ending: str

    @classmethod
    def read(cls, folder: Path, ending: str) -> _Report:
        """Read the record of a report.

        Raises:
            InputError: there is none.
        """
        study = read_json(folder / STUDY.record, _Study, _QUANTIFY, extra=True)
        if study.generator != MADE_BY:
            raise InputError(f"-maps {folder}: nnunet_phys quantify did not fill it. {_QUANTIFY}")
        return cls(folder, study, ending)

    def maps(
        self, case: str, record: SourceRecord, mask: _Placed, path: Path, grid: Geometry
    ) -> dict[tuple[str, str], _Placed]:
        """The maps of a case, by method and quantity.

        Args:
            case: the case's name.
            record: the DICOM images that it was made from.
            mask: its mask.
            path: the mask's file.
            grid: the mask's grid.

        Raises:
            InputError: they were made from other images, with another mask or other times, lie on another grid than the
                mask, or were changed.
        """
        if self.study.sources.get(case) != record:
            raise InputError(f"-maps {self.folder} holds no maps of these images. {_QUANTIFY_AGAIN}")
        description = path.parents[1] / IMAGES / f"{case}.json"
        if self.study.inputs.get(case) != _Inputs(file_sha256(path), file_sha256(description)):
            raise InputError(f"{path} or {description} has changed since -maps was made. {_QUANTIFY_AGAIN}")
        recorded = {entry.file: entry for entry in self.study.files}
        found = {}
        for method in self.study.settings.methods:
            for quantity in _QUANTITIES:
                name = f"{method}/{case}_{quantity}{self.ending}"
                if name not in recorded:
                    continue
                file = inside(self.folder, name)
                if not recorded[name].is_unchanged(self.folder):
                    raise InputError(f"{file} is missing or was changed since. {_QUANTIFY_AGAIN}")
                if (attribute := grid.difference(Geometry.read(file))) is not None:
                    raise InputError(f"{file} differs from the mask in {attribute}. {_QUANTIFY_AGAIN}")
                found[method, quantity] = _Placed(mask.source, read_image(file))
        return found


def _case(
    results: Path, case: str, path: Path, record: SegmentRecord, folder: SourceFolder, report: _Report | None
) -> _Case:
    """A case, checked.

    Raises:
        InputError: `segment` did not make its mask; its images are not in the folder, or lie on another grid; its maps
            do not fit; or it has a mask for each of several frames.
    """
    made = {file.file: file.sha256 for entry in record.cases.values() for file in entry.files}
    name = f"{MASKS}/{path.name}"
    if name not in made:
        raise InputError(f"{path}: nnunet_phys segment did not make it. Move it away.")
    source = read_source(results / IMAGES, case)
    images, grid = folder.images(source)
    there = Geometry.read(path)
    if there.volumes > 1:
        raise InputError(f"{path} holds {there.volumes} frames. Only masks of a series can be written.")
    if (attribute := grid.difference(there)) is not None:
        raise InputError(f"{path} differs from {images.series.title} in {attribute}. Segment the series as imported.")
    mask = _Placed(images, read_image(path))
    maps = {} if report is None or source is None else report.maps(case, source, mask, path, there)
    return _Case(mask, file_sha256(path) != made[name], maps)


def _maker(record: SegmentRecord, cases: dict[str, _Case]) -> MaskMaker:
    """What made the masks of a series."""
    model = record.settings.get("model") or {}
    named = ", ".join(str(model[part]) for part in ("dataset", "trainer", "plans", "configuration") if part in model)
    return MaskMaker(record.versions.get("nnunet_phys", ""), named, any(case.corrected for case in cases.values()))


def _objects(
    cases: dict[str, _Case],
    codes: dict[str, int],
    maker: MaskMaker,
    haematocrit: float | None,
    partners: Sequence[SourceImages],
) -> Iterator[tuple[str, _Placed, Callable[[], Dataset] | None]]:
    """Name, values and maker of the objects of a series; no maker where there is no value."""
    name = next(iter(cases)) if len(cases) == 1 else _SLICE.sub("", next(iter(cases)))
    mask = reduce(_Placed.together, (case.mask for case in cases.values()))
    structures = {structure: mask.values == code for structure, code in codes.items()}
    make = partial(segmentation, mask.source, structures, maker)
    yield f"{name}_segmentation", mask, make if any(of.any() for of in structures.values()) else None
    kinds = dict.fromkeys(kind for case in cases.values() for kind in case.maps)
    for offset, (method, kind) in enumerate(kinds, 2):
        parts = [case.maps[method, kind] for case in cases.values() if (method, kind) in case.maps]
        values = reduce(_Placed.together, parts)
        quantity: Quantity = _QUANTITIES[kind]
        how = method if quantity is T1 or haematocrit is None else f"{method}, haematocrit {haematocrit:g}"
        others = () if quantity is T1 else partners
        make_map = partial(parametric_map, values.source, values.values, quantity, how, others, offset)
        yield f"{name}_{method}_{kind}", values, make_map if quantity.written(values.values).any() else None
