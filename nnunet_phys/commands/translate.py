"""`nnunet_phys translate`: images of one sequence as another would have made them, by way of their maps."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.map_work import Work, add_work_arguments, described
from nnunet_phys.commands.shared.scan_options import add_protocol_arguments, read_description

if TYPE_CHECKING:
    from nnunet_phys.commands.shared.scan_options import Job
    from nnunet_phys.sequences.pulse_sequence import PulseSequence


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
    from nnunet_phys.forward import shown, signals
    from nnunet_phys.image_files import write_volume
    from nnunet_phys.map_files import discard, save_record

    work, target = Work.of(args), _target(args)
    folder, count = work.inputs.folder, target.image_count
    names = ["_0000"] if count == 1 else [f"_ti{i:02d}_0000" for i in range(count)]
    settings = {**work.settings, "to": described((target,))}

    def each(job: Job) -> dict:
        return {"from": described(job[1])}

    for job, found in work.infer(work.unfinished(settings, each), count):
        (files, _), case, written = job, found.scan.case, []
        discard(folder, case)
        for name, image in zip(names, shown(target, signals(target, found.maps)), strict=True):
            written.append(folder / f"{case}{name}{work.inputs.ending}")
            with write_volume(written[-1], image, files.geometry):
                pass
        save_record(folder, case, {**settings, **each(job)}, files.paths, tuple(written))


def _target(args: argparse.Namespace) -> PulseSequence:
    from nnunet_phys.sequences.description import make_sequence

    description = {"sequence": args.to}
    if args.to_protocol is not None:
        description = read_description(args.to_protocol, "-to_protocol")
    if args.to_fa is not None:
        description["flip_angle_deg"] = args.to_fa
    return make_sequence(description)
