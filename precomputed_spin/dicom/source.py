"""The images of a DICOM folder from which cases were made: found by what `import` recorded, and their headers."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from nnunet_phys.errors import InputError, counted
from nnunet_phys.image_files import SLICE_OF_2D_MM, Geometry
from nnunet_phys.precomputed_spin.dicom.folder import DicomFolder, DicomSeries
from nnunet_phys.precomputed_spin.dicom.frame import Frame
from nnunet_phys.precomputed_spin.dicom.source_record import SourceRecord, uid_sha256
from nnunet_phys.precomputed_spin.dicom.stack import Slices

_OPTION = "-dicom"
_MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
)
"""Attributes that every image must have, with or without a value (DICOM PS3.3, C.7.1.1 and C.7.2.1). Programs that
remove names of patients may remove the attributes, too."""
_OF_ALL_FRAMES = ("PlaneOrientationSequence", "PixelMeasuresSequence")
"""Functional groups that highdicom expects once for all frames."""


@dataclass(frozen=True, eq=False)
class SourceImages:
    """Images of one series.

    Attributes:
        series: the series.
        slices: the images of each slice, slices in the order of the case's files.
    """

    series: DicomSeries
    slices: tuple[tuple[Frame, ...], ...]

    def together(self, other: SourceImages) -> SourceImages:
        """These slices, and then those of another case of the same series."""
        return replace(self, slices=self.slices + other.slices)

    @property
    def positions(self) -> list[tuple[float, ...]]:
        """Position of the first pixel of each slice, mm."""
        return [frames[0].position or () for frames in self.slices]

    @cached_property
    def headers(self) -> dict[Path, Dataset]:
        """The files without their pixels, with every attribute that highdicom takes for granted, in UTF-8.

        Raises:
            InputError: a file does not say in which frame of reference its positions are meant, or has no UID.
        """
        paths = dict.fromkeys(frame.path for frames in self.slices for frame in frames)
        return {path: _header(path) for path in paths}


class SourceFolder:
    """A folder of DICOM images.

    Args:
        folder: the folder that was imported.

    Raises:
        InputError: as for `DicomFolder.read`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._series = {uid_sha256(of.frames[0].series): of for of in DicomFolder.read(folder, _OPTION).series}

    def images(self, record: SourceRecord | None) -> tuple[SourceImages, Geometry]:
        """The images that a case was made from, and the grid of its files.

        Args:
            record: of the case; None where nothing was recorded.

        Raises:
            InputError: nothing was recorded; or the series, or some of its images, are not in the folder.
        """
        if record is None:
            raise InputError(
                "its JSON does not say from which DICOM images it was made, as `import` writes. Import the DICOM "
                "folder again, and go on from there."
            )
        series = self._series.get(record.series_sha256)
        if series is None:
            raise InputError(f"{_OPTION} {self._folder} does not hold its series. Give the folder that was imported.")
        by_hash = {uid_sha256(frame.instance): frame for frame in series.frames}
        frames = [by_hash[image] for image in record.images_sha256 if image in by_hash]
        if len(frames) < len(record.images_sha256):
            lacking = len(record.images_sha256) - len(frames)
            raise InputError(
                f"{_OPTION} {self._folder} lacks {lacking} of {counted(len(record.images_sha256), 'image')} of "
                f"{series.title}. Give the folder that was imported."
            )
        slices = Slices.of(frames)
        return SourceImages(series, slices.frames), slices.geometry


def _header(path: Path) -> Dataset:
    """A file's header, completed.

    Raises:
        InputError: it lacks what cannot be completed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in `folder`
        dataset = dcmread(path, stop_before_pixels=True)
        dataset.decode()
    dataset.SpecificCharacterSet = "ISO_IR 192"  # highdicom refuses several character sets
    for name in ("FrameOfReferenceUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not dataset.get(name):
            raise InputError(f"{path} has no {name}, which DICOM objects need to refer to it. Export it again.")
    for name in _MAY_BE_EMPTY:
        if name not in dataset:
            setattr(dataset, name, None)
    if not dataset.get("SliceThickness"):
        dataset.SliceThickness = SLICE_OF_2D_MM  # unless other slices tell
    _share_groups(dataset)
    return dataset


def _share_groups(dataset: Dataset) -> None:
    """Let an enhanced file state once what all of its frames have in common; `Slices.of` has checked that they do."""
    frames: Iterable[Dataset] = dataset.get("PerFrameFunctionalGroupsSequence", ())
    for first in list(frames)[:1]:
        shared = dataset.SharedFunctionalGroupsSequence[0]
        for name in _OF_ALL_FRAMES:
            if name not in shared and name in first:
                setattr(shared, name, first[name].value)
