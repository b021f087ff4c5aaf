"""A trained model as a zip that predicts with nnU-Net alone.

nnU-Net takes the trainer's class from the checkpoint, and only to build the network. So a network that `nnUNetTrainer`
builds just as well predicts without the trainer's code, once the checkpoint names `nnUNetTrainer`. The zip has the
layout of nnU-Net's own export, which `nnUNetv2_install_pretrained_model_from_zip` unpacks into nnUNet_results. That
export is not called, as it cannot rename the trainer, requires a validation, which some trainers omit, and includes
debug.json with the name and paths of the computer.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.file_path_utilities import convert_trainer_plans_config_to_identifier, folds_tuple_to_string
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.augmentations.recipe_files import CHECKPOINT_ENTRY
from nnunet_phys.case_records import package_versions
from nnunet_phys.commands.parts.trained_model import TrainedModel
from nnunet_phys.commands.shared.trainer_search import trainers_at_hand
from nnunet_phys.errors import InputError, counted, last_line
from nnunet_phys.file_identity import hashed
from nnunet_phys.json_files import load_json
from nnunet_phys.whole_files import whole_file

STOCK = nnUNetTrainer.__name__
"""The trainer that the zip names."""
_RECORD = "nnunet_phys.json"
"""File in the model's folder: how the model was trained."""

_MODEL_FILES = ("plans.json", "dataset.json", "dataset_fingerprint.json")
_FOLD_FILES = ("progress.png", "validation/summary.json")
_CROSS_VALIDATION_FILES = ("summary.json", "postprocessing.pkl", "postprocessing.json")
_STOCK_PACKAGES = {"nnunetv2", "numpy", "torch", *sys.stdlib_module_names}
"""What a checkpoint of nnU-Net may need to be unpickled."""
_AGAIN = "Copy the model again from where it was trained."


def model_folder_name(model: TrainedModel) -> str:
    """The folder in nnUNet_results/<data set> that the zip is installed in: the same for all trainers."""
    return convert_trainer_plans_config_to_identifier(STOCK, model.plans_name, model.configuration)


def previous_stage(model: TrainedModel) -> str | None:
    """The configuration whose segmentations the second stage of a cascade needs; None for other models.

    Raises:
        InputError: plans.json is missing or broken.
    """
    return _configuration(model)[1].previous_stage_name


def write_stock_model(model: TrainedModel, path: Path) -> list[str]:
    """Write the zip, whole or not at all.

    Args:
        model: the model.
        path: the zip, replaced if it exists.

    Returns:
        entries of checkpoints that were left out, as they need other code than nnU-Net's, one line per checkpoint.

    Raises:
        InputError: a file of the model cannot be read; nnU-Net does not find the trainer; or the network is not the one
            that `nnUNetTrainer` builds from the plans.
        OSError: the zip cannot be written.
    """
    shapes = _stock_shapes(model)
    root = f"{model.dataset}/{model_folder_name(model)}"
    notes, folds = [], {}
    with whole_file(path) as temporary, ZipFile(temporary, "w", ZIP_DEFLATED) as archive:
        for file in _files(model):
            archive.write(file, f"{root}/{file.relative_to(model.folder).as_posix()}")
        for fold in model.folds:
            trained, recipe = [], None
            for file in model.checkpoints(fold):
                checkpoint, left_out = _stock_checkpoint(file, shapes)
                with archive.open(f"{root}/fold_{fold}/{file.name}", "w", force_zip64=True) as entry:
                    torch.save(checkpoint, entry)
                trained.append({**hashed(file, file.name), "epochs": checkpoint.get("current_epoch")})
                recipe = recipe or checkpoint["init_args"].get(CHECKPOINT_ENTRY)
                if left_out:
                    notes.append(f"{file}: left out {', '.join(left_out)}, which nnU-Net alone cannot read.")
            folds[fold] = {"trained_checkpoints": trained, "recipe": recipe}
        record = {
            "dataset": model.dataset,
            "trainer": model.trainer,
            "plans": model.plans_name,
            "configuration": model.configuration,
            "exported_with": package_versions(),
            "folds": folds,
        }
        archive.writestr(f"{root}/{_RECORD}", json.dumps(record, indent=1) + "\n")
    return notes


def _files(model: TrainedModel) -> Iterator[Path]:
    """Files of the model that go into the zip unchanged, those that are there."""
    validated = model.folder / f"crossval_results_folds_{folds_tuple_to_string(model.folds)}"
    wanted = [model.folder / name for name in _MODEL_FILES]
    wanted += [validated / name for name in _CROSS_VALIDATION_FILES]
    wanted += [model.fold_folder(fold) / name for fold in model.folds for name in _FOLD_FILES]
    return (path for path in wanted if path.is_file())


def _stock_shapes(model: TrainedModel) -> dict[str, torch.Size]:
    """Shapes of the weights of the network that `nnUNetTrainer` builds for prediction.

    Raises:
        InputError: plans.json or dataset.json is missing or broken.
    """
    description = load_json(model.folder / "dataset.json", _AGAIN)
    plans, configuration = _configuration(model)
    try:
        channels = determine_num_input_channels(plans, configuration, description)
        heads = plans.get_label_manager(description).num_segmentation_heads
        network = nnUNetTrainer.build_network_architecture(plans, configuration, channels, heads, False)
    except Exception as error:  # whatever nnU-Net and the network raise
        raise _no_network(model, error) from None
    return _shapes(network.state_dict())


