"""`report`: a page of all runs with tables and figures, and the README's table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from generalization.bed import Bed
from generalization.methods import METHODS
from generalization.page import (
    OURS,
    TUNED,
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
from generalization.records import RunRecord, read_records
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
    parser.add_argument(
        "-work",
        type=named_path,
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="the folder of `run`; several, in this order, for runs with several plans or numbers of iterations",
    )
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
        help=f"also put the summary of the page's first section between {START} and {END} in this file",
    )


def run(args: argparse.Namespace) -> None:
    """Write the page, and the README's table.

    Raises:
        InputError: there are no runs, or they do not belong together, the page's name has no ending, or the README has
            no place for the table.
    """
    sections = [section for work in args.work for section in read_sections(Bed(work.resolve()))]
    if not args.o.suffix:
        raise InputError(f"-o {args.o}: figures go to a folder of this name. Name the page {args.o.name}.md.")
    names = [section.name for section in sections]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"Several folders of -work hold runs of {', '.join(twice)}. Give only one of them.")
    if args.readme is not None:
        with_block(args.readme, "")  # before the figures are drawn
    figures = args.o.with_suffix("")
    figures.mkdir(parents=True, exist_ok=True)
    _write(args.o, write_page(sections, figures))
    print(f"{args.o}: {sum(len(section.records) for section in sections)} runs")
    if args.readme is not None:
        _write(args.readme, with_block(args.readme, readme_block(sections[0])))
        print(f"{args.readme}: table rewritten")


@dataclass(frozen=True)
class Section:
    """What the page says of one training set with one plan and number of iterations.

    Attributes:
        bed: where the runs lie.
        results: all runs there.
        training: name of the training set.
    """

    bed: Bed
    results: Results
    training: str

    @property
    def records(self) -> list[RunRecord]:
        """The runs."""
        return [record for record in self.results.records if record.training == self.training]

    @property
    def name(self) -> str:
        """Names its figures."""
        settings = self.records[0].settings
        return f"{self.training}_{settings.plan}_{settings.iterations}"

    @property
    def title(self) -> str:
        """Its heading."""
        settings, data = self.records[0].settings, TRAINING_SETS[self.training].title
        return f"Trained on {data}, {settings.plan} plan, {settings.iterations:,} iterations"


def read_sections(bed: Bed) -> list[Section]:
    """The sections of a work folder.

    Raises:
        InputError: there are no runs, or they do not belong together.
    """
    records = read_records(bed.runs)
    if not records:
        raise InputError(f"{bed.runs} holds no runs. Run `python benchmarks/generalization run` first.")
    results = Results(tuple(records))
    return [Section(bed, results, training) for training in results.trainings]


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


def readme_block(section: Section) -> str:
    """The summary of a section."""
    return (
        f"Trained on {TRAINING_SETS[section.training].title}: {schedule_line(section.records)}\n\n"
        f"{summary_table(section.results, section.training)}\n\n"
        f"In brackets: 95 % interval of the mean over n patients or series. {TUNED} All tables, figures and failures: "
        "[docs/benchmark.md](docs/benchmark.md).\n"
    )


def write_page(sections: Sequence[Section], figures: Path) -> str:
    """The whole page; its figures are drawn into a folder beside it, those of real scans into the work folder."""
    records = [record for section in sections for record in section.records]
    parts = ["# Benchmark", introduction(), "## Methods", methods_table(records)]
    for section in sections:
        parts += _section_parts(section, figures)
    return "\n\n".join([*parts, "## Runs", runs_table(records)]) + "\n"


def _section_parts(section: Section, figures: Path) -> list[str]:
    """The paragraphs of a section."""
    from generalization.figures import draw_readouts, draw_summary, draw_worst

    bed, results, training = section.bed, section.results, section.training
    parts = [f"## {section.title}", schedule_line(section.records), summary_table(results, training)]
    draw_summary(results, training, figures / f"{section.name}.png")
    parts.append(_picture(figures, f"{section.name}.png", "Mean Dice of all methods on all tests"))
    if training in _SINGLE_SOURCE:
        parts.append(published_section())
    for test, described in results.tests(training).items():
        parts += [f"### {described.title} ({section.name})", _test_line(section, test)]
        parts.append(test_table(results, training, test))
        if described.inversion_times_ms:
            name = f"{section.name}_{test}_readouts.png"
            draw_readouts(results, training, test, figures / name)
            parts.append(_picture(figures, name, f"{described.title}: mean Dice by readout"))
        shown = _shown_methods(results, training, test)
        parts.append(f"Worst cases of {METHODS[shown[-1]].title}:")
        parts.append(worst_table(results, training, test, shown[-1]))
        folder = figures if described.kind == "digital" else bed.work / "gallery"
        name = f"{section.name}_{test}_worst.png"
        if not (bed.tests / test).is_dir():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        if draw_worst(bed, results, training, TestFolder.read(bed.tests / test), shown, folder / name):
            where = f"Their pictures are in `gallery/{name}` of the work folder, since the scans are not published."
            parts.append(_picture(figures, name, f"{described.title}: worst cases") if folder == figures else where)
    seeds = seeds_table(results, training)
    return [*parts, f"### Seeds ({section.name})", seeds] if seeds else parts


def _picture(figures: Path, name: str, text: str) -> str:
    return f"![{text}]({figures.name}/{name})"


def _test_line(section: Section, test: str) -> str:
    """How many cases of how many patients or series, and the note on them."""
    described = section.results.tests(section.training)[test]
    cases = next(record.tests[test].cases for record in section.records if test in record.tests)
    groups = len({described.group_of(case) for case in cases})
    return f"{len(cases)} cases of {groups} patients or series. {described.note}".strip()


def _shown_methods(results: Results, training: str, test: str) -> list[str]:
    """Methods whose segmentations the gallery shows: the plain one, and last the one whose worst cases these are."""
    scored = [m for m in results.methods(training) if results.scores(training, m, test) is not None]
    last = OURS if OURS in scored else scored[-1]
    return [*(method for method in ("plain",) if method in scored and method != last), last]
