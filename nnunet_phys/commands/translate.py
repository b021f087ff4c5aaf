"""`nnunet_phys translate`: images of one sequence as another would have made them, by way of their maps."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.scans import (
    add_protocol_arguments,
    add_work_arguments,
    check_images,
    check_target,
    described,
    find_inputs,
    find_jobs,
    in_batch_order,
    load_prior,
    read_descriptions,
    read_protocol,
    unfinished,
)
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.commands.scans import Job


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
    from nnunet_phys.precomputed_spin.scan_files import image_count, load_scan
    from nnunet_phys.precomputed_spin.store import remove_leftovers, save_record, write_volume

    inputs, target = find_inputs(args), _target(args)
    folder, count = inputs.folder, image_count(target)
    names = ["_0000"] if count == 1 else [f"_ti{i:02d}_0000" for i in range(count)]
    prior, sampler = load_prior(args)
    protocol = read_protocol(args, inputs)
    jobs, faults = find_jobs(inputs, protocol)
    settings = {
        "prior": {"name": args.prior, "sha256": prior.sha256(), **prior.record},
        "sampler": {"name": args.sampler, **asdict(sampler)},
        "seed": args.seed,
        "to": described((target,)),
        "same_gain": list(protocol.same_gain),
    }

    def each(job: Job) -> dict:
        return {"from": described(job[1])}

    if folder.is_dir():
        remove_leftovers(folder)
    todo = jobs if args.overwrite else unfinished(jobs, folder, settings, each)
    slices = check_images(todo, prior.minimum * prior.pixel_mm, faults)
    if not todo:
        return
    check_target(folder, todo, count)
    imager = ReverseImager(prior, sampler, seed=args.seed, batch=args.batch)
    by_case = {job[0].case: job for job in todo}
    scans = (load_scan(files, sequences, protocol.same_gain) for files, sequences in in_batch_order(todo))
    with tqdm(total=sum(slices.values()), unit="slice", disable=args.disable_progress_bar) as progress:
        for found in imager(scans):
            case, written = found.scan.case, []
            files = by_case[case][0]
            for name, image in zip(names, signals(target, found.maps).abs(), strict=True):
                written.append(folder / f"{case}{name}{inputs.ending}")
                with write_volume(written[-1], image, files.geometry):
                    pass
            save_record(folder, case, {**settings, **each(by_case[case])}, files.paths, tuple(written))
            progress.set_description(case)
            progress.update(len(found.error))
    print(f"{len(todo)} cases in {folder}.")


def _target(args: argparse.Namespace) -> object:
    from nnunet_phys.protocol import make_sequence

    description = {"sequence": args.to}
    if args.to_protocol is not None:
        description, *more = read_descriptions(args.to_protocol, "-to_protocol")
        if more:
            raise InputError(f"-to_protocol {args.to_protocol}: describe one sequence.")
    if args.to_fa is not None:
        description["flip_angle_deg"] = args.to_fa
    return make_sequence(description)
