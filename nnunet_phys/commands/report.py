"""`nnunet_phys report`: one self-contained page to look through a folder of maps, suspicious cases first."""

from __future__ import annotations

import argparse
import html
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.numbers import whole_number
from nnunet_phys.commands.shared.pages import write_page
from nnunet_phys.commands.shared.targets import check_file_target, named_path
from nnunet_phys.errors import InputError, counted

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.quality_record import InferredRecord

logger = logging.getLogger(__name__)

_MOST_PICTURES = 10_000
"""Assumed: browsers cannot open a page with more pictures, of about 0.1 MB each."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which maps, and where the page goes."""
    parser.add_argument("-d", required=True, metavar="DATASET", help="id or name of a data set in nnUNet_raw")
    parser.add_argument(
        "-maps", type=named_path, metavar="FOLDER", help="folder of the maps (default: spinTr/ of the data set)"
    )
    parser.add_argument(
        "-o", type=named_path, default=Path("report.html"), metavar="HTML", help="the page (default %(default)s)"
    )
    parser.add_argument(
        "-cases",
        type=whole_number(0, _MOST_PICTURES),
        default=40,
        metavar="N",
        help="at most this many pictures, worst first; a table lists all cases (default %(default)s)",
    )
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Read all records and maps, and write the page."""
    from nnunet_phys.commands.shared.report_parts import Histograms, case_pictures, case_table, fault_lines
    from nnunet_phys.map_files import load_maps
    from nnunet_phys.precomputed_spin.quality_record import load_inferred_record
    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
    from nnunet_phys.progress import ProgressBar

    check_file_target(args.o, (".html", ".htm"))
    dataset = open_raw_dataset(args.d)
    folder = args.maps or dataset.maps_folder
    records: dict[str, InferredRecord] = {}
    faults: list[str] = []
    for case in dataset.images:
        try:
            record = load_inferred_record(folder, case)
        except InputError as error:
            faults.extend(error.prefixed(f"{case}: ").faults)
        else:
            if record is not None:
                records[case] = record
    if not records:
        example = next(iter(dataset.images), "CASE")
        raise InputError(
            *faults,
            f"{folder} holds no maps of {dataset.name} made by nnunet_phys reverse, such as {example}.json. Run: "
            f"nnunet_phys reverse -d {args.d}, or give their folder with -maps.",
        )
    worst = sorted(records, key=lambda case: records[case].quality.badness, reverse=True)
    pictures: list[str] = []
    histograms = Histograms(dataset)
    for case in ProgressBar(worst, unit="case", disable=args.disable_progress_bar):
        try:
            maps = load_maps(folder, case, dataset.ending, dataset.images[case])
            histograms.add(maps, case)
            if len(pictures) < args.cases:
                pictures.append(case_pictures(case, records[case], maps, dataset.images[case]))
        except InputError as error:
            faults.extend(line if line.startswith(case) else f"{case}: {line}" for line in error.faults)
    flagged = sum(bool(record.quality.flags) for record in records.values())
    parts = [
        f"<h1>{html.escape(dataset.name)}: PD, T1 and T2 maps</h1>",
        f"<p>{len(records)} of {counted(len(dataset.images), 'case')} have maps in {html.escape(str(folder))}, "
        f"{flagged} of them flagged. Below: {counted(len(pictures), 'case')}, flagged cases first, then by their "
        "residual.</p>",
        fault_lines(faults),
        histograms.page(),
        *pictures,
        case_table({case: records[case].quality for case in worst}),
    ]
    write_page(args.o, dataset.name, parts)
    shown = f"{len(pictures)} of {counted(len(records), 'case')} shown"
    logger.info(f"{args.o}: {shown}, {flagged} flagged, {counted(len(faults), 'fault')}")
