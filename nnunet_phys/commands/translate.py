"""`nnunet_phys translate`: images of one sequence as another would have made them, by way of their maps."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.scans import (
    add_protocol_arguments,
    add_work_arguments,
    check_images,
    check_target,
    find_images,
    find_jobs,
    in_batch_order,
    load_prior,
)
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.commands.scans import Job
    from nnunet_phys.precomputed_spin.reverse_imaging import Scan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-i", type=Path, required=True, metavar="FOLDER", help="images, 3-D or 4-D")
    parser.add_argument("-o", type=Path, required=True, metavar="FOLDER", help="where CASE_0000 images go")
    add_protocol_arguments(parser, "-from")
    parser.add_argument("-to", default="bssfp", metavar="SEQUENCE", help="to make (default %(default)s)")
    parser.add_argument("-to_fa", type=float, metavar="DEG", help="its flip angle, degrees (default: bssfp 45, gre 15)")
    parser.add_argument("-to_protocol", type=Path, metavar="JSON", help='instead: {"sequence": ..., parameters}')
    add_work_arguments(parser)
    parser.set_defaults(d=None)


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from nnunet_phys.precomputed_spin.likelihood import signals
    from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
    from nnunet_phys.precomputed_spin.scan_files import image_count
    from nnunet_phys.precomputed_spin.store import remove_leftovers, write_volume

    paths, folder, ending = find_images(args)
    target = _target(args)
    names = ["_0000"] if image_count(target) == 1 else [f"_ti{i:02d}_0000" for i in range(image_count(target))]
    prior, sampler = load_prior(args)
    jobs, faults = find_jobs(args, paths, ending)
    if folder.is_dir():
        remove_leftovers(folder)
    todo = [
        (files, sequences)
        for files, sequences in jobs
        if args.overwrite or not all((folder / f"{files.case}{name}{ending}").is_file() for name in names)
    ]
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} cases are there and skipped (--overwrite makes them again)")
    slices = check_images(todo, prior.minimum * prior.pixel_mm, faults)
    if not todo:
        return
    check_target(folder, todo, len(names))
    imager = ReverseImager(prior, sampler, seed=args.seed, batch=args.batch)
    files = {one.case: one for one, _ in todo}
    with tqdm(total=sum(slices.values()), unit="slice", disable=args.disable_progress_bar) as progress:
        for found in imager(_scans(todo)):
            case = found.scan.case
            for name, image in zip(names, signals(target, found.maps).abs(), strict=True):
                with write_volume(folder / f"{case}{name}{ending}", image, files[case].geometry):
                    pass
            progress.set_description(case)
            progress.update(len(found.error))
    print(f"{len(todo)} cases in {folder}.")


def _target(args: argparse.Namespace) -> object:
    from nnunet_phys.protocol import make_sequence

    description = {"sequence": args.to}
    if args.to_protocol is not None:
        try:
            description = dict(json.loads(args.to_protocol.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"-to_protocol {args.to_protocol} is no JSON object ({error}).") from None
    if args.to_fa is not None:
        description["flip_angle_deg"] = args.to_fa
    return make_sequence(description)


def _scans(jobs: list[Job]) -> Iterator[Scan]:
    """Read case by case, as they are asked for."""
    from nnunet_phys.precomputed_spin.scan_files import load_scan

    for files, sequences in in_batch_order(jobs):
        yield load_scan(files, sequences)
