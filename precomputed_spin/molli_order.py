"""In which order a MOLLI acquired images that are told apart by their inversion times."""

from __future__ import annotations

from nnunet_phys.errors import InputError
from nnunet_phys.sequences.molli import PUBLISHED_SCHEMES

BEAT_GAP_MS = 300.0
"""Inversion times further apart belong to different heartbeats. An assumption: a beat takes longer than this below 200
beats a minute, and the first inversion times of one series lie closer (100, 180 and 260 ms in a ShMOLLI)."""
CLOSEST_MS = 30.0
"""Inversion times closer together may have been swapped by the heart, whose beats differ by tens of ms from one to the
next (Shaffer and Ginsberg, Front Public Health 5:258, 2017). Assumed; those of published schemes are 80 ms apart."""
_IN_ORDER = "Write inversion_times_ms in acquisition order into CASE.json."


def acquisition_order(times_ms: tuple[float, ...], images: tuple[int, ...] | None = None) -> list[int]:
    """Order in which a MOLLI acquires images of these inversion times.

    Images of one heartbeat after their inversions lie closer than `BEAT_GAP_MS`, those of earlier inversions first.

    Args:
        times_ms: ascending.
        images: per inversion; by default those of the published scheme that has such beats, or else the more the
            earlier.

    Returns:
        For each image in acquisition order, its place in `times_ms`.

    Raises:
        InputError: two times of one beat are so close that a change of the heart rate may have swapped them, or
            they cannot come from so many images per inversion.
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
    """The places of ascending times, heartbeat by heartbeat."""
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
