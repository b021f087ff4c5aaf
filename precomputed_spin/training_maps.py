"""Which maps a training uses: the command that preprocesses them again, and their record in the fold's folder."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

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
    maps = {path for path in maps_folders(folder, cases) if path.parts[-2:] != (plans.dataset_name, MAPS_FOLDER)}
    if len(maps) == 1:
        command += ["-maps", str(*maps)]
    if excluded_path(folder).is_file():
        command += ["-exclude", str(excluded_path(folder))]
    return shlex.join(command)


@dataclass(frozen=True)
class TrainingMaps:
    """What a training is made of, as JSON.

    Attributes:
        excluded: cases that `preprocess -exclude` leaves out.
        maps: SHA-256 of the map files of each case, by the names of the maps, such as T1map.
    """

    excluded: tuple[str, ...]
    maps: dict[str, dict[str, str]]

    @classmethod
    def of(cls, folder: Path, cases: Collection[str], excluded: Collection[str]) -> TrainingMaps:
        """Those of a spin folder.

        Raises:
            InputError: the record of a case is missing or cannot be read.
        """
        records = {case: load_copy_record(folder, case) for case in sorted(cases)}
        hashes = {
            case: {name: source.sha256 for name, source in record.maps.items()} for case, record in records.items()
        }
        return cls(tuple(sorted(excluded)), hashes)

    @classmethod
    def read(cls, path: Path) -> TrainingMaps:
        """What `save` wrote.

        Raises:
            InputError: the file cannot be read.
        """
        return read_json(path, cls, "Remove it: training writes it again.")

    def save(self, path: Path) -> None:
        """Write them.

        Raises:
            InputError: the file cannot be written.
        """
        write_json(path, {"excluded": list(self.excluded), "maps": self.maps})

    def changes(self, before: TrainingMaps) -> str:
        """What differs from the maps of before; empty if nothing does."""
        both = self.maps.keys() & before.maps.keys()
        kinds = {
            "with other maps": sum(self.maps[case] != before.maps[case] for case in both),
            "more": len(self.maps.keys() - before.maps.keys()),
            "fewer": len(before.maps.keys() - self.maps.keys()),
        }
        return ", ".join(f"{counted(number, 'case')} {kind}" for kind, number in kinds.items() if number)
