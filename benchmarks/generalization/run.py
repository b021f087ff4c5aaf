"""`run`: for each training set, method and seed, train, segment all test sets, and score."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from generalization.bed import Bed, unsuitable
from generalization.methods import METHODS
from generalization.model import Run, score_test
from generalization.plans import FULL, REDUCED_PLANS
from generalization.records import (
    RunRecord,
    Settings,
    TestResult,
    hardware_of,
    read_record,
    run_name,
    software_versions,
)
from generalization.test_sets import TestFolder, read_test_sets
from generalization.training import Schedule
from generalization.training_data import seconds_file
from generalization.training_sets import TRAINING_SETS
from nnunet_phys.commands.shared.numbers import PROCESSES, whole_number
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.devices import torch_device
from nnunet_phys.errors import InputError, counted, did_you_mean
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.json_files import read_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is run, and how long."""
    parser.add_argument("-work", type=named_path, required=True, metavar="FOLDER", help="the folder of `prepare`")
    parser.add_argument(
        "-methods",
        nargs="+",
        default=["plain", "phys"],
        metavar="METHOD",
        help=f"'all' (without those that leave out a part of the recipe), or of {', '.join(METHODS)} "
        "(default: plain phys)",
    )
    parser.add_argument(
        "-trainings",
        nargs="+",
        default=None,
        metavar="SET",
        help=f"of {', '.join(TRAINING_SETS)} (default: all that are prepared)",
    )
    parser.add_argument("-seeds", nargs="+", type=whole_number(0, 2**31), default=[0], metavar="SEED", help="default 0")
    parser.add_argument(
        "-tests",
        nargs="+",
        default=None,
        metavar="TEST",
        help="also tests that are meant for other training sets (default: all that are meant for the training set)",
    )
    parser.add_argument(
        "-iterations", type=whole_number(1, 10_000_000), default=6000, help="of each training (default %(default)s)"
    )
    parser.add_argument(
        "-plan",
        choices=(*REDUCED_PLANS, FULL),
        default="small",
        help="; ".join(f"{name}: {plan}" for name, plan in REDUCED_PLANS.items())
        + f"; {FULL}: nnU-Net's own (default %(default)s)",
    )
    parser.add_argument("-device", choices=("cpu", "cuda", "mps"), default="cpu", help="default %(default)s")
    parser.add_argument("-np", type=PROCESSES, default=2, help="worker processes (default %(default)s)")


def run(args: argparse.Namespace) -> None:
    """Run what is not finished.

    Raises:
        InputError: an unknown name, sets that are not prepared, or a command that failed.
    """
    torch_device(args.device)
    bed = Bed(args.work.resolve(), args.plan, args.device, args.np)
    tests = chosen(args.tests, read_test_sets(bed.tests), "-tests")
    prepared = {name: t for name, t in TRAINING_SETS.items() if t.images(bed.raw)}
    trainings = chosen(args.trainings, prepared, "-trainings")
    if args.methods == ["all"]:
        methods = {name: method for name, method in METHODS.items() if method.ablation is None}
    else:
        methods = chosen(args.methods, METHODS, "-methods")
    runs = []
    for seed in dict.fromkeys(args.seeds):
        for training in trainings.values():
            for method in methods.values():
                reason = unsuitable(method, training)
                if reason is None:
                    runs.append(Run(bed, training, method, Schedule(args.iterations, seed)))
                elif seed == args.seeds[0]:
                    print(f"left out: {method.name} on {training.name}, {reason}")
    spent: list[float] = []
    for number, planned in enumerate(runs):
        left = ""
        if spent:
            minutes = sum(spent) / len(spent) * (len(runs) - number) / 60
            left = f", about {minutes:.0f} min left" if minutes < 120 else f", about {minutes / 60:.1f} h left"
        print(f"== run {number + 1} of {len(runs)}: {name_of(planned)}{left}", flush=True)
        start = time.monotonic()
        suited = {n: t for n, t in tests.items() if args.tests or t.test_set.suits(planned.training.name)}
        _require_other_images(planned, suited)
        if do_run(planned, suited):
            spent.append(time.monotonic() - start)


