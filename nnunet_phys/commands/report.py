"""`nnunet_phys report`: a folder with one page to look through maps, suspicious cases first."""

from __future__ import annotations

import argparse
import base64
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.numbers import PROCESSES, whole_number
from nnunet_phys.commands.shared.targets import check_target, named_path, refuse_as_target
from nnunet_phys.errors import InputError, counted

if TYPE_CHECKING:
    from nnunet_phys.commands.parts.report_case import ReportJob
    from nnunet_phys.precomputed_spin.quality_record import InferredRecord

logger = logging.getLogger(__name__)

_MOST_PICTURES = 100_000
"""Assumed: more cases than anybody looks at."""
_BYTES_OF_FIGURE = 100_000
"""More than a figure of a slice takes."""
_MOST_EMBEDDED_BYTES = 4_000_000
"""Figures of more bytes lie beside the page, so that it opens at once; fewer are part of it, so that it can be sent."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which maps, and where the page goes."""
    parser.add_argument("-d", metavar="DATASET", help="id or name of a data set in nnUNet_raw")
    parser.add_argument("-i", type=named_path, metavar="FOLDER", help="instead of -d: the folder of the maps' images")
    parser.add_argument(
        "-maps", type=named_path, metavar="FOLDER", help="folder of the maps (default with -d: spinTr/ of the data set)"
    )
    parser.add_argument(
        "-o",
        type=named_path,
        default=Path("report"),
        metavar="FOLDER",
        help="folder for report.html and flagged.txt (default %(default)s)",
    )
    parser.add_argument(
        "-pictures",
        type=whole_number(0, _MOST_PICTURES),
        default=40,
        metavar="N",
        help="draw this many cases, worst first; flagged ones are all drawn (default %(default)s)",
    )
    parser.add_argument("-np", type=PROCESSES, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a report that this command made")
    parser.add_argument("--disable_progress_bar", action="store_true")


@dataclass(frozen=True)
class _MapCase:
    """A case that may have maps.

    Attributes:
        ending: file ending of its maps, with the dot.
        image: its image, the first one of a series.
        frame: index of the volume in a 4-D image.
        labels: its label image; None without.
    """

    ending: str
    image: Path
    frame: int = 0
    labels: Path | None = None


@dataclass(frozen=True)
class _Source:
    """What is reported on.

    Attributes:
        title: name of the data set or the folder.
        maps: folder of the maps.
        cases: the cases by name.
        images: number of images that could have maps; None: not known.
        codes: structure to its code in label images.
        make: command that makes maps.
    """

    title: str
    maps: Path
    cases: dict[str, _MapCase]
    images: int | None
    codes: dict[str, int]
    make: str


def run(args: argparse.Namespace) -> None:
    """Read all records and maps, and write the folder whole or not at all."""
    from nnunet_phys.commands.shared.report_folder import MAPS, check_report_folder

    source = _of_dataset(args) if args.i is None else _of_folder(args)
    refuse_as_target(args.o, source.maps, *(() if args.i is None else (args.i,)))
    old = check_report_folder(args.o, args.overwrite, MAPS)
    records, faults = _records(source)
    flagged = sum(bool(record.quality.flags) for record in records.values())
    drawn = max(flagged, min(args.pictures, len(records)))
    slices = drawn + sum(len(record.quality.flags) for record in records.values())
    check_target(args.o, _BYTES_OF_FIGURE * slices)
    _write(args, source, records, faults, drawn, old)


def _of_dataset(args: argparse.Namespace) -> _Source:
    """The cases of a data set.

    Raises:
        InputError: no data set is named, or it cannot be read.
    """
    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset

    if args.d is None:
        raise InputError("Give either -d DATASET or -i FOLDER -maps FOLDER.")
    dataset = open_raw_dataset(args.d)
    cases = {
        case: _MapCase(dataset.ending, image, labels=dataset.labels[case]) for case, image in dataset.images.items()
    }
    codes = {name: code for name, code in dataset.codes.items() if isinstance(code, int) and code != 0}
    maps = args.maps or dataset.maps_folder
    return _Source(dataset.name, maps, cases, len(cases), codes, f"nnunet_phys reverse -d {args.d}")


def _of_folder(args: argparse.Namespace) -> _Source:
    """The cases with maps in a folder, and their images as the records name them.

    Raises:
        InputError: -d or no maps are named, there are none, or a record is broken.
    """
    from nnunet_phys.case_records import read_record
    from nnunet_phys.map_files import find_maps
    from nnunet_phys.precomputed_spin.scan_files import frame_of_case

    if args.d is not None or args.maps is None:
        raise InputError("Give either -d DATASET or -i FOLDER -maps FOLDER.")
    cases = {}
    for case, ending in find_maps(args.maps).items():
        try:
            loaded = read_record(args.maps, case)
        except InputError:
            loaded = None  # reported with all other records
        if loaded is None or loaded[1].image is None:
            cases[case] = _MapCase(ending, args.i / f"{case}_0000{ending}")
            continue
        image = args.i / loaded[1].image.file
        cases[case] = _MapCase(ending, image, frame_of_case(case, image))
    make = f"nnunet_phys reverse -i {args.i} -o {args.maps}"
    return _Source(args.maps.resolve().name, args.maps, cases, None, {}, make)


def _records(source: _Source) -> tuple[dict[str, InferredRecord], list[str]]:
    """The records of all cases that have one, worst first, and lines about broken ones.

    Raises:
        InputError: there is none.
    """
    from nnunet_phys.precomputed_spin.quality_record import load_inferred_record

    records: dict[str, InferredRecord] = {}
    faults: list[str] = []
    for case in source.cases:
        try:
            record = load_inferred_record(source.maps, case)
        except InputError as error:
            faults.extend(error.of_case(case).faults)
        else:
            if record is not None:
                records[case] = record
    if not records:
        example = next(iter(source.cases), "CASE")
        raise InputError(
            *faults,
            f"{source.maps} holds no maps of {source.title} made by nnunet_phys reverse, such as {example}.json. Run: "
            f"{source.make}, or give their folder with -maps.",
        )
    worst = sorted(records, key=lambda case: records[case].quality.badness, reverse=True)
    return {case: records[case] for case in worst}, faults


def _write(
    args: argparse.Namespace,
    source: _Source,
    records: dict[str, InferredRecord],
    faults: list[str],
    drawn: int,
    old: list[Path],
) -> None:
    """Look at all maps, draw, and write page, list and record.

    Raises:
        InputError: a file cannot be written.
    """
    from nnunet_phys.case_records import package_versions
    from nnunet_phys.commands.parts.report_case import case_result
    from nnunet_phys.commands.parts.report_page import STYLE, ReportPage
    from nnunet_phys.commands.shared.case_lists import FLAGGED, flagged_list
    from nnunet_phys.commands.shared.pages import write_page
    from nnunet_phys.commands.shared.report_folder import MAPS, fill_report_folder
    from nnunet_phys.precomputed_spin.quality_record import count_kinds
    from nnunet_phys.whole_files import working_folder, write_bytes
    from nnunet_phys.workers import run_in_workers

    flags = {case: record.quality.flags for case, record in records.items() if record.quality.flags}
    with working_folder(args.o, "report") as folder:
        scratch = folder / "report"
        figures = scratch / "figures"
        figures.mkdir(parents=True)
        jobs = _jobs(source, records, drawn, figures)
        found = run_in_workers(case_result, jobs, args.np, "Looking at maps", args.disable_progress_bar)
        results = dict(zip(records, found, strict=True))
        sources = _embed_or_refer(figures)
        page = ReportPage(
            title=source.title,
            folder=str(source.maps),
            cases=source.images,
            records=records,
            results=results,
            labelled=list(source.codes),
            sources=sources,
            faults=faults,
        )
        write_page(scratch / "report.html", source.title, page.parts(), STYLE)
        write_bytes(scratch / FLAGGED, flagged_list(flags).encode())
        counts = {kind or "other": slices for kind, (slices, _) in count_kinds(flags).items()}
        content = {"maps": str(source.maps), "versions": package_versions(), "flagged_slices": counts}
        fill_report_folder(args.o, scratch, old, content, MAPS)
    faulty = len(faults) + sum(len(result.faults) for result in found)
    logger.info(
        f"{args.o / 'report.html'}: {counted(len(records), 'case')}, {sum(bool(r.figures) for r in found)} drawn, "
        f"{len(flags)} flagged ({FLAGGED}), {counted(faulty, 'fault')}"
    )


def _jobs(source: _Source, records: dict[str, InferredRecord], drawn: int, figures: Path) -> list[ReportJob]:
    """What is to be shown of each case: figures of the first `drawn` ones."""
    from nnunet_phys.commands.parts.report_case import ReportJob

    return [
        ReportJob(
            case=case,
            record=record,
            folder=source.maps,
            ending=source.cases[case].ending,
            image=source.cases[case].image,
            frame=source.cases[case].frame,
            labels=source.cases[case].labels,
            codes=source.codes,
            figures=figures,
            name=f"{number:05d}" if number < drawn else None,
        )
        for number, (case, record) in enumerate(records.items())
    ]


def _embed_or_refer(figures: Path) -> dict[str, str]:
    """What an HTML image refers to for each figure: its data if all are small enough, and else its file.

    Files whose data are embedded are removed.
    """
    paths = sorted(figures.iterdir())
    if sum(path.stat().st_size for path in paths) > _MOST_EMBEDDED_BYTES:
        return {path.name: f"{figures.name}/{path.name}" for path in paths}
    embedded = {}
    for path in paths:
        embedded[path.name] = f"data:image/webp;base64,{base64.b64encode(path.read_bytes()).decode()}"
        path.unlink()
    return embedded
