"""Which readouts the scanner computed a map from. Scanners rarely say so: place and time tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from nnunet_phys.precomputed_spin.dicom.frame import Frame
from nnunet_phys.precomputed_spin.dicom.image_set import REFERENCES, ImageSet
from nnunet_phys.precomputed_spin.dicom.stack import same_plane
from nnunet_phys.precomputed_spin.series_times import TIME_NAMES


def with_readouts(sets: Sequence[ImageSet]) -> list[ImageSet]:
    """Add `readouts` to the content of maps and phase images: the cases that they belong to.

    For each slice, these are the cases of the series in the same plane that began last before the image was acquired:
    several where the scanner also stored them corrected for motion. Where a header lacks the time, series numbers
    decide. Siemens states the time of the last readout (seen in a ShMOLLI); of other vendors it is assumed that a map
    is not older than its readouts.

    Args:
        sets: all image sets of an examination.
    """
    timed = [image_set for image_set in sets if image_set.folder in TIME_NAMES]
    return [_with_readouts(one, timed) if one.folder == REFERENCES else one for one in sets]


def _with_readouts(reference: ImageSet, timed: Sequence[ImageSet]) -> ImageSet:
    (volume, *_), *_ = reference.files.values()
    cases = [case for frame in volume for case in _readouts_of(frame, timed)]
    return replace(reference, content={**reference.content, "readouts": list(dict.fromkeys(cases))})


def _readouts_of(frame: Frame, timed: Sequence[ImageSet]) -> list[str]:
    """The cases that an image of the scanner belongs to; empty where no series in its plane began before it."""
    here = [s for s in timed if any(same_plane(frame, readout) for readout in s.frames)]
    by_time = all(one.acquired for one in (frame, *(readout for s in here for readout in s.frames)))

    def moment(one: Frame) -> tuple[str, int]:
        return (one.acquired, 0) if by_time else ("", one.number)

    begun = {s.case: min(map(moment, s.frames)) for s in here}
    last = max((start for start in begun.values() if start <= moment(frame)), default=None)
    return [case for case, start in begun.items() if start == last]
