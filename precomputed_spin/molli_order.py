"""The order in which a MOLLI acquired its images, derived from their inversion times."""

from __future__ import annotations

from nnunet_phys.errors import InputError
from nnunet_phys.sequences.molli import PUBLISHED_SCHEMES

BEAT_GAP_MS = 300.0
"""Inversion times further apart belong to different heartbeats. Assumed: below 200 beats per minute a heartbeat takes
longer, and the first inversion times of a series lie closer (100, 180 and 260 ms in a ShMOLLI)."""
CLOSEST_MS = 30.0
"""Inversion times closer together do not show which inversion was first: successive heartbeats differ by tens of ms
(Shaffer and Ginsberg, Front Public Health 5:258, 2017). Assumed; those of published schemes are 80 ms apart."""
_IN_ORDER = "Write inversion_times_ms in acquisition order into CASE.json."


def acquisition_order(times_ms: tuple[float, ...], images: tuple[int, ...] | None = None) -> list[int]:
    """The order in which a MOLLI acquired images with these inversion times.

    Images acquired equally many heartbeats after their inversions have inversion times that differ by less than
    `BEAT_GAP_MS`; among them, the earlier inversion has the shorter time.

    Args:
        times_ms: inversion times, ascending.
        images: number of images after each inversion. By default that of the published scheme which the times fit; if
            none fits, earlier inversions are taken to have more images.

    Returns:
        For each image in acquisition order, its index in `times_ms`.

    Raises:
        InputError: two times of the same heartbeat are so close that a change of the heart rate may have swapped them,
            or the times do not fit the numbers of images.
    """
    beats = _beats(times_ms)
    if images is None:
        counts = tuple(sum(len(beat) > k for beat in beats) for k in range(max(map(len, beats))))
        fits = (scheme for scheme in PUBLISHED_SCHEMES if sorted(scheme, reverse=True) == list(counts))
        images = next(fits, counts)
    sets: list[list[int]] = [[] for _ in images]
    for k, beat in enumerate(beats):
        imaging = [members for members, count in zip(sets, images, strict=True) if count > k]
        if len(imaging) != len(beat):
            raise InputError(
                f"inversion times {', '.join(f'{t:g}' for t in times_ms)} in the file names do not fit "
                f"{' + '.join(map(str, images))} images after {len(images)} inversions. {_IN_ORDER}"
            )
        for members, image in zip(imaging, beat, strict=True):
            members.append(image)
    return [image for members in sets for image in members]


def _beats(times_ms: tuple[float, ...]) -> list[list[int]]:
    """Indices of ascending times, grouped by the number of heartbeats after the inversion."""
    beats: list[list[int]] = []
    for i, time in enumerate(times_ms):
        if not beats or time - times_ms[i - 1] > BEAT_GAP_MS:
            beats.append([])
        elif time - times_ms[i - 1] < CLOSEST_MS:
            raise InputError(
                f"inversion times {times_ms[i - 1]:g} and {time:g} in the file names do not show which image was "
                f"acquired first. {_IN_ORDER}"
            )
        beats[-1].append(i)
    return beats
