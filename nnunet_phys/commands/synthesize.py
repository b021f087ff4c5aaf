"""`nnunet_phys synthesize`: images of any contrast from maps, outside training."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.contrast_options import add_contrast_arguments, read_contrasts
from nnunet_phys.commands.shared.targets import check_target, named_path, refuse_as_target
from nnunet_phys.errors import InputError, counted

if TYPE_CHECKING:
    from nnunet_phys.augmentations.synthetic_image import SyntheticImage
    from nnunet_phys.commands.shared.contrast_options import Contrasts
    from nnunet_phys.spin import SpinMaps

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which maps are read, which contrasts are made of them, and where the images go."""
    parser.add_argument(
        "-i", type=named_path, required=True, metavar="MAPS", help="folder of *_PDmap, *_T1map, *_T2map"
    )
    parser.add_argument("-o", type=named_path, required=True, metavar="FOLDER", help="folder for the images, CASE_0000")
    add_contrast_arguments(parser)
    parser.add_argument("--overwrite", action="store_true", help="make existing images again")
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Check all maps, then make all images that are not finished."""
    from nnunet_phys.image_files import Geometry
    from nnunet_phys.map_files import find_maps, load_maps, map_paths
    from nnunet_phys.progress import ProgressBar
    from nnunet_phys.whole_files import remove_leftovers

    contrasts = read_contrasts(args)
    cases = find_maps(args.i)
    refuse_as_target(args.o, args.i)
    todo = _unfinished(args, cases, contrasts)
    needed = _check_maps(args.i, {case: cases[case] for case in todo}, contrasts)
    if not todo:
        return
    check_target(args.o, needed)
    remove_leftovers(args.o)
    for case, numbers in ProgressBar(todo.items(), unit="case", disable=args.disable_progress_bar):
        maps = load_maps(args.i, case, cases[case], None)
        sources = tuple(map_paths(args.i, case, cases[case]).values())
        geometry = Geometry.read(sources[0])
        for number in numbers:
            images = contrasts.images(case, number, maps, geometry.voxel_mm)
            _write(args.o, contrasts.names(case)[number], images, maps, sources, contrasts, cases[case])
    made = counted(sum(map(len, todo.values())), "set of images", "sets of images")
    logger.info(f"{made} written to {args.o}, from the maps of {counted(len(todo), 'case')}.")


def _write(
    folder: Path,
    name: str,
    images: list[SyntheticImage],
    maps: SpinMaps,
    sources: tuple[Path, ...],
    contrasts: Contrasts,
    ending: str,
) -> None:
    """Write a set of images, then the record of how they were made."""
    from nnunet_phys.case_records import begin_case, save_record
    from nnunet_phys.image_files import Geometry, write_volume
    from nnunet_phys.precomputed_spin.scan_files import image_paths
    from nnunet_phys.whole_files import writing_alone

    paths, geometry = image_paths(folder, name, contrasts.count, ending), Geometry.read(sources[0])
    volumes = [image.make(maps, geometry.voxel_mm) for image in images]
    record = {
        "synthesized": contrasts.settings,
        "images": [{"file": path.name, **image.describe()} for path, image in zip(paths, images, strict=True)],
    }
    if contrasts.times_ms is not None:
        record["inversion_times_ms"] = contrasts.times_ms  # where `reverse` looks for them
    with writing_alone(folder):
        begin_case(folder, name, paths, {"synthesized": contrasts.settings})
        for path, volume in zip(paths, volumes, strict=True):
            write_volume(path, volume, geometry)
        save_record(folder, name, record, sources, tuple(paths))


def _unfinished(args: argparse.Namespace, cases: dict[str, str], contrasts: Contrasts) -> dict[str, list[int]]:
    """Case -> numbers of the sets of images that are left to do; all of them with --overwrite.

    Raises:
        InputError: existing files that nnunet_phys synthesize did not make, made with other settings, or that were
            changed since.
    """
    from nnunet_phys.case_records import foreign_results, is_finished, load_record
    from nnunet_phys.map_files import map_paths
    from nnunet_phys.precomputed_spin.scan_files import image_paths

    expected = json.loads(json.dumps(contrasts.settings))
    todo: dict[str, list[int]] = {}
    other_settings: list[str] = []
    changed: list[str] = []
    finished = 0
    for case, ending in cases.items():
        sources = tuple(map_paths(args.i, case, ending).values())
        for number, name in enumerate(contrasts.names(case)):
            record = load_record(args.o, name)
            if record is not None and "synthesized" not in record:
                raise InputError(f"{args.o / name}.json was not made by nnunet_phys synthesize. Choose another folder.")
            exists = any(path.exists() for path in image_paths(args.o, name, contrasts.count, ending))
            if args.overwrite or (record is None and not exists):
                todo.setdefault(case, []).append(number)
            elif record is None or record["synthesized"] != expected:
                other_settings.append(name)
            elif all(p.is_file() for p in sources) and is_finished(args.o, name, sources):
                finished += 1
            else:
                changed.extend(foreign_results(args.o, name, image_paths(args.o, name, contrasts.count, ending)))
                todo.setdefault(case, []).append(number)
    if changed:
        raise InputError(*changed)
    if other_settings:
        more = f" and {len(other_settings) - 1} more" if len(other_settings) > 1 else ""
        raise InputError(
            f"{other_settings[0]}{more}: images in {args.o} were made with other settings, or by something else. Add "
            "--overwrite to replace them, or choose another folder with -o."
        )
    if finished:
        logger.info(f"{counted(finished, 'set')} of images finished and skipped (--overwrite makes them again)")
    return todo


def _check_maps(folder: Path, cases: dict[str, str], contrasts: Contrasts) -> int:
    """Read all maps once, before anything is written, and return the bytes that the images may take.

    Raises:
        InputError: maps that cannot be used, one line per fault.
    """
    from nnunet_phys.map_files import load_maps

    needed = 0
    faults: list[str] = []
    for case, ending in cases.items():
        try:
            needed += 4 * load_maps(folder, case, ending, None).pd.numel() * contrasts.count * (contrasts.per_case or 1)
        except InputError as error:
            faults.extend(error.faults)
    if faults:
        raise InputError(*faults)
    return needed
