"""Shared by the commands that infer maps: their arguments on this work, and the work itself."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.case_lists import CASE_LIST_HELP, FLAGGED, flagged_list, read_case_list
from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.messages import indented, skipped
from nnunet_phys.commands.shared.numbers import SEED, whole_number
from nnunet_phys.commands.shared.scan_options import Inputs, find_cases, read_protocol
from nnunet_phys.commands.shared.targets import check_file_target, check_target, named_path
from nnunet_phys.errors import InputError, counted
from nnunet_phys.overlap import WritingBehind

if TYPE_CHECKING:
    import torch

    from nnunet_phys.precomputed_spin.case_labels import CaseLabels
    from nnunet_phys.precomputed_spin.map_work import MapWork
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.quality_record import QualityRecord
    from nnunet_phys.precomputed_spin.samplers import Sampler
    from nnunet_phys.precomputed_spin.scan import Inferred
    from nnunet_phys.precomputed_spin.scan_protocol import ScanJob

logger = logging.getLogger(__name__)

MOST_SLICES = 256
"""Slices of a batch. Batches are padded to full size, so a batch larger than the number of slices wastes time."""
_BATCH = 8
_BATCH_OF_CPU = 4
"""Measured: on a CPU, larger batches make a slice no faster; smaller ones waste less of the last batch."""
MOST_PARTS = 100_000
MOST_STEPS = 1000
"""Steps of a sampler: those of the priors' noise schedule."""


