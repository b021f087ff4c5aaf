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

    What counts as flowing blood is decided by the maps as they are given, before contrast agent or disease change
    them, unless the sequence has a share of blood of its own.

    Args:
        sequence: the pulse sequence.
        maps: of any shape.
        state: of the tissue at the time of the scan; None: as in the maps.
        kinds: `TissueKinds.of` these maps, where it is at hand.
        flip_angle_deg: actual flip angles, broadcastable to the maps; None: the sequence's own. Sequences without a
            flip angle ignore them.

    Returns:
        Tensor (images, *maps.shape), or as maps and flip angles broadcast; one image gives a length of 1.
    """
    blood = None
    if state is not None:
        maps, blood = state(maps, kinds)
    signal = sequence.given(flip_angle_deg, blood)(maps)
    return signal if sequence.is_series else signal[None]


def shown(sequence: PulseSequence, signal: torch.Tensor) -> torch.Tensor:
    """What an image shows of a signed signal: its magnitude, or the signal itself where phase-sensitive (PSIR)."""
    return signal if sequence.phase_sensitive else signal.abs()
