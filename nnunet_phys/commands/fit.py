"""`nnunet_phys fit`: quantitative series to maps, by conventional curve fitting."""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.messages import indented, skipped
from nnunet_phys.commands.shared.targets import check_target, named_path, refuse_as_target
from nnunet_phys.errors import InputError, counted

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.scan_loading import ImageReader
    from nnunet_phys.precomputed_spin.series_fitting import FittedMaps

logger = logging.getLogger(__name__)

_SEQUENCES = ("msasha", "sasha", "molli", "t2prep")
_BYTES_OF_VOXEL = 4 * 5
"""At most three maps, a mask and a residual, float32."""
_FEWEST_VALID = 2.0
"""Share of a case's pixels, in %, below which something must be wrong. Assumed: less than any phantom fills."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which series are read, how they were made, and where the maps go."""
    parser.add_argument("-i", type=named_path, required=True, metavar="FOLDER", help="CASE_0000, CASE_0001, ... or 4-D")
    parser.add_argument(
        "-o",
        type=named_path,
        required=True,
        metavar="FOLDER",
        help="folder for the maps, which `preprocess -maps` takes",
    )
    parser.add_argument(
        "-sequence",
        required=True,
        choices=_SEQUENCES,
        help="msasha gives PD, T1 and T2; molli and sasha give PD and T1 only, t2prep PD and T2 only: fit one of each "
        "of the same patients into the same folder",
    )
    parser.add_argument(
        "-times",
        type=named_path,
        metavar="PATH",
        help="JSON file for all cases, or folder of CASE.json, with one time per image in ms: inversion_times_ms "
        "(molli), ts_ms (sasha; null: no saturation), t2_prep_ms (t2prep), or ts_ms, t2_prep_ms and delay_ms (msasha) "
        "(default: -i)",
    )
    parser.add_argument(
        "--perfect_saturation", action="store_true", help="sasha: fit two parameters, which is more precise"
    )
    parser.add_argument("--overwrite", action="store_true", help="make existing cases again, with all of their maps")
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Check all series, then fit those that are not finished."""
    from nnunet_phys.precomputed_spin.scan_loading import ImageReader
    from nnunet_phys.progress import ProgressBar
    from nnunet_phys.whole_files import remove_leftovers

    if args.perfect_saturation and args.sequence != "sasha":
        raise InputError("--perfect_saturation is for -sequence sasha. Leave it out.")
    reader = ImageReader()
    todo, finished = _checked(args, reader)
    if finished:
        logger.info(skipped(finished, finished + len(todo)))
    if not todo:
        return
    check_target(args.o, sum(_bytes(maps) for maps in todo))
    remove_leftovers(args.o)
    shares, faulty = [], []
    for maps in ProgressBar(todo, unit="case", disable=args.disable_progress_bar):
        fit = maps.job.fit(reader)
        maps.save(fit, args.overwrite)
        shares.append(100 * float(fit.valid.float().mean()))
        if shares[-1] < _FEWEST_VALID:
            faulty.append(f"{maps.job.case}: {shares[-1]:.1f} % of the pixels are valid")
    low, high = f"{min(shares):.0f}", f"{max(shares):.0f}"
    valid = f"{low} %" if low == high else f"{low} to {high} %"
    logger.info(f"{counted(len(todo), 'case')} fitted in {args.o}; {valid} of a case's pixels are valid.")
    if faulty:
        logger.warning(f"Are the times those of the images, in their order?{indented(faulty)}")
    _say_what_is_missing(todo)


def _checked(args: argparse.Namespace, reader: ImageReader) -> tuple[list[FittedMaps], int]:
    """The cases that are left to do, and the number of finished ones.

    Raises:
        InputError: one line for each fault of a case's files, times, images or results.
    """
    from nnunet_phys.precomputed_spin.image_folder import ImageFolder
    from nnunet_phys.precomputed_spin.scan_files import scans_of_files
    from nnunet_phys.precomputed_spin.series_fitting import FittedMaps, SeriesJob
    from nnunet_phys.precomputed_spin.series_times import read_times

    times_place: Path = args.i if args.times is None else args.times
    refuse_as_target(args.o, args.i, times_place)
    if args.times is not None and not args.times.exists():
        raise InputError(f"-times {args.times}: no such file or folder. Name one.")
    try:
        images = ImageFolder.read(args.i)
    except InputError as error:
        raise error.prefixed("-i ") from None
    todo: list[FittedMaps] = []
    faults: list[str] = []
    finished = 0
    for files in scans_of_files(images.files, series=True):
        try:
            times = read_times(args.sequence, files, times_place)
            maps = FittedMaps(args.o, SeriesJob(files, args.sequence, times, args.perfect_saturation), images.ending)
            if not args.overwrite and maps.state() == "finished":
                finished += 1
                continue
        except InputError as error:
            faults.extend(error.of_case(files.case).faults)
            continue
        faults.extend(maps.job.faults(reader))
        todo.append(maps)
    if faults:
        raise InputError(*faults)
    return todo, finished


def _bytes(maps: FittedMaps) -> int:
    """Most bytes that the results of a case may take."""
    return _BYTES_OF_VOXEL * math.prod(maps.job.files.geometry.size)


def _say_what_is_missing(todo: list[FittedMaps]) -> None:
    """Say which map the cases still need."""
    from nnunet_phys.map_files import MAP_NAMES, map_paths

    for name, remedy in zip(MAP_NAMES[1:], ("molli, sasha or msasha", "t2prep"), strict=True):
        count = sum(not map_paths(maps.folder, maps.job.case, maps.ending)[name].exists() for maps in todo)
        if count:
            logger.info(
                f"{counted(count, 'case')} without {name}, which this series does not measure. To train on these maps, "
                f"fit a series of the same patients that does (-sequence {remedy}) into {todo[0].folder}."
            )