def _configuration(model: TrainedModel) -> tuple[PlansManager, ConfigurationManager]:
    """The plans of a model, and its configuration.

    Raises:
        InputError: plans.json is missing or broken.
    """
    content = load_json(model.folder / "plans.json", _AGAIN)
    try:
        plans = PlansManager(content)
        return plans, plans.get_configuration(model.configuration)
    except Exception as error:  # whatever nnU-Net raises
        raise _no_network(model, error) from None


def _no_network(model: TrainedModel, error: Exception) -> InputError:
    """The fault of a model whose network nnU-Net cannot build."""
    reason = last_line(error)
    return InputError(
        f"nnU-Net cannot build the network of {model.folder} from plans.json and dataset.json ({reason}). {_AGAIN}"
    )


def _shapes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}


def _stock_checkpoint(path: Path, shapes: dict[str, torch.Size]) -> tuple[dict[str, Any], list[str]]:
    """A checkpoint that names `nnUNetTrainer` and needs no other code than nnU-Net's, and the entries left out for it.

    Raises:
        InputError: it cannot be read; nnU-Net does not find its trainer; or its network is not the one of these shapes.
    """
    trained = _load_checkpoint(path)
    _require_stock_network(trained["trainer_name"])
    left_out: list[str] = []
    checkpoint = _stock_entries(trained, "", left_out)
    _require_shapes(path, checkpoint["network_weights"], shapes)
    return {**checkpoint, "trainer_name": STOCK}, left_out


def _load_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint as nnU-Net loads it, on the CPU.

    Raises:
        InputError: it cannot be read, or nnU-Net did not write it.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=False)
        if not {"network_weights", "trainer_name", "init_args"} <= content.keys():
            raise ValueError("it is not a checkpoint of nnU-Net v2")
    except Exception as error:  # whatever pickle and torch raise
        raise InputError(f"{path} cannot be read ({last_line(error)}). {_AGAIN}") from None
    return content


@cache
def _require_stock_network(trainer: str) -> None:
    """Refuse a trainer that builds its network in a way of its own.

    Raises:
        InputError: it does, or nnU-Net does not find the trainer or cannot import it.
    """
    try:
        with trainers_at_hand():
            found = recursive_find_trainer_class_by_name(trainer)
    except Exception as error:  # of nnU-Net, or of the trainer's file
        reason = last_line(error).partition(". ")[0]
        raise InputError(
            f"The trainer {trainer} is needed to check its network, but cannot be loaded ({reason}). A "
            "trainer of your own needs its folder in nnUNet_extTrainer."
        ) from None
    if found.build_network_architecture is not nnUNetTrainer.build_network_architecture:
        raise InputError(
            f"{trainer} builds a network of its own (build_network_architecture), which nnU-Net alone does not know. "
            "Share the model with the code of its trainer: use nnUNetv2_export_model_to_zip."
        )


def _require_shapes(path: Path, weights: dict[str, torch.Tensor], shapes: dict[str, torch.Size]) -> None:
    """Refuse weights that do not fit a network.

    Raises:
        InputError: names or shapes differ.
    """
    found = _shapes(weights)
    different = sorted(name for name in found.keys() | shapes.keys() if found.get(name) != shapes.get(name))
    if different:
        raise InputError(
            f"{path} does not fit the network that {STOCK} builds from plans.json ({counted(len(different), 'tensor')} "
            f"differ, such as {different[0]}). Were the plans changed after training? {_AGAIN}"
        )


def _stock_entries(values: dict, place: str, left_out: list[str]) -> dict:
    """A checkpoint, or a dictionary in it, without what needs other code than nnU-Net's.

    Args:
        values: the dictionary.
        place: its name in the checkpoint, with a dot at the end.
        left_out: names of omitted entries are appended to it.
    """
    kept = {}
    for key, value in values.items():
        if _packages(value) <= _STOCK_PACKAGES:
            kept[key] = value
        elif isinstance(value, dict):
            kept[key] = _stock_entries(value, f"{place}{key}.", left_out)
        else:
            left_out.append(f"{place}{key}")
    return kept


class _PicklerWithoutTensors(pickle.Pickler):
    """Names all classes and functions that a value needs, without writing its weights."""

    def persistent_id(self, value: Any) -> str | None:
        return "tensor" if isinstance(value, torch.Tensor) else None


def _packages(value: Any) -> set[str]:
    """Top-level packages that must be importable for a value to be unpickled, those of tensors aside."""
    stream = io.BytesIO()
    _PicklerWithoutTensors(stream, protocol=2, fix_imports=False).dump(value)
    # in this protocol, which torch.save uses too, the argument of GLOBAL is "package.module name"
    names = [argument for opcode, argument, _ in pickletools.genops(stream.getvalue()) if opcode.name == "GLOBAL"]
    return {str(name).partition(" ")[0].partition(".")[0] for name in names}
