"""nnU-Net trainers that synthesise MR contrasts from tissue maps while they train.

nnU-Net imports this file from the folder in `nnUNet_extTrainer` and then removes it from `sys.modules`. So everything
that worker processes unpickle (transform, dataset, recipe) lies outside this folder. Network, plans and input channels
are nnU-Net's own. On a CPU with AVX512-BF16, these trainers train in bfloat16.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.training_length.nnUNetTrainer_Xepochs import (
    nnUNetTrainer_5epochs,
    nnUNetTrainer_100epochs,
    nnUNetTrainer_250epochs,
)

from nnunet_phys.augmentations.contrast import AcquireImage, SynthesizeContrast
from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import CHECKPOINT_ENTRY, VARIABLE, read_recipe, recipe_in_force
from nnunet_phys.cpu_autocast import CPUAutocastMixin
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.dataset import SpinDataset, faults
from nnunet_phys.precomputed_spin.preprocessed_dataset import require_z_score
from nnunet_phys.precomputed_spin.raw_dataset import describe_dataset, require_one_channel
from nnunet_phys.precomputed_spin.spin_copies import load_excluded, spin_folder
from nnunet_phys.precomputed_spin.training_maps import TrainingMaps, preprocess_command
from nnunet_phys.whole_files import whole_file

_SPATIAL = (SpatialTransform, Convert2DTo3DTransform)
if TYPE_CHECKING:  # the class with which the mixin is combined
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer as _Trainer
else:
    _Trainer = object


def _in_order(transform: BasicTransform) -> list[BasicTransform]:
    """The transforms that a composition applies, compositions within it resolved."""
    if type(transform) is not ComposeTransforms:  # a subclass may apply them in another way
        return [transform]
    return [single for part in transform.transforms for single in _in_order(part)]


def _is_spatial(transform: BasicTransform) -> bool:
    """Whether it moves voxels, or has a part that does, under the names that batchgeneratorsv2 gives to parts."""
    parts = [getattr(transform, "transform", None), *getattr(transform, "transforms", ())]
    parts += getattr(transform, "list_of_transforms", ())
    return isinstance(transform, _SPATIAL) or any(_is_spatial(part) for part in parts if part is not None)


class PhysMixin(_Trainer):
    """Adds contrast synthesis to any nnU-Net trainer: `class Mine(PhysMixin, nnUNetTrainerDA5): pass`.

    Only the training data change. Each patch carries its case and position; `SynthesizeContrast` reads the maps there,
    before the parent's training transforms, and `AcquireImage` follows their spatial transform. Validation uses real
    images. Under DDP each rank does this for its own training data. In a cascade, the segmentation of the previous
    stage stays unchanged.

    Attributes:
        recipe: what to synthesise: the name of a recipe, a JSON file or a `ContrastRecipe`. The variable
            nnUNet_phys_recipe overrides it. The recipe in force is written to recipe.json in the fold's folder, and
            into every checkpoint. maps.json beside it names the maps.
    """

    recipe: str | Path | ContrastRecipe = "default"

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        order = cls.__mro__
        plain = [p for p in order if issubclass(p, nnUNetTrainer) and not issubclass(p, PhysMixin)]
        if plain and order.index(plain[0]) < order.index(PhysMixin):
            raise TypeError(f"{cls.__name__}: name PhysMixin before the nnU-Net trainer, or it has no effect")
        if any(
            isinstance(vars(p).get("get_training_transforms"), staticmethod) for p in order[: order.index(PhysMixin)]
        ):
            raise TypeError(
                f"{cls.__name__}: get_training_transforms must not be static. Write a method that changes what "
                "super().get_training_transforms(*args, **kwargs) returns."
            )

    def get_training_transforms(self, *args: Any, **kwargs: Any) -> BasicTransform:
        """The parent's transforms with the synthesis; not static like nnU-Net's, as it needs this training's cases."""
        inherited = super().get_training_transforms(*args, **kwargs)
        training, _ = self._datasets
        masked = self.configuration_manager.use_mask_for_norm[0]
        synthesis = SynthesizeContrast(self._recipe, training.cases, masked)
        transforms = _in_order(inherited)
        spatial = [index for index, transform in enumerate(transforms) if _is_spatial(transform)]
        after = spatial[-1] + 1 if spatial else 0
        return ComposeTransforms([synthesis, *transforms[:after], AcquireImage(), *transforms[after:]])

    def get_tr_and_val_datasets(self) -> tuple[SpinDataset, nnUNetBaseDataset]:
        """Training cases with their maps, validation cases as they are."""
        return self._datasets

    @cached_property
    def _recipe(self) -> ContrastRecipe:
        return recipe_in_force(self.recipe)

    def _keep_recipe(self) -> None:
        """Write the recipe into the fold's folder and, with nnU-Net's own arguments, into checkpoints; log its name.

        Raises:
            InputError: the checkpoint that this training goes on from was trained with another recipe.
        """
        path = Path(self.output_folder) / "recipe.json"
        recipe, trained = self._recipe.describe(), self.my_init_kwargs.get(CHECKPOINT_ENTRY)
        other = trained is not None and read_recipe(trained, "of the checkpoint", tried=False).describe() != recipe
        if self.local_rank == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(trained if other else recipe, indent=1))
        if other:
            raise InputError(
                f"{path}: this training has done {self.current_epoch} epochs with that recipe, which differs from "
                f"{self._recipe.name}. To go on with it, set {VARIABLE} to that file; to change the recipe, begin a "
                "new training from these weights (-pretrained_weights)."
            )
        self.my_init_kwargs[CHECKPOINT_ENTRY] = recipe
        named = f" (named by {VARIABLE})" if os.environ.get(VARIABLE) else ""
        self.print_to_log_file(f"nnunet_phys: recipe {self._recipe.name}{named}, in full in {path}")

    def _keep_maps(self, maps: TrainingMaps) -> None:
        """Write which maps are used into the fold's folder, and log how they differ from those of earlier epochs."""
        if self.local_rank:
            return
        path = Path(self.output_folder) / "maps.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        if changes := maps.keep(path):
            self.print_to_log_file(
                f"nnunet_phys: WARNING: after {self.current_epoch} epochs, this training goes on with {changes}"
            )

    @cached_property
    def _datasets(self) -> tuple[SpinDataset, nnUNetBaseDataset]:
        dataset = self.plans_manager.dataset_name
        require_one_channel(dataset, describe_dataset(self.dataset_json, f"dataset.json of {dataset}"))
        require_z_score(dataset, self.configuration_manager)
        _ = self._recipe  # so that its faults are reported first
        training, validation = super().get_tr_and_val_datasets()
        folder = spin_folder(training.source_folder)
        excluded = load_excluded(folder).intersection(training.identifiers)
        training.identifiers = [case for case in training.identifiers if case not in excluded]
        if excluded:
            self.print_to_log_file(f"nnunet_phys: preprocess excluded {', '.join(sorted(excluded))} from training")
        if not training.identifiers:
            raise InputError(f"{dataset}: preprocess -exclude has excluded all training cases. Shorten its list.")
        command = preprocess_command(self.plans_manager, self.configuration_name, folder, training.identifiers)
        lines = faults(training, self.plans_manager, self.configuration_manager, f"Run `{command}`.")
        if lines and self.current_epoch >= self.num_epochs:
            lines.append("This training has finished: to validate it, which needs no maps, use --val instead of --c.")
        if lines:
            raise InputError(*lines)
        with_maps = SpinDataset(training)
        self._keep_recipe()
        self._keep_maps(TrainingMaps.of(self.current_epoch, folder, training.identifiers, excluded))
        return with_maps, validation


