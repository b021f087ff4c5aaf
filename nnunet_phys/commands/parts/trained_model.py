"""A model that nnU-Net has trained, found by nnU-Net's own rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.dataset_name_id_conversion import convert_dataset_name_to_id
from nnunetv2.utilities.file_path_utilities import get_output_folder

from nnunet_phys.errors import InputError, did_you_mean
from nnunet_phys.precomputed_spin.raw_dataset import dataset_name, require_folder

FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"
"""nnU-Net's checkpoints: after the last epoch, and of the epoch with the highest moving average of the Dice."""


@dataclass(frozen=True)
class TrainedModel:
    """Trained folds of one configuration.

    Attributes:
        dataset: `DatasetXXX_Name`.
        trainer: class name of the trainer.
        plans_name: name of the plans.
        configuration: name of the configuration, such as 2d.
        folds: numbers of the folds, or `all`.
    """

    dataset: str
    trainer: str
    plans_name: str
    configuration: str
    folds: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The model's folder in nnUNet_results."""
        return Path(get_output_folder(self.dataset, self.trainer, self.plans_name, self.configuration))

    def fold_folder(self, fold: str) -> Path:
        """A fold's folder."""
        return self.folder / f"fold_{fold}"

    def checkpoints(self, fold: str) -> list[Path]:
        """A fold's final checkpoint, and its best one if it is there."""
        final, best = (self.fold_folder(fold) / name for name in (FINAL, BEST))
        return [final, best] if best.is_file() else [final]

    def train_command(self, fold: str) -> str:
        """nnU-Net's command that trains a fold."""
        plans = "" if self.plans_name == "nnUNetPlans" else f" -p {self.plans_name}"
        number = convert_dataset_name_to_id(self.dataset)
        return f"nnUNetv2_train {number} {self.configuration} {fold} -tr {self.trainer}{plans}"


def open_trained_model(
    name_or_id: str, trainer: str, plans_name: str, configuration: str, folds: Sequence[str]
) -> TrainedModel:
    """Find a trained model.

    Args:
        name_or_id: name or id of the data set.
        trainer: class name of the trainer.
        plans_name: name of the plans.
        configuration: name of the configuration.
        folds: numbers of folds, or `all`.

    Raises:
        InputError: nnUNet_results is unset; no such data set or model; a fold is missing, or its training has not
            finished.
    """
    results = require_folder(nnUNet_results)
    model = TrainedModel(dataset_name(name_or_id), trainer, plans_name, configuration, tuple(dict.fromkeys(folds)))
    if not model.folder.is_dir():
        trained = sorted(path.name for path in (results / model.dataset).glob("*__*__*"))
        listed = f" Trained are: {', '.join(trained)}{did_you_mean(model.folder.name, trained)}." if trained else ""
        command = model.train_command(folds[0])
        raise InputError(f"{model.dataset}: there is no model {model.folder}. Train it with `{command}`.{listed}")
    faults = []
    missing = [fold for fold in model.folds if not model.fold_folder(fold).is_dir()]
    if missing:
        present = sorted(path.name.removeprefix("fold_") for path in model.folder.glob("fold_*"))
        choice = f", or name trained folds with -f: {' '.join(present)}" if present else ""
        faults.append(
            f"{model.dataset}: {model.folder} has no fold {', '.join(missing)}. Train a fold with "
            f"`{model.train_command(missing[0])}`{choice}."
        )
    for fold in model.folds:
        final = model.fold_folder(fold) / FINAL
        if fold not in missing and not final.is_file():
            faults.append(
                f"{model.dataset}: {final} is missing, so the training of fold {fold} has not finished. Finish it with "
                f"`{model.train_command(fold)} --c`."
            )
    if faults:
        raise InputError(*faults)
    return model
