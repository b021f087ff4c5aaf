"""A series as a bSSFP image of the same tissue, inferred from all its images together as by `nnunet_phys translate`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_phys.commands.shared.map_options import MOST_SLICES
from nnunet_phys.forward import image_of, signals
from nnunet_phys.precomputed_spin.map_inference import infer_maps
from nnunet_phys.precomputed_spin.map_work import MapWork
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_files import Scaling
from nnunet_phys.precomputed_spin.samplers import ProximalMean
from nnunet_phys.precomputed_spin.scan_loading import ImageReader, load_scan
from nnunet_phys.precomputed_spin.scan_protocol import ScanJob
from nnunet_phys.precomputed_spin.work_parts import device_of_process
from nnunet_phys.sequences import BSSFP


@dataclass(frozen=True, eq=False)
class SeriesTranslator:
    """Translates series into bSSFP.

    Attributes:
        prior: the spin prior, on its device.
        name: name under which it was loaded.
    """

    prior: SpinPrior
    name: str

    @classmethod
    def load(cls, name: str, device: str, scaling: Scaling | None) -> SeriesTranslator:
        """Load a prior.

        Raises:
            InputError: no such prior or device.
        """
        return cls(SpinPrior.load(name, device_of_process(device), scaling), name)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the images; plain JSON."""
        return {"prior": self.prior.sha256(), "sequence": BSSFP.name}

    def check(self, jobs: list[ScanJob], reader: ImageReader) -> None:
        """Refuse series of which the prior cannot make maps.

        Raises:
            InputError: there are such.
        """
        MapWork(jobs, Path(), self.prior, self.name, ProximalMean()).check(jobs, reader)

    def __call__(self, job: ScanJob) -> np.ndarray:
        """The bSSFP image of a series, (slices, rows, columns).

        Raises:
            InputError: the images cannot be read.
        """
        scan = load_scan(job)
        (inferred,) = infer_maps([scan], self.prior, batch=min(scan.shape[0], MOST_SLICES))
        sequence = BSSFP()
        return image_of(sequence, signals(sequence, inferred.maps))[0].numpy()
