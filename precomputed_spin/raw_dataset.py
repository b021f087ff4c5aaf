"""A data set in nnU-Net's raw format, found by nnU-Net's own rules."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.dataset_name_id_conversion import maybe_convert_to_dataset_name

from nnunet_phys.errors import InputError, counted
from nnunet_phys.json_files import load_json, structure

DESCRIPTION = "dataset.json"
MAPS_FOLDER = "spinTr"  # beside imagesTr
_DATASET_NAME = re.compile(r"Dataset\d{3}[^/\\]*")
CORRECT = "Correct it as nnU-Net's documentation of dataset.json describes."


def _check_ending(ending: str) -> None:
    if not re.fullmatch(r"(\.\w+)+", ending):
        raise ValueError(f"'{ending}' is not a file ending with its dot, such as .nii.gz")


@dataclass(frozen=True)
class _TrainingCase:
    """A case that dataset.json names itself; paths are absolute or relative to the data set's folder."""

    images: tuple[str, ...]
    label: str


@dataclass(frozen=True)
class DatasetDescription:
    """What this package reads of nnU-Net's dataset.json.

    Attributes:
        file_ending: file ending of the images, with the dot.
        labels: structure to its code, or to the codes of a region.
        channel_names: number to name of the input channels; `modality` in older files.
        dataset: cases that do not lie in imagesTr and labelsTr.
    """

    file_ending: str = field(metadata={"check": _check_ending})
    labels: dict[str, int | list[int]]
    channel_names: dict[str, str] | None = None
    modality: dict[str, str] | None = None
    dataset: dict[str, _TrainingCase] | None = None

    @property
    def codes(self) -> dict[str, int | list[int]]:
        """The labels without nnU-Net's ignore label, which is no structure."""
        return {name: code for name, code in self.labels.items() if name != "ignore"}

    @property
    def channels(self) -> dict[str, str]:
        """The input channels by number, under either name."""
        return self.channel_names or self.modality or {}


@dataclass(frozen=True)
class RawDataset:
    """A data set in nnU-Net's raw format, with one input channel.

    Attributes:
        name: `DatasetXXX_Name`.
        folder: its folder in nnUNet_raw.
        ending: file ending of its images, with the dot.
        images: case -> path of its image.
        labels: case -> path of its label image, which may be missing.
        codes: structure to its code in the label images, or to the codes of a region; without the ignore label.
    """

    name: str
    folder: Path
    ending: str
    images: dict[str, Path]
    labels: dict[str, Path]
    codes: dict[str, int | list[int]]

    @property
    def maps_folder(self) -> Path:
        """Where its maps lie by default."""
        return self.folder / MAPS_FOLDER


def dataset_name(name_or_id: str | int) -> str:
    """`DatasetXXX_Name` for a name or an id, as nnU-Net finds it.

    Raises:
        InputError: no such data set, more than one with this id, or a name that nnU-Net cannot use.
    """
    try:
        name = str(maybe_convert_to_dataset_name(name_or_id))
    except (RuntimeError, ValueError) as error:
        reason = str(error).split(". ")[0]
        raise InputError(f"-d {name_or_id}: {reason}. Give an id or a name found in nnUNet_raw.") from None
    if _DATASET_NAME.fullmatch(name) is None:
        raise InputError(f"-d {name_or_id}: {name} is not a name like Dataset123_Heart. Give an id or such a name.")
    return name


def require_folder(variable: os.PathLike[str]) -> Path:
    """The folder that one of nnU-Net's path variables (`nnunetv2.paths`) names.

    Raises:
        InputError: the variable is not set, or empty.
    """
    try:
        folder = os.fspath(variable)
    except RuntimeError as error:
        name = str(error).split(" ")[0]
        raise InputError(f"{name} is not set: export {name}=FOLDER as for nnU-Net itself.") from None
    if not folder:
        raise InputError("A path variable of nnU-Net is empty. Export nnUNet_raw, nnUNet_preprocessed, nnUNet_results.")
    return Path(folder)


