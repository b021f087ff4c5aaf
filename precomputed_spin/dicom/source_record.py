"""What CASE.json keeps of the DICOM images of a case: hashes of UIDs, which find the images and tell nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.json_files import read_json

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.dicom.frame import Frame


@dataclass(frozen=True)
class SourceRecord:
    """The DICOM images that a case was made from, as `source` in CASE.json. UIDs may hold dates and serial numbers.

    Attributes:
        series_sha256: SHA-256 of SeriesInstanceUID, in hexadecimal.
        images_sha256: of SOPInstanceUID and number in the file of each image, in the order of `ImageSet.frames`.
        frame_sha256: of FrameOfReferenceUID; empty where there is none.
    """

    series_sha256: str
    images_sha256: tuple[str, ...]
    frame_sha256: str = ""

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> SourceRecord:
        """The record of images of one series."""
        frame_of_reference = frames[0].frame_of_reference
        return cls(
            uid_sha256(frames[0].series),
            tuple(uid_sha256(frame.instance) for frame in frames),
            uid_sha256(frame_of_reference) if frame_of_reference else "",
        )


@dataclass(frozen=True)
class _Description:
    """What is read of CASE.json."""

    source: SourceRecord | None = None


def uid_sha256(uid: str) -> str:
    """SHA-256 of a UID, in hexadecimal."""
    return hashlib.sha256(uid.encode()).hexdigest()


def read_source(folder: Path, case: str) -> SourceRecord | None:
    """The record in CASE.json; None where there is no such file, or where it was not made from DICOM.

    Raises:
        InputError: the file cannot be read.
    """
    path = folder / f"{case}.json"
    if not path.is_file():
        return None
    return read_json(path, _Description, "Import the DICOM folder again.", extra=True).source
