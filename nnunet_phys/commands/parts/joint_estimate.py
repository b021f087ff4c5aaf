"""The joint estimate of T1, which models the readout (`nnunet_phys reverse`), of the series of `quantify`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnunet_phys.commands.shared.map_options import usual_batch
from nnunet_phys.precomputed_spin.map_work import MapWork, find_jobs
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_files import Scaling
from nnunet_phys.precomputed_spin.quality import quality
from nnunet_phys.precomputed_spin.samplers import ProximalMean
from nnunet_phys.precomputed_spin.scan_protocol import CaseProtocols
from nnunet_phys.precomputed_spin.segmented_study import SegmentedStudy, T1Maps
from nnunet_phys.precomputed_spin.work_parts import device_of_process


@dataclass(frozen=True, eq=False)
class JointEstimate:
    """Studies whose images and protocols are checked.

    Attributes:
        studies: the studies.
        works: the work of each.
    """

    studies: tuple[SegmentedStudy, ...]
    works: tuple[MapWork, ...]

    @classmethod
    def plan(cls, studies: Sequence[SegmentedStudy], prior: str, device: str, scaling: Scaling | None) -> JointEstimate:
        """Load the prior and check all cases; their protocols stand in CASE.json.

        Args:
            studies: whose masks, images and times are checked.
            prior, device, scaling: as for `SpinPrior.load`.

        Raises:
            InputError: no such prior or device, a case without a protocol, or images that the prior cannot be used on.
        """
        loaded, works = SpinPrior.load(prior, device_of_process(device), scaling), []
        for study in studies:
            described, faults = CaseProtocols(study.images).scans(study.files)
            jobs, unfitting = find_jobs(described)
            work = MapWork(
                jobs,
                study.images,
                loaded,
                prior,
                ProximalMean(),
                batch=usual_batch(loaded.device),
                faults=(*faults, *unfitting),
            )
            work.check(jobs, study.reader)
            works.append(work)
        return cls(tuple(studies), tuple(works))

    def maps(self, show_progress: bool) -> list[tuple[T1Maps, list[str]]]:
        """The maps of each study, and what their quality says about slices."""
        results = []
        for study, work in zip(self.studies, self.works, strict=True):
            maps: T1Maps = {}
            flags: list[str] = []
            for job, inferred in work.infer(work.jobs, study.reader, show_progress):
                maps[job.case] = inferred.maps.t1.numpy()
                doubts = quality(inferred, work.prior.scaling).flags
                flags.extend(f"{job.case}, slice {doubt.slice}: joint: {doubt.reason}" for doubt in doubts)
            results.append((maps, flags))
        return results
