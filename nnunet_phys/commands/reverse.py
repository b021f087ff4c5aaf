"""`nnunet_phys reverse`: images to PD, T1 and T2 maps."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.errors import InputError

# What cine is acquired with where nothing is known; 50 pulses seen by inflowing blood are an assumption.
_PROTOCOL = {"bssfp": {"flip_angle_deg": 45.0}, "gre": {"flip_angle_deg": 15.0, "inflow_pulses": 50.0}}
_FEWEST_VALUES = 17  # of an image; fewer are labels

if TYPE_CHECKING:
    import torch

    from nnunet_phys.precomputed_spin.likelihood import Sequence
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.reverse_imaging import Scan
    from nnunet_phys.spin import SpinMaps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", metavar="DATASET", help="id or name of a data set in nnUNet_raw; maps go to its spinTr/")
    parser.add_argument("-i", type=Path, metavar="FOLDER", help="instead of -d: a folder of images")
    parser.add_argument("-o", type=Path, metavar="FOLDER", help="where the maps go (needed with -i)")
    parser.add_argument("-sequence", default="bssfp", choices=("bssfp", "gre"), help="default %(default)s")
    parser.add_argument("-fa", type=float, metavar="DEG", help="flip angle, degrees (default: bssfp 45, gre 15)")
    parser.add_argument("-prior", default="digital_heart", help="folder or name of a spin prior (default %(default)s)")
    parser.add_argument("-sampler", default="proximal", choices=("proximal", "dps"), help="default %(default)s")
    parser.add_argument("-steps", type=int, help="network evaluations a slice (default 25; dps: 200)")
    parser.add_argument("-seed", type=int, default=0)
    parser.add_argument("-batch", type=int, default=8, help="slices a network call (default %(default)s)")
    parser.add_argument("-device", default="cuda", help="cuda, cpu or mps (default %(default)s)")
    parser.add_argument("-num_parts", type=int, default=1, help="split the cases into this many parts")
    parser.add_argument("-part_id", type=int, default=0, help="which part to do, from 0")
    parser.add_argument("--overwrite", action="store_true", help="make maps again that are there")
    parser.add_argument("--disable_progress_bar", action="store_true")


def run(args: argparse.Namespace) -> None:
    if args.num_parts < 1 or not 0 <= args.part_id < args.num_parts:
        raise InputError(f"-part_id {args.part_id} of -num_parts {args.num_parts}: give 0 to num_parts - 1.")
    cases, folder, ending = _find_cases(args)
    cases = dict(sorted(cases.items())[args.part_id :: args.num_parts])

    from nnunet_phys.devices import torch_device
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.reverse_imaging import SAMPLERS, ReverseImager
    from nnunet_phys.sequences import SEQUENCES

    if args.batch < 1:
        raise InputError(f"-batch {args.batch}: give 1 or more slices.")
    prior = SpinPrior.load(args.prior, torch_device(args.device))
    parameters = {**_PROTOCOL[args.sequence], **({"flip_angle_deg": args.fa} if args.fa is not None else {})}
    try:
        sequence = SEQUENCES[args.sequence](**parameters)
        sampler = SAMPLERS[args.sampler](**({"steps": args.steps} if args.steps is not None else {}))
    except ValueError as error:
        raise InputError(str(error)) from None

    settings = {
        "sequence": {"name": args.sequence, **asdict(sequence)},
        "prior": {"name": args.prior, "sha256": prior.sha256(), **prior.record},
        "sampler": {"name": args.sampler, **asdict(sampler)},
        "seed": args.seed,
    }
    todo = cases if args.overwrite else _unfinished(cases, folder, ending, settings)
    if len(todo) < len(cases):
        print(f"{len(cases) - len(todo)} of {len(cases)} cases are finished and skipped (--overwrite makes them again)")
    slices = check_images(todo, prior.minimum * prior.pixel_mm)
    if not todo:
        return
    imager = ReverseImager(prior, sampler, seed=args.seed, batch=args.batch)
    record = {**settings, "batch": args.batch, "versions": _versions()}

    from tqdm import tqdm

    from nnunet_phys.precomputed_spin.store import save_maps

    with tqdm(total=sum(slices.values()), unit="slice", disable=args.disable_progress_bar) as progress:
        for scan, maps, error in imager(_scans(todo, sequence)):
            quality = _quality(scan, prior, maps, error)
            save_maps(folder, scan.case, maps, todo[scan.case], ending, {**record, "quality": quality})
            progress.set_description(scan.case)
            progress.update(len(error))
    print(f"{len(todo)} cases in {folder}. Look at the maps before you train on them.")


def _scans(cases: dict[str, Path], sequence: Sequence) -> Iterator[Scan]:
    """Read case by case, those of one size together, so that they share the network's batches."""
    from nnunet_phys.precomputed_spin.reverse_imaging import Scan, Series
    from nnunet_phys.precomputed_spin.store import image_header, read_image

    for case, path in sorted(cases.items(), key=lambda item: image_header(item[1]).GetSize()[:2]):
        yield Scan(case, (Series(sequence, read_image(path)[None]),), _pixel_mm(path))


