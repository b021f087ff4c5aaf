"""`nnunet_phys preprocess`: maps into nnU-Net's preprocessed geometry."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from nnunet_phys.commands.shared.case_lists import CASE_LIST_HELP, read_case_list
from nnunet_phys.commands.shared.numbers import PROCESSES
from nnunet_phys.commands.shared.targets import named_path

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """nnU-Net's own options `-d -c -plans_name -np`, and `-maps` and `-exclude`."""
    parser.add_argument("-d", required=True, help="id or name of the data set")
    parser.add_argument("-c", required=True, nargs="+", help="configurations, such as 2d 3d_fullres")
    parser.add_argument("-plans_name", default="nnUNetPlans", help="name of the plans (default: %(default)s)")
    parser.add_argument("-maps", type=named_path, help="folder of the maps (default: nnUNet_raw/<data set>/spinTr)")
    parser.add_argument("-exclude", type=named_path, metavar="FILE", help="leave out these cases: " + CASE_LIST_HELP)
    parser.add_argument("-np", type=PROCESSES, default=2, help="worker processes (default: %(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Check every case, then preprocess all maps."""
    from nnunet_phys.case_records import record_path
    from nnunet_phys.errors import counted
    from nnunet_phys.map_files import map_paths
    from nnunet_phys.precomputed_spin.map_preprocessing import preprocess_maps
    from nnunet_phys.precomputed_spin.preprocessed_dataset import open_preprocessed_dataset
    from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
    from nnunet_phys.precomputed_spin.spin_copies import excluded_path, load_excluded, spin_folder
    from nnunet_phys.precomputed_spin.training_maps import maps_folders

    raw = open_raw_dataset(arguments.d)
    maps_folder = raw.maps_folder if arguments.maps is None else arguments.maps
    targets = [open_preprocessed_dataset(raw.name, arguments.plans_name, name) for name in arguments.c]
    cases = {case for target in targets for case in target.cases()}
    folders = [spin_folder(target.folder) for target in targets]
    excluded_before = {case for folder in folders for case in load_excluded(folder)}
    if arguments.exclude is None:
        excluded = []
    elif os.path.abspath(arguments.exclude) in {os.path.abspath(excluded_path(folder)) for folder in folders}:
        excluded = sorted(excluded_before & cases)  # as training asks for, also where a case is gone since
    else:
        excluded = read_case_list(arguments.exclude, cases, "-exclude")
    if again := sorted((excluded_before & cases).difference(excluded)):
        logger.warning(f"{counted(len(again), 'case')} excluded before, which trainings will use: {_some(again)}.")
    maps_before = {path for folder in folders for path in maps_folders(folder, cases)}
    if elsewhere := sorted(map(str, maps_before - {Path(os.path.abspath(maps_folder))})):
        logger.warning(f"the maps come from {maps_folder}; earlier ones came from {', '.join(elsewhere)}.")
    done = preprocess_maps(raw, targets, maps_folder, arguments.np, excluded)
    missing = sorted(cases - set(done) - set(excluded))
    unprepared = sorted(
        case
        for case in raw.images.keys() - cases
        if any(path.is_file() for path in map_paths(maps_folder, case, raw.ending).values())
    )
    unrecorded = [case for case in done if not record_path(maps_folder, case).is_file()]
    if missing:
        have = "has" if len(missing) == 1 else "have"
        logger.warning(
            f"{counted(len(missing), 'case')} {have} no maps and cannot be trained on: {_some(missing)}. Make them "
            "(`nnunet_phys reverse`), or leave them out (-exclude)."
        )
    if unprepared:
        logger.warning(
            f"{counted(len(unprepared), 'case')} with maps, but not preprocessed by nnU-Net: {_some(unprepared)}. "
            f"Run `{targets[0].preprocess_command}` and this command again."
        )
    if excluded:
        logger.info(f"{counted(len(excluded), 'case')} excluded, which trainings leave out: {_some(excluded)}.")
    if unrecorded:
        logger.warning(
            f"no record of the image that the maps of {_some(unrecorded)} were made from: hashes not checked."
        )
    for folder in folders:
        logger.info(f"{counted(len(done), 'case')} in {folder}")


def _some(cases: list[str]) -> str:
    return ", ".join(cases[:3]) + (f" and {len(cases) - 3} more" if len(cases) > 3 else "")
