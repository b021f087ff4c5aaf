"""What the commands that read scans share: which files, how they were imaged, which part is whose, what is wrong."""

from __future__ import annotations

import argparse
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.targets import refuse_as_target
from nnunet_phys.errors import InputError

_FEWEST_VALUES = 17  # of an image; fewer are labels

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.scan_files import Protocol, ScanFiles
    from nnunet_phys.sequences.pulse_sequence import PulseSequence

    Job = tuple[ScanFiles, tuple[PulseSequence, ...]]


def add_protocol_arguments(parser: argparse.ArgumentParser, flag: str = "-sequence") -> None:
    """How the images were made; `flag` names the sequence."""
    named = (
        "bssfp, gre, molli, looklocker, sasha, msasha, t2prep, t2prep_gre, lge_gre, lge_bssfp, perfusion or "
        "black_blood (default %(default)s)"
    )
    parser.add_argument(flag, dest="sequence", metavar="SEQUENCE", default="bssfp", help=named)
    parser.add_argument(
        "-fa", type=float, metavar="DEG", help="flip angle, degrees (default: bssfp 45, gre 15, molli 35)"
    )
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


@dataclass(frozen=True)
class Inputs:
    """What a command reads and where it writes.

    Attributes:
        files: name, without ending, to image path.
        ending: which they share, with the dot; that of the results, too.
        folder: for the results.
        one_each: every file is a case (a data set's).
        part: which part of the cases is this process's, of how many.
    """

    files: dict[str, Path]
    ending: str
    folder: Path
    one_each: bool
    part: tuple[int, int]


def find_inputs(args: argparse.Namespace) -> Inputs:
    """Images of a data set (-d) or a folder (-i), and the folder for the results.

    Raises:
        InputError: no images, several endings, results that would lie among the images, or no such part.
    """
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset

    part = _part(args)
    if (args.d is None) == (args.i is None):
        raise InputError("Give either -d DATASET or -i FOLDER -o FOLDER.")
    if args.d is not None:
        dataset = open_raw_dataset(args.d)
        if not dataset.images:
            raise InputError(f"{dataset.name} has no images in {dataset.folder / 'imagesTr'}.")
        folder = args.o or dataset.maps_folder
        refuse_as_target(folder, *(dataset.folder / name for name in ("imagesTr", "labelsTr")))
        return Inputs(dataset.images, dataset.ending, folder, True, part)
    if args.o is None:
        raise InputError(f"-i {args.i} needs -o, a folder for the results.")
    if not args.i.is_dir():
        raise InputError(f"-i {args.i}: no such folder.")
    refuse_as_target(args.o, args.i, *(() if args.ti is None else (args.ti,)))
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(args.i.iterdir()):
        ending = next((e for e in SimpleITKIO.supported_file_endings if path.name.lower().endswith(e)), None)
        if ending is not None:
            found.setdefault(ending, {})[path.name[: -len(ending)]] = path
    if len(found) != 1:
        readable = ", ".join(SimpleITKIO.supported_file_endings)
        problem = f"several file endings ({', '.join(sorted(found))})" if found else f"no image ({readable})"
        raise InputError(f"-i {args.i}: {problem}. Give a folder of images with one ending, such as .nii.gz.")
    ((ending, files),) = found.items()
    return Inputs(files, ending, args.o, False, part)


def read_descriptions(path: Path, option: str) -> list[dict]:
    """Sequences as a JSON file describes them: one object or a list of them.

    Raises:
        InputError: it is something else.
    """
    try:
        content = json.loads(path.read_text())
        descriptions = [dict(one) for one in (content if isinstance(content, list) else [content])]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{option} {path} is no JSON object or list of objects ({error}).") from None
    if not descriptions:
        raise InputError(f"{option} {path} is an empty list. Describe at least one sequence.")
    return descriptions


def read_description(path: Path, option: str) -> dict:
    """One sequence as a JSON file describes it.

    Raises:
        InputError: it is something else, or several.
    """
    description, *more = read_descriptions(path, option)
    if more:
        raise InputError(f"{option} {path}: describe one sequence.")
    return description


