"""The images of a DICOM folder, sorted into series; their pixels."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import get_expected_length, pixel_array
from pydicom.uid import (
    EnhancedMRImageStorage,
    LegacyConvertedEnhancedMRImageStorage,
    MRImageStorage,
)

from nnunet_phys.errors import InputError, counted, last_line
from nnunet_phys.precomputed_spin.dicom.frame import Frame
from nnunet_phys.precomputed_spin.dicom.header import Header

_IMAGES = (MRImageStorage, EnhancedMRImageStorage, LegacyConvertedEnhancedMRImageStorage)
_PIXEL_ERRORS = (ValueError, TypeError, AttributeError, KeyError, NotImplementedError, RuntimeError, OSError, EOFError)
"""What pydicom and its decoders raise where a file cannot be read."""


class UndecodableError(InputError):
    """Pixels that cannot be decoded."""


@dataclass(frozen=True)
class DicomSeries:
    """The images of one series.

    Attributes:
        frames: the images, in the order of the scanner's numbers; at least one.
        faults: lines about files of it whose pixels cannot be read.
    """

    frames: tuple[Frame, ...]
    faults: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """Its number; 0 if it has none."""
        return self.frames[0].number

    @property
    def description(self) -> str:
        """Its description; empty if it has none."""
        return self.frames[0].description

    @property
    def title(self) -> str:
        """How messages call it."""
        return self.frames[0].series_title

    @property
    def missing(self) -> list[int]:
        """Numbers of images that lie between those of others and are not there; empty if it is not numbered so."""
        numbers = {frame.order[0] for frame in self.frames}
        gaps = sorted(set(range(min(numbers), max(numbers))) - numbers) if len(numbers) > 1 else []
        return gaps if 0 not in numbers and len(gaps) < len(numbers) else []


@dataclass(frozen=True)
class DicomFolder:
    """The MR images of one examination.

    Attributes:
        series: by number.
        others: how many files are no MR images, such as reports and screenshots.
    """

    series: tuple[DicomSeries, ...]
    others: int

    @classmethod
    def read(cls, folder: Path, option: str = "-i") -> DicomFolder:
        """Read all files below a folder. Hidden files are ignored.

        Args:
            folder: the folder.
            option: option that names it, for messages.

        Raises:
            InputError: no such folder, no MR image in it, images of several patients or examinations, or files that are
                cut short in their headers.
        """
        if not folder.is_dir():
            raise InputError(f"{option} {folder}: no such folder. Give a folder of DICOM files.")
        frames: list[Frame] = []
        pixel_faults: dict[str, list[str]] = {}
        faults: list[str] = []
        others = 0
        for path in _files(folder):
            try:
                dataset = _dataset(path)
            except InputError as error:
                faults += error.faults
                continue
            if dataset is None:
                others += 1
                continue
            images = _frames(dataset, path)
            frames += images
            if fault := _pixel_fault(dataset, path):
                pixel_faults.setdefault(images[0].series, []).append(fault)
        if not frames and not faults:
            raise InputError(
                f"{option} {folder} holds no DICOM file with MR images ({counted(others, 'other file')}). Give the "
                "folder that the scanner or the archive exported."
            )
        faults += _mixed(f"{option} {folder}", frames)
        if faults:
            raise InputError(*faults)
        by_series: dict[str, list[Frame]] = {}
        for frame in frames:
            by_series.setdefault(frame.series, []).append(frame)
        series = [
            DicomSeries(tuple(sorted(members, key=_file_order)), tuple(pixel_faults.get(uid, ())))
            for uid, members in by_series.items()
        ]
        return cls(tuple(sorted(series, key=lambda member: (member.number, member.frames[0].series))), others)


def _files(folder: Path) -> list[Path]:
    """Files below a folder, hidden ones left out."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(root, name) for name in sorted(names) if not name.startswith(".")]
    return [path for path in found if path.is_file()]


