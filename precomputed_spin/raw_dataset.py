"""A data set in nnU-Net's raw format, found by nnU-Net's own rules."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from batchgenerators.utilities.file_and_folder_operations import load_json
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_phys.errors import InputError

MAPS_FOLDER = "spinTr"  # beside imagesTr


@dataclass(frozen=True)
class RawDataset:
    """A data set in nnU-Net's raw format, with one input channel.

    Attributes:
        name: `DatasetXXX_Name`.
        folder: its folder in nnUNet_raw.
        ending: file ending of its images, with the dot.
        images: case -> path of its one image.
        labels: case -> path of its label image.
    """

    name: str
    folder: Path
    ending: str
    images: dict[str, Path]
    labels: dict[str, Path]

    @property
    def maps_folder(self) -> Path:
        """Where its maps lie unless told otherwise."""
        return self.folder / MAPS_FOLDER


def dataset_name(name_or_id: str | int) -> str:
    """`DatasetXXX_Name` for a name or an id, as nnU-Net finds it.

    Raises:
        InputError: no such data set, or more than one with this id.
    """
    try:
        return str(maybe_convert_to_dataset_name(name_or_id))
    except (RuntimeError, ValueError) as error:
        reason = str(error).split(". ")[0]
        raise InputError(f"-d {name_or_id}: {reason}. Give an id or a name found in nnUNet_raw.") from None


def require_folder(variable: os.PathLike) -> Path:
    """The folder that one of nnU-Net's path variables (`nnunetv2.paths`) names.

    Raises:
        InputError: the variable is not set.
    """
    try:
        return Path(variable)
    except RuntimeError as error:
        name = str(error).split(" ")[0]
        raise InputError(f"{name} is not set: export {name}=FOLDER as for nnU-Net itself.") from None


def open_raw_dataset(name_or_id: str | int) -> RawDataset:
    """Find a data set and its training images with nnU-Net's own rules.

    Raises:
        InputError: nnUNet_raw is unset, no such data set, or a data set with several input channels.
    """
    raw = require_folder(nnUNet_raw)
    name = dataset_name(name_or_id)
    folder = raw / name
    if not (folder / "dataset.json").is_file():
        raise InputError(f"{name}: {folder / 'dataset.json'} is missing. Is nnUNet_raw the right folder?")
    description = load_json(folder / "dataset.json")
    require_one_channel(name, description)
    cases = get_filenames_of_train_images_and_targets(str(folder), description)
    faults = [
        f"{case}: {len(files['images'])} images in {folder / 'imagesTr'} where one ({case}_0000) is expected."
        for case, files in cases.items()
        if len(files["images"]) != 1
    ]
    if faults:
        raise InputError(*faults)
    return RawDataset(
        name,
        folder,
        description["file_ending"],
        {case: Path(files["images"][0]) for case, files in cases.items()},
        {case: Path(files["label"]) for case, files in cases.items()},
    )


def require_one_channel(name: str, description: dict) -> None:
    """Refuse a data set with several input channels: which one the maps image would be a guess.

    Raises:
        InputError: `description` (dataset.json) lists more than one channel.
    """
    channels = description.get("channel_names") or description.get("modality") or {}
    if len(channels) != 1:
        listed = ", ".join(f"{k}: {v}" for k, v in channels.items())
        raise InputError(
            f"{name}: dataset.json has {len(channels)} input channels ({listed}) and maps describe one. Make "
            "a data set of the one channel that is to be imaged."
        )
