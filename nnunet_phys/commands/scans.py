"""What the commands that read scans share: which files, how they were imaged, which part is whose, what is wrong."""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.errors import InputError

_FEWEST_VALUES = 17  # of an image; fewer are labels

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.likelihood import Sequence
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.reverse_imaging import Sampler
    from nnunet_phys.precomputed_spin.scan_files import Protocol, ScanFiles

    Job = tuple[ScanFiles, tuple[Sequence, ...]]


def add_protocol_arguments(parser: argparse.ArgumentParser, flag: str = "-sequence") -> None:
    """How the images were made; `flag` names the sequence."""
    named = "bssfp, gre, molli, t2prep or msasha (default %(default)s)"
    parser.add_argument(flag, dest="sequence", metavar="SEQUENCE", default="bssfp", help=named)
    parser.add_argument("-fa", type=float, metavar="DEG", help="flip angle, degrees (default: bssfp 45, gre 15)")
    parser.add_argument(
        "-protocol",
        type=Path,
        metavar="JSON",
        help='instead: {"sequence": ..., parameters}, or a list of these for images of several sequences',
    )
    parser.add_argument(
        "-ti", type=Path, metavar="FOLDER", help="molli: where CASE.json with inversion_times_ms lies (default: -i)"
    )
    parser.add_argument("--single", action="store_true", help="molli: make each readout a case of its own")


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """How the maps are made, and which part of them by this process."""
    parser.add_argument("-prior", default="digital_heart", help="folder or name of a spin prior (default %(default)s)")
    parser.add_argument("-sampler", default="proximal", choices=("proximal", "dps"), help="default %(default)s")
    parser.add_argument("-steps", type=int, help="network evaluations a slice (default 25; dps: 200)")
    parser.add_argument("-seed", type=int, default=0)
    parser.add_argument("-batch", type=int, default=8, help="slices a network call (default %(default)s)")
    parser.add_argument("-device", default="cuda", help="cuda, cpu or mps (default %(default)s)")
    parser.add_argument("-num_parts", type=int, default=1, help="split the cases into this many parts")
    parser.add_argument("-part_id", type=int, default=0, help="which part to do, from 0")
    parser.add_argument("--overwrite", action="store_true", help="make again what is there")
    parser.add_argument("--disable_progress_bar", action="store_true")


def _read_protocol(args: argparse.Namespace, images: Path) -> Protocol:
    """What the arguments say about how the images were made.

    Raises:
        InputError: a protocol file that is none, or a sequence or parameter that does not exist.
    """
    from nnunet_phys.precomputed_spin.scan_files import Protocol
    from nnunet_phys.protocol import make_sequence

    if args.protocol is None:
        descriptions = [{"sequence": args.sequence}]
    else:
        try:
            content = json.loads(args.protocol.read_text())
            descriptions = [dict(one) for one in (content if isinstance(content, list) else [content])]
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"-protocol {args.protocol} is no JSON object or list of objects ({error}).") from None
    if args.fa is not None:
        descriptions[0]["flip_angle_deg"] = args.fa
    for description in descriptions:
        make_sequence(description)
    if args.single and (len(descriptions) > 1 or descriptions[0]["sequence"] != "molli"):
        raise InputError("--single is for the readouts of one MOLLI (-sequence molli).")
    return Protocol(tuple(descriptions), args.ti or images, args.single)


def find_jobs(args: argparse.Namespace, paths: list[Path], ending: str) -> tuple[list[Job], list[str]]:
    """This process's cases with their sequences, by name; and a line for each case that has none.

    Raises:
        InputError: parts or a protocol that make no sense.
    """
    from nnunet_phys.precomputed_spin.scan_files import find_scans

    part, parts = _part(args)
    protocol = _read_protocol(args, paths[0].parent)
    jobs, faults = [], []
    for files in find_scans(paths, ending, protocol.series):
        try:
            jobs.extend(protocol.resolve(files))
        except InputError as error:
            faults.append(f"{files.case}: {error}")
    return sorted(jobs, key=lambda job: job[0].case)[part::parts], faults


