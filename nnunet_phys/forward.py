"""From maps to images: the one function that inference, training, translation, reports and pictures all call."""

from __future__ import annotations

import torch

from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_kinds import TissueKinds
from nnunet_phys.tissue_state import TissueState


def signals(
    sequence: PulseSequence,
    maps: SpinMaps,
    state: TissueState | None = None,
    kinds: TissueKinds | None = None,
    flip_angle_deg: torch.Tensor | None = None,
) -> torch.Tensor:
    """Signed signals of a sequence, images first.

    Where blood flows is decided by the maps that are passed, before contrast agent or disease changes them, unless the
    sequence has its own share of blood.

    Args:
        sequence: the pulse sequence.
        maps: tissue, of any shape.
        state: state of the tissue at the time of the scan; None: as in the maps.
        kinds: `TissueKinds.of(maps)`, if it was computed before.
        flip_angle_deg: actual flip angles, broadcastable to the maps; None: the sequence's own. Sequences without a
            flip angle ignore them.

    Returns:
        Tensor (images, *shape), with the shape to which maps and flip angles broadcast; images is 1 unless the sequence
        is a series.
    """
    blood = None
    if state is not None:
        maps, blood = state(maps, kinds)
    signal = sequence.varying(flip_angle_deg, blood)(maps)
    return signal if sequence.is_series else signal[None]


def image_of(sequence: PulseSequence, signal: torch.Tensor) -> torch.Tensor:
    """The image of a signed signal: its magnitude, or the signal itself if the sequence is phase-sensitive (PSIR)."""
    return signal if sequence.phase_sensitive else signal.abs()
