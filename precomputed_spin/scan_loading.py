"""Read scans: their images, the polarity restored where it was lost, and the weights of tissues from their labels."""

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
"""Fewest images of which the polarity can be restored: one more than the fit has parameters."""
CLEARLY_NEGATIVE = 0.05
"""Values below minus this share of the magnitude's 99th percentile are clearly negative. Assumed: beside a bright edge,
interpolation undershoots less."""
MOST_NEGATIVE = 0.01
"""Largest share of clearly negative pixels in a magnitude image; with more, an image is signed. Assumed: undershoots
are fewer."""
_KEPT_BYTES = 1 << 30
"""Memory for images that are kept between check and use, 1 GiB. A choice."""


@dataclass(eq=False)
class ImageReader:
    """Reads the images of scans that are checked before they are used, and keeps some of them in between.

    Attributes:
        most_bytes: memory for images that are kept; those that do not fit are read twice.
    """

    most_bytes: int = _KEPT_BYTES
    _kept: dict[tuple[tuple[Path, ...], int | None], np.ndarray] = field(default_factory=dict)

    def look(self, files: ScanFiles) -> np.ndarray:
        """The images of a scan (`ScanFiles.read`), which are kept for `take` if there is room."""
        images = files.read()
        if sum(kept.nbytes for kept in self._kept.values()) + images.nbytes <= self.most_bytes:
            self._kept[files.paths, files.frame] = images  # the same case may be read in another order, too
        return images

    def take(self, files: ScanFiles) -> np.ndarray:
        """The images of a scan (`ScanFiles.read`), which are no longer kept."""
        images = self._kept.pop((files.paths, files.frame), None)
        return files.read() if images is None else images


def negative_share(images: np.ndarray) -> float:
    """The share of pixels that are clearly negative."""
    return float((images < -CLEARLY_NEGATIVE * np.quantile(np.abs(images), 0.99)).mean())


def may_be_signed(sequence: PulseSequence) -> bool:
    """Whether scanners may deliver images of a sequence with the sign of the magnetisation."""
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
        label_path: path of a label image on the same grid.
        codes: codes of the structures in it.
        reader: a reader that may hold the images already.

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
    """Images of one sequence, with their sign if they have it or it can be restored."""
    signed = may_be_signed(sequence) and negative_share(images) > MOST_NEGATIVE
    if isinstance(sequence, MOLLI) and not signed and len(images) >= _FEWEST_TO_FIT:
        magnitudes = np.abs(images)
        fit = fit_inversion_recovery(torch.from_numpy(magnitudes), sequence.inversion_times_ms)
        return Series(sequence, magnitudes * fit.polarity.numpy(), True, same_gain)
    return Series(sequence, images, signed, same_gain)
