"""`nnunet_phys import`: a scanner's DICOM folder to image sets that `reverse` and `fit` read."""

from __future__ import annotations

import argparse
import importlib.util
import logging

from nnunet_phys.commands.shared.targets import check_new_folder, check_target, named_path, refuse_as_target
from nnunet_phys.errors import InputError

logger = logging.getLogger(__name__)

_BYTES_OF_VOXEL = 4  # float32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which files are read, what is known about them, and where the images go."""
    parser.add_argument(
        "-i", type=named_path, required=True, metavar="FOLDER", help="DICOM files of one examination, also in folders"
    )
    parser.add_argument(
        "-o", type=named_path, required=True, metavar="FOLDER", help="new folder: molli/, sasha/, t2prep/, lge/, ..."
    )
    parser.add_argument(
        "-protocol",
        type=named_path,
        metavar="JSON",
        help='what series are where their headers do not tell: {"12": {"sequence": "molli", ...}, ...}',
    )
    parser.add_argument("-case", default="", metavar="NAME", help="begins the names of all cases (default: nothing)")
    parser.add_argument(
        "--keep_names", action="store_true", help="write the patient's name, id and date into CASE.json and file names"
    )
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Check all series, then write those without faults.

    Raises:
        InputError: nothing can be imported; or, after the others were written, a line for each fault of a series.
    """
    if importlib.util.find_spec("pydicom") is None:
        raise InputError("import needs pydicom: pip install pydicom.")
    from nnunet_phys.precomputed_spin.dicom.importing import plan_import, write_sets
    from nnunet_phys.progress import ProgressBar
    from nnunet_phys.whole_files import remove_leftovers

    refuse_as_target(args.o, args.i)
    check_new_folder(args.o, "import")
    plan = plan_import(args.i, args.protocol, args.case, args.keep_names)
    for line in plan.left_out:
        logger.info(line)
    for line in plan.doubts:
        logger.warning(line)
    if not plan.sets:
        raise InputError(*(plan.faults or (f"-i {args.i}: no series is left to import.",)))
    check_target(args.o, _BYTES_OF_VOXEL * plan.voxels)
    remove_leftovers(args.o)
    files = sum(len(image_set.files) for image_set in plan.sets)
    with ProgressBar(total=files, unit="file", disable=args.disable_progress_bar) as progress:
        written = write_sets(args.o, plan, progress.update)
    if not written.sets:
        raise InputError(*written.faults)
    for image_set in sorted(written.sets, key=lambda image_set: (image_set.folder, image_set.case)):
        logger.info(f"{args.o / image_set.folder}: {image_set.summary}")
    if written.faults:
        raise InputError(*(f"not imported: {fault}" for fault in written.faults))
