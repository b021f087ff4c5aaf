"""The times of a series' images, and their order of acquisition: by the header, or as the user states them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import rankdata

from nnunet_phys.errors import InputError, counted
from nnunet_phys.precomputed_spin.dicom.frame import Frame, Stated
from nnunet_phys.precomputed_spin.dicom.kinds import FOLDERS, saturation_ms
from nnunet_phys.precomputed_spin.dicom.overrides import Override
from nnunet_phys.precomputed_spin.molli_order import acquisition_order
from nnunet_phys.precomputed_spin.series_times import TIME_NAMES

ECHO_TIME = "EchoTime (0018,0081)"
"""Where times stand that are echo times."""


def timed_frames(sequence: str, frames: list[Frame], override: Override) -> tuple[list[Frame], list[float | None]]:
    """The images of a slice in acquisition order, and their times.

    Raises:
        InputError: times are missing or doubled, do not tell the order of acquisition, or the user states another
            number of them, or times in another order than the header's.
    """
    known = all(frame.acquired for frame in frames) and len({frame.acquired for frame in frames}) == len(frames)
    if known:
        frames = sorted(frames, key=lambda frame: frame.acquired)
    stated = override.times_ms.get(TIME_NAMES[FOLDERS[sequence]])
    if stated is not None:
        if sequence == "molli" and not known and override.readouts is not None:
            with suppress(InputError):  # then their ranks are compared
                frames = _in_acquisition_order(frames)
        frames = frames[: override.readouts]
        if len(stated) != len(frames):
            raise InputError(
                f"{counted(len(stated), 'time')} in -protocol for {counted(len(frames), 'image')} of each slice. Give "
                "one per image, in acquisition order."
            )
        if sequence == "molli" and not known and override.readouts is None:
            frames = _ranked(frames, stated)
        if sequence == "molli" and not known:
            _check_ranks(frames, stated)
        return frames, list(stated)
    times = _header_times(sequence, frames)
    if sequence == "molli" and not known:
        frames = _in_acquisition_order(frames)
        times = _header_times(sequence, frames)
    return frames[: override.readouts], list(times[: override.readouts])


def _ranked(frames: list[Frame], times_ms: Sequence[float | None]) -> list[Frame]:
    """Images of unknown order in that of stated times: the image with the header's n-th time has the n-th of these."""
    told = [(frame.inversion.value, frame) for frame in frames if frame.inversion is not None]
    if len(told) < len(frames) or None in times_ms:
        return frames
    ascending = [frame for _, frame in sorted(told, key=lambda entry: entry[0])]
    return [ascending[rank] for rank in rankdata(np.array(times_ms, float), "ordinal") - 1]


def _in_acquisition_order(frames: list[Frame]) -> list[Frame]:
    """Images in the order of the header's inversion times, as motion correction leaves them, in that of acquisition.

    Images in another order stay as they are.

    Raises:
        InputError: their times do not tell the order.
    """
    times = [frame.inversion.value for frame in frames if frame.inversion is not None]
    if len(times) < len(frames) or sorted(times) != times:
        return frames
    try:
        return [frames[i] for i in acquisition_order(tuple(times))]
    except InputError:
        raise InputError(
            f"its images stand in the order of their inversion times ({_listed(times)} ms), which do not tell the "
            "order of acquisition. Give inversion_times_ms in that order with -protocol."
        ) from None


def _check_ranks(frames: Sequence[Frame], stated: Sequence[float | None]) -> None:
    """Refuse stated times that rank the images differently from the header's.

    Raises:
        InputError: they do.
    """
    told = [frame.inversion.value for frame in frames if frame.inversion is not None]
    given = [time for time in stated if time is not None]
    if len(told) == len(frames) == len(given) and (rankdata(told) != rankdata(given)).any():
        raise InputError(
            f"-protocol states the inversion times {_listed(given)} ms for images whose headers say {_listed(told)} ms "
            "in this order. Their order of acquisition is unknown: leave out readouts, or give all times."
        )


def _listed(times: Sequence[float]) -> str:
    return ", ".join(f"{time:g}" for time in times)


def _header_times(sequence: str, frames: Sequence[Frame]) -> list[Any]:
    """The time of each image, by the header."""
    if sequence == "sasha":
        times = [saturation_ms(frame) for frame in frames]
        unstated = [frame for frame in frames if frame.inversion is None]
        if len(unstated) > 1:
            raise InputError(
                f"{len(unstated)} of {counted(len(frames), 'image')} without saturation time, first "
                f"{unstated[0].file}; only one of a slice may be. Give ts_ms with -protocol."
            )
        return times
    stated = [_time(sequence, frame) for frame in frames]
    missing = [frame for frame, time in zip(frames, stated, strict=True) if time is None]
    name = TIME_NAMES[FOLDERS[sequence]]
    if sequence != "molli" and (len(missing) == len(frames) or not missing):
        echo_ms = [frame.echo_ms for frame in frames]
        if missing and None not in echo_ms and len(set(echo_ms)) > 1:
            return echo_ms
    if missing:
        what = "inversion time" if sequence == "molli" else "time of T2 preparation"
        raise InputError(
            f"{len(missing)} of {counted(len(frames), 'image')} without {what}, first {missing[0].file}. Give {name} "
            "with -protocol."
        )
    times = [time.value for time in stated if time is not None]
    if sequence == "molli":
        ordered = sorted(zip(times, range(len(times)), strict=True))
        for (time_ms, i), (next_ms, j) in pairwise(ordered):
            if time_ms == next_ms:
                raise InputError(
                    f"{frames[i].file} and {frames[j].file} both have the inversion time {time_ms:g} ms. Remove what "
                    f"is there twice, or give {name} with -protocol."
                )
    return times


def _time(sequence: str, frame: Frame) -> Stated | None:
    return frame.inversion if sequence in ("molli", "sasha") else frame.t2_preparation


def where_stated(sequence: str, frames: Sequence[Frame]) -> str:
    """Which attribute stated the times."""
    stated = [time for frame in frames if (time := _time(sequence, frame)) is not None]
    return stated[0].where if stated else ECHO_TIME
