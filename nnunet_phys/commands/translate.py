"""`nnunet_phys translate`: turn images of one sequence into images of another, by way of their maps."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.map_options import add_work_arguments, left_to_do, make_cases, read_work
from nnunet_phys.commands.shared.numbers import finite
from nnunet_phys.commands.shared.scan_options import (
    add_protocol_arguments,
    find_inputs,
    read_description,
    refuse_both,
)
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.quality_record import QualityRecord
    from nnunet_phys.precomputed_spin.scan import Inferred
    from nnunet_phys.precomputed_spin.scan_protocol import ScanJob
    from nnunet_phys.sequences.pulse_sequence import PulseSequence

_DEFAULT_TARGET = "bssfp"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which images are read, how they were made, and which sequence is made of them."""
    parser.add_argument("-i", type=named_path, required=True, metavar="FOLDER", help="folder of images, 3-D or 4-D")
    parser.add_argument("-o", type=named_path, required=True, metavar="FOLDER", help="folder for the images, CASE_0000")
    add_protocol_arguments(parser, "-from")
    parser.add_argument("-to", metavar="SEQUENCE", help=f"sequence to make (default {_DEFAULT_TARGET})")
    parser.add_argument(
        "-to_fa", type=finite, metavar="DEG", help="its flip angle, degrees (default: bssfp 45, gre 15)"
    )
    parser.add_argument(
        "-to_protocol", type=named_path, metavar="JSON", help='instead of -to: {"sequence": ..., parameters}'
    )
    parser.add_argument(
        "--allow_single_readouts",
        action="store_true",
        help="translate also single readouts of inversion series, although their tissue is ambiguous",
    )
    add_work_arguments(parser)
    parser.set_defaults(d=None)


def run(args: argparse.Namespace) -> None:
    """Infer maps, and make and write images of the other sequence, for all cases that are not finished."""
    from nnunet_phys.case_records import package_versions
    from nnunet_phys.precomputed_spin.map_inference import save_translation
    from nnunet_phys.precomputed_spin.scan_files import image_paths
    from nnunet_phys.sequences.description import describe_sequence

    target = _read_target(args)
    inputs = find_inputs(args)
    work = read_work(args, inputs)
    if not args.allow_single_readouts:
        _refuse_single_readouts(work.jobs)
    settings = {**work.settings, "to": [describe_sequence(target)]}

    def settings_of(job: ScanJob) -> dict[str, Any]:
        return {"from": job.described(), "same_gain": list(job.same_gain)}

    def paths_of(case: str) -> list[Path]:
        return image_paths(inputs.folder, case, target.image_count, inputs.ending)

    todo = left_to_do(work, args, settings, settings_of, paths_of)
    record = {**settings, "batch": work.batch, "bf16": work.prior.bf16, "versions": package_versions()}

    def save(job: ScanJob, inferred: Inferred, judgement: QualityRecord) -> None:
        entries = {**record, **settings_of(job), "quality": asdict(judgement)}
        save_translation(inferred, target, job.files, inputs.folder, inputs.ending, entries)

    make_cases(work, todo, target.image_count, save, not args.disable_progress_bar)


def _refuse_single_readouts(jobs: list[ScanJob]) -> None:
    """Refuse readouts of inversion series that are given one by one.

    After an inversion, tissues of different T1 pass through the same brightness. In real MOLLI series, readouts that
    were translated one by one were segmented worse than untranslated ones, and translated series much better.

    Raises:
        InputError: there are such readouts.
    """
    from nnunet_phys.sequences import MOLLI, LookLocker

    def is_single_readout(job: ScanJob) -> bool:
        first, *more = job.sequences
        named_as_readout = any(job.files.marked)
        return not more and first.image_count == 1 and (named_as_readout or isinstance(first, MOLLI | LookLocker))

    readouts = [job.case for job in jobs if is_single_readout(job)]
    if readouts:
        more = f" and {len(readouts) - 1} more" if len(readouts) > 1 else ""
        raise InputError(
            f"{readouts[0]}{more}: a single readout of an inversion series does not determine T1, so dark blood may "
            "come out as muscle or fat. Give all readouts of the series, with their inversion times (-from molli "
            "without --single), or add --allow_single_readouts."
        )


def _read_target(args: argparse.Namespace) -> PulseSequence:
    """The sequence whose images are made."""
    from nnunet_phys.sequences.description import make_sequence

    if args.to_protocol is None:
        description: dict[str, Any] = {"sequence": args.to or _DEFAULT_TARGET}
    else:
        refuse_both(args.to, "-to", args.to_protocol, "-to_protocol")
        description = read_description(args.to_protocol, "-to_protocol")
    if args.to_fa is not None:
        description = {**description, "flip_angle_deg": args.to_fa}
    return make_sequence(description)