def _unfinished(cases: dict[str, Path], folder: Path, ending: str, settings: dict) -> dict[str, Path]:
    """The cases whose maps are missing or were made from another image; refuses maps made with other settings."""
    from nnunet_phys.precomputed_spin.store import is_finished, load_record

    settings = json.loads(json.dumps(settings))
    settings["prior"].pop("name")  # the same prior may lie in another folder
    todo, made_otherwise = {}, {}
    for case, path in cases.items():
        if not is_finished(folder, case, ending, path):
            todo[case] = path
            continue
        recorded = load_record(folder, case)
        recorded.get("prior", {}).pop("name", None)
        other = [key for key, value in settings.items() if recorded.get(key) != value]
        if other:
            made_otherwise.setdefault(", ".join(other), []).append(case)
    if made_otherwise:
        raise InputError(
            "\n".join(
                f"{found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: maps in {folder} were made with "
                f"other settings ({names}). Add --overwrite to make them again, or choose another folder with -o."
                for names, found in made_otherwise.items()
            )
        )
    return todo


def check_images(cases: dict[str, Path], minimum_mm: float) -> dict[str, int]:
    """Read every image once and report all that cannot be used, before the work starts.

    Args:
        cases: case -> image.
        minimum_mm: least field of view along rows and columns.

    Returns:
        case -> number of slices.

    Raises:
        InputError: unreadable, with NaN, without signal, with labels for an image, or too small; one line a case.
    """
    import numpy as np

    from nnunet_phys.precomputed_spin.store import read_image

    slices, faults = {}, []
    for case, path in cases.items():
        try:
            image = read_image(path)
        except InputError as error:
            faults.append(f"{case}: {error}")
            continue
        slices[case] = len(image)
        view = min(n * mm for n, mm in zip(image.shape[1:], _pixel_mm(path), strict=True))
        values = len(np.unique(image))
        if image.max() <= 0:
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


def _find_cases(args: argparse.Namespace) -> tuple[dict[str, Path], Path, str]:
    """Cases and their images, the folder for the maps, and the maps' file ending."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    from nnunet_phys.precomputed_spin.store import open_raw_dataset

    if (args.d is None) == (args.i is None):
        raise InputError("Give either -d DATASET or -i FOLDER -o FOLDER.")
    if args.d is not None:
        dataset = open_raw_dataset(args.d)
        return dataset.images, args.o or dataset.maps_folder, dataset.ending
    if args.o is None:
        raise InputError(f"-i {args.i} needs -o, a folder for the maps.")
    if not args.i.is_dir():
        raise InputError(f"-i {args.i}: no such folder.")
    cases, endings = {}, set()
    for path in sorted(args.i.iterdir()):
        ending = next((e for e in SimpleITKIO.supported_file_endings if path.name.lower().endswith(e)), None)
        if ending is not None:
            cases[path.name[: -len(ending)].removesuffix("_0000")] = path
            endings.add(ending)
    if len(endings) != 1:
        found = f"several file endings ({', '.join(sorted(endings))})" if endings else "no image"
        raise InputError(f"-i {args.i}: {found}. Give a folder of images with one ending, such as .nii.gz.")
    return cases, args.o, endings.pop()


def _pixel_mm(path: Path) -> tuple[float, float]:
    """Row and column spacing of an image, mm."""
    from nnunet_phys.precomputed_spin.store import image_header

    column, row = image_header(path).GetSpacing()[:2]
    return row, column


def _quality(scan: Scan, prior: SpinPrior, maps: SpinMaps, error: torch.Tensor) -> dict:
    """How well the maps explain the images, over the body (all that stands out of the air)."""
    import numpy as np
    import torch

    from nnunet_phys.precomputed_spin.likelihood import bright_level
    from nnunet_phys.precomputed_spin.prior import GREATEST, LEAST

    signal = torch.from_numpy(np.stack([np.abs(s.images).max(0) for s in scan.series])).float()
    body = (signal > 0.1 * torch.stack([bright_level(s) for s in signal]).view(-1, 1, 1, 1)).any(0)
    scaled = prior.scaling.encode(maps)
    outside = (scaled <= LEAST + 1e-3) | (scaled >= GREATEST - 1e-3)
    return {
        "residual_rms": round(float(error[body].square().mean().sqrt()), 5),
        "share_at_bound": round(float(outside.any(1)[body].float().mean()), 5),
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("nnunet_phys", "nnunetv2", "torch", "diffusers", "numpy")}
