"""A trained nnU-Net model that says how probable each label is, by nnU-Net's own predictor, in this process."""

from __future__ import annotations

import lzma
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
import torch
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

from nnunet_phys.commands.shared.trainer_search import trainers_at_hand
from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.errors import InputError, last_line
from nnunet_phys.file_identity import hashed

_READERS = (SimpleITKIO, NibabelIO)
"""nnU-Net's readers that keep the order of the voxels, so that an array means the same to the model and to us."""
_GIVE = "Give a folder such as nnUNetTrainerPhys__nnUNetPlans__2d, or a zip of `nnunet_phys export`."


@dataclass(frozen=True, eq=False)
class SegmentationModel:
    """A trained model of one input channel.

    Attributes:
        predictor: nnU-Net's predictor with the weights of all folds.
        labels: codes of the labels by their names, background included.
        record: trainer, plans, configuration, and the checkpoints' hashes; plain JSON.
    """

    predictor: nnUNetPredictor
    labels: dict[str, int]
    record: dict[str, Any]

    @classmethod
    def open(
        cls, path: Path, folds: Sequence[str] | None, checkpoint: str, device: torch.device, mirroring: bool
    ) -> SegmentationModel:
        """Load a model.

        Args:
            path: a trained model's folder, or a zip of one.
            folds: numbers of folds, or `all`; None: those that have the checkpoint, numbered ones before `all`.
            checkpoint: file name of the checkpoint.
            device: where the network computes.
            mirroring: average over mirrored images, as nnU-Net does by default: four times the work in 2D.

        Raises:
            InputError: no such model, fold or checkpoint; nnU-Net cannot load it; or it takes several channels, needs
                the segmentation of another model, predicts regions that overlap, or reorders the voxels it reads.
        """
        with _model_folder(path) as folder:
            chosen = _folds(path, folder, folds, checkpoint)
            predictor = _load(path, folder, chosen, checkpoint, device, mirroring)
            checkpoints = [hashed(folder / f"fold_{fold}" / checkpoint, f"fold_{fold}/{checkpoint}") for fold in chosen]
        _require_usable(path, predictor)
        record = {
            "dataset": predictor.plans_manager.dataset_name,
            "trainer": predictor.trainer_name,
            "plans": predictor.plans_manager.plans_name,
            "configuration": folder.name.rpartition("__")[2],  # nnU-Net's folder: TRAINER__PLANS__CONFIGURATION
            "checkpoints": checkpoints,
        }
        labels = {name: int(code) for name, code in predictor.dataset_json["labels"].items() if name != "ignore"}
        return cls(predictor, labels, record)

    @property
    def description(self) -> dict[str, Any]:
        """What dataset.json of its masks says, beside the file ending; plain JSON."""
        return {"channel_names": self.predictor.dataset_json["channel_names"], "labels": self.labels}

    def probabilities(self, image: np.ndarray, voxel_mm: tuple[float, float, float]) -> np.ndarray:
        """How probable each label is in each voxel. On a CPU with AVX512-BF16, the network computes in bfloat16.

        Args:
            image: (slices, rows, columns).
            voxel_mm: slice, row and column spacing.

        Returns:
            float32 (labels, slices, rows, columns), 1 in sum over the labels.
        """
        properties, device = {"spacing": list(voxel_mm)}, self.predictor.device
        bfloat16 = device.type == "cpu" and computes_in_bfloat16(device)  # on a GPU, nnU-Net itself uses float16
        with redirect_stdout(None), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            _, probabilities = self.predictor.predict_single_npy_array(
                image[None].astype(np.float32), properties, None, None, save_or_return_probabilities=True
            )
        return probabilities.astype(np.float32)


@contextmanager
def _model_folder(path: Path) -> Iterator[Path]:
    """The folder of a model, unpacked for as long as it is needed if it is a zip.

    Raises:
        InputError: neither, or a zip that cannot be read or holds anything but one model.
    """
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise InputError(f"-model {path}: no such folder or zip. {_GIVE}")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            with ZipFile(path) as archive:
                archive.extractall(scratch)
        except (BadZipFile, OSError, RuntimeError, ValueError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"-model {path} cannot be unpacked as a zip ({last_line(error)}). {_GIVE}") from None
        found = sorted(plans.parent for plans in Path(scratch).rglob("plans.json"))
        if len(found) != 1:
            raise InputError(f"-model {path} holds {len(found)} models, not one. {_GIVE}")
        yield found[0]


def _folds(path: Path, folder: Path, folds: Sequence[str] | None, checkpoint: str) -> list[str]:
    """The folds to use.

    Raises:
        InputError: no fold, or one without the checkpoint.
    """
    trained = sorted(file.parent.name.removeprefix("fold_") for file in folder.glob(f"fold_*/{checkpoint}"))
    if not trained:
        raise InputError(f"-model {path} has no fold_*/{checkpoint}. {_GIVE} -chk names another checkpoint.")
    if folds is None:
        return [fold for fold in trained if fold != "all"] or trained
    missing = [fold for fold in folds if fold not in trained]
    if missing:
        raise InputError(
            f"-model {path} has no {checkpoint} of fold {', '.join(missing)}. Choose from -f {' '.join(trained)}."
        )
    return list(dict.fromkeys(folds))


def _load(
    path: Path, folder: Path, folds: list[str], checkpoint: str, device: torch.device, mirroring: bool
) -> nnUNetPredictor:
    """nnU-Net's predictor with the weights; this package's trainers are found without nnUNet_extTrainer.

    Raises:
        InputError: nnU-Net cannot load it.
    """
    try:
        with trainers_at_hand():
            predictor = nnUNetPredictor(
                use_mirroring=mirroring,
                perform_everything_on_device=device.type == "cuda",
                device=device,
                allow_tqdm=False,
            )
            predictor.initialize_from_trained_model_folder(str(folder), tuple(folds), checkpoint)
    except Exception as error:  # whatever nnU-Net, torch and the trainer's file raise
        raise InputError(
            f"-model {path} cannot be loaded by nnU-Net ({last_line(error).partition('. ')[0]}). {_GIVE} A trainer of "
            "your own needs its folder in nnUNet_extTrainer."
        ) from None
    predictor.network.to(device)
    return predictor


def _require_usable(path: Path, predictor: nnUNetPredictor) -> None:
    """Refuse a model whose probabilities cannot be had from one image, or cannot be fused.

    Raises:
        InputError: it is refused.
    """
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    channels = determine_num_input_channels(plans, configuration, predictor.dataset_json)
    reader = plans.image_reader_writer_class
    if configuration.previous_stage_name is not None:
        raise InputError(f"-model {path} is the second stage of a cascade. Give a model that needs the image alone.")
    if channels != 1:
        raise InputError(f"-model {path} takes {channels} input channels. Give a model of one, as each readout is one.")
    if predictor.label_manager.has_regions:
        raise InputError(f"-model {path} predicts regions that overlap, which are not fused. Give a model of labels.")
    if reader not in _READERS:
        raise InputError(
            f"-model {path} reads images by {reader.__name__}. Give a model trained on NIfTI or MHA files."
        )