class nnUNetTrainerPhys(CPUAutocastMixin, PhysMixin, nnUNetTrainer):
    """All sequences of a cardiac exam."""


class nnUNetTrainerPhysMOLLI(nnUNetTrainerPhys):
    """MOLLI readouts only."""

    recipe = "molli"


class nnUNetTrainerPhysGRE(nnUNetTrainerPhys):
    """Spoiled GRE only."""

    recipe = "gre"


class nnUNetTrainerPhysLGE(nnUNetTrainerPhys):
    """Late gadolinium enhancement only."""

    recipe = "lge"


class nnUNetTrainerPhysPaper(nnUNetTrainerPhys):
    """Eqs. (5) and (6) of Zhao et al. (MICCAI 2025) in the ranges of its published plugin, for comparison."""

    recipe = "paper"


class nnUNetTrainerPhys_5epochs(CPUAutocastMixin, PhysMixin, nnUNetTrainer_5epochs):
    """A short schedule for trials."""


class nnUNetTrainerPhys_100epochs(CPUAutocastMixin, PhysMixin, nnUNetTrainer_100epochs):
    """A tenth of nnU-Net's schedule."""


class nnUNetTrainerPhys_250epochs(CPUAutocastMixin, PhysMixin, nnUNetTrainer_250epochs):
    """A quarter of nnU-Net's schedule."""
