"""What was measured of a volume, and the maps inferred from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps


@dataclass(frozen=True, eq=False)
class Series:
    """What one sequence measured of a volume.

    Attributes:
        sequence: the pulse sequence; makes as many images as there are.
        images: (images, slices, rows, columns) in any unit, with one gain.
        signed: the images keep the sign of the longitudinal magnetisation; else they are magnitudes.
        same_gain: the images share the gain of the scan's first series.
    """

    sequence: PulseSequence
    images: np.ndarray
    signed: bool = False
    same_gain: bool = False


@dataclass(frozen=True, eq=False)
class Scan:
    """All that was measured of one volume, on one grid.

    Attributes:
        case: name of the volume, from which the noise of its slices derives.
        series: at least one.
        pixel_mm: row and column spacing.
        tissue_weights: probabilities of tissues according to labels (`labels.tissue_weights`), or None.
    """

    case: str
    series: tuple[Series, ...]
    pixel_mm: tuple[float, float]
    tissue_weights: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        slices, rows, columns = self.series[0].images.shape[1:]
        return slices, rows, columns


@dataclass(frozen=True, eq=False)
class Inferred:
    """Maps of a scan.

    Attributes:
        scan: the scan that they were made from.
        maps: on the scan's own grid (slices, rows, columns); T1 and T2 in ms, float32, CPU. If several posterior
            samples were drawn, the mean of their scaled maps, corrected to explain the images.
        error: difference of the images from those that the maps give, root mean square over the images, same shape, as
            a share of the bright level.
        samples: the posterior samples, if more than one was drawn.
    """

    scan: Scan
    maps: SpinMaps
    error: torch.Tensor
    samples: tuple[SpinMaps, ...] = ()

    @property
    def spread(self) -> SpinMaps:
        """Standard deviation over the samples, in the maps' units."""
        return SpinMaps.unstack(torch.stack([sample.stack() for sample in self.samples]).std(0))
