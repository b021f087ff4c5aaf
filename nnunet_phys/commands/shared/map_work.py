"""What the commands that infer maps share: the prior, which cases are left to do, and the work on them."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.scan_options import (
    Inputs,
    check_images,
    environment_number,
    find_inputs,
    find_jobs,
    read_protocol,
)
from nnunet_phys.commands.shared.targets import check_target
from nnunet_phys.errors import InputError

if TYPE_CHECKING:
    from nnunet_phys.commands.shared.scan_options import Job
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.reverse_imaging import Inferred
    from nnunet_phys.precomputed_spin.samplers import Sampler
    from nnunet_phys.precomputed_spin.scan_files import Protocol
    from nnunet_phys.sequences.pulse_sequence import PulseSequence


def add_work_arguments(parser: argparse.ArgumentParser) -> None:
    """How the maps are made, and which part of them by this process."""
    parser.add_argument("-prior", default="digital_heart", help="folder or name of a spin prior (default %(default)s)")
    parser.add_argument("-sampler", default="proximal", choices=("proximal", "dps"), help="default %(default)s")
    parser.add_argument("-steps", type=int, help="network evaluations a slice (default 12; dps: 200)")
    parser.add_argument("-seed", type=int, default=0)
    parser.add_argument("-batch", type=int, default=8, help="slices a network call (default %(default)s)")
    parser.add_argument("-device", default="cuda", help="cuda, cpu or mps (default %(default)s)")
    parser.add_argument("-num_parts", type=int, default=1, help="split the cases into this many parts")
    parser.add_argument("-part_id", type=int, default=0, help="which part to do, from 0")
    parser.add_argument("--overwrite", action="store_true", help="make again what is there")
    parser.add_argument("--disable_progress_bar", action="store_true")


@dataclass(frozen=True)
class Work:
    """Scans whose maps a command infers.

    Attributes:
        args: of the command.
        inputs: what it reads, and where it writes.
        protocol: how the images were made.
        jobs: this process's cases.
        faults: what is wrong with other cases, a line each.
        prior: on its device.
        sampler: draws the maps.
    """

    args: argparse.Namespace
    inputs: Inputs
    protocol: Protocol
    jobs: list[Job]
    faults: list[str]
    prior: SpinPrior
    sampler: Sampler

    @classmethod
    def of(cls, args: argparse.Namespace, samples: int = 1) -> Work:
        """What arguments ask for, with so many posterior samples.

        Raises:
            InputError: nothing to read, or a protocol, prior, device or number that makes no sense.
        """
        inputs = find_inputs(args)
        prior, sampler = _load_prior(args, samples)
        protocol = read_protocol(args, inputs)
        return cls(args, inputs, protocol, *find_jobs(inputs, protocol), prior, sampler)

    @property
    def settings(self) -> dict:
        """What all records of these results share, plain JSON."""
        return {
            "prior": {"name": self.args.prior, "sha256": self.prior.sha256(), **self.prior.record},
            "sampler": {"name": self.args.sampler, **asdict(self.sampler)},
            "seed": self.args.seed,
            "same_gain": list(self.protocol.same_gain),
        }

    def unfinished(self, settings: dict, each: Callable[[Job], dict]) -> list[Job]:
        """The cases without results, or with results of other images; all of them with --overwrite.

        Args:
            settings: that all records must share (but for the prior's name: it may lie elsewhere).
            each: further settings of a case.

        Raises:
            InputError: results that were made with other settings.
        """
        from nnunet_phys.whole_files import remove_leftovers

        if self.inputs.folder.is_dir():
            remove_leftovers(self.inputs.folder)
        return self.jobs if self.args.overwrite else _unfinished(self.jobs, self.inputs.folder, settings, each)

    def infer(
        self,
        todo: list[Job],
        volumes: int,
        samples: int = 1,
        faults: Iterable[str] = (),
        labels: dict[str, Path] | None = None,
        codes: dict[str, int] | None = None,
    ) -> Iterator[tuple[Job, Inferred]]:
        """Check all images and the room for the results, then infer maps case by case, in the order of their sizes.

        Args:
            todo: the cases.
            volumes: to be written per case.
            samples: posterior samples.
            faults: further ones, a line each.
            labels: case to label image, where labels are to be used.
            codes: of the structures in them.

        Raises:
            InputError: images that cannot be used, or no room.
        """
        from tqdm import tqdm

        from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
        from nnunet_phys.precomputed_spin.scan_files import load_scan

        slices = check_images(todo, self.prior.minimum * self.prior.pixel_mm, [*self.faults, *faults])
        if not todo:
            return
        voxels = sum(math.prod(files.geometry.size) for files, _ in todo)
        check_target(self.inputs.folder, 4 * volumes * voxels)
        imager = ReverseImager(self.prior, self.sampler, self.args.seed, self.args.batch, samples=samples)
        by_case = {files.case: (files, sequences) for files, sequences in todo}
        scans = (
            load_scan(files, sequences, self.protocol.same_gain, (labels or {}).get(files.case), codes)
            for files, sequences in sorted(todo, key=lambda job: (job[0].geometry.size[:2], job[0].case))
        )
        with tqdm(total=sum(slices.values()), unit="slice", disable=self.args.disable_progress_bar) as progress:
            for found in imager(scans):
                yield by_case[found.scan.case], found
                progress.set_description(found.scan.case)
                progress.update(len(found.error))
        print(f"{len(todo)} cases made in {self.inputs.folder}.")


def _unfinished(jobs: list[Job], folder: Path, settings: dict, each: Callable[[Job], dict]) -> list[Job]:
    """See `Work.unfinished`."""
    from nnunet_phys.map_files import is_finished, load_record

    todo, made_otherwise = [], {}
    for job in jobs:
        case = job[0].case
        if not is_finished(folder, case, job[0].paths):
            todo.append(job)
            continue
        recorded, expected = load_record(folder, case), json.loads(json.dumps({**settings, **each(job)}))
        for one in (recorded, expected):
            one.get("prior", {}).pop("name", None)
        other = [key for key, value in expected.items() if recorded.get(key) != value]
        if other:
            made_otherwise.setdefault(", ".join(other), []).append(case)
    if made_otherwise:
        raise InputError(
            *(
                f"{cases[0]}{f' and {len(cases) - 1} more' if len(cases) > 1 else ''}: what lies in {folder} was made "
                f"with other settings ({names}). Add --overwrite to make it again, or choose another folder with -o."
                for names, cases in made_otherwise.items()
            )
        )
    if len(todo) < len(jobs):
        print(f"{len(jobs) - len(todo)} of {len(jobs)} cases are finished and skipped (--overwrite makes them again)")
    return todo


def described(sequences: tuple[PulseSequence, ...]) -> list[dict]:
    """Sequences for a record."""
    from nnunet_phys.sequences.description import describe_sequence

    return json.loads(json.dumps([describe_sequence(s) for s in sequences]))


def _load_prior(args: argparse.Namespace, samples: int) -> tuple[SpinPrior, Sampler]:
    """The prior on its device, and the sampler.

    Raises:
        InputError: no such prior or device, or a number of steps or slices that makes no sense.
    """
    import torch

    from nnunet_phys.devices import torch_device
    from nnunet_phys.precomputed_spin.prior import SpinPrior
    from nnunet_phys.precomputed_spin.samplers import SAMPLERS

    if args.batch < 1:
        raise InputError(f"-batch {args.batch}: give 1 or more slices.")
    device = args.device
    if device == "cuda" and torch.cuda.is_available():  # a launcher starts one process per GPU
        device = f"cuda:{environment_number('LOCAL_RANK', 0) % torch.cuda.device_count()}"
    prior = SpinPrior.load(args.prior, torch_device(device))
    options = {} if args.steps is None else {"steps": args.steps}
    if samples > 1 and args.sampler == "proximal":
        options["average"] = 1
    try:
        return prior, SAMPLERS[args.sampler](**options)
    except ValueError as error:
        raise InputError(str(error)) from None