def _require_other_images(run: Run, tests: dict[str, TestFolder]) -> None:
    """Refuse tests with images that the training reads.

    Raises:
        InputError: there are some.
    """
    trained = {file_sha256(path) for path in run.training.images(run.bed.raw).values()}
    for name, test in tests.items():
        shared = [case for case, path in test.images.items() if file_sha256(path) in trained]
        if shared:
            raise InputError(
                f"{name} shares {counted(len(shared), 'image')}, such as {shared[0]}, with the training set "
                f"{run.training.name}. Leave one of the two out (-tests, -trainings)."
            )


def chosen(names: list[str] | None, known: dict, option: str) -> dict:
    """The entries with these names, or all.

    Raises:
        InputError: a name is unknown, or there is none to choose from.
    """
    if not known:
        raise InputError(f"{option}: nothing is prepared. Run `python benchmarks/generalization prepare` first.")
    faults = [
        f"{option}: there is no '{name}'{did_you_mean(name, known)}. Choose of {', '.join(known)}."
        for name in names or ()
        if name not in known
    ]
    if faults:
        raise InputError(*faults)
    return known if names is None else {name: known[name] for name in names}


def name_of(run: Run) -> str:
    """The name of a run's record."""
    return run_name(run.training.name, run.method.name, run.schedule.seed)


def do_run(run: Run, tests: dict[str, TestFolder]) -> bool:
    """Train, and score the tests that its record lacks; the record is written after each.

    Returns:
        Whether there was anything to do.

    Raises:
        InputError: the record is of other settings, training images, or another recipe or model; a command failed.
    """
    settings, path = settings_of(run), run.bed.runs / f"{name_of(run)}.json"
    record = read_record(path) if path.is_file() else None
    if record is not None and replace(record.settings, device=settings.device) != settings:
        raise InputError(f"{path} is of other settings ({record.settings}). Repeat these, or choose another -work.")
    if record is not None:
        _require_same_data(record, run, path)
    missing = tests if record is None else {n: t for n, t in tests.items() if not is_scored(record, t)}
    if record is not None and not missing:
        return False
    if record is not None and not (
        run.checkpoint.is_file() and file_sha256(run.checkpoint) == record.hashes["checkpoint"]
    ):
        raise InputError(
            f"{path} lacks {', '.join(missing)}, and {run.checkpoint} is not the model that it is the record of. "
            "Restore the model, or remove the record to train anew."
        )
    run.train()
    if record is None:
        record = new_record(run, settings)
        record.save(run.bed.runs)
    with run.predictor() as predictor:
        for number, (name, test) in enumerate(missing.items(), 1):
            print(f"   test {number} of {len(missing)}: {name}, {len(test.images)} cases", flush=True)
            result = score_test(run, predictor, test, run.bed.predictions(record.name, name))
            if result is None:
                print(f"   left out: {run.method.title} does not translate single readouts")
                continue
            scored = TestResult(test.test_set, test.sha256, result[1], result[0])
            record = replace(record, tests={**record.tests, name: scored})
            record.save(run.bed.runs)
    return True


def _require_same_data(record: RunRecord, run: Run, path: Path) -> None:
    """Refuse a record of other training images, or of a recipe that has changed since.

    Raises:
        InputError: so it is.
    """
    if record.hashes["training_set"] != run.training.sha256(run.bed.raw):
        raise InputError(f"{path} is of other images than {run.training.name} holds now. Choose another -work.")
    if run.settings_file.is_file():
        run.require_same_settings()


def is_scored(record: RunRecord, test: TestFolder) -> bool:
    """Whether a record has the scores of a test set as it is now."""
    result = record.tests.get(test.name)
    return result is not None and result.sha256 == test.sha256 and result.test_set == test.test_set


def settings_of(run: Run) -> Settings:
    """What a run is asked to do."""
    method = run.method
    return Settings(
        run.schedule.iterations,
        run.bed.plan,
        method.trainer,
        method.maps,
        method.recipe_name,
        method.translate,
        run.bed.device,
    )


def new_record(run: Run, settings: Settings) -> RunRecord:
    """The record of a training that has ended, without scores."""
    seconds = {"training": run.training_seconds()}
    if run.method.maps is not None:
        maps_file = seconds_file(run.bed, run.training, run.method.maps)
        if maps_file.is_file():
            seconds["maps"] = read_json(maps_file, dict[str, float], "Remove it.")["seconds"]
    return RunRecord(
        run.training.name,
        run.method.name,
        run.schedule.seed,
        settings,
        software_versions() | run.commits(),
        hardware_of(run.bed.device),
        run.hashes(),
        seconds,
    )
