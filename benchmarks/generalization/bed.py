"""The folders of the bed, and the variables of the processes that work in them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from generalization.methods import METHODS, Maps, Method
from generalization.records import run_name
from generalization.training import SCHEDULE_VARIABLE
from generalization.training_sets import TrainingSet
from nnunet_phys.augmentations.recipe_files import VARIABLE as RECIPE_VARIABLE
from nnunet_phys.experiments.small_training import PLANS

HERE = Path(__file__).resolve().parent
CONFIGURATION = "2d"
FOLD = "all"
"""Test patients are other patients, so all cases are trained on."""


@dataclass(frozen=True)
class Bed:
    """Where things lie and what they run on.

    Attributes:
        work: folder for all files.
        plan: a name in `plans.REDUCED_PLANS`, or full.
        device: cpu, cuda or mps.
        processes: worker processes.
    """

    work: Path
    plan: str = "small"
    device: str = "cpu"
    processes: int = 2

    @property
    def raw(self) -> Path:
        """Training sets in nnU-Net's raw format."""
        return self.work / "nnUNet_raw"

    @property
    def tests(self) -> Path:
        """Test sets."""
        return self.work / "tests"

    @property
    def runs(self) -> Path:
        """Records of runs."""
        return self.work / "runs"

    def log(self, name: str) -> Path:
        """The output of commands."""
        return self.work / "logs" / f"{name}.txt"

    def maps(self, training: TrainingSet, kind: Maps) -> Path:
        """Maps of a training set."""
        beside_the_images = {"true": "trueTr", "lookup": "spinTr"}
        if kind in beside_the_images:
            return self.raw / training.dataset / beside_the_images[kind]
        return self.work / "maps" / training.name / kind

    def preprocessed(self, kind: Maps | None) -> Path:
        """nnUNet_preprocessed for trainers that read maps of this kind, or none."""
        return self.work / "preprocessed" / self.plan / (kind or "images")

    def model(self, training: TrainingSet, method: Method, seed: int) -> Path:
        """nnUNet_results of a training, which methods share that only translate."""
        return self.work / "models" / run_name(training.name, trained_method(method).name, seed)

    def model_folder(self, training: TrainingSet, method: Method, seed: int) -> Path:
        """nnU-Net's own folder of a trained model; the fold lies in it."""
        return self.model(training, method, seed) / training.dataset / f"{method.trainer}__{PLANS}__{CONFIGURATION}"

    def fold(self, training: TrainingSet, method: Method, seed: int) -> Path:
        """nnU-Net's folder of the fold, with its checkpoints."""
        return self.model_folder(training, method, seed) / f"fold_{FOLD}"

    def predictions(self, run: str, test: str) -> Path:
        """Segmentations of a run on a test set."""
        return self.work / "predictions" / run / test

    def environment(
        self,
        preprocessed: Path,
        results: Path | None = None,
        schedule: Path | None = None,
        recipe: str | Path | None = None,
    ) -> dict[str, str]:
        """Variables of a process that works in these folders.

        Args:
            preprocessed: nnUNet_preprocessed.
            results: nnUNet_results; by default none that is used.
            schedule: file of the training's schedule.
            recipe: recipe of the contrasts that are synthesised.
        """
        environment = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
        environment |= {
            "nnUNet_raw": str(self.raw),
            "nnUNet_preprocessed": str(preprocessed),
            "nnUNet_results": str(results or self.work / "models"),
            "nnUNet_extTrainer": str(HERE / "trainers"),
            "PYTHONPATH": _with_path(os.environ),
            "nnUNet_def_n_proc": str(self.processes),
        }
        environment.setdefault("nnUNet_n_proc_DA", str(max(1, self.processes - 1)))
        if schedule is not None:
            environment[SCHEDULE_VARIABLE] = str(schedule)
        if recipe is not None:
            environment[RECIPE_VARIABLE] = str(recipe)
        return environment


_OWN_VARIABLES = ("nnUNet_compile", RECIPE_VARIABLE, SCHEDULE_VARIABLE)
"""Variables of the user's shell that must not change a training."""


def _with_path(environment: Mapping[str, str]) -> str:
    """PYTHONPATH with the folder that holds this package, which nnU-Net's workers import."""
    return os.pathsep.join(filter(None, (str(HERE.parent), environment.get("PYTHONPATH", ""))))


def trained_method(method: Method) -> Method:
    """The method whose trained model a method uses: itself, or if it translates, the one that only trains."""
    if not method.translate:
        return method
    same = (method.trainer, method.maps, method.recipe_name)
    return next(m for m in METHODS.values() if not m.translate and (m.trainer, m.maps, m.recipe_name) == same)


def unsuitable(method: Method, training: TrainingSet) -> str | None:
    """Why a method is not run on a training set; None if it is."""
    if method.maps == "true" and not training.true_maps:
        return "its true maps are not known"
    if method.maps == "lookup" and training.protocol["sequence"] != "bssfp":
        return "look-up is made for bSSFP"
    if method.translate and training.protocol["sequence"] != "bssfp":
        return "images are translated to bSSFP"
    return None
