"""`nnunet_phys quantify`: T1 and extracellular volume per segment of segmented MOLLI series."""

from __future__ import annotations

import argparse
import logging
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnunet_phys.commands.shared.device_option import add_device_argument
from nnunet_phys.commands.shared.map_options import add_prior_arguments
from nnunet_phys.commands.shared.numbers import finite, number
from nnunet_phys.commands.shared.targets import check_target, named_path, refuse_as_target
from nnunet_phys.errors import InputError, counted
from nnunet_phys.quantification.levels import LEVELS

if TYPE_CHECKING:
    import numpy as np

    from nnunet_phys.commands.parts.joint_estimate import JointEstimate
    from nnunet_phys.commands.parts.measurement import Measurement
    from nnunet_phys.commands.parts.study_page import PageSlice
    from nnunet_phys.precomputed_spin.segmented_study import SegmentedStudy, T1Maps
    from nnunet_phys.quantification.heart_slice import HeartSlice
    from nnunet_phys.quantification.measured_slice import MeasuredSlice

    ByMethod = dict[str, list[MeasuredSlice]]

logger = logging.getLogger(__name__)

_MOST_EROSION_MM = 10.0
"""Upper bound of -erode: half of a thick wall."""
_USUAL_HAEMATOCRIT = (0.2, 0.65)
"""From severe anaemia to polycythaemia. Assumed."""
_BYTES_OF_VOXEL = 4  # float32
_BYTES_OF_PAGE = 1 << 20
"""Of the figures of a slice. Assumed: three times what they take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is measured, by which method, and where the report goes."""
    parser.add_argument(
        "-i",
        type=named_path,
        required=True,
        metavar="FOLDER",
        help="one examination: images/ as `import` writes molli/, masks/CASE, dataset.json, and the scanner's "
        "T1 maps in references/",
    )
    parser.add_argument("-o", type=named_path, required=True, metavar="FOLDER", help="new folder for the report")
    parser.add_argument(
        "-method",
        choices=("fit", "joint", "both"),
        default="fit",
        help="fit: three parameters, as scanners do, in seconds; joint: `reverse` of the series, which models the "
        "readout, in minutes; both (default %(default)s)",
    )
    parser.add_argument(
        "-post", type=named_path, metavar="FOLDER", help="the same after contrast agent: adds extracellular volume"
    )
    parser.add_argument("-haematocrit", type=finite, metavar="SHARE", help="with -post: share of cells in blood: 0.42")
    parser.add_argument(
        "-erode",
        type=number(0, _MOST_EROSION_MM),
        metavar="MM",
        help="what is left out at each edge of wall and cavity (default: one pixel)",
    )
    parser.add_argument(
        "-levels",
        nargs="+",
        choices=LEVELS,
        metavar="LEVEL",
        help="basal, mid or apical for each slice from base to apex (default: thirds of their length; one slice: mid)",
    )
    add_prior_arguments(parser)
    add_device_argument(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace a report that this command made")
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    """Check everything, make the T1 maps, measure, and write the report whole or not at all."""
    from nnunet_phys.commands.parts.measurement import Measurement
    from nnunet_phys.commands.parts.study_page import SCANNER
    from nnunet_phys.commands.shared.report_folder import STUDY, check_report_folder
    from nnunet_phys.precomputed_spin.segmented_study import SegmentedStudy

    doubts_of_haematocrit = _check_haematocrit(args.haematocrit, args.post)
    refuse_as_target(args.o, args.i, *(() if args.post is None else (args.post,)))
    old = check_report_folder(args.o, args.overwrite, STUDY)
    studies = [SegmentedStudy.read(folder) for folder in (args.i, args.post) if folder is not None]
    before, after = studies[0], studies[1] if args.post is not None else None
    measurement = Measurement.plan(before, after, args.levels, args.erode)
    joint = None if args.method == "fit" else _joint_estimate(args, studies)
    check_target(args.o, _bytes(before))

    maps, flags = _t1_maps(args, studies, joint)
    flags = [*_flags_of_masks(args), *flags]
    measured: ByMethod = {}
    for method, of_studies in maps.items():
        post = of_studies[1] if after is not None else {}
        measured[method], doubts = measurement.measured(method, of_studies[0], post, args.haematocrit or 0.0)
        flags += doubts
    if scanner_maps := before.scanner_maps():
        post = after.scanner_maps() if after is not None else {}
        measured[SCANNER], doubts = measurement.measured(SCANNER, scanner_maps, post, args.haematocrit or 0.0)
        flags += doubts
    _write(args, measurement, maps, measured, [*doubts_of_haematocrit, *measurement.flags, *flags], old)


def _joint_estimate(args: argparse.Namespace, studies: list[SegmentedStudy]) -> JointEstimate:
    """The joint estimate; imported, as diffusers is, where it is needed.

    Raises:
        InputError: as for `JointEstimate.plan`.
    """
    from nnunet_phys.commands.parts.joint_estimate import JointEstimate

    return JointEstimate.plan(studies, args.prior, args.device, args.scaling)


def _t1_maps(
    args: argparse.Namespace, studies: list[SegmentedStudy], joint: JointEstimate | None
) -> tuple[dict[str, list[T1Maps]], list[str]]:
    """The maps of each method, one entry per study, and what is doubtful about them."""
    from nnunet_phys.commands.parts.measurement import AFTER

    show_progress = not args.disable_progress_bar
    maps: dict[str, list[T1Maps]] = {}
    flags: list[str] = []
    results = {} if args.method == "joint" else {"fit": [study.fitted(show_progress) for study in studies]}
    if joint is not None:
        results["joint"] = joint.maps(show_progress)
    for method, of_method in results.items():
        maps[method] = [of_study for of_study, _ in of_method]
        for prefix, (_, doubts) in zip(("", AFTER), of_method, strict=False):
            flags += [f"{prefix}{doubt}" for doubt in doubts]
    return maps, flags


def _flags_of_masks(args: argparse.Namespace) -> list[str]:
    """What `segment` found doubtful about the masks.

    Raises:
        InputError: a record of `segment` cannot be read.
    """
    from nnunet_phys.commands.parts.measurement import AFTER
    from nnunet_phys.commands.shared.segmentation_results import flags_of_masks

    after = [] if args.post is None else flags_of_masks(args.post)
    return [*flags_of_masks(args.i), *(f"{AFTER}{flag}" for flag in after)]


def _check_haematocrit(haematocrit: float | None, post: Path | None) -> list[str]:
    """Refuse a haematocrit that is missing, not needed, or no share; a flag for an unusual one.

    Raises:
        InputError: it is refused.
    """
    if post is not None and haematocrit is None:
        raise InputError(f"-post {post} needs -haematocrit, the share of cells in blood, such as 0.42.")
    if haematocrit is None:
        return []
    if post is None:
        raise InputError(f"-haematocrit {haematocrit:g} is for extracellular volume. Add -post, or leave it out.")
    if 1 < haematocrit < 100:
        raise InputError(f"-haematocrit {haematocrit:g} looks like percent. Give a fraction: {haematocrit / 100:g}.")
    if not 0 < haematocrit < 1:
        raise InputError(f"-haematocrit {haematocrit:g} must lie between 0 and 1. Give a fraction, such as 0.42.")
    least, greatest = _USUAL_HAEMATOCRIT
    if not least <= haematocrit <= greatest:
        return [f"-haematocrit {haematocrit:g} is unusual ({least:g} to {greatest:g} are not): every ECV depends on it"]
    return []


def _bytes(study: SegmentedStudy) -> int:
    """Most bytes that a report may take: two methods with two maps each, and the page."""
    sizes = [study.grid(case.case).size for case in study.cases]
    return sum(4 * _BYTES_OF_VOXEL * math.prod(size) + _BYTES_OF_PAGE * size[2] for size in sizes)


def _write(
    args: argparse.Namespace,
    measurement: Measurement,
    maps: dict[str, list[T1Maps]],
    measured: ByMethod,
    flags: list[str],
    old: list[Path],
) -> None:
    """Write table, maps, page and record.

    Raises:
        InputError: a file cannot be written.
    """
    from nnunet_phys.case_records import package_versions
    from nnunet_phys.commands.parts.study_page import page_parts
    from nnunet_phys.commands.parts.study_rows import as_csv, as_json, segment_rows
    from nnunet_phys.commands.shared.pages import write_page
    from nnunet_phys.commands.shared.report_folder import STUDY, fill_report_folder
    from nnunet_phys.whole_files import working_folder, write_bytes

    rows = [row for method, slices in measured.items() for one in slices for row in segment_rows(one, method)]
    settings = {
        "methods": list(maps),
        "erosion": "one pixel" if args.erode is None else f"{args.erode:g} mm",
        "levels": args.levels or ["thirds of the length"],
        "haematocrit": args.haematocrit,
        "prior": args.prior if "joint" in maps else None,
    }
    content = {
        "images": str(args.i),
        "post": None if args.post is None else str(args.post),
        "settings": settings,
        "versions": package_versions(),
        "flags": flags,
        "sources": _sources(measurement.before),
        "inputs": _inputs(measurement.before),
        "post_sources": {} if measurement.after is None else _sources(measurement.after),
        "pairs": {before.title: after.title for before, after in measurement.pairs.items()},
        "segments": as_json(rows),
    }
    with working_folder(args.o, "quantify") as folder:
        scratch = folder / "report"
        scratch.mkdir()
        write_bytes(scratch / "segments.csv", as_csv(rows).encode())
        _write_maps(scratch, measurement, maps, measured)
        parts = page_parts(
            args.i.resolve().name, settings, flags, _page_slices(measurement, measured), rows, not measurement.doubled
        )
        write_page(scratch / "report.html", args.i.resolve().name, parts)
        fill_report_folder(args.o, scratch, old, content, STUDY)
    slices = len(next(iter(measured.values())))
    logger.info(
        f"{args.o}: {counted(slices, 'slice')} by {' and '.join(maps)}, {counted(len(flags), 'flag')}; see report.html"
    )


def _sources(study: SegmentedStudy) -> dict[str, dict[str, Any] | None]:
    """The DICOM images that each case was made from, by which `export_dicom` knows the maps again; plain JSON."""
    from nnunet_phys.precomputed_spin.dicom.source_record import read_source

    found = {case.case: read_source(study.images, case.case) for case in study.cases}
    return {case: None if source is None else asdict(source) for case, source in found.items()}


def _inputs(study: SegmentedStudy) -> dict[str, dict[str, str]]:
    """Hashes of each case's mask and CASE.json, by which `export_dicom` knows that maps belong to them; plain JSON."""
    from nnunet_phys.file_identity import file_sha256

    inputs = {}
    for case in study.cases:
        inputs[case.case] = {"mask": file_sha256(study.masks / f"{case.case}{study.ending}")}
        if (description := study.images / f"{case.case}.json").is_file():  # else, the times stand in the files' names
            inputs[case.case]["description"] = file_sha256(description)
    return inputs


def _write_maps(folder: Path, measurement: Measurement, maps: dict[str, list[T1Maps]], measured: ByMethod) -> None:
    """Write METHOD/CASE_T1map of each case, and METHOD/CASE_ECVmap where both lie on one grid."""
    import numpy as np

    from nnunet_phys.file_identity import inside
    from nnunet_phys.image_files import write_volume

    study = measurement.before
    for method, (before, *_) in maps.items():
        (folder / method).mkdir()
        volumes = {f"{case}_T1map": (case, t1) for case, t1 in before.items()}
        for one in measured[method]:
            case, ecv = one.regions.heart.case, measurement.ecv_map(one)
            if ecv is not None:
                _, volume = volumes.setdefault(f"{case}_ECVmap", (case, np.zeros_like(before[case])))
                volume[one.regions.heart.index] = ecv
        for name, (case, values) in volumes.items():
            write_volume(inside(folder / method, f"{name}{study.ending}"), values, study.grid(case))


def _page_slices(measurement: Measurement, measured: ByMethod) -> list[PageSlice]:
    """The slices of the page, with the images of the shortest, a middle and the longest inversion time."""
    from nnunet_phys.commands.parts.study_page import PageSlice

    by_slice: dict[HeartSlice, dict[str, MeasuredSlice]] = {}
    for method, slices in measured.items():
        for one in slices:
            by_slice.setdefault(one.regions.heart, {})[method] = one
    images: dict[tuple[bool, str], dict[str, np.ndarray]] = {}

    def readouts(heart: HeartSlice, study: SegmentedStudy) -> dict[str, np.ndarray]:
        case = study is measurement.before, heart.case
        if case not in images:
            images[case] = study.three_readouts(heart.case)
        return {title: image[heart.index] for title, image in images[case].items()}

    shown = []
    for heart, methods in by_slice.items():
        ecv = {method: values for method, one in methods.items() if (values := measurement.ecv_map(one)) is not None}
        shown.append(PageSlice(readouts(heart, measurement.before), methods, ecv))
        partners = {method: one.post for method, one in methods.items() if one.post is not None}
        if partners and measurement.after is not None:
            shown.append(PageSlice(readouts(measurement.pairs[heart], measurement.after), partners, {}, True))
    return shown
