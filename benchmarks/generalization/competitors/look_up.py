"""Maps of a data set by tissue look-up: each pixel's tissue as its own value and label suggest, without diffusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from nnunet_phys.case_records import is_finished
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.case_labels import CaseLabels
from nnunet_phys.precomputed_spin.likelihood import Likelihood
from nnunet_phys.precomputed_spin.map_inference import save_inferred
from nnunet_phys.precomputed_spin.map_work import MapWork, find_jobs
from nnunet_phys.precomputed_spin.prior import DEFAULT_PRIOR, SpinPrior
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
from nnunet_phys.precomputed_spin.samplers import Sampler, SliceNoise
from nnunet_phys.precomputed_spin.scan_files import scans_of_cases
from nnunet_phys.precomputed_spin.scan_loading import ImageReader
from nnunet_phys.precomputed_spin.scan_protocol import ScanProtocol, SequenceDescription


@dataclass(frozen=True)
class TissueLookup(Sampler):
    """The mean of the tissues that fit a pixel's values and label, without neighbours or network."""

    uses_labels: ClassVar[bool] = True
    draws_samples: ClassVar[bool] = False

    def __call__(self, prior: SpinPrior, likelihood: Likelihood, noise: SliceNoise) -> torch.Tensor:
        """See `Sampler`."""
        return likelihood.pixelwise_posterior(prior.library)[:, :3]


def look_up_maps(dataset_id: int, device: str, sequence: dict[str, Any] | None = None) -> None:
    """Do for a data set what `nnunet_phys reverse -d ID --labels` does, with `TissueLookup` in place of the sampler.

    Maps go to the data set's spinTr; finished cases are skipped.

    Args:
        dataset_id: a data set in nnUNet_raw with labels of RV, MYO or LV.
        device: cpu, cuda or mps.
        sequence: the sequence's name and parameters, as `-protocol` describes it; None: bSSFP.

    Raises:
        InputError: images, labels or parameters that cannot be used.
    """
    dataset = open_raw_dataset(str(dataset_id))
    protocol = ScanProtocol((SequenceDescription(sequence or {"sequence": "bssfp"}),))
    jobs, faults = find_jobs((files, protocol) for files in scans_of_cases(dataset.images))
    if not jobs:
        raise InputError(f"{dataset.name} has no images in {dataset.folder / 'imagesTr'}.")
    prior, labels = SpinPrior.load(device=device), CaseLabels.of_dataset(dataset, decide=True)
    work = MapWork(jobs, dataset.maps_folder, prior, DEFAULT_PRIOR, TissueLookup(), labels=labels, faults=tuple(faults))
    todo = [job for job in jobs if not is_finished(work.folder, job.case, job.files.paths)]
    reader = ImageReader()
    work.check(todo, reader)
    for job, inferred in work.infer(todo, reader, show_progress=True):
        record = {"sampler": {"name": "lookup"}, "sequences": job.described()}
        save_inferred(inferred, job.files, work.folder, dataset.ending, record)
