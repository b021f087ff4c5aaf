"""Which maps a training uses: the command that preprocesses them again, and their record in the fold's folder."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import list2cmdline

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_phys.errors import InputError, counted
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.raw_dataset import MAPS_FOLDER
from nnunet_phys.precomputed_spin.spin_copies import excluded_path, load_copy_record
from nnunet_phys.whole_files import write_json


def maps_folders(folder: Path, cases: Collection[str]) -> set[Path]:
    """Folders of the maps that the copies of cases were made from; cases without a record are left out.

    Args:
        folder: the spin folder.
        cases: their names.
    """
    records = []
    for case in cases:
        try:
            records.append(load_copy_record(folder, case))
        except InputError:
            continue
    return {Path(source.file).parent for record in records for source in record.maps.values()}


def preprocess_command(plans: PlansManager, configuration_name: str, folder: Path, cases: Collection[str]) -> str:
    """The command that makes the copies of a training again, from the same maps and without the same cases.

    Args:
        plans: the plans of the training.
        configuration_name: its configuration.
        folder: the spin folder.
        cases: the cases of the training.
    """
    number = str(convert_dataset_name_to_id(plans.dataset_name))
    command = ["nnunet_phys", "preprocess", "-d", number, "-c", configuration_name]
    if plans.plans_name != "nnUNetPlans":
        command += ["-plans_name", plans.plans_name]
    usual = Path(os.path.abspath(os.path.join(nnUNet_raw or "", plans.dataset_name, MAPS_FOLDER)))
    maps = {path for path in maps_folders(folder, cases) - {usual} if path.is_dir()}
    if len(maps) == 1:
        command += ["-maps", str(*maps)]
    if excluded_path(folder).is_file():
        command += ["-exclude", str(excluded_path(folder))]
    return list2cmdline(command) if os.name == "nt" else shlex.join(command)


@dataclass(frozen=True)
class TrainingMaps:
    """Which maps a training uses from an epoch on.

    Attributes:
        first_epoch: that epoch, from 0.
        excluded: cases that `preprocess -exclude` leaves out.
        maps: SHA-256 of the map files of each case, by the names of the maps, such as T1map.
    """

    first_epoch: int
    excluded: tuple[str, ...]
    maps: dict[str, dict[str, str]]

    @classmethod
    def of(cls, first_epoch: int, folder: Path, cases: Collection[str], excluded: Collection[str]) -> TrainingMaps:
        """Those of a spin folder.

        Raises:
            InputError: the record of a case is missing or cannot be read.
        """
        records = {case: load_copy_record(folder, case) for case in sorted(cases)}
        hashes = {
            case: {name: source.sha256 for name, source in record.maps.items()} for case, record in records.items()
        }
        return cls(first_epoch, tuple(sorted(excluded)), hashes)

    def keep(self, path: Path) -> str:
        """Write them to a file, behind those of earlier epochs.

        Args:
            path: the file; what it holds is replaced if this is the first epoch.

        Returns:
            what differs from the maps of before, as the end of a sentence; empty if nothing does.

        Raises:
            InputError: the file cannot be read or written.
        """
        before: tuple[TrainingMaps, ...] = ()
        if self.first_epoch and path.is_file():
            before = read_json(path, tuple[TrainingMaps, ...], "Remove it: training writes it again.")
        changes = self._changes(before[-1]) if before else ""
        if changes or not before:
            write_json(path, [asdict(maps) for maps in (*before, self)])
        return changes

    def _changes(self, before: TrainingMaps) -> str:
        both = self.maps.keys() & before.maps.keys()
        kinds = {
            "with other maps": sum(self.maps[case] != before.maps[case] for case in both),
            "more": len(self.maps.keys() - before.maps.keys()),
            "fewer": len(before.maps.keys() - self.maps.keys()),
        }
        return ", ".join(f"{counted(number, 'case')} {kind}" for kind, number in kinds.items() if number)
