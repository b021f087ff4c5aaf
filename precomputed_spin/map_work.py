"""Inferring the maps of many cases: which are left to do, whether their input is usable, and the inference itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nnunet_phys.case_records import foreign_results, is_finished, load_record, read_record
from nnunet_phys.errors import InputError
from nnunet_phys.overlap import read_ahead
from nnunet_phys.precomputed_spin.case_labels import LABEL_SHA256, CaseLabels
from nnunet_phys.precomputed_spin.image_checks import check_images
from nnunet_phys.precomputed_spin.map_inference import infer_maps
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.samplers import Sampler
from nnunet_phys.precomputed_spin.scan import Inferred
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.precomputed_spin.scan_loading import ImageReader, load_scan
from nnunet_phys.precomputed_spin.scan_protocol import ScanJob, ScanProtocol
from nnunet_phys.progress import ProgressBar
from nnunet_phys.whole_files import remove_leftovers

_BYTES_OF_VOXEL = 4  # float32


def find_jobs(scans: Iterable[tuple[ScanFiles, ScanProtocol]]) -> tuple[list[ScanJob], list[str]]:
    """The cases with their sequences, sorted by name, and a line for each case whose sequences do not fit its files.

    Args:
        scans: the files of each case with the protocol that made them.
    """
    jobs: list[ScanJob] = []
    faults: list[str] = []
    for files, protocol in scans:
        try:
            jobs.extend(protocol.resolve(files))
        except InputError as error:
            faults.extend(error.of_case(files.case).faults)
    first_paths: dict[str, list[str]] = {}
    for job in jobs:
        first_paths.setdefault(job.case, []).append(str(job.files.paths[0]))
    for case, paths in first_paths.items():
        if len(paths) > 1:
            faults.append(f"{case}: {' and '.join(paths)} have names of the same case. Rename one of them.")
    return sorted(jobs, key=lambda job: job.case), faults


@dataclass(frozen=True)
class MapWork:
    """Cases whose maps are to be inferred, and how.

    Attributes:
        jobs: the cases.
        folder: where the results go.
        prior: the prior, on its device.
        prior_name: name under which the prior was loaded.
        sampler: draws the maps.
        seed: random seed of the noise.
        batch: slices that pass through the network together.
        samples: posterior samples per case.
        labels: label images of the cases.
        faults: lines about faults of other cases, which are reported with the faults of the images.

    Raises:
        InputError: the labels decide about tissue, but the sampler does not use them.
    """

    jobs: list[ScanJob]
    folder: Path
    prior: SpinPrior
    prior_name: str
    sampler: Sampler
    seed: int = 0
    batch: int = 8
    samples: int = 1
    labels: CaseLabels = field(default_factory=CaseLabels)
    faults: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels.decide and not self.sampler.uses_labels:
            raise InputError(
                f"--labels with -sampler {self.sampler.name}: this sampler does not use labels. Use -sampler "
                "proximal, or leave --labels out."
            )

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that all records of these results share, plain JSON."""
        return {
            "prior": {"name": self.prior_name, "sha256": self.prior.sha256(), **self.prior.record},
            "sampler": {"name": self.sampler.name, **asdict(self.sampler)},
            "seed": self.seed,
        }

    def unfinished(
        self, settings: dict[str, Any], settings_of: Callable[[ScanJob], dict[str, Any]], replace: bool = False
    ) -> list[ScanJob]:
        """The cases that have no results yet, or whose images or labels have changed since.

        Args:
            settings: settings that all records must share, except for the prior's name, as its folder may have moved.
            settings_of: gives further settings of a case.
            replace: cases with results that were made with other settings are left to do, too.

        Raises:
            InputError: there are results that were made with other settings, or by another command.
        """
        todo: list[ScanJob] = []
        made_otherwise: dict[str, list[str]] = {}
        for job in self.jobs:
            foreign = self._is_foreign(job, settings)
            if is_finished(self.folder, job.case, job.files.paths):
                differing = _differing(load_record(self.folder, job.case), {**settings, **settings_of(job)})
            elif foreign:
                differing = ["another command, other images"]
            else:
                todo.append(job)
                continue
            if differing and not foreign and (replace or differing == [LABEL_SHA256]):
                todo.append(job)
            elif differing:
                made_otherwise.setdefault(", ".join(differing), []).append(job.case)
        if made_otherwise:
            raise InputError(*(self._made_otherwise(names, cases) for names, cases in made_otherwise.items()))
        return todo

    def _is_foreign(self, job: ScanJob, settings: dict[str, Any]) -> bool:
        """Whether a command with other settings, such as `fit`, has made results of a case, from whatever images."""
        try:
            loaded = read_record(self.folder, job.case)
        except InputError:  # `refuse_foreign` names it
            return False
        if loaded is None or not loaded[1].images or settings.keys() <= loaded[0].keys():
            return False
        return any((self.folder / entry.file).exists() for entry in loaded[1].files)

    def refuse_foreign(self, todo: list[ScanJob], paths_of: Callable[[str], list[Path]]) -> None:
        """Refuse to replace files that this project did not make, going by its records.

        Args:
            todo: cases whose maps will be inferred.
            paths_of: gives the files that will be written for a case, except its record.

        Raises:
            InputError: there are such files.
        """
        faults = [line for job in todo for line in foreign_results(self.folder, job.case, paths_of(job.case))]
        if faults:
            raise InputError(*faults)

    def _made_otherwise(self, names: str, cases: list[str]) -> str:
        more = f" and {len(cases) - 1} more" if len(cases) > 1 else ""
        return (
            f"{cases[0]}{more}: the results in {self.folder} were made with other settings ({names}). Add --overwrite "
            "to replace them, list the cases to make with -cases, or choose another folder with -o."
        )

    def check(self, todo: list[ScanJob], reader: ImageReader) -> None:
        """Check all images and labels of cases.

        Raises:
            InputError: images or labels that cannot be used, and this work's `faults`.
        """
        of_labels = self.labels.faults(todo) if self.labels.decide else []
        check_images(todo, self.prior, reader, [*self.faults, *of_labels])

    def infer(
        self, todo: list[ScanJob], reader: ImageReader, show_progress: bool = False
    ) -> Iterator[tuple[ScanJob, Inferred]]:
        """Infer maps case by case, those together that may share batches.

        Args:
            todo: the cases, which have passed `check`.
            reader: the reader that `check` used, which still holds some of the images.
            show_progress: show a progress bar on stderr.

        Yields:
            each case and its maps.
        """
        ordered = sorted(todo, key=lambda job: (job.files.geometry.size[:2], repr(job.sequences), job.case))
        codes = self.labels.deciding_codes()
        scans = read_ahead(load_scan(job, self.labels.deciding_path(job.case), codes, reader) for job in ordered)
        slices = sum(math.prod(job.files.geometry.size[2:]) for job in todo)
        with ProgressBar(total=slices, unit="slice", disable=not show_progress) as progress:
            results = infer_maps(
                scans,
                self.prior,
                self.sampler,
                seed=self.seed,
                batch=self.batch,
                samples=self.samples,
                advance=progress.update,
            )
            for job, inferred in zip(ordered, results, strict=True):
                progress.set_description(job.case)
                yield job, inferred


def bytes_of_results(todo: Iterable[ScanJob], volumes: int) -> int:
    """Most bytes that results may take on disk: `volumes` uncompressed float32 volumes per case."""
    return _BYTES_OF_VOXEL * volumes * sum(math.prod(job.files.geometry.size) for job in todo)


def remove_interrupted(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder of results and in its samples."""
    for part in (folder, *folder.glob("samples/*")):
        if part.is_dir():
            remove_leftovers(part)


def _differing(recorded: dict[str, Any] | None, expected: dict[str, Any]) -> list[str]:
    """Names of the settings in which a record differs from what is expected."""
    plain = json.loads(json.dumps(expected))
    recorded = dict(recorded or {})
    for settings in (recorded, plain):
        prior = settings.get("prior")
        if isinstance(prior, dict):
            settings["prior"] = {key: value for key, value in prior.items() if key != "name"}
    return [key for key, value in plain.items() if recorded.get(key) != value]
