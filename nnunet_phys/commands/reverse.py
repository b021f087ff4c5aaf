"""`nnunet_phys reverse`: images to PD, T1 and T2 maps."""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.map_options import add_work_arguments, left_to_do, make_cases, read_work
from nnunet_phys.commands.shared.numbers import whole_number
from nnunet_phys.commands.shared.scan_options import add_protocol_arguments, find_inputs, read_labels
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.quality_record import QualityRecord
    from nnunet_phys.precomputed_spin.scan import Inferred
    from nnunet_phys.precomputed_spin.scan_protocol import ScanJob

logger = logging.getLogger(__name__)

MOST_SAMPLES = 100
"""Posterior samples. Their spread is then known to 7 %; those of 10 slices of 256 x 216 pixels take 0.7 GB."""
_VOLUMES_OF_MAPS = 3
"""PD, T1 and T2."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which images are read, how they were made, and how maps are inferred from them."""
    parser.add_argument("-d", metavar="DATASET", help="id or name of a data set in nnUNet_raw; maps go to its spinTr/")
    parser.add_argument("-i", type=named_path, metavar="FOLDER", help="instead of -d: a folder of images, 3-D or 4-D")
    parser.add_argument("-o", type=named_path, metavar="FOLDER", help="folder for the maps (needed with -i)")
    add_protocol_arguments(parser)
    parser.add_argument("--labels", action="store_true", help="with -d: labelsTr decides what is blood and myocardium")
    parser.add_argument(
        "-samples",
        type=whole_number(1, MOST_SAMPLES),
        default=1,
        help="number of posterior samples; their mean and spread are kept",
    )
    parser.add_argument("--save_samples", action="store_true", help="also keep the samples, in samples/K")
    add_work_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Infer and write the maps of all cases that are not finished."""
    from nnunet_phys.case_records import package_versions
    from nnunet_phys.precomputed_spin.case_labels import LABEL_SHA256
    from nnunet_phys.precomputed_spin.map_inference import map_result_paths, save_inferred

    if args.save_samples and args.samples < 2:
        raise InputError(f"--save_samples with -samples {args.samples}: give 2 or more samples.")
    inputs = find_inputs(args)
    labels = read_labels(inputs.dataset, args.labels)
    work = read_work(args, inputs, args.samples, labels)
    settings = {
        **work.settings,
        "samples": {"drawn": args.samples, "saved": args.save_samples},
        "labels": labels.deciding_codes(),
    }

    def settings_of(job: ScanJob) -> dict[str, Any]:
        return {
            "sequences": job.described(),
            "same_gain": list(job.same_gain),
            LABEL_SHA256: labels.deciding_sha256(job.case),
        }

    def paths_of(case: str) -> list[Path]:
        return map_result_paths(inputs.folder, case, inputs.ending, args.samples, args.save_samples)

    todo = left_to_do(work, args, settings, settings_of, paths_of)
    record = {**settings, "batch": work.batch, "bf16": work.prior.bf16, "versions": package_versions()}
    volumes = _VOLUMES_OF_MAPS * (1 if args.samples == 1 else 2 + args.samples * args.save_samples)

    def save(job: ScanJob, inferred: Inferred, judgement: QualityRecord) -> None:
        entries = {**record, **settings_of(job), "quality": asdict(judgement)}
        save_inferred(inferred, job.files, inputs.folder, inputs.ending, entries, args.save_samples)

    make_cases(work, todo, volumes, save, not args.disable_progress_bar)
    if todo:
        logger.info("Look at the maps before you train on them (nnunet_phys report).")