def load_prior(args: argparse.Namespace) -> tuple[SpinPrior, Sampler]:
    """The prior on its device, and the sampler.

    Raises:
        InputError: no such prior or device, or a number of steps or slices that makes no sense.
    """
    from nnunet_phys.devices import torch_device
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.reverse_imaging import SAMPLERS

    if args.batch < 1:
        raise InputError(f"-batch {args.batch}: give 1 or more slices.")
    device = args.device
    if device == "cuda" and "LOCAL_RANK" in os.environ:  # a launcher started one process per GPU
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    prior = SpinPrior.load(args.prior, torch_device(device))
    try:
        return prior, SAMPLERS[args.sampler](**({"steps": args.steps} if args.steps is not None else {}))
    except ValueError as error:
        raise InputError(str(error)) from None


def _part(args: argparse.Namespace) -> tuple[int, int]:
    """Which part of the cases is this process's, of how many: job arrays times torchrun's or accelerate's processes."""
    if args.num_parts < 1 or not 0 <= args.part_id < args.num_parts:
        raise InputError(f"-part_id {args.part_id} of -num_parts {args.num_parts}: give 0 to num_parts - 1.")
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    return args.part_id * world + rank, args.num_parts * world


def in_batch_order(jobs: list[Job]) -> list[Job]:
    """Cases of one size together, so that they share the network's batches."""
    return sorted(jobs, key=lambda job: (job[0].geometry.size[:2], job[0].case))


def check_images(jobs: list[Job], minimum_mm: float, faults: list[str]) -> dict[str, int]:
    """Read every image once and report all that cannot be used, before the work starts.

    Args:
        jobs: cases and their sequences.
        minimum_mm: least field of view along rows and columns.
        faults: found before, one line a case.

    Returns:
        case -> number of slices.

    Raises:
        InputError: these faults, and images unreadable, with NaN, without signal, with labels for an image, of several
            grids, or too small.
    """
    import numpy as np

    slices, faults = {}, list(faults)
    for files, _ in jobs:
        case, path = files.case, files.paths[0]
        try:
            images = files.read()
            geometry = files.geometry
        except InputError as error:
            faults.append(f"{case}: {error}")
            continue
        slices[case] = images.shape[1]
        view = min(n * mm for n, mm in zip(images.shape[2:], geometry.pixel_mm, strict=True))
        values = min(len(np.unique(image)) for image in images)
        if min(np.abs(image).max() for image in images) <= 0:
            faults.append(f"{case}: {path} has no signal above 0. Mend or remove the case.")
        elif values < _FEWEST_VALUES:
            faults.append(f"{case}: {path} holds {values} different values, as labels do. Give the image.")
        elif view < minimum_mm:
            faults.append(
                f"{case}: {path} spans only {view:.0f} mm in plane, the prior needs {minimum_mm:.0f} mm. "
                "Check the spacing in its header, or use images that were not cropped."
            )
    if faults:
        raise InputError("\n".join(faults))
    return slices


def check_target(folder: Path, jobs: list[Job], copies: int) -> None:
    """Refuse a folder that cannot take all volumes, `copies` maps of PD, T1 and T2, before hours are spent.

    Raises:
        InputError: it cannot be written to, or has too little room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}). Choose another folder with -o.") from None
    needed = copies * sum(12 * math.prod(files.geometry.size) for files, _ in jobs)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {free / 2**30:.1f} GiB are free, the maps may take {needed / 2**30:.1f}. Make room, or choose "
            "another folder with -o."
        )


def find_images(args: argparse.Namespace) -> tuple[list[Path], Path, str]:
    """The image files, the folder for the maps, and the files' ending."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from nnunet_phys.precomputed_spin.store import open_raw_dataset

    if (args.d is None) == (args.i is None):
        raise InputError("Give either -d DATASET or -i FOLDER -o FOLDER.")
    if args.d is not None:
        dataset = open_raw_dataset(args.d)
        return list(dataset.images.values()), args.o or dataset.maps_folder, dataset.ending
    if args.o is None:
        raise InputError(f"-i {args.i} needs -o, a folder for the maps.")
    if not args.i.is_dir():
        raise InputError(f"-i {args.i}: no such folder.")
    found: dict[str, list[Path]] = {}
    for path in sorted(args.i.iterdir()):
        ending = next((e for e in SimpleITKIO.supported_file_endings if path.name.lower().endswith(e)), None)
        if ending is not None:
            found.setdefault(ending, []).append(path)
    if len(found) != 1:
        problem = f"several file endings ({', '.join(sorted(found))})" if found else "no image"
        raise InputError(f"-i {args.i}: {problem}. Give a folder of images with one ending, such as .nii.gz.")
    ((ending, paths),) = found.items()
    return paths, args.o, ending
