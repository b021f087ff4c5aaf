"""`nnunet_phys reverse`: images to PD, T1 and T2 maps."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.map_work import Work, add_work_arguments, described
from nnunet_phys.commands.shared.scan_options import add_protocol_arguments
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from nnunet_phys.commands.shared.scan_options import Job
    from nnunet_phys.precomputed_spin.reverse_imaging import Inferred
    from nnunet_phys.precomputed_spin.scan_files import ScanFiles


_MOST_FLAGS = 20  # printed; the records hold all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", metavar="DATASET", help="id or name of a data set in nnUNet_raw; maps go to its spinTr/")
    parser.add_argument("-i", type=Path, metavar="FOLDER", help="instead of -d: a folder of images, 3-D or 4-D")
    parser.add_argument("-o", type=Path, metavar="FOLDER", help="where the maps go (needed with -i)")
    add_protocol_arguments(parser)
    parser.add_argument("--labels", action="store_true", help="with -d: let labelsTr say what is blood and myocardium")
    parser.add_argument(
        "-samples", type=int, default=1, help="draw so many posterior samples; their mean and spread are kept"
    )
    parser.add_argument("--save_samples", action="store_true", help="keep each sample, too, in samples/K")
    add_work_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from nnunet_phys.image_files import file_sha256
    from nnunet_phys.precomputed_spin.quality import quality

    if args.samples < 1 or (args.save_samples and args.samples < 2):
        raise InputError(f"-samples {args.samples}: give 1 or more, 2 or more with --save_samples.")
    work = Work.of(args, args.samples)
    labels, codes = _find_labels(args)
    told, told_codes = (labels, codes) if args.labels else ({}, {})
    settings = {**work.settings, "samples": {"drawn": args.samples, "saved": args.save_samples}, "labels": told_codes}

    def each(job: Job) -> dict:
        label = told.get(job[0].case)
        known = label is not None and label.is_file()  # a missing one is told with the other faults
        return {"sequences": described(job[1]), "label_sha256": file_sha256(label) if known else None}

    todo = work.unfinished(settings, each)
    volumes = 3 if args.samples == 1 else 6 + 3 * args.samples * args.save_samples
    record = {**settings, "batch": args.batch, "bf16": work.prior.bf16, "versions": _versions()}
    faults, flagged = _label_faults(todo, told, told_codes), []
    for job, found in work.infer(todo, volumes, args.samples, faults, told, told_codes):
        looks = quality(found, work.prior.scaling, _structures(job[0], labels.get(job[0].case), codes))
        flagged.extend(f"{job[0].case}, slice {f['slice']}: {f['reason']}" for f in looks["flags"])
        entries = {**record, **each(job), "quality": looks}
        _save(found, job[0].paths, work.inputs.folder, work.inputs.ending, entries, args.save_samples)
    if flagged:
        more = f"\n  and {len(flagged) - _MOST_FLAGS} more" if len(flagged) > _MOST_FLAGS else ""
        print(f"{len(flagged)} slices look wrong:\n  " + "\n  ".join(flagged[:_MOST_FLAGS]) + more)
    if todo:
        print("Look at the maps before you train on them" + (" (nnunet_phys report)." if args.d else "."))


def _save(found: Inferred, images: tuple[Path, ...], folder: Path, ending: str, record: dict, each: bool) -> None:
    """Write all of a case; its record, which makes it count as finished, last."""
    from nnunet_phys.image_files import Geometry, write_volume
    from nnunet_phys.map_files import discard, map_paths, record_path, save_maps

    case, (first, *more), written = found.scan.case, images, []
    discard(folder, case)
    if found.samples:
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in zip(("PDsd", "T1sd", "T2sd"), found.spread.stack(), strict=True):
            written.append(folder / f"{case}_{name}{ending}")
            with write_volume(written[-1], values, Geometry.read(first)):
                pass
        for k, maps in enumerate(found.samples if each else ()):
            sample = folder / "samples" / str(k)
            save_maps(sample, case, maps, first, ending, record, tuple(more))
            written.extend((*map_paths(sample, case, ending).values(), record_path(sample, case)))
    save_maps(folder, case, found.maps, first, ending, record, tuple(more), tuple(written))


def _find_labels(args: argparse.Namespace) -> tuple[dict[str, Path], dict[str, int]]:
    """Label image of each case and the codes of its structures; none where --labels does not need any."""
    from nnunet_phys.precomputed_spin.labels import structure_codes
    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset

    if args.d is None:
        if args.labels:
            raise InputError("--labels needs -d, a data set with labelsTr.")
        return {}, {}
    dataset = open_raw_dataset(args.d)
    try:
        codes = structure_codes(json.loads((dataset.folder / "dataset.json").read_text())["labels"])
    except InputError:
        if args.labels:
            raise
        return {}, {}
    return dataset.labels, codes


def _structures(files: ScanFiles, path: Path | None, codes: dict[str, int]) -> dict[str, np.ndarray]:
    """Masks of a case's structures, as far as it has labels on its grid."""
    from nnunet_phys.image_files import Geometry, read_image

    try:
        if path is None or not path.is_file() or not files.geometry.agrees(Geometry.read(path)):
            return {}
        labels = read_image(path)
    except InputError:
        return {}
    return {name: labels == code for name, code in codes.items()}


def _label_faults(jobs: list[Job], labels: dict[str, Path], codes: dict[str, int]) -> list[str]:
    """A line for each case whose labels are not on the image's grid or hold no structure."""
    import numpy as np

    from nnunet_phys.image_files import Geometry, read_image

    faults = []
    for files, _ in jobs if labels else ():
        path = labels[files.case]
        try:
            if not files.geometry.agrees(Geometry.read(path)):
                faults.append(f"{files.case}: {path} lies on another grid than {files.paths[0]}. Mend or remove it.")
            elif not np.isin(read_image(path), list(codes.values())).any():
                faults.append(f"{files.case}: {path} holds none of the codes {codes}. Mend it or leave --labels out.")
        except InputError as error:
            faults.append(f"{files.case}: {error}")
    return faults


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("nnunet_phys", "nnunetv2", "torch", "diffusers", "numpy")}
