"""Training a model, and segmenting a test set with it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from generalization.ablations import write_recipe
from generalization.bed import CONFIGURATION, FOLD, Bed, trained_method
from generalization.methods import Method
from generalization.processes import run_logged
from generalization.records import software_versions
from generalization.scores import CaseScores, score_case
from generalization.test_sets import TestFolder, new_folder
from generalization.training import Schedule
from generalization.training_data import preprocess_images, preprocess_maps
from generalization.training_sets import TrainingSet
from generalization.translation import images_to_segment
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.cpu_autocast import autocast_in_place
from nnunet_phys.devices import computes_in_bfloat16
from nnunet_phys.errors import InputError
from nnunet_phys.experiments.small_training import PLANS
from nnunet_phys.file_identity import file_sha256, files_sha256
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import write_json

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor


@dataclass(frozen=True)
class Run:
    """One training with one method and seed, on a bed.

    Attributes:
        bed: where and on what.
        training: the training set.
        method: the method.
        schedule: iterations and seed.
    """

    bed: Bed
    training: TrainingSet
    method: Method
    schedule: Schedule

    @property
    def fold(self) -> Path:
        """Folder of its checkpoints."""
        return self.bed.fold(self.training, self.method, self.schedule.seed)

    @property
    def checkpoint(self) -> Path:
        """The trained weights."""
        return self.fold / "checkpoint_final.pth"

    def train(self) -> None:
        """Preprocess, make maps, and train, unless that is done; an interrupted training goes on.

        Raises:
            InputError: a model of other settings lies there, or a command failed.
        """
        bed, training, method = self.bed, self.training, trained_method(self.method)
        results = bed.model(training, method, self.schedule.seed)
        self.require_same_settings()
        if self.checkpoint.is_file():
            return
        if method.maps is None:
            preprocess_images(bed, training)
        else:
            preprocess_maps(bed, training, method.maps)
        self._note_commit()
        schedule_file = results / "schedule.json"
        write_json(schedule_file, asdict(self.schedule))
        recipe = method.recipe if method.ablation is None else write_recipe(method.ablation, results)
        environment = bed.environment(bed.preprocessed(method.maps), results, schedule_file, recipe)
        command = ["nnUNetv2_train", training.number, CONFIGURATION, FOLD, "-tr", method.trainer, "-p", PLANS]
        command += ["-device", bed.device]
        if (self.fold / "checkpoint_latest.pth").is_file():
            command.append("--c")
        epochs = -(-self.schedule.iterations // self.schedule.epoch_iterations)
        title = f"{training.name}: {method.title}, seed {self.schedule.seed}, epochs"
        run_logged(command, environment, bed.log(results.name), title, epochs, r"Epoch (?P<done>\d+)\s")

    @property
    def settings_file(self) -> Path:
        """What decides the training, as it was begun."""
        return self.bed.model(self.training, trained_method(self.method), self.schedule.seed) / "settings.json"

    def require_same_settings(self) -> None:
        """Write the settings that decide a training, or compare them with those that it began with.

        Raises:
            InputError: they differ.
        """
        path, method = self.settings_file, trained_method(self.method)
        settings = {
            **asdict(self.schedule),
            "plan": self.bed.plan,
            "recipe": method.recipe_name,
            "recipe_sha256": self._recipe_sha256(),
            "training_set": self.training.sha256(self.bed.raw),
        }
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, settings)
            return
        before = read_json(path, dict[str, Any], f"Remove {path.parent} and run again.")
        changed = [f"{name} {before.get(name)}" for name, value in settings.items() if before.get(name) != value]
        if changed:
            listed = ", ".join(changed)
            raise InputError(f"{path.parent} was begun with {listed}. Repeat these, or remove it or change -work.")

    def _recipe_sha256(self) -> str | None:
        """Hash of what is drawn, before an ablation changes it; None without a recipe."""
        recipe = trained_method(self.method).recipe
        if recipe is None:
            return None
        return hashlib.sha256(json.dumps(load_recipe(recipe).describe(), sort_keys=True).encode()).hexdigest()

    @property
    def _commits_file(self) -> Path:
        return self.bed.model(self.training, trained_method(self.method), self.schedule.seed) / "commits.json"

    def _note_commit(self) -> None:
        """Add the project's commit to those that the training was started or continued with."""
        path = self._commits_file
        commits = read_json(path, list[str], "Remove it.") if path.is_file() else []
        write_json(path, [*dict.fromkeys([*commits, software_versions()["commit"]])])

    def commits(self) -> dict[str, str]:
        """The project's commits that the training was started and continued with, as an entry of its versions."""
        path = self._commits_file
        return {"commit": ", ".join(read_json(path, list[str], "Remove it."))} if path.is_file() else {}

    def training_seconds(self) -> float:
        """Time of all epochs, from the log in the checkpoint, also of a training that was interrupted."""
        import torch

        log = torch.load(self.checkpoint, map_location="cpu", weights_only=False)["logging"]
        pairs = zip(log["epoch_start_timestamps"], log["epoch_end_timestamps"], strict=True)
        return round(sum(end - start for start, end in pairs), 1)

    def hashes(self) -> dict[str, str]:
        """SHA-256 of what the training read and wrote."""
        hashes = {
            "training_set": self.training.sha256(self.bed.raw),
            "plans": file_sha256(self.fold.parent / "plans.json"),
            "checkpoint": file_sha256(self.checkpoint),
        }
        if (recipe := self.fold / "recipe.json").is_file():
            hashes["recipe"] = file_sha256(recipe)
        if self.method.maps is not None:
            maps = self.bed.maps(self.training, self.method.maps).glob("*map.nii.gz")
            hashes["maps"] = files_sha256({path.name: path for path in maps})
        return hashes

    @contextlib.contextmanager
    def predictor(self) -> Iterator[nnUNetPredictor]:
        """The trained network, as nnUNetv2_predict uses it; in bfloat16 where this CPU has it, like the training."""
        import torch
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        environment = self.bed.environment(self.bed.preprocessed(None), self.bed.model(self.training, self.method, 0))
        with patch.dict(os.environ, environment):
            predictor = nnUNetPredictor(
                perform_everything_on_device=self.bed.device == "cuda",
                device=torch.device(self.bed.device),
                verbose=False,
                allow_tqdm=False,
            )
            with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
                predictor.initialize_from_trained_model_folder(str(self.fold.parent), (FOLD,))
            if self.bed.device == "cpu" and computes_in_bfloat16(torch.device("cpu")):
                autocast_in_place(predictor.network)
            yield predictor

    def segment(self, predictor: nnUNetPredictor, test: TestFolder, output: Path) -> dict[str, Path] | None:
        """Segment a test set; translate it first if the method does so.

        Returns:
            Path of each case's segmentation, several of one series may share it; None if the method cannot translate
            the test set.

        Raises:
            InputError: a command failed.
        """
        images: dict[str, tuple[str, Path]] | None = {case: (case, path) for case, path in test.images.items()}
        if self.method.translate:
            images = images_to_segment(self.bed, test)
        if images is None:
            return None
        files = {name: path for name, path in images.values()}
        log = self.bed.log("predictions")
        with new_folder(output) as work, open(log, "a") as log_file, contextlib.redirect_stdout(log_file):
            predictor.predict_from_files(
                [[str(path)] for path in files.values()],
                [str(work / name) for name in files],
                num_processes_preprocessing=1,
                num_processes_segmentation_export=1,
            )
        return {case: output / f"{name}.nii.gz" for case, (name, _) in images.items()}


def score_test(
    run: Run, predictor: nnUNetPredictor, test: TestFolder, output: Path
) -> tuple[dict[str, CaseScores], float] | None:
    """Segment and score a test set.

    Returns:
        Scores by case, and the seconds that the segmentation took; None if the method cannot translate the test set.

    Raises:
        InputError: a command failed.
    """
    start = time.monotonic()
    segmentations = run.segment(predictor, test, output)
    if segmentations is None:
        return None
    seconds = round(time.monotonic() - start, 1)
    return {case: score_case(path, test.labels[case]) for case, path in segmentations.items()}, seconds
