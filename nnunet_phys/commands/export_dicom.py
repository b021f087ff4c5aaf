"""`nnunet_phys export_dicom`: masks and maps as DICOM objects that refer to the scanner's images."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os

from nnunet_phys.commands.shared.targets import check_new_folder, check_target, named_path, refuse_as_target
from nnunet_phys.errors import InputError, counted

logger = logging.getLogger(__name__)

_BYTES_OF_VOXEL = 4  # float32; masks take less
_BYTES_OF_HEADER = 1 << 20
"""Most that the header of an object takes. Assumed: 500 bytes for each reference of a slice to an image."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is written, the images that it refers to, and where it goes."""
    parser.add_argument(
        "-i", type=named_path, required=True, metavar="FOLDER", help="masks: the folder that `segment` filled"
    )
    parser.add_argument(
        "-dicom", type=named_path, required=True, metavar="FOLDER", help="the DICOM files that were imported"
    )
    parser.add_argument(
        "-maps", type=named_path, metavar="FOLDER", help="T1 and ECV maps, too: the report of `quantify` on these masks"
    )
    parser.add_argument("-o", type=named_path, required=True, metavar="FOLDER", help="new folder for the DICOM objects")


def run(args: argparse.Namespace) -> None:
    """Check everything, then write all objects or nothing.

    Raises:
        InputError: as for `DicomResults.read`; nothing to write; or an object that cannot be made or written.
    """
    for package in ("pydicom", "highdicom"):
        if importlib.util.find_spec(package) is None:
            raise InputError(f"export_dicom needs {package}: pip install {package}.")
    from nnunet_phys.commands.parts.dicom_results import DicomResults
    from nnunet_phys.whole_files import remove_leftovers, working_folder

    refuse_as_target(args.o, args.i, args.dicom, *(() if args.maps is None else (args.maps,)))
    check_new_folder(args.o, "export_dicom")
    read = DicomResults.read(args.i, args.dicom, args.maps)
    for line in read.left_out:
        logger.info(line)
    if not read.objects:
        raise InputError(f"-i {args.i}: no mask shows a heart. There is nothing to write.")
    check_target(args.o, _BYTES_OF_VOXEL * read.voxels + _BYTES_OF_HEADER * len(read.objects))
    remove_leftovers(args.o)
    with working_folder(args.o, "export_dicom") as folder:
        work = folder / "objects"
        work.mkdir()
        for name, make in read.objects.items():
            make().save_as(work / f"{name}.dcm", enforce_file_format=True)
        for path in sorted(work.iterdir()):
            os.replace(path, args.o / path.name)
    logger.info(
        f"{args.o}: {counted(len(read.objects), 'DICOM object')}. They hold the patient's name, as their source."
    )
