"""Training and test sets of digital hearts, which anybody can make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from generalization.digital_scans import TITLES, ScannedHeart, scan_heart
from generalization.test_sets import DESCRIPTION, TestFolder, TestSet
from generalization.training_sets import TRAINING_SETS
from nnunet_phys.errors import InputError
from nnunet_phys.experiments.heart_dataset import write_heart_dataset, write_heart_volume
from nnunet_phys.image_files import Geometry
from nnunet_phys.whole_files import working_folder, write_json
from nnunet_phys.workers import run_in_workers

_TRAININGS = ("digital", "digital_varied")
_SLICES_OF_VARIED = 8
"""Slices of a heart whose stack reaches beyond both of its ends."""


@dataclass(frozen=True)
class DigitalSize:
    """Size of the sets of digital hearts.

    Attributes:
        train: training cases.
        hearts: test hearts, each in all contrasts.
        slices: slices per case.
        rows: rows and columns of test images.
        pixel_mm: their pixel size.
    """

    train: int = 24
    hearts: int = 8
    slices: int = 5
    rows: int = 128
    pixel_mm: float = 2.5


@dataclass(frozen=True)
class _Job:
    """A test heart to scan and write into a folder."""

    folder: Path
    index: int
    size: DigitalSize


@dataclass(frozen=True)
class _Written:
    """What was written of a test heart: its group, and its cases, protocol and inversion times by test."""

    group: str
    cases: dict[str, tuple[str, ...]]
    protocols: dict[str, dict]
    inversion_times_ms: dict[str, dict[str, float]]


def prepare_digital(raw: Path, tests: Path, size: DigitalSize, processes: int) -> Iterator[str]:
    """Make the training set and all test sets of digital hearts that do not exist yet.

    Args:
        raw: where training sets go.
        tests: where test sets go.
        size: how many, and how large.
        processes: worker processes.

    Yields:
        A line on each part that was done or skipped.

    Raises:
        InputError: sets of another size exist, or a file cannot be written.
    """
    for name in _TRAININGS:
        training, varied = TRAINING_SETS[name], name == "digital_varied"
        if (raw / training.dataset / "dataset.json").is_file():
            images = training.images(raw)
            _require_number(raw / training.dataset, "hearts", len(images), size.train, "-train")
            if not varied:
                _require_slices(raw / training.dataset, images, size.slices)
            yield f"training set {name}: done before"
        else:
            raw.mkdir(parents=True, exist_ok=True)
            slices = _SLICES_OF_VARIED if varied else size.slices
            write_heart_dataset(raw / training.dataset, size.train, 0, slices, processes, varied)
            yield f"training set {name}: {size.train} training cases"
    names = [f"digital_{test}" for test in TITLES]
    if all((tests / name).is_dir() for name in names):
        for name in names:
            existing = TestFolder.read(tests / name)
            _require_number(tests / name, "hearts", len(existing.test_set.groups), size.hearts, "-hearts")
            _require_slices(tests / name, existing.images, size.slices)
        yield f"{', '.join(names)}: done before"
        return
    tests.mkdir(parents=True, exist_ok=True)
    with working_folder(tests, "digital") as scratch:
        for test in TITLES:
            for kind in ("imagesTs", "labelsTs"):
                (scratch / f"digital_{test}" / kind).mkdir(parents=True)
        written = run_in_workers(
            _write_heart, [_Job(scratch, index, size) for index in range(size.hearts)], processes, "test hearts"
        )
        for test, title in TITLES.items():
            folder = scratch / f"digital_{test}"
            write_json(folder / DESCRIPTION, asdict(_describe(test, title, written)))
            TestFolder.read(folder).check_labels()
        for name in names:
            if not (tests / name).is_dir():
                os.replace(scratch / name, tests / name)
    yield f"{', '.join(names)}: {size.hearts} test hearts each"


def _require_number(folder: Path, things: str, existing: int, wanted: int, option: str) -> None:
    if existing != wanted:
        raise InputError(
            f"{folder} holds {existing} {things}, not {wanted}. Give {option} {existing}, or remove the folder."
        )


def _require_slices(folder: Path, images: dict[str, Path], wanted: int) -> None:
    slices = Geometry.read(next(iter(images.values()))).size[-1]
    _require_number(folder, "slices per heart", slices, wanted, "-slices")


def _describe(test: str, title: str, written: list[_Written]) -> TestSet:
    protocols = {case: heart.protocols[test] for heart in written for case in heart.cases[test]}
    first, *others = protocols.values()
    same = all(protocol == first for protocol in others)
    return TestSet(
        title,
        title.partition(",")[0],
        {heart.group: heart.cases[test] for heart in written},
        _TRAININGS,
        {case: time for heart in written for case, time in heart.inversion_times_ms[test].items()},
        first if same else {},
        "digital",
        protocols={} if same else protocols,
    )


def _write_heart(job: _Job) -> _Written:
    size = job.size
    scanned = scan_heart(job.index, size.slices, (size.rows, size.rows), size.pixel_mm)
    group = f"{scanned.family}{job.index:03d}"
    for test, scan in scanned.scans.items():
        folder = job.folder / f"digital_{test}"
        for suffix, image in scan.images.items():
            write_heart_volume(folder / "imagesTs" / f"{group}{suffix}_0000.nii.gz", image, scanned.heart)
            write_heart_volume(folder / "labelsTs" / f"{group}{suffix}.nii.gz", scanned.heart.labels, scanned.heart)
    return _summary(group, scanned)


def _summary(group: str, scanned: ScannedHeart) -> _Written:
    scans = scanned.scans
    return _Written(
        group,
        {test: tuple(f"{group}{suffix}" for suffix in scan.images) for test, scan in scans.items()},
        {test: scan.protocol for test, scan in scans.items()},
        {
            test: {f"{group}{suffix}": time for suffix, time in scan.inversion_times_ms.items()}
            for test, scan in scans.items()
        },
    )
