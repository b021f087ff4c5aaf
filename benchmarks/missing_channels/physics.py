"""Physics alone: maps from the given images, and from these the wanted sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from missing_channels.protocol import CHANNELS, PIXEL_MM, SEQUENCES
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.completion.slices import Brightness
from nnunet_phys.completion.synthetic_slices import RECIPE, entries_of
from nnunet_phys.forward import image_of, signals
from nnunet_phys.precomputed_spin.map_inference import infer_maps
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import BSSFP, BlackBloodTSE
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.tissue_state import ContrastAgent, TissueState

LATE = TissueState(agent=ContrastAgent(blood=0.5, tissue=0.25))
"""The tissue when LGE is measured: usual concentrations after 10-20 minutes (`ContrastAgent`), and no scar, whose
uptake of contrast agent no other sequence measures."""


@dataclass(frozen=True, eq=False)
class Physics:
    """Joint reverse imaging of what was measured before contrast agent, then the wanted sequence's signal.

    LGE is not read: its tissue holds contrast agent, so it has other T1 and T2 than the other images.

    Attributes:
        prior: the spin prior.
    """

    prior: SpinPrior

    def complete(self, images: torch.Tensor, given: Sequence[int], wanted: int) -> torch.Tensor:
        """See `methods.Completer`."""
        sequences = _sequences()
        read = [channel for channel in given if CHANNELS[channel] != "LGE"]
        bright = ((images + 1) / 2).numpy()
        series = tuple(Series(sequences[channel], bright[None, :, channel]) for channel in read)
        (inferred,) = infer_maps([Scan("case", series, (PIXEL_MM, PIXEL_MM))], self.prior)
        state = LATE if CHANNELS[wanted] == "LGE" else None
        signal = image_of(sequences[wanted], signals(sequences[wanted], inferred.maps, state)[0])
        return Brightness.of(signal.numpy()).to_network(signal)


def _sequences() -> tuple[PulseSequence, ...]:
    """The channels' sequences, with usual protocols; LGE with the inversion time that nulls healthy myocardium."""
    late = entries_of(load_recipe(RECIPE), SEQUENCES[1:2])[0].ranges.draw_sequence(np.random.default_rng(0), LATE)
    return BSSFP(50.0), late, BlackBloodTSE()
