"""Training and test sets of real scans, from the folder in NNUNET_PHYS_DATA.

The folder is no part of the project. Where a data set in it is absent, what depends on it is left out with a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from generalization.test_sets import TestFolder, TestSet, cases_in, hash_of_cases, write_test_set
from generalization.training_sets import TRAINING_SETS, write_training_set
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import read_image
from nnunet_phys.json_files import read_json

_EVERY_FIFTH = 5
_MYOPS_SEQUENCES = {
    "C0": ("bSSFP", {}),
    "T2": ("black-blood T2", {"sequence": "black_blood"}),
    "LGE": ("LGE", {"sequence": "lge_gre"}),
}
"""Folder of each sequence of MyoPS, with its contrast in words and what `translate` is told of it."""


@dataclass(frozen=True)
class _Inversions:
    """What is read of a MOLLI series' description."""

    inversion_times_ms: tuple[float, ...]


def split_patients(patients: list[str]) -> tuple[list[str], list[str]]:
    """Patients to train on, and those left out: every fifth in alphabetical order."""
    ordered = sorted(set(patients))
    left_out = ordered[_EVERY_FIFTH - 1 :: _EVERY_FIFTH]
    return [patient for patient in ordered if patient not in left_out], left_out


def acdc_patient(case: str) -> str:
    """`patient001` of `patient001_frame01`."""
    return case.partition("_")[0]


def prepare_real(data: Path, raw: Path, tests: Path) -> Iterator[str]:
    """Make all sets that the data allow and that do not exist yet; compare those that exist with the data.

    Args:
        data: the folder in NNUNET_PHYS_DATA.
        raw: where training sets go.
        tests: where test sets go.

    Yields:
        A line on each part that was done, skipped or left out.

    Raises:
        InputError: files do not belong together, or cannot be written, or an existing set was made of other files.
    """
    if not data.is_dir():
        raise InputError(f"NNUNET_PHYS_DATA is {data}, and there is no such folder. Correct or unset the variable.")
    parts = {
        "Dataset027_ACDC": _prepare_acdc,
        "myops2020": _prepare_myops,
        "mscmr_lge": _prepare_mscmr,
        "molli_t1net": _prepare_molli,
    }
    for name, prepare in parts.items():
        if (data / name).is_dir():
            yield from prepare(data / name, raw, tests)
        else:
            yield f"left out: there is no {data / name}"


def _training(raw: Path, name: str, images: dict[str, Path], labels: dict[str, Path]) -> str:
    """Write a training set unless it exists; a line on it."""
    training = TRAINING_SETS[name]
    labels = {case: path for case, path in labels.items() if case in images}
    if (raw / training.dataset / "dataset.json").is_file():
        if training.sha256(raw) != hash_of_cases(images, labels):
            raise _changed(raw / training.dataset)
        return f"training set {name}: done before"
    write_training_set(raw, training, images, labels)
    return f"training set {name}: {len(images)} cases"


def _test(tests: Path, name: str, test_set: TestSet, images: dict[str, Path], labels: dict[str, Path]) -> str:
    """Write a test set unless it exists; a line on it."""
    if (tests / name).is_dir():
        existing = TestFolder.read(tests / name)
        if existing.sha256 != hash_of_cases(images, labels):
            raise _changed(tests / name)
        if existing.test_set != test_set:
            raise InputError(f"{tests / name} is described otherwise than by now. Remove it to make it anew.")
        return f"test set {name}: done before"
    write_test_set(tests / name, test_set, images, labels)
    return f"test set {name}: {len(images)} cases"


def _changed(folder: Path) -> InputError:
    return InputError(f"{folder} was made of other files than the data hold now. Remove it to make it anew.")


def _prepare_acdc(data: Path, raw: Path, tests: Path) -> Iterator[str]:
    images, labels = cases_in(data / "imagesTr", "_0000.nii.gz"), cases_in(data / "labelsTr", ".nii.gz")
    train, left_out = split_patients([acdc_patient(case) for case in images])
    yield _training(raw, "acdc", {c: p for c, p in images.items() if acdc_patient(c) in train}, labels)
    groups = {patient: tuple(c for c in images if acdc_patient(c) == patient) for patient in left_out}
    members = [case for cases in groups.values() for case in cases]
    test_set = TestSet("cine, ACDC, other patients", "bSSFP cine", groups, ("acdc",), kind="real")
    yield _test(tests, "acdc_cine", test_set, {c: images[c] for c in members}, {c: labels[c] for c in members})


