"""T1 maps of a study's series by the methods of `quantify`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from nnunet_phys.precomputed_spin.map_work import MapWork, find_jobs
from nnunet_phys.precomputed_spin.quality import quality
from nnunet_phys.precomputed_spin.samplers import ProximalSampler
from nnunet_phys.precomputed_spin.scan_protocol import CaseProtocols

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.segmented_study import SegmentedStudy

T1Maps = dict[str, np.ndarray]
"""Case to its T1 map in ms, (slices, rows, columns), 0 where there is none."""


def t1_maps(
    studies: Sequence[SegmentedStudy],
    methods: Sequence[str],
    prior: SpinPrior | None,
    prior_name: str,
    show_progress: bool,
) -> tuple[dict[str, list[T1Maps]], list[str]]:
    """The maps of each method, one entry per study, and what the joint estimate's quality says about slices.

    Args:
        studies: whose masks, images and times are checked.
        methods: fit, joint.
        prior: that of the joint estimate, on its device.
        prior_name: its name or folder.
        show_progress: bars on stderr.

    Raises:
        InputError: before any map is made: a case without a protocol, or images that the prior cannot be used on.
    """
    works = [] if prior is None else [_joint_work(study, prior, prior_name) for study in studies]
    maps: dict[str, list[T1Maps]] = {}
    flags: list[str] = []
    if "fit" in methods:
        maps["fit"] = [_fitted(study, show_progress) for study in studies]
    if works:
        joint = [_joint(study, work, show_progress) for study, work in zip(studies, works, strict=True)]
        maps["joint"] = [of_study for of_study, _ in joint]
        flags = [doubt for _, doubts in joint for doubt in doubts]
    return maps, flags


def _fitted(study: SegmentedStudy, show_progress: bool) -> T1Maps:
    """The three-parameter fit of each series (`nnunet_phys fit`)."""
    cases = tqdm(study.cases, desc="fit", unit="case", disable=not show_progress)
    return {case.case: case.series.fit(study.reader).maps["T1"].numpy() for case in cases}


def _joint_work(study: SegmentedStudy, prior: SpinPrior, name: str) -> MapWork:
    """The joint estimate of each series (`nnunet_phys reverse`), by the protocol in CASE.json; all checked.

    Raises:
        InputError: as for `t1_maps`.
    """
    described, faults = CaseProtocols(study.images).scans(study.files)
    jobs, unfitting = find_jobs(described)
    work = MapWork(jobs, study.images, prior, name, ProximalSampler(), faults=(*faults, *unfitting))
    work.check(jobs, study.reader)
    return work


def _joint(study: SegmentedStudy, work: MapWork, show_progress: bool) -> tuple[T1Maps, list[str]]:
    """The maps of the joint estimate, and what its quality says about slices."""
    maps: T1Maps = {}
    flags: list[str] = []
    for job, inferred in work.infer(work.jobs, study.reader, show_progress):
        maps[job.case] = inferred.maps.t1.numpy()
        judgement = quality(inferred, work.prior.scaling)
        flags.extend(f"{job.case}, slice {flag['slice']}: joint: {flag['reason']}" for flag in judgement["flags"])
    return maps, flags
