"""`nnunet_phys reverse`: images to PD, T1 and T2 maps."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.scans import (
    add_protocol_arguments,
    add_work_arguments,
    check_images,
    check_target,
    find_images,
    find_jobs,
    in_batch_order,
    load_prior,
)
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.commands.scans import Job
    from nnunet_phys.precomputed_spin.likelihood import Sequence
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.reverse_imaging import Inferred, Scan
    from nnunet_phys.precomputed_spin.scan_files import ScanFiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", metavar="DATASET", help="id or name of a data set in nnUNet_raw; maps go to its spinTr/")
    parser.add_argument("-i", type=Path, metavar="FOLDER", help="instead of -d: a folder of images, 3-D or 4-D")
    parser.add_argument("-o", type=Path, metavar="FOLDER", help="where the maps go (needed with -i)")
    add_protocol_arguments(parser)
    parser.add_argument("--labels", action="store_true", help="with -d: let labelsTr say what is blood and myocardium")
    parser.add_argument("-samples", type=int, default=1, help="posterior samples: their mean and spread are kept")
    parser.add_argument("--save_samples", action="store_true", help="keep each sample, too, in samples/K")
    add_work_arguments(parser)


def run(args: argparse.Namespace) -> None:
    from tqdm import tqdm

    from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
    from nnunet_phys.precomputed_spin.store import remove_leftovers

    if args.samples < 1 or (args.save_samples and args.samples < 2):
        raise InputError(f"-samples {args.samples}: give 1 or more, 2 or more with --save_samples.")
    paths, folder, ending = find_images(args)
    prior, sampler = load_prior(args)
    jobs, faults = find_jobs(args, paths, ending)
    labels, codes = _find_labels(args) if args.labels else ({}, {})
    settings = {
        "prior": {"name": args.prior, "sha256": prior.sha256(), **prior.record},
        "sampler": {"name": args.sampler, **asdict(sampler), "samples": args.samples},
        "seed": args.seed,
        "labels": codes,
    }
    if folder.is_dir():
        remove_leftovers(folder)
    todo = jobs if args.overwrite else _unfinished(jobs, folder, ending, settings)
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} cases are finished and skipped (--overwrite makes them again)")
    slices = check_images(todo, prior.minimum * prior.pixel_mm, [*faults, *_label_faults(todo, labels, codes)])
    if not todo:
        return
    check_target(folder, todo, 1 if args.samples == 1 else 2 + args.samples * args.save_samples)
    imager = ReverseImager(prior, sampler, seed=args.seed, batch=args.batch, samples=args.samples)
    record = {**settings, "batch": args.batch, "versions": _versions()}
    files = {one.case: one for one, _ in todo}
    with tqdm(total=sum(slices.values()), unit="slice", disable=args.disable_progress_bar) as progress:
        for found in imager(_scans(todo, labels, codes)):
            _save(found, files[found.scan.case], folder, ending, record, args.save_samples, prior)
            progress.set_description(found.scan.case)
            progress.update(len(found.error))
    print(f"{len(todo)} cases in {folder}. Look at the maps before you train on them.")


def _save(
    found: Inferred,
    files: ScanFiles,
    folder: Path,
    ending: str,
    record: dict,
    each: bool,
    prior: SpinPrior,
) -> None:
    """Write all of a case; its record, which makes it count as finished, last."""
    from nnunet_phys.precomputed_spin.quality import quality
    from nnunet_phys.precomputed_spin.store import save_maps, write_volume

    first, *more = files.paths
    sequences = _described(tuple(s.sequence for s in found.scan.series))
    entries = {**record, "sequences": sequences, "quality": quality(found, prior.scaling)}
    if found.samples:
        folder.mkdir(parents=True, exist_ok=True)
        for name, values in zip(("PDsd", "T1sd", "T2sd"), found.spread.stack(), strict=True):
            with write_volume(folder / f"{files.case}_{name}{ending}", values, files.geometry):
                pass
        for k, maps in enumerate(found.samples if each else ()):
            save_maps(folder / "samples" / str(k), files.case, maps, first, ending, entries, tuple(more))
    save_maps(folder, files.case, found.maps, first, ending, entries, tuple(more))


def _described(sequences: tuple[Sequence, ...]) -> list[dict]:
    from nnunet_phys.protocol import describe_sequence

    return json.loads(json.dumps([describe_sequence(s) for s in sequences]))


def _scans(jobs: list[Job], labels: dict[str, Path], codes: dict[str, int]) -> Iterator[Scan]:
    """Read case by case, as they are asked for."""
    from nnunet_phys.precomputed_spin.scan_files import load_scan

    for files, sequences in in_batch_order(jobs):
        yield load_scan(files, sequences, labels.get(files.case), codes)


def _find_labels(args: argparse.Namespace) -> tuple[dict[str, Path], dict[str, int]]:
    """Label image of each case and the codes of its structures."""
    from nnunet_phys.precomputed_spin.labels import structure_codes
    from nnunet_phys.precomputed_spin.store import open_raw_dataset

    if args.d is None:
        raise InputError("--labels needs -d, a data set with labelsTr.")
    dataset = open_raw_dataset(args.d)
    return dataset.labels, structure_codes(json.loads((dataset.folder / "dataset.json").read_text())["labels"])


def _label_faults(jobs: list[Job], labels: dict[str, Path], codes: dict[str, int]) -> list[str]:
    """A line for each case whose labels are not on the image's grid or hold no structure."""
    import numpy as np

    from nnunet_phys.precomputed_spin.store import Geometry, read_image

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


def _unfinished(jobs: list[Job], folder: Path, ending: str, settings: dict) -> list[Job]:
    """The cases whose maps are missing or were made from other images; refuses maps made with other settings."""
    from nnunet_phys.precomputed_spin.store import is_finished, load_record

    settings = json.loads(json.dumps(settings))
    settings["prior"].pop("name")  # the same prior may lie in another folder
    todo, made_otherwise = [], {}
    for files, sequences in jobs:
        if not is_finished(folder, files.case, ending, files.paths):
            todo.append((files, sequences))
            continue
        recorded = load_record(folder, files.case)
        recorded.get("prior", {}).pop("name", None)
        expected = {**settings, "sequences": _described(sequences)}
        other = [key for key, value in expected.items() if recorded.get(key) != value]
        if other:
            made_otherwise.setdefault(", ".join(other), []).append(files.case)
    if made_otherwise:
        raise InputError(
            "\n".join(
                f"{found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: maps in {folder} were made with "
                f"other settings ({names}). Add --overwrite to make them again, or choose another folder with -o."
                for names, found in made_otherwise.items()
            )
        )
    return todo


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("nnunet_phys", "nnunetv2", "torch", "diffusers", "numpy")}