def _prepare_myops(data: Path, raw: Path, tests: Path) -> Iterator[str]:
    parts = [data / "train", data / "validation"]
    images = {
        sequence: {case: path for part in parts for case, path in cases_in(part / sequence, "_0000.nii.gz").items()}
        for sequence in _MYOPS_SEQUENCES
    }
    labels = {case: path for part in parts for case, path in cases_in(part / "labels", ".nii.gz").items()}
    for sequence, (channel, protocol) in _MYOPS_SEQUENCES.items():
        labelled = {case: path for case, path in images[sequence].items() if case in labels}
        test_set = TestSet(f"{channel}, MyoPS", channel, trainings=("acdc",), protocol=protocol, kind="real")
        yield _test(tests, f"myops_{sequence.lower()}", test_set, labelled, {c: labels[c] for c in labelled})

    # A single source as published: one sequence of some patients to train on, other sequences of others to test on.
    train, left_out = split_patients(list(cases_in(parts[0] / "C0", "_0000.nii.gz")))
    left_out = [*left_out, *cases_in(parts[1] / "C0", "_0000.nii.gz")]
    for sequence in ("C0", "LGE"):
        chosen = {case: images[sequence][case] for case in train}
        yield _training(raw, f"myops_{sequence.lower()}", chosen, labels)
    trainings = {"C0": ("myops_c0", "myops_lge"), "T2": ("myops_c0",), "LGE": ("myops_c0", "myops_lge")}
    for sequence, (channel, protocol) in _MYOPS_SEQUENCES.items():
        chosen = {case: images[sequence][case] for case in left_out if case in labels}
        title = f"{channel}, MyoPS, other patients"
        test_set = TestSet(title, channel, trainings=trainings[sequence], protocol=protocol, kind="real")
        yield _test(tests, f"single_{sequence.lower()}", test_set, chosen, {c: labels[c] for c in chosen})


def _prepare_mscmr(data: Path, raw: Path, tests: Path) -> Iterator[str]:
    images, labels = cases_in(data / "images", "_0000.nii.gz"), cases_in(data / "labels", ".nii.gz")
    note = "These are patients of MyoPS, too."
    test_set = TestSet(
        "LGE, MS-CMRSeg", "LGE", trainings=("acdc",), protocol={"sequence": "lge_gre"}, kind="real", note=note
    )
    yield _test(tests, "mscmr_lge", test_set, images, labels)


def _prepare_molli(data: Path, raw: Path, tests: Path) -> Iterator[str]:
    """One case per readout; the contours of a series count for all its readouts."""
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    groups: dict[str, tuple[str, ...]] = {}
    times: dict[str, float] = {}
    for series, contours in cases_in(data / "labels", ".nii.gz").items():
        readouts = {c: p for c, p in cases_in(data / "images", "_0000.nii.gz").items() if c.startswith(f"{series}_ti")}
        path = data / "reference" / f"{series}.json"
        inversions = read_json(path, _Inversions, "Write the readouts' inversion_times_ms.", extra=True)
        if len(inversions.inversion_times_ms) != len(readouts):
            raise InputError(f"{series}: {path} has another number of inversion times than there are readouts.")
        if not np.isin([1, 2, 3], read_image(contours)).all():
            raise InputError(f"{series}: {contours} lacks RV, MYO or LV (1, 2, 3). Draw them.")
        images |= readouts
        labels |= dict.fromkeys(readouts, contours)
        groups[series] = tuple(readouts)
        times |= dict(zip(readouts, inversions.inversion_times_ms, strict=True))
    test_set = TestSet(
        "MOLLI with contours, per readout",
        "MOLLI readout",
        groups,
        ("acdc",),
        times,
        {"sequence": "molli"},
        "real",
        "One reader's contours on T1 map and readouts; one set of contours per series.",
    )
    yield _test(tests, "molli_readouts", test_set, images, labels)
