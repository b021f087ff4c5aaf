"""`nnunet_phys segment`: one mask per series by a trained model, for `quantify`."""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.map_options import add_prior_arguments
from nnunet_phys.commands.shared.messages import indented, skipped
from nnunet_phys.commands.shared.targets import check_target, named_path, refuse_as_target
from nnunet_phys.errors import InputError, counted

if TYPE_CHECKING:
    from nnunet_phys.commands.shared.segmentation_model import SegmentationModel
    from nnunet_phys.commands.shared.segmentation_results import SegmentationResults
    from nnunet_phys.commands.shared.series_cases import SeriesCase, SeriesFolder
    from nnunet_phys.commands.shared.series_segmenter import SeriesSegmenter
    from nnunet_phys.commands.shared.series_translation import SeriesTranslator

logger = logging.getLogger(__name__)

_BYTES_OF_VOXEL = 4  # float32; masks take less


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is segmented, by which model, and where the masks go."""
    parser.add_argument(
        "-i",
        type=named_path,
        required=True,
        metavar="FOLDER",
        help="what `import` wrote, of which molli/ is segmented; or any folder of images: the images of a series "
        "(CASE_ti00_0000, ... or CASE_0000, CASE_0001, ...) get one mask, others and frames of 4-D files one each",
    )
    parser.add_argument("-o", type=named_path, required=True, metavar="FOLDER", help="folder for images/ and masks/")
    parser.add_argument(
        "-model",
        type=named_path,
        required=True,
        help="folder of a trained model, such as nnUNetTrainerPhys__nnUNetPlans__2d, or a zip of `export`",
    )
    parser.add_argument("-f", nargs="+", metavar="FOLD", help="folds, such as 0 1 or all (default: those trained)")
    parser.add_argument(
        "-chk", default="checkpoint_final.pth", metavar="FILE", help="name of the checkpoint (default %(default)s)"
    )
    parser.add_argument(
        "-only", nargs="+", default=[], metavar="NAME", help="only these cases; * for any characters (default: all)"
    )
    parser.add_argument("--mirroring", action="store_true", help="predict mirrored images, too: four times the work")
    parser.add_argument("--readouts_only", action="store_true", help="do not translate series into bSSFP")
    parser.add_argument(
        "--keep_readouts", action="store_true", help="write the masks of a series' single images into readouts/"
    )
    add_prior_arguments(parser)
    add_device_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="make everything again")
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Check everything, then segment case by case what is not finished."""
    from nnunet_phys.commands.shared.segmentation_results import SegmentationResults
    from nnunet_phys.commands.shared.series_segmenter import SeriesSegmenter
    from nnunet_phys.progress import ProgressBar
    from nnunet_phys.whole_files import working_folder

    refuse_as_target(args.o, args.i)
    model = _model(args)
    read, translator = _series(args)
    settings = {
        "model": model.record,
        "mirroring": args.mirroring,
        "translation": None if translator is None else translator.settings,
        "keep_readouts": args.keep_readouts,
    }
    segmenter = SeriesSegmenter(model, _codes(model.labels), translator, args.keep_readouts, read.ending)
    results = SegmentationResults(args.o, settings)
    overwritten = _overwritten(args, read, results)
    results.check(overwritten)
    todo = _left_to_do(args, results, read, segmenter)
    if todo or results.lacks(read.references):
        check_target(args.o, _bytes(todo))
        results.begin(overwritten, {**model.description, "file_ending": read.ending}, read.references)
    for case in ProgressBar(todo, desc="segment", unit="case", disable=args.disable_progress_bar):
        with working_folder(args.o, case.case) as scratch:
            new = scratch / "new"
            new.mkdir()
            entry = segmenter(case, read.reader.take(case.files), new)
            results.save(case.case, case.sources, new, entry)
    _tell(args, len(todo), results)


def _model(args: argparse.Namespace) -> SegmentationModel:
    """The model.

    Raises:
        InputError: as for `SegmentationModel.open`; or no such device.
    """
    from nnunet_phys.commands.shared.segmentation_model import SegmentationModel
    from nnunet_phys.precomputed_spin.work_parts import device_of_process

    return SegmentationModel.open(args.model, args.f, args.chk, device_of_process(args.device), args.mirroring)


def _series(args: argparse.Namespace) -> tuple[SeriesFolder, SeriesTranslator | None]:
    """The cases, and what translates those that can be translated; None with --readouts_only.

    The translator does not depend on the cases, since it belongs to the settings that all cases of a folder share.

    Raises:
        InputError: as for `SeriesFolder.read` and `SeriesTranslator`.
    """
    from nnunet_phys.commands.shared.series_cases import SeriesFolder

    read = SeriesFolder.read(args.i, args.only, not args.readouts_only)
    if args.readouts_only:
        return read, None
    from nnunet_phys.commands.shared.series_translation import SeriesTranslator  # imports diffusers

    translator = SeriesTranslator.load(args.prior, args.device, args.scaling)
    translator.check([case.job for case in read.cases if case.job is not None], read.reader)
    return read, translator


def _overwritten(args: argparse.Namespace, read: SeriesFolder, results: SegmentationResults) -> set[str]:
    """Names of the cases whose results are removed: with --overwrite, those that -only chooses, without it all."""
    if not args.overwrite:
        return set()
    chosen = {case.case for case in read.cases}
    return chosen if args.only else chosen | results.cases()


def _left_to_do(
    args: argparse.Namespace, results: SegmentationResults, read: SeriesFolder, segmenter: SeriesSegmenter
) -> list[SeriesCase]:
    """The cases without results; all of them with --overwrite.

    Raises:
        InputError: results of other images, or files in the way.
    """
    todo = [case for case in read.cases if args.overwrite or not results.is_finished(case.case, case.sources)]
    for case in todo:
        results.check_room(case.case, segmenter.names(case))
    if len(todo) < len(read.cases):
        logger.info(skipped(len(read.cases) - len(todo), len(read.cases)))
    return todo


def _codes(labels: Mapping[str, int]) -> dict[str, int]:
    """Codes of the labels that are checked: RV, MYO and LV by these names, or all labels of a model without them.

    `quantify`, not `segment`, needs MYO and LV.
    """
    from nnunet_phys.precomputed_spin.label_names import structure_codes

    try:
        return structure_codes({name: code for name, code in labels.items() if code})
    except InputError:
        return {name: code for name, code in labels.items() if code}


def _bytes(cases: list[SeriesCase]) -> int:
    """Most bytes that results may take: each image, its mask, and a mask of the series."""
    return sum(2 * _BYTES_OF_VOXEL * (case.files.count + 1) * math.prod(case.files.geometry.size) for case in cases)


def _tell(args: argparse.Namespace, made: int, results: SegmentationResults) -> None:
    """Log what was made, and what looks wrong."""
    logger.info(f"{counted(made, 'case')} made in {args.o}.")
    flags = results.flags()
    if flags:
        logger.warning(f"{counted(len(flags), 'flag')}:{indented(flags, ', see segment.json')}")