def read_protocol(args: argparse.Namespace, inputs: Inputs) -> Protocol:
    """What the arguments say about how the images were made.

    Raises:
        InputError: a protocol file that is none, or a sequence or parameter that does not exist.
    """
    from nnunet_phys.precomputed_spin.scan_files import Protocol, without_gain
    from nnunet_phys.sequences.description import make_sequence

    descriptions = [{"sequence": args.sequence}]
    if args.protocol is not None:
        descriptions = read_descriptions(args.protocol, "-protocol")
    if args.fa is not None:
        descriptions[0]["flip_angle_deg"] = args.fa
    for description in descriptions:
        make_sequence(without_gain(description))
    if args.single and (len(descriptions) > 1 or descriptions[0]["sequence"] != "molli"):
        raise InputError("--single is for the readouts of one MOLLI (-sequence molli).")
    protocol = Protocol(tuple(descriptions), args.ti or next(iter(inputs.files.values())).parent, args.single)
    if protocol.series and inputs.one_each:
        raise InputError("A data set (-d) has one image a case. Give the folder of a series with -i and -o.")
    return protocol


def find_jobs(inputs: Inputs, protocol: Protocol) -> tuple[list[Job], list[str]]:
    """This process's cases with their sequences, by name; and a line for each case that has none."""
    from nnunet_phys.precomputed_spin.scan_files import find_scans

    part, parts = inputs.part
    readout = next((name for name in inputs.files if re.search(r"_ti\d", name, re.IGNORECASE)), None)
    if readout is not None and "molli" not in (d["sequence"] for d in protocol.descriptions):
        print(f"Warning: {readout}, ... are named as readouts of a MOLLI, but are read as another sequence.")
    jobs, faults, by_case = [], [], {}
    for files in find_scans(inputs.files, protocol.series):
        if inputs.one_each and files.frame is not None:
            faults.append(
                f"{files.case}: {files.paths[0]} is 4-D. A data set holds volumes: write each frame as a case."
            )
            continue
        try:
            jobs.extend(protocol.resolve(files))
        except InputError as error:
            faults.append(f"{files.case}: {error}")
    for files, _ in jobs:
        by_case.setdefault(files.case, []).append(str(files.paths[0]))
    for case, paths in by_case.items():
        if len(paths) > 1:
            faults.append(f"{case}: {' and '.join(paths)} are one case by their names. Rename one.")
    return sorted(jobs, key=lambda job: job[0].case)[part::parts], faults


def _part(args: argparse.Namespace) -> tuple[int, int]:
    """Which part of the cases is this process's, of how many: job arrays times torchrun's or accelerate's processes."""
    if args.num_parts < 1 or not 0 <= args.part_id < args.num_parts:
        raise InputError(f"-part_id {args.part_id} of -num_parts {args.num_parts}: give 0 to num_parts - 1.")
    rank, world = environment_number("RANK", 0), environment_number("WORLD_SIZE", 1)
    if not rank < world:
        raise InputError(f"RANK={rank} with WORLD_SIZE={world}: unset them, or start with torchrun or accelerate.")
    return args.part_id * world + rank, args.num_parts * world


def environment_number(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise InputError(f"{name}={value} in the environment is no number. Unset it.")
    return int(value)


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
        case = files.case
        try:
            images = files.read()
            geometry = files.geometry
        except InputError as error:
            faults.append(f"{case}: {error}")
            continue
        slices[case] = images.shape[1]
        for i, image in enumerate(images):
            path = files.paths[i if len(files.paths) > 1 else 0]
            values = len(np.unique(image.ravel()[::97]))
            if values < _FEWEST_VALUES:
                values = len(np.unique(image))
            if image.max() <= 0:
                faults.append(f"{case}: {path} has no signal above 0. Mend or remove the case.")
            elif values < _FEWEST_VALUES:
                faults.append(f"{case}: {path} holds {values} different values, as labels do. Give the image.")
        view = min(n * mm for n, mm in zip(images.shape[2:], geometry.pixel_mm, strict=True))
        if view < minimum_mm:
            faults.append(
                f"{case}: {files.paths[0]} spans only {view:.0f} mm in plane, the prior needs {minimum_mm:.0f} mm. "
                "Check the spacing in its header, or use images that were not cropped."
            )
    if faults:
        raise InputError(*faults)
    return slices