def add_prior_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments that name a spin prior."""
    parser.add_argument("-prior", default="digital_heart", help="folder or name of a spin prior (default %(default)s)")
    parser.add_argument(
        "-scaling",
        choices=("published",),
        help="for a -prior without prior.json: published, for the network of Zhao et al. (MICCAI 2025)",
    )


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """Add arguments on how the maps are made, and on which part of the cases this process does."""
    add_prior_arguments(parser)
    parser.add_argument("-sampler", default="proximal", choices=("proximal", "dps"), help="default %(default)s")
    parser.add_argument(
        "-steps",
        type=whole_number(2, MOST_STEPS),
        help="network evaluations per slice (default 8; samples 12; dps 200)",
    )
    parser.add_argument("-seed", type=SEED, default=0)
    add_batch_argument(parser)
    add_device_argument(parser)
    parser.add_argument(
        "-num_parts", type=whole_number(1, MOST_PARTS), default=1, help="split the cases into this many parts"
    )
    parser.add_argument("-part_id", type=whole_number(0, MOST_PARTS), default=0, help="which part to do, from 0")
    parser.add_argument(
        "-cases",
        type=named_path,
        metavar="FILE",
        help="only these cases, made again where the settings differ from those of their results: " + CASE_LIST_HELP,
    )
    parser.add_argument("--overwrite", action="store_true", help="make existing results again")
    parser.add_argument("--disable_progress_bar", action="store_true")


def add_batch_argument(parser: argparse.ArgumentParser) -> None:
    """Add the number of slices that pass through the network together."""
    parser.add_argument(
        "-batch",
        type=whole_number(1, MOST_SLICES),
        help=f"slices per network call (default {_BATCH}; on a CPU {_BATCH_OF_CPU})",
    )


def usual_batch(device: torch.device) -> int:
    """Slices that pass through the network together where nobody says how many."""
    return _BATCH_OF_CPU if device.type == "cpu" else _BATCH


def read_work(args: argparse.Namespace, inputs: Inputs, samples: int = 1, labels: CaseLabels | None = None) -> MapWork:
    """The work that the arguments ask for.

    Args:
        args: the arguments of `add_work_arguments` and `add_protocol_arguments`.
        inputs: what is read, and where the results go.
        samples: posterior samples per case.
        labels: labels of the cases; None: no labels.

    Raises:
        InputError: a protocol, prior, device or number that makes no sense.
    """
    from nnunet_phys.image_files import WHOLE_NUMBERS
    from nnunet_phys.precomputed_spin.case_labels import CaseLabels
    from nnunet_phys.precomputed_spin.map_work import MapWork
    from nnunet_phys.precomputed_spin.work_parts import WorkPart

    if inputs.ending in WHOLE_NUMBERS:
        raise InputError(f"{inputs.ending} files can hold whole numbers alone. Convert the images to .nii.gz.")
    part = WorkPart.of_process(args.part_id, args.num_parts)
    prior, sampler = _load_prior(args, samples)
    cases, faults = find_cases(inputs, read_protocol(args, inputs))
    if args.cases is not None:
        try:
            listed = set(read_case_list(args.cases, [job.case for job in cases], "-cases"))
        except InputError as error:
            raise InputError(*error.faults, *faults) from None  # a fault may be why a case is missing
        cases = [job for job in cases if job.case in listed]
    jobs = part.take(cases)
    if part.count > 1:
        logger.info(f"This process does {part}: {counted(len(jobs), 'case')} of {len(cases)}.")
    return MapWork(
        jobs=jobs,
        folder=inputs.folder,
        prior=prior,
        prior_name=args.prior,
        sampler=sampler,
        seed=args.seed,
        batch=args.batch or usual_batch(prior.device),
        samples=samples,
        labels=labels or CaseLabels(),
        faults=tuple(faults),
    )


def left_to_do(
    work: MapWork,
    args: argparse.Namespace,
    settings: dict[str, Any],
    settings_of: Callable[[ScanJob], dict[str, Any]],
    paths_of: Callable[[str], list[Path]],
) -> list[ScanJob]:
    """Remove what an interrupted run left, and list the cases to make, saying how many are finished.

    These are the cases without results, or with results of other images or labels or, with -cases, settings; with
    --overwrite all. If there are none, `flagged.txt` is written here.

    Args:
        work: all cases.
        args: the arguments of `add_work_arguments`.
        settings: settings that the records of all cases must have.
        settings_of: further settings of a case.
        paths_of: files that will be written for a case.

    Raises:
        InputError: results that were made with other settings or by another command, or files that are not this
            command's.
    """
    from nnunet_phys.precomputed_spin.map_work import remove_interrupted

    if work.folder.is_dir():
        check_file_target(work.folder / FLAGGED, (".txt",))
    remove_interrupted(work.folder)
    if args.overwrite:
        return work.jobs
    todo = work.unfinished(settings, settings_of, replace=args.cases is not None)
    work.refuse_foreign(todo, paths_of)
    if len(todo) < len(work.jobs):
        logger.info(skipped(len(work.jobs) - len(todo), len(work.jobs)))
        if not todo:
            _tell_flags(work.folder, [])
    return todo


def make_cases(
    work: MapWork,
    todo: list[ScanJob],
    volumes: int,
    save: Callable[[ScanJob, Inferred, QualityRecord], None],
    show_progress: bool,
) -> None:
    """Check all images and the disk space, then make the results case by case; at the end, say which look wrong.

    The flags of all cases in the folder are logged, and go into its `flagged.txt`.

    Args:
        work: all cases.
        todo: the cases to infer.
        volumes: number of volumes that will be written per case.
        save: writes the results of a case, given its maps and what `quality` says about them; called in a thread.
        show_progress: a bar on stderr.

    Raises:
        InputError: images that cannot be used, too little disk space, or what `save` raises.
    """
    from nnunet_phys.precomputed_spin.map_work import bytes_of_results
    from nnunet_phys.precomputed_spin.quality import quality
    from nnunet_phys.precomputed_spin.scan_loading import ImageReader

    reader = ImageReader()
    work.check(todo, reader)
    if not todo:
        return
    check_target(work.folder, bytes_of_results(todo, volumes))
    if doubts := work.labels.doubts(todo):
        logger.warning(f"{counted(len(doubts), 'label image')} cannot be used:{indented(doubts)}")
    flags: list[str] = []
    with WritingBehind() as results:
        for job, inferred in work.infer(todo, reader, show_progress):
            judgement = quality(inferred, work.prior.scaling, work.labels.structures(job.files))
            flags.extend(f"{job.case}, {flag}" for flag in judgement.flags)
            results.write(save, job, inferred, judgement)
    logger.info(f"{counted(len(todo), 'case')} made in {work.folder}.")
    _tell_flags(work.folder, flags)


def _tell_flags(folder: Path, new: list[str]) -> None:
    """Log the flags of this run, and what to do about all flags in a folder; write the folder's `flagged.txt`.

    Raises:
        InputError: the file cannot be written.
    """
    from nnunet_phys.precomputed_spin.quality import KINDS
    from nnunet_phys.precomputed_spin.quality_record import count_kinds, flags_in_folder
    from nnunet_phys.whole_files import write_bytes, writing_alone

    if new:
        verb = "looks" if len(new) == 1 else "look"
        logger.warning(f"{counted(len(new), 'slice')} {verb} wrong:{indented(new)}")
    path = folder / FLAGGED
    with writing_alone(folder):
        flags = flags_in_folder(folder)
        if flags or path.exists():
            write_bytes(path, flagged_list(flags).encode())
    if flags:
        logger.warning(f"{counted(len(flags), 'case')} with flags in {folder}, listed in {path}. What to do:")
        for name, (slices, _) in count_kinds(flags).items():
            remedy = KINDS[name].remedy if name in KINDS else "make the maps again, which names the reason"
            logger.warning(f"  {name or 'other'} ({counted(slices, 'slice')}): {remedy}.")


def _load_prior(args: argparse.Namespace, samples: int) -> tuple[SpinPrior, Sampler]:
    """The prior on its device, and the sampler.

    Raises:
        InputError: no such prior or device.
    """
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.samplers import new_sampler
    from nnunet_phys.precomputed_spin.work_parts import device_of_process

    prior = SpinPrior.load(args.prior, device_of_process(args.device), args.scaling)
    return prior, new_sampler(args.sampler, samples, args.steps)