def _dataset(path: Path) -> Dataset | None:
    """The dataset of a file with MR images; None for any other file.

    Raises:
        InputError: a DICOM file that is cut short in its header, or cannot be opened.
    """
    try:
        if not is_dicom(path):
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about values that break the rules of their type, which scanners write
            dataset = dcmread(path)
    except (*_PIXEL_ERRORS, InvalidDicomError) as error:
        raise InputError(f"{path} cannot be read, cut short? ({last_line(error)}) Copy it again.") from None
    kind = dataset.file_meta.get("MediaStorageSOPClassUID", dataset.get("SOPClassUID"))
    if kind not in _IMAGES:
        return None
    lacking = [name for name in ("SeriesInstanceUID", "Rows", "Columns", "PixelData") if name not in dataset]
    if kind != MRImageStorage:
        lacking += [
            name
            for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
            if not dataset.get(name)
        ]
    if lacking:
        raise InputError(f"{path} has no {lacking[0]}: cut short? Copy it again.")
    return dataset


def _frames(dataset: Dataset, path: Path) -> list[Frame]:
    """The images of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        groups = dataset.get("PerFrameFunctionalGroupsSequence")
        if not groups:
            return [Frame.of(Header(dataset), path, 0)]
        return [Frame.of(Header(dataset, index), path, index) for index in range(len(groups))]


def _pixel_fault(dataset: Dataset, path: Path) -> str | None:
    """A line about pixels that cannot be read, or None. Compressed ones are only decoded when they are written."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        return f"{path} has no transfer syntax. Export it again."
    if dataset.get("SOPClassUID") == MRImageStorage and int(dataset.get("NumberOfFrames") or 1) > 1:
        return f"{path} holds several images, but says where one lies. Export it as enhanced MR, or as one file each."
    if syntax.is_deflated:
        return f"{path} is compressed as {syntax.name}, which is not read here. Export it uncompressed."
    if not syntax.is_compressed:
        try:
            expected, there = get_expected_length(dataset), len(dataset.PixelData)
        except _PIXEL_ERRORS as error:
            return f"{path} does not say how its pixels are stored ({last_line(error)}). Export it again."
        if there < expected:
            return f"{path} is cut short: {there} of {expected} bytes of pixels. Copy it again."
        return None
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"{path} is compressed as {syntax.name}, which pydicom does not read. Export it uncompressed."
    if decoder.is_available:
        return None
    package = next((line for line in decoder.missing_dependencies if line.startswith("pylibjpeg")), "")
    needed = " ".join(word for word in package.replace(" and ", " ").split() if word.startswith("pylibjpeg-"))
    return (
        f"{path} is compressed as {syntax.name}: install pylibjpeg {needed.partition('>')[0]} to read it, or export it "
        "uncompressed."
    )


def _mixed(folder: str, frames: Sequence[Frame]) -> list[str]:
    """A line if the images are of several patients or examinations."""
    for what, attribute in (("patients", "patient"), ("examinations", "study")):
        first: dict[str, Path] = {}
        for frame in frames:
            first.setdefault(getattr(frame, attribute), frame.path)
        if len(first) > 1:
            one, other, *_ = first.values()
            return [f"{folder} holds {len(first)} {what}, as in {one} and {other}. Move each into a folder of its own."]
    return []


def _file_order(frame: Frame) -> tuple[tuple[int, int], str]:
    return frame.order, str(frame.path)


def read_pixels(frame: Frame) -> np.ndarray:
    """The values of an image in the scanner's unit, float32 (rows, columns).

    Raises:
        UndecodableError: they cannot be decoded.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = pixel_array(frame.path, index=frame.index)
    except _PIXEL_ERRORS as error:
        raise UndecodableError(f"{frame.file} cannot be decoded ({last_line(error)}). Export it again.") from None
    return stored.astype(np.float32) * np.float32(frame.slope) + np.float32(frame.intercept)
