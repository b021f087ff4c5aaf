"""What nnU-Net preprocessed: its plans, one configuration of them, and the preprocessed cases."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class, nnUNetBaseDataset
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.json_files import load_json, short_json, structure
from nnunet_phys.precomputed_spin.raw_dataset import require_folder

Index = int | slice
_PREPROCESSOR = "DefaultPreprocessor"


class LazyArray(Protocol):
    """An array of which only the indexed part is read: NumPy's, memory-mapped or not, or Blosc2's."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    def __getitem__(self, key: tuple[Index, ...]) -> np.ndarray:
        """A part of it."""


@dataclass(frozen=True)
class PreprocessedDataset:
    """One configuration of a data set as nnU-Net preprocessed it.

    Attributes:
        folder: nnU-Net's folder of the configuration's preprocessed cases.
        plans: the plans.
        configuration: the configuration, resolved.
        configuration_name: its name, such as 2d.
    """

    folder: Path
    plans: PlansManager
    configuration: ConfigurationManager
    configuration_name: str

    @property
    def dataset_class(self) -> type[nnUNetBaseDataset]:
        """nnU-Net's class that reads the preprocessed cases.

        Raises:
            InputError: the folder also holds other files.
        """
        try:
            return infer_dataset_class(str(self.folder))
        except (AssertionError, KeyError):
            raise InputError(
                f"{self.folder} holds files that nnU-Net does not know, which keep it from training. Remove them."
            ) from None

    def cases(self) -> list[str]:
        """Names of the preprocessed cases, sorted."""
        return sorted(self.dataset_class.get_identifiers(str(self.folder)))

    def load_case(self, case: str) -> tuple[LazyArray, dict]:
        """A preprocessed image, (1, ...), and what nnU-Net stored with it.

        Raises:
            InputError: it cannot be read.
        """
        try:
            image, _, _, properties = self.dataset_class(str(self.folder), [case]).load_case(case)
        except InputError:
            raise
        except Exception as error:  # whatever nnU-Net's readers and pickle raise
            raise InputError(self.damaged(case, error)) from None
        return image, properties

    @property
    def preprocess_command(self) -> str:
        """nnU-Net's command that preprocesses the cases."""
        return _preprocess_command(self.plans.dataset_name, self.plans.plans_name, self.configuration_name)

    def damaged(self, case: str, error: Exception) -> str:
        """A line about a preprocessed case that cannot be read."""
        reason = last_line(error)
        return f"{case}: {self.folder / case} cannot be read ({reason}). Run `{self.preprocess_command}` again."


def _preprocess_command(name: str, plans_name: str, configuration_name: str) -> str:
    number = convert_dataset_name_to_id(name)
    return f"nnUNetv2_preprocess -d {number} -plans_name {plans_name} -c {configuration_name}"


@dataclass(frozen=True)
class _Plans:
    """What this package reads of nnU-Net's plans."""

    dataset_name: str
    plans_name: str
    transpose_forward: tuple[int, int, int]
    image_reader_writer: str
    configurations: dict[str, dict[str, Any]]


def _check_not_empty(values: tuple) -> None:
    if not values:
        raise ValueError("the list is empty")


def _check_folder_name(name: str) -> None:
    if Path(name).name != name or name == "..":
        raise ValueError(f"'{name}' is not the name of a folder")


def _check_positive(values: tuple[float, ...]) -> None:
    if len(values) not in (2, 3) or min(values) <= 0:
        raise ValueError(f"{short_json(values)} are not 2 or 3 numbers above 0")


def _check_preprocessor(name: str) -> None:
    if name != _PREPROCESSOR:
        raise ValueError(
            f"'{name}' may crop and resample otherwise than {_PREPROCESSOR}, as maps are preprocessed here"
        )


@dataclass(frozen=True)
class _Configuration:
    """What this package reads of a configuration, after inheritance."""

    data_identifier: str = field(metadata={"check": _check_folder_name})
    preprocessor_name: str = field(metadata={"check": _check_preprocessor})
    spacing: tuple[float, ...] = field(metadata={"check": _check_positive})
    patch_size: tuple[int, ...] = field(metadata={"check": _check_positive})
    normalization_schemes: tuple[str, ...] = field(metadata={"check": _check_not_empty})
    use_mask_for_norm: tuple[bool, ...] = field(metadata={"check": _check_not_empty})
    resampling_fn_data: str
    resampling_fn_data_kwargs: dict


def open_preprocessed_dataset(name: str, plans_name: str, configuration_name: str) -> PreprocessedDataset:
    """Find what nnU-Net preprocessed.

    Raises:
        InputError: nnUNet_preprocessed is unset, no such plans or configuration, broken plans, a configuration whose
            image is not z-scored, or not preprocessed yet.
    """
    base = require_folder(nnUNet_preprocessed) / name
    plans_file = base / f"{plans_name}.json"
    command = f"nnUNetv2_plan_and_preprocess -d {convert_dataset_name_to_id(name)}"
    if not plans_file.is_file():
        raise InputError(f"{name}: {plans_file} is missing. Run `{command}` first, or name other plans by -plans_name.")
    remedy = f"Run `{command}` again."
    content = load_json(plans_file, remedy)
    structure(content, _Plans, str(plans_file), remedy, extra=True)
    plans = PlansManager(content)
    if configuration_name not in plans.available_configurations:
        known = ", ".join(plans.available_configurations)
        raise InputError(f"{name}: {plans_file} has no configuration {configuration_name}; it has {known}.")
    where = f"{plans_file}.configurations.{configuration_name}"
    try:
        configuration = plans.get_configuration(configuration_name)
    except (KeyError, TypeError, RuntimeError, ValueError) as error:
        raise InputError(f"{where} is broken ({last_line(error)}). {remedy}") from None
    structure(configuration.configuration, _Configuration, where, remedy, extra=True)
    try:
        plans.image_reader_writer_class()
        resample = configuration.resampling_fn_data
        inspect.signature(resample.func).bind(*[None] * 4, **resample.keywords)  # data, shape, and both spacings
    except (RuntimeError, TypeError) as error:
        raise InputError(f"{where}: nnU-Net here lacks what it names ({last_line(error)}). {remedy}") from None
    require_z_score(name, configuration)
    folder = base / configuration.data_identifier
    if not folder.is_dir() or not any(folder.glob("*.pkl")):
        preprocess = _preprocess_command(name, plans_name, configuration_name)
        raise InputError(f"{name}: {folder} holds no preprocessed case. Run `{preprocess}` first.")
    return PreprocessedDataset(folder, plans, configuration, configuration_name)


def require_z_score(name: str, configuration: ConfigurationManager) -> None:
    """Refuse a channel that nnU-Net does not z-score: synthesised MR signals are in arbitrary units.

    Raises:
        InputError: the first channel's scheme is not ZScoreNormalization.
    """
    scheme = configuration.normalization_schemes[0]
    if scheme != "ZScoreNormalization":
        raise InputError(
            f"{name}: nnU-Net normalises the image by {scheme}, but synthesised MR signals need a z-score. "
            "Name the channel MRI in dataset.json and run nnUNetv2_plan_and_preprocess again."
        )
