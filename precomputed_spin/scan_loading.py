"""Read scans: their images, with the polarity that magnitudes have lost, and what labels say about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from nnunet_phys.image_files import read_image
from nnunet_phys.polarity import fit_inversion_recovery
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import MOLLI

if TYPE_CHECKING:
    from pathlib import Path

    from nnunet_phys.precomputed_spin.scan_files import ScanFiles
    from nnunet_phys.precomputed_spin.scan_protocol import ScanJob
    from nnunet_phys.sequences.pulse_sequence import PulseSequence

_FEWEST_TO_FIT = 4
"""Images that restore a polarity: one more than the fit has parameters."""
CLEARLY_NEGATIVE = 0.05
"""Of the 99th percentile of the magnitude: interpolation undershoots less beside a bright edge (assumed)."""
MOST_NEGATIVE = 0.01
"""Share of clearly negative pixels above which the sign must be meant: fewer are undershoots (assumed)."""
_KEPT_BYTES = 1 << 30


@dataclass(eq=False)
class ImageReader:
    """Reads the images of scans that are looked at before they are used, and keeps some in between.

    Attributes:
        most_bytes: of images that are kept; what does not fit is read twice.
    """

    most_bytes: int = _KEPT_BYTES
    _kept: dict[str, np.ndarray] = field(default_factory=dict)

    def look(self, files: ScanFiles) -> np.ndarray:
        """The images of a scan, `ScanFiles.read`, kept for `take` where there is room."""
        images = files.read()
        if sum(kept.nbytes for kept in self._kept.values()) + images.nbytes <= self.most_bytes:
            self._kept[files.case] = images
        return images

    def take(self, files: ScanFiles) -> np.ndarray:
        """The images of a scan, which are kept no longer."""
        images = self._kept.pop(files.case, None)
        return files.read() if images is None else images


def negative_share(images: np.ndarray) -> float:
    """The share of pixels that are clearly negative."""
    return float((images < -CLEARLY_NEGATIVE * np.quantile(np.abs(images), 0.99)).mean())


def may_be_signed(sequence: PulseSequence) -> bool:
    """Whether images of a sequence are delivered with the sign of the magnetisation, now and then."""
    return isinstance(sequence, MOLLI) or sequence.phase_sensitive


def load_scan(
    job: ScanJob,
    label_path: Path | None = None,
    codes: dict[str, int] | None = None,
    reader: ImageReader | None = None,
) -> Scan:
    """Read a scan; a MOLLI series of magnitudes gets its polarity back (`fit_inversion_recovery`).

    Args:
        job: where the images are, and how they were made.
        label_path: label image on the same grid.
        codes: of the structures in it.
        reader: that may hold the images already.

    Raises:
        InputError: as `ScanFiles.read`.
    """
    files = job.files
    images = files.read() if reader is None else reader.take(files)
    series, start = [], 0
    for sequence, same_gain in zip(job.sequences, job.same_gain, strict=True):
        end = start + sequence.image_count
        series.append(_series(sequence, images[start:end], same_gain))
        start = end
    weights = None
    if label_path is not None:
        weights = tissue_weights(read_image(label_path), codes or {}, files.geometry.pixel_mm)
    return Scan(files.case, tuple(series), files.geometry.pixel_mm, weights)


def _series(sequence: PulseSequence, images: np.ndarray, same_gain: bool) -> Series:
    """Images of one sequence, with their sign where it is there or can be restored."""
    signed = may_be_signed(sequence) and negative_share(images) > MOST_NEGATIVE
    if isinstance(sequence, MOLLI) and not signed and len(images) >= _FEWEST_TO_FIT:
        magnitudes = np.abs(images)
        fit = fit_inversion_recovery(torch.from_numpy(magnitudes), sequence.inversion_times_ms)
        return Series(sequence, magnitudes * fit.polarity.numpy(), True, same_gain)
    return Series(sequence, images, signed, same_gain)
