"""Arguments on the images that a command reads: which files, and by which sequence they were made."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.numbers import finite
from nnunet_phys.commands.shared.targets import named_path, refuse_as_target
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.case_labels import CaseLabels
    from nnunet_phys.precomputed_spin.raw_dataset import RawDataset
    from nnunet_phys.precomputed_spin.scan_files import ScanFiles
    from nnunet_phys.precomputed_spin.scan_protocol import CaseProtocols, ScanJob, ScanProtocol, SequenceDescription

logger = logging.getLogger(__name__)

SEQUENCE_EXAMPLES = "bssfp, gre, molli, sasha, t2prep, lge_gre, ..."
"""For `-h`. All of them are known only after imports that take seconds; an unknown name is answered with them."""
_DEFAULT_SEQUENCE = "bssfp"


def add_protocol_arguments(parser: argparse.ArgumentParser, flag: str = "-sequence", series: bool = True) -> None:
    """Add arguments on how the images were made.

    Args:
        parser: the command's.
        flag: option that names the sequence.
        series: the command also takes folders with series of images, and a protocol for each case.
    """
    parser.add_argument(
        flag, dest="sequence", metavar="SEQUENCE", help=f"{SEQUENCE_EXAMPLES} (default {_DEFAULT_SEQUENCE})"
    )
    parser.add_argument(
        "-fa", type=finite, metavar="DEG", help="flip angle, degrees (default: bssfp 45, gre 15, molli 35)"
    )
    parser.add_argument(
        "-protocol",
        type=named_path,
        metavar="JSON",
        help=f'instead of {flag}: {{"sequence": ..., parameters}}, or a list of these for images of several sequences'
        + ("; or a folder of CASE.json, each with its protocol, as `import` writes them" if series else ""),
    )
    parser.set_defaults(sequence_flag=flag, ti=None, single=False)
    if not series:
        return
    parser.add_argument(
        "-ti",
        type=named_path,
        metavar="FOLDER",
        help="molli: folder of the CASE.json files that hold inversion_times_ms (default: -i)",
    )
    parser.add_argument("--single", action="store_true", help="molli: make each readout a case of its own")


@dataclass(frozen=True)
class Inputs:
    """What a command reads and where it writes.

    Attributes:
        files: image paths by their names without ending; names of cases if there is a data set.
        ending: file ending of all images and of the results, with the dot.
        folder: folder for the results.
        dataset: data set that the images belong to; None for a folder of images.
    """

    files: dict[str, Path]
    ending: str
    folder: Path
    dataset: RawDataset | None = None


def find_inputs(args: argparse.Namespace) -> Inputs:
    """Images of a data set (-d) or a folder (-i), and the folder for the results.

    Raises:
        InputError: no images, several endings, or results that would lie among the images or in a file.
    """
    from nnunet_phys.precomputed_spin.image_folder import ImageFolder

    if (args.d is None) == (args.i is None):
        raise InputError("Give either -d DATASET or -i FOLDER -o FOLDER.")
    if args.o is not None and args.o.exists() and not args.o.is_dir():
        raise InputError(f"-o {args.o} is a file. Name a folder.")
    if args.d is not None:
        dataset = open_dataset(args.d)
        folder = args.o or dataset.maps_folder
        refuse_as_target(folder, *(dataset.folder / name for name in ("imagesTr", "labelsTr")))
        return Inputs(dataset.images, dataset.ending, folder, dataset)
    if args.o is None:
        raise InputError(f"-i {args.i} needs -o, a folder for the results.")
    refuse_as_target(args.o, args.i, *(() if args.ti is None else (args.ti,)))
    try:
        images = ImageFolder.read(args.i)
    except InputError as error:
        raise error.prefixed("-i ") from None
    return Inputs(images.files, images.ending, args.o)


def open_dataset(name_or_id: str) -> RawDataset:
    """A data set with at least one image.

    Raises:
        InputError: as `open_raw_dataset`, or it has no images.
    """
    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset

    dataset = open_raw_dataset(name_or_id)
    if not dataset.images:
        raise InputError(f"{dataset.name} has no images in {dataset.folder / 'imagesTr'}.")
    return dataset


def scans_of_dataset(images: dict[str, Path]) -> list[ScanFiles]:
    """A data set's images (case to path), one scan each.

    Raises:
        InputError: it holds 4-D images.
    """
    from nnunet_phys.precomputed_spin.scan_files import four_dimensional, scans_of_cases

    scans = scans_of_cases(images)
    faults = four_dimensional(scans)
    if faults:
        raise InputError(*faults)
    return scans


def read_description(path: Path, option: str) -> dict[str, Any]:
    """One sequence as a JSON file describes it.

    Raises:
        InputError: it describes something else, or several sequences.
    """
    from nnunet_phys.precomputed_spin.scan_protocol import read_descriptions

    try:
        description, *more = read_descriptions(path)
    except InputError as error:
        raise error.prefixed(f"{option} ") from None
    if more or description.same_gain:
        raise InputError(f"{option} {path}: describe one sequence, without same_gain.")
    return description.parameters


def read_protocol(args: argparse.Namespace, inputs: Inputs) -> ScanProtocol | CaseProtocols:
    """How the images were made, by the arguments: the protocol of all cases, or one for each.

    Raises:
        InputError: an invalid protocol file, a sequence both named and described, or a sequence or parameter that does
            not exist.
    """
    from nnunet_phys.precomputed_spin.scan_protocol import (
        CaseProtocols,
        ScanProtocol,
        SequenceDescription,
        read_descriptions,
        with_flip_angle,
    )

    if args.protocol is None:
        descriptions = [SequenceDescription({"sequence": args.sequence or _DEFAULT_SEQUENCE})]
    else:
        refuse_both(args.sequence, args.sequence_flag, args.protocol, "-protocol")
        if args.protocol.is_dir():
            if inputs.dataset is not None:
                raise InputError(f"-protocol {args.protocol} is a folder. A data set (-d) needs a file. Name one.")
            return CaseProtocols(args.protocol, args.fa, args.ti, args.single)
        try:
            descriptions = read_descriptions(args.protocol)
        except InputError as error:
            raise error.prefixed("-protocol ") from None
    protocol = ScanProtocol(with_flip_angle(descriptions, args.fa), args.ti, args.single)
    _refuse_needless_times(args.ti, descriptions)
    if protocol.is_series and inputs.dataset is not None:
        raise InputError("A data set (-d) has one image a case and no series. `reverse` takes one with -i and -o.")
    return protocol


def _refuse_needless_times(folder: Path | None, descriptions: Iterable[SequenceDescription]) -> None:
    """Refuse a folder of inversion times that no sequence would read.

    Raises:
        InputError: there is such a folder.
    """
    if folder is not None and not any(description.needs_times for description in descriptions):
        raise InputError(f"-ti {folder}: no sequence of the protocol is a MOLLI without timing. Leave -ti out.")


def refuse_both(name: str | None, name_flag: str, path: Path, path_flag: str) -> None:
    """Refuse a sequence that is named by one option and described by a file of another.

    Raises:
        InputError: both are given.
    """
    if name is not None:
        raise InputError(f"{name_flag} {name} and {path_flag} {path} both say which sequence. Leave one of them out.")


def find_cases(inputs: Inputs, protocol: ScanProtocol | CaseProtocols) -> tuple[list[ScanJob], list[str]]:
    """All cases with their sequences, ordered by name; and one line for every case whose sequences do not fit.

    Raises:
        InputError: a data set holds 4-D images.
    """
    from nnunet_phys.precomputed_spin.map_work import find_jobs
    from nnunet_phys.precomputed_spin.scan_files import scans_of_files
    from nnunet_phys.precomputed_spin.scan_protocol import CaseProtocols
    from nnunet_phys.sequences import MOLLI

    if isinstance(protocol, CaseProtocols):
        described, faults = protocol.scans(inputs.files)
        every = [sequence for _, of_case in described for sequence in of_case.descriptions]
        _refuse_needless_times(protocol.times_folder, every)
        jobs, unfitting = find_jobs(described)
        return jobs, faults + unfitting
    if inputs.dataset is not None:
        scans = scans_of_dataset(inputs.files)
    else:
        scans = scans_of_files(inputs.files, protocol.is_series)
    jobs, faults = find_jobs((files, protocol) for files in scans)
    readout = next((job.files.paths[0].name for job in jobs if any(job.files.marked)), None)
    if readout is not None and not any(isinstance(sequence, MOLLI) for sequence in protocol.sequences):
        logger.warning(
            f"{readout}, ... are named as readouts of a MOLLI, but are read as another sequence. Give -sequence "
            "molli, or the folder of their times and protocols with -protocol."
        )
    return jobs, faults


def read_labels(dataset: RawDataset | None, decide: bool) -> CaseLabels:
    """Labels of the cases, and whether they decide about the tissue; none where they are not needed and cannot be read.

    Raises:
        InputError: labels that are to decide but do not exist, or name no structure.
    """
    from nnunet_phys.precomputed_spin.case_labels import CaseLabels

    if dataset is None:
        if decide:
            raise InputError("--labels needs -d, a data set with labelsTr.")
        return CaseLabels()
    try:
        return CaseLabels.of_dataset(dataset, decide)
    except InputError as error:
        if decide:
            raise error.prefixed("--labels: ") from None
        return CaseLabels()
