"""The report's text: tables in Markdown, all of whose numbers come from the records of runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from generalization.comparisons import FEWEST_PAIRS, holm, mean_and_sd, mean_interval, paired_p
from generalization.methods import LEFT_OUT, METHODS
from generalization.plans import plan_description
from generalization.published import DIFFERENCES, SINGLE_SOURCE
from generalization.records import RunRecord
from generalization.results import MethodScores, Results, worst_cases
from generalization.test_sets import STRUCTURES

OURS = "phys"
"""The method that the others are tested against."""
NOT_RUN = "not run"
TUNED = (
    "The recipes of Phys were tuned on the real LGE, T2 and MOLLI images that are tested here; the other methods were "
    "not."
)
_NAMES = list(STRUCTURES)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def percent(value: float, digits: int = 1) -> str:
    """A share in %, or a dash for NaN."""
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"


def with_sd(values: Sequence[float], scale: float = 1.0) -> str:
    """Mean and standard deviation over cases, such as 84.1 ± 5.0."""
    mean, deviation = mean_and_sd(values)
    if math.isnan(mean):
        return "-"
    return f"{scale * mean:.1f}" + ("" if math.isnan(deviation) else f" ± {scale * deviation:.1f}")


def mean_cell(scores: MethodScores) -> str:
    """Mean Dice over patients or series in %, with its 95 % interval where there are enough."""
    values = list(scores.groups.values())
    interval = mean_interval(values)
    mean = percent(mean_and_sd(values)[0])
    return mean if interval is None else f"{mean} ({percent(interval[0])}-{percent(interval[1])})"


def p_values(results: Results, training: str, test: str) -> dict[str, float]:
    """Holm-corrected p of each method against `OURS` on a test set; empty where there are too few patients."""
    ours = results.scores(training, OURS, test)
    if ours is None:
        return {}
    raw = {}
    for method in results.methods(training):
        scores = results.scores(training, method, test)
        if method != OURS and scores is not None:
            p = paired_p(ours.groups, scores.groups)
            if p is not None:
                raw[method] = p
    return dict(zip(raw, holm(list(raw.values())), strict=True))


def summary_table(results: Results, training: str) -> str:
    """Mean Dice by method and test set."""
    tests = results.tests(training)
    rows = []
    for method in results.methods(training):
        scores = [results.scores(training, method, test) for test in tests]
        seeds = str(len(results.of(training, method)))
        rows.append([METHODS[method].title, seeds, *(NOT_RUN if s is None else mean_cell(s) for s in scores)])
    sizes = {name: max(len(s.groups) for s in _known(results, training, name)) for name in tests}
    return table(["Dice, %", "seeds", *(f"{test.title} (n = {sizes[name]})" for name, test in tests.items())], rows)


def _known(results: Results, training: str, test: str) -> list[MethodScores]:
    """Scores of all methods that have some on a test set."""
    scores = (results.scores(training, method, test) for method in results.methods(training))
    return [of_method for of_method in scores if of_method is not None]


def test_table(results: Results, training: str, test: str) -> str:
    """Dice and HD95 of every method and structure on a test set, and the comparison with `OURS`."""
    ours, corrected = results.scores(training, OURS, test), p_values(results, training, test)
    rows = []
    for name in results.methods(training):
        scores = results.scores(training, name, test)
        if scores is None:
            continue
        difference = ""
        if ours is not None and name != OURS:
            pairs = [scores.groups[group] - ours.groups[group] for group in scores.groups if group in ours.groups]
            difference = f"{100 * mean_and_sd(pairs)[0]:+.1f}"
        rows.append(
            [
                METHODS[name].title,
                *(with_sd(list(scores.dice[s].values()), 100) for s in _NAMES),
                mean_cell(scores),
                *(_distance(scores, s) for s in _NAMES),
                difference,
                _p_cell(corrected.get(name)),
            ]
        )
    header = ["", *(f"Dice {s}" for s in _NAMES), "mean Dice (95 %)", *(f"HD95 {s}, mm" for s in _NAMES)]
    return table([*header, f"minus {METHODS[OURS].title}", "p"], rows)


def _distance(scores: MethodScores, structure: str) -> str:
    """HD95 over the cases in which the structure was found, and in how many it was not."""
    text = with_sd(list(scores.hd95_mm[structure].values()))
    return text + (f" ({percent(scores.missed[structure], 0)} % missed)" if scores.missed[structure] else "")


def worst_table(results: Results, training: str, test: str, method: str) -> str:
    """The worst cases of a method on a test set."""
    scores = results.scores(training, method, test)
    assert scores is not None  # the caller has asked for a method with scores
    rows = [
        [case, percent(scores.mean[case]), *(percent(scores.dice[s][case]) for s in _NAMES)]
        for case in worst_cases(scores)
    ]
    return table(["worst cases", "mean Dice, %", *_NAMES], rows)


def seeds_table(results: Results, training: str) -> str:
    """Mean Dice of each seed, for methods with several, and the test of the second seed against the first."""
    rows = []
    for method in results.methods(training):
        for test, described in results.tests(training).items():
            scores = results.scores(training, method, test)
            if scores is not None and len(scores.by_seed) > 1:
                seeds = sorted(scores.by_seed.items())
                listed = ", ".join(f"{seed}: {percent(mean_and_sd([*of.values()])[0])}" for seed, of in seeds)
                p = paired_p(seeds[0][1], seeds[1][1])
                rows.append([METHODS[method].title, described.title, listed, _p_cell(p)])
    return table(["method", "test", "mean Dice by seed, %", "p of the first two"], rows) if rows else ""


def _p_cell(p: float | None) -> str:
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def methods_table(records: Sequence[RunRecord]) -> str:
    """What each method is, and on what it was run."""
    rows = []
    for name, method in METHODS.items():
        seeds: dict[str, list[int]] = {}
        for record in records:
            if record.method == name:
                run = f"{record.training}, {record.settings.plan} plan, {record.settings.iterations:,} iterations"
                seeds.setdefault(run, []).append(record.seed)
        if method.ablation and not seeds:
            continue
        runs = [f"{run} (seeds {', '.join(map(str, sorted(numbers)))})" for run, numbers in seeds.items()]
        recipe = (method.recipe_name or "").removesuffix(".json")
        maps = (method.maps or "").replace("_", " ")
        rows.append([method.title, method.source, maps, recipe, "; ".join(runs) or NOT_RUN, method.note])
    rows += [[name, "", "", "", f"left out: {reason}", ""] for name, reason in LEFT_OUT.items()]
    return table(["method", "source", "maps", "recipe", "runs", "note"], rows)


def runs_table(records: Sequence[RunRecord]) -> str:
    """Time, hardware and versions of every run."""
    rows = []
    for record in records:
        prediction = sum(result.seconds for result in record.tests.values())
        processors = (record.hardware.get("gpu"), record.hardware.get("cpu"))
        cores = f"{record.hardware.get('cores')} cores"
        rows.append(
            [
                f"`{record.name}`",
                f"{record.settings.plan}, {record.settings.iterations:,}",
                f"{record.seconds['training'] / 60:.1f}",
                f"{record.seconds['maps'] / 60:.1f}" if "maps" in record.seconds else "",
                f"{prediction / 60:.1f}",
                ", ".join(filter(None, (*processors, cores, record.hardware.get("format")))),
                f"torch {record.versions.get('torch')}, nnU-Net {record.versions.get('nnunetv2')}",
                record.versions.get("commit", ""),
            ]
        )
    times = ["training, min", "maps, min", "prediction, min"]
    return table(["run", "plan, iterations", *times, "hardware", "versions", "commit"], rows)


def published_section() -> str:
    """Published single-source figures."""
    rows = [[way, ", ".join(f"{name} {value:.1f}" for name, value in of.items())] for way, of in SINGLE_SOURCE.items()]
    return f"{table(['direction', 'mean Dice, % (published, not run here)'], rows)}\n\n{DIFFERENCES}"


def introduction() -> str:
    """How to read the page."""
    return (
        "Written by `python benchmarks/generalization report`; do not edit. All methods train on the same cases with "
        "the same schedule, and with the same network and spatial augmentation but for what [methods.md](methods.md) "
        "says. Dice is nnU-Net's. HD95 is the 95th percentile of the distances between contours, over the cases in "
        "which a structure was found; the share in which it was not, or was found though it is not there, stands "
        "beside it. The ACDC and MOLLI images at hand have lost their spacing: their mm are nominal. Dice per "
        "structure and HD95: mean ± standard deviation over cases, seeds averaged. Mean Dice: mean over patients or "
        "series, n in all, with its 95 % bootstrap interval. p: Wilcoxon's signed-rank test against "
        f"{METHODS[OURS].title} over patients or series, corrected by Holm's method for all methods on that test. "
        f"Neither is given with fewer than {FEWEST_PAIRS} of them. **p tells trainings apart, not methods**: another "
        f"seed of one method can give p < 0.001, too (see Seeds). {TUNED}"
    )


def schedule_line(records: Sequence[RunRecord]) -> str:
    """What the runs of a section have in common."""
    formats = sorted({record.hardware.get("format", "") for record in records})
    settings = records[0].settings
    plan = plan_description(settings.plan)
    return f"{settings.iterations:,} iterations of {plan}, trained in {'; '.join(formats)}."
