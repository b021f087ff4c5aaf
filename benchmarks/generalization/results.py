"""Runs gathered by training set, method and test set, with seeds averaged."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from generalization.methods import METHODS
from generalization.records import RunRecord
from generalization.scores import Score, mean_dice
from generalization.test_sets import STRUCTURES, TestSet
from generalization.training_sets import TRAINING_SETS
from nnunet_phys.errors import InputError


@dataclass(frozen=True)
class MethodScores:
    """Scores of one method on one test set, by case, averaged over seeds.

    Attributes:
        dice: by structure, then case; NaN where the case does not hold the structure.
        hd95_mm: the same; NaN where it was not found or is not there.
        missed: share of the cases that hold a structure which was not found, or do not hold it and it was found, by
            structure.
        mean: by case, mean Dice over structures.
        groups: by patient or series, the mean of `mean` over its cases.
        by_seed: by seed, what `groups` is over all seeds.
    """

    dice: dict[str, dict[str, float]]
    hd95_mm: dict[str, dict[str, float]]
    missed: dict[str, float]
    mean: dict[str, float]
    groups: dict[str, float]
    by_seed: dict[int, dict[str, float]]


@dataclass(frozen=True)
class Results:
    """All runs.

    Attributes:
        records: all of them.
    """

    records: tuple[RunRecord, ...]

    def __post_init__(self) -> None:
        faults = [
            f"{r.name}: there is no training set '{r.training}'. Remove the run."
            for r in self.records
            if r.training not in TRAINING_SETS
        ]
        faults += [
            f"{r.name}: there is no method '{r.method}'. Remove the run."
            for r in self.records
            if r.method not in METHODS
        ]
        for training in self.trainings:
            records = [r for r in self.records if r.training == training]
            schedules = {(r.settings.iterations, r.settings.plan, r.hashes.get("training_set")) for r in records}
            if len(schedules) > 1:
                faults.append(f"{training}: its runs differ in iterations, plan or training set. Report them apart.")
            for test in self.tests(training):
                results = [r.tests[test] for r in records if test in r.tests]
                if len({result.sha256 for result in results}) > 1 or not _agree([r.test_set for r in results]):
                    faults.append(f"{training}: its runs were scored on different {test}. Run the older ones again.")
            for method in self.methods(training):
                seeds = self.of(training, method)
                made_of = [{name: r.hashes.get(name) for name in ("plans", "recipe")} for r in seeds]
                if not _agree([replace(r.settings, device="") for r in seeds]) or not _agree(made_of):
                    listed = ", ".join(r.name for r in seeds)
                    faults.append(f"{listed} differ in settings, plan or recipe. Run the older ones again.")
        if faults:
            raise InputError(*faults)

    @property
    def trainings(self) -> list[str]:
        """Training sets that have runs, in their order."""
        return [name for name in TRAINING_SETS if any(r.training == name for r in self.records)]

    def methods(self, training: str) -> list[str]:
        """Methods that have runs on a training set, in their order."""
        return [name for name in METHODS if self.of(training, name)]

    def of(self, training: str, method: str) -> list[RunRecord]:
        """The runs of a method on a training set, by seed."""
        runs = [r for r in self.records if (r.training, r.method) == (training, method)]
        return sorted(runs, key=lambda record: record.seed)

    def tests(self, training: str) -> dict[str, TestSet]:
        """Test sets that were scored after training on a set, by name."""
        sets: dict[str, TestSet] = {}
        for record in self.records:
            if record.training == training:
                sets |= {name: result.test_set for name, result in record.tests.items()}
        return dict(sorted(sets.items()))

    def scores(self, training: str, method: str, test: str) -> MethodScores | None:
        """Scores of a method on a test set; None if it has none."""
        results = {r.seed: r.tests[test] for r in self.of(training, method) if test in r.tests}
        if not results:
            return None
        any_result = next(iter(results.values()))
        cases = list(any_result.cases)
        dice: dict[str, dict[str, float]] = {}
        distances: dict[str, dict[str, float]] = {}
        missed: dict[str, float] = {}
        for structure in STRUCTURES:
            of_case = {case: [result.cases[case][structure] for result in results.values()] for case in cases}
            dice[structure] = {case: _mean([s.dice for s in scores]) for case, scores in of_case.items()}
            distances[structure] = {case: _mean([s.hd95_mm for s in scores]) for case, scores in of_case.items()}
            missed[structure] = float(np.mean([_was_missed(s) for scores in of_case.values() for s in scores]))
        by_case = {
            seed: {case: mean_dice(scores) for case, scores in result.cases.items()} for seed, result in results.items()
        }
        mean = {case: _mean([of_seed[case] for of_seed in by_case.values()]) for case in cases}
        test_set = any_result.test_set
        by_seed = {seed: _by_group(of_seed, test_set) for seed, of_seed in by_case.items()}
        return MethodScores(dice, distances, missed, mean, _by_group(mean, test_set), by_seed)


def _agree(items: Sequence[Any]) -> bool:
    return all(item == items[0] for item in items)


def _by_group(values: Mapping[str, float], test_set: TestSet) -> dict[str, float]:
    """Mean over the cases of each patient or series."""
    members: dict[str, list[float]] = defaultdict(list)
    for case, value in values.items():
        members[test_set.group_of(case)].append(value)
    return {group: _mean(of_group) for group, of_group in members.items()}


def _mean(values: Sequence[float | None]) -> float:
    """Mean of the values that are there; NaN if there are none."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.mean(known)) if known else math.nan


def _was_missed(score: Score) -> bool:
    """Whether the structure is in the labels or the segmentation, but not in both."""
    return score.dice == 0 and score.hd95_mm is None


def by_inversion_time(scores: MethodScores, test: TestSet) -> list[float]:
    """Mean Dice of the first, second, ... readout by inversion time, over all series."""
    times = test.inversion_times_ms
    series = test.groups or {case: (case,) for case in times}
    ranked = [sorted(cases, key=lambda case: times[case]) for cases in series.values()]
    longest = max(len(cases) for cases in ranked)
    return [_mean([scores.mean[cases[k]] for cases in ranked if k < len(cases)]) for k in range(longest)]


def worst_cases(scores: MethodScores, count: int = 5) -> list[str]:
    """The cases with the lowest mean Dice, worst first."""
    known = [case for case, value in scores.mean.items() if math.isfinite(value)]
    return sorted(known, key=lambda case: scores.mean[case])[:count]