def describe_dataset(content: object, where: str) -> DatasetDescription:
    """Read what a dataset.json holds.

    Args:
        content: the file's content, plain JSON.
        where: path of the file, for messages.

    Raises:
        InputError: it does not describe a data set; one line per fault.
    """
    return structure(content, DatasetDescription, where, CORRECT, extra=True)


def find_dataset(name_or_id: str | int) -> tuple[Path, DatasetDescription]:
    """The folder of a data set in nnUNet_raw, whose name is the data set's, and its dataset.json.

    Raises:
        InputError: nnUNet_raw is unset; no such data set; a faulty dataset.json.
    """
    folder = require_folder(nnUNet_raw) / dataset_name(name_or_id)
    path = folder / DESCRIPTION
    if not path.is_file():
        raise InputError(f"{folder.name}: {path} is missing. Is nnUNet_raw the right folder?")
    return folder, describe_dataset(load_json(path, CORRECT), str(path))


def open_raw_dataset(name_or_id: str | int) -> RawDataset:
    """Find a data set and its training images by nnU-Net's own rules. Hidden files are ignored.

    Raises:
        InputError: nnUNet_raw is unset; no such data set; a faulty dataset.json; several input channels; a case whose
            name cannot be a file name, or that has no image, or several.
    """
    folder, description = find_dataset(name_or_id)
    require_one_channel(folder.name, description)
    if description.dataset is None:
        images, labels = _cases_in_folder(folder, description.file_ending)
    else:
        images, labels = _cases_in_description(folder, folder / DESCRIPTION, description.dataset)
    return RawDataset(folder.name, folder, description.file_ending, images, labels, description.codes)


def _cases_in_folder(folder: Path, ending: str) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images (`imagesTr/CASE_0000`) and label images (`labelsTr/CASE`) by case, sorted.

    Raises:
        InputError: no imagesTr, or a file in it whose name is not that of a case's only channel.
    """
    images_folder = folder / "imagesTr"
    if not images_folder.is_dir():
        raise InputError(
            f"{folder.name}: there is no folder {images_folder}. Put the images there, or correct nnUNet_raw."
        )
    pattern = re.compile(rf"(?P<case>.+)_(?P<channel>\d{{4}}){re.escape(ending)}")
    images, faults = {}, []
    for path in sorted(images_folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(ending):
            continue
        match = pattern.fullmatch(path.name)
        if match is None or match["channel"] != "0000":
            faults.append(f"{path}: an image must be named CASE_0000{ending}. Rename or remove it.")
        else:
            images[match["case"]] = path
    if faults:
        raise InputError(*faults)
    return images, {case: folder / "labelsTr" / f"{case}{ending}" for case in images}


def _cases_in_description(
    folder: Path, description_path: Path, cases: Mapping[str, _TrainingCase]
) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images and label images of the cases that dataset.json names itself.

    Raises:
        InputError: a case whose name cannot be a file name, or that has no image, or several.
    """
    images, labels, faults = {}, {}, []
    for case, files in cases.items():
        if Path(case).name != case or not case or case.startswith(".") or not case.isprintable():
            faults.append(
                f"{description_path}: {case!r} cannot name a case, as its files are named after it. Rename it."
            )
            continue
        if len(files.images) != 1:
            faults.append(f"{case}: {counted(len(files.images), 'image')} in {description_path}, expected one.")
            continue
        images[case] = folder / os.path.expandvars(files.images[0])
        labels[case] = folder / os.path.expandvars(files.label)
        if not images[case].is_file():
            faults.append(f"{case}: there is no image {images[case]}. Correct its path in {description_path}.")
    if faults:
        raise InputError(*faults)
    return images, labels


def require_one_channel(name: str, description: DatasetDescription) -> None:
    """Refuse a data set with several input channels, as the maps describe the image of one channel.

    Args:
        name: the data set's name.
        description: its dataset.json.

    Raises:
        InputError: there is not exactly one channel.
    """
    channels = description.channels
    if len(channels) != 1:
        listed = ", ".join(f"{number}: {channel}" for number, channel in channels.items())
        raise InputError(
            f"{name}: dataset.json has {counted(len(channels), 'input channel')} ({listed}), but maps describe "
            "the image of one. Make a data set of that channel."
        )
