"""A DICOM header by keywords, the same for classic files, with one image each, and for enhanced multi-frame files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue

_ENHANCED_NAMES = {
    "AcquisitionTime": "FrameAcquisitionDateTime",
    "EchoTime": "EffectiveEchoTime",
    "ImageComments": "FrameComments",
    "ImageType": "FrameType",
    "InversionTime": "InversionTimes",
    "NominalInterval": "RRIntervalTimeNominal",
    "SequenceName": "PulseSequenceName",
    "TriggerTime": "NominalCardiacTriggerDelayTime",
}
"""What enhanced files call the attributes of classic ones (DICOM PS3.3 2024, C.8.3.1, C.8.13 and C.7.6.16.2)."""
_SEVERAL = (MultiValue, list)
"""What pydicom returns for several values: the one for texts, the other for binary numbers."""
_UNREADABLE = (BytesLengthException, ValueError, TypeError)
"""What pydicom raises for a value that is not of its type."""
_LARGEST = 1e7
"""Larger numbers stand for none. Philips writes 1.8e308 behind the inversion time (rordenlab/dcm2niix, issue 385)."""


class Header:
    """What a header says of one image.

    An attribute of an enhanced file stands in a functional group, a sequence of one item, of the frame or of all
    frames, or at the top. They are searched in this order; private groups, which may hold a classic header, come last.

    Args:
        dataset: the file's dataset.
        frame: number of the image in an enhanced file, from 0; None for a classic file.
    """

    def __init__(self, dataset: Dataset, frame: int | None = None) -> None:
        self._enhanced = frame is not None
        self._datasets: list[Dataset] = [dataset]
        if frame is not None:
            groups = (dataset.PerFrameFunctionalGroupsSequence[frame], *dataset.SharedFunctionalGroupsSequence[:1])
            items = [item for group in groups for item in _items(group)]
            self._datasets = [*(item for item, private in items if not private), dataset]
            self._datasets += [item for item, private in items if private]

    def value(self, keyword: str) -> Any:
        """The value of an attribute, by its keyword in classic files; None if it is missing, empty or unreadable."""
        names = (_ENHANCED_NAMES.get(keyword, keyword), keyword) if self._enhanced else (keyword,)
        for name in names:
            for dataset in self._datasets:
                try:
                    value = dataset.get(name)
                except _UNREADABLE:
                    continue
                if value is not None and value != "" and value != []:
                    return value
        return None

    def private(self, group: int, creator: str, element: int) -> Any:
        """The value of a private attribute, such as 0x1B of (2001,101B); None if it is missing, empty or unreadable."""
        for dataset in self._datasets:
            try:
                value = dataset.private_block(group, creator)[element].value
            except (KeyError, *_UNREADABLE):
                continue
            if value is not None and value != "":
                return value
        return None

    def number(self, keyword: str) -> float | None:
        """An attribute as a number, the first one of several; None if it is missing or no usable number."""
        return as_number(self.value(keyword))

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """An attribute as `count` numbers; None if it holds anything else."""
        values = self.value(keyword)
        if not isinstance(values, _SEVERAL) or len(values) != count:
            return None
        numbers = [as_number(value) for value in values]
        return None if None in numbers else tuple(number for number in numbers if number is not None)

    def text(self, keyword: str) -> str:
        """An attribute as text, several values joined by a backslash as in the file; empty if it is missing."""
        return "\\".join(self.words(keyword))

    def words(self, keyword: str) -> tuple[str, ...]:
        """The values of an attribute as texts."""
        value = self.value(keyword)
        if value is None:
            return ()
        return tuple(str(text).strip() for text in (value if isinstance(value, _SEVERAL) else (value,)))


def as_number(value: Any) -> float | None:
    """A DICOM value as a number, the first one of several; None if it is missing or no usable number."""
    if isinstance(value, _SEVERAL):
        value = value[0]
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and abs(number) < _LARGEST else None


def _items(group: Dataset) -> Iterator[tuple[Dataset, bool]]:
    """The items of functional groups, and whether they are private."""
    for element in group:
        if element.VR == "SQ" and element.value:
            yield element.value[0], element.tag.is_private
