"""`report`: a page of all runs with tables and figures, and the README's table."""

from __future__ import annotations

import argparse
from pathlib import Path

from generalization.bed import Bed
from generalization.methods import METHODS
from generalization.page import (
    OURS,
    introduction,
    methods_table,
    published_section,
    runs_table,
    schedule_line,
    seeds_table,
    summary_table,
    test_table,
    worst_table,
)
from generalization.records import read_records
from generalization.results import Results
from generalization.test_sets import TestFolder
from generalization.training_sets import TRAINING_SETS
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError
from nnunet_phys.whole_files import whole_file

ROOT = Path(__file__).resolve().parents[2]
START, END = "<!-- benchmark -->", "<!-- end of benchmark -->"
_SINGLE_SOURCE = ("myops_c0", "myops_lge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is read and written."""
    parser.add_argument("-work", type=named_path, required=True, metavar="FOLDER", help="the folder of `run`")
    parser.add_argument(
        "-o",
        type=named_path,
        default=ROOT / "docs" / "benchmark.md",
        metavar="FILE",
        help="page to write, with a folder of figures beside it (default: docs/benchmark.md)",
    )
    parser.add_argument(
        "-readme",
        type=named_path,
        metavar="FILE",
        help=f"also rewrite what stands between {START} and {END} in this file",
    )


def run(args: argparse.Namespace) -> None:
    """Write the page, and the README's table.

    Raises:
        InputError: there are no runs, or they do not belong together, or the README has no place for the table.
    """
    bed = Bed(args.work.resolve())
    records = read_records(bed.runs)
    if not records:
        raise InputError(f"{bed.runs} holds no runs. Run `python benchmarks/generalization run` first.")
    results = Results(tuple(records))
    if args.readme is not None:
        with_block(args.readme, "")  # before the figures are drawn
    figures = args.o.with_suffix("")
    figures.mkdir(parents=True, exist_ok=True)
    _write(args.o, write_page(bed, results, figures))
    print(f"{args.o}: {len(records)} runs")
    if args.readme is not None:
        _write(args.readme, with_block(args.readme, readme_block(results)))
        print(f"{args.readme}: table rewritten")


def _write(path: Path, text: str) -> None:
    try:
        with whole_file(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error}). Is the disk full?") from None


def with_block(path: Path, block: str) -> str:
    """The text of a file with a new block between the two marks.

    Raises:
        InputError: the file does not exist or lacks the marks.
    """
    text = path.read_text() if path.is_file() else ""
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise InputError(f"{path} needs one line {START} and, after it, one line {END}, between which the table goes.")
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{block}{END}{rest.partition(END)[2]}"


def readme_block(results: Results) -> str:
    """The summary of each training set that has runs."""
    parts = []
    for training in results.trainings:
        parts.append(f"Trained on {TRAINING_SETS[training].title}: {schedule_line(results, training)}")
        parts.append(summary_table(results, training, only_run=True))
    parts.append("All tables, figures and failures: [docs/benchmark.md](docs/benchmark.md).")
    return "\n\n".join(parts) + "\n"


def write_page(bed: Bed, results: Results, figures: Path) -> str:
    """The whole page; its figures are drawn into a folder beside it, those of real scans into the work folder."""
    from generalization.figures import draw_readouts, draw_summary, draw_worst

    parts = ["# Benchmark", introduction(), "## Methods", methods_table(results)]
    for training in results.trainings:
        parts += [f"## Trained on {TRAINING_SETS[training].title}", schedule_line(results, training)]
        parts.append(summary_table(results, training))
        draw_summary(results, training, figures / f"{training}.png")
        parts.append(_picture(figures, f"{training}.png", "Mean Dice of all methods on all tests"))
        if training in _SINGLE_SOURCE:
            parts.append(published_section())
        for test, described in results.tests(training).items():
            parts += [f"### {described.title} (trained on {training})", _test_line(results, training, test)]
            parts.append(test_table(results, training, test))
            if described.inversion_times_ms:
                name = f"{training}_{test}_readouts.png"
                draw_readouts(results, training, test, figures / name)
                parts.append(_picture(figures, name, f"{described.title}: mean Dice by readout"))
            shown = _shown_methods(results, training, test)
            parts.append(f"Worst cases of {METHODS[shown[-1]].title}:")
            parts.append(worst_table(results, training, test, shown[-1]))
            folder = figures if described.kind == "digital" else bed.work / "gallery"
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{training}_{test}_worst.png"
            if (bed.tests / test).is_dir() and draw_worst(
                bed, results, training, TestFolder.read(bed.tests / test), shown, folder / name
            ):
                where = f"Their pictures are in `gallery/{name}` of the work folder, since the scans are not published."
                parts.append(_picture(figures, name, f"{described.title}: worst cases") if folder == figures else where)
        seeds = seeds_table(results, training)
        parts += ["### Seeds", seeds] if seeds else []
    parts += ["## Runs", runs_table(results)]
    return "\n\n".join(parts) + "\n"


def _picture(figures: Path, name: str, text: str) -> str:
    return f"![{text}]({figures.name}/{name})"


def _test_line(results: Results, training: str, test: str) -> str:
    """How many cases of how many patients or series, and the note on them."""
    described = results.tests(training)[test]
    cases = next(r.tests[test].cases for r in results.records if r.training == training and test in r.tests)
    groups = len({described.group_of(case) for case in cases})
    return f"{len(cases)} cases of {groups} patients or series. {described.note}".strip()


def _shown_methods(results: Results, training: str, test: str) -> list[str]:
    """Methods whose segmentations the gallery shows: the plain one, and last the one whose worst cases these are."""
    scored = [m for m in results.methods(training) if results.scores(training, m, test) is not None]
    last = OURS if OURS in scored else scored[-1]
    return [*(method for method in ("plain",) if method in scored and method != last), last]
