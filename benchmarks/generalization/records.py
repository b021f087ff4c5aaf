"""The record of a run: one JSON file with its settings, versions, hardware, hashes, times, and scores per case."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

from generalization.scores import CaseScores
from generalization.test_sets import TestSet
from nnunet_phys.errors import InputError
from nnunet_phys.json_files import read_json
from nnunet_phys.whole_files import write_json

_PACKAGES = ("nnunetv2", "nnunet_phys", "torch", "numpy", "scipy", "batchgeneratorsv2", "dynamic_network_architectures")
_REMEDY = "Remove the file and run again."


@dataclass(frozen=True)
class Settings:
    """What a run was asked to do, beside its training set, method and seed.

    Attributes:
        iterations: gradient steps of the training.
        plan: small or full.
        trainer: class name.
        maps: kind of maps the trainer read; None: none.
        recipe: recipe of the contrasts, a shipped name or the name of a file; None: none.
        translate: test images were translated.
        device: of training and prediction.
    """

    iterations: int
    plan: str
    trainer: str
    maps: str | None
    recipe: str | None
    translate: bool
    device: str


@dataclass(frozen=True)
class TestResult:
    """Scores on a test set.

    Attributes:
        test_set: its description.
        sha256: hash of its images and labels.
        seconds: prediction and, if so, translation.
        cases: scores by case.
    """

    test_set: TestSet
    sha256: str
    seconds: float
    cases: dict[str, CaseScores]

    __test__ = False


@dataclass(frozen=True)
class RunRecord:
    """One training with one method and seed, and its scores.

    Attributes:
        training: name of the training set.
        method: name of the method.
        seed: of the network's initial weights.
        settings: see there.
        versions: of Python and packages, and the project's commit.
        hardware: processor, cores, GPU, number format.
        hashes: of the training set, the plans, the recipe, the maps and the trained weights.
        seconds: of making maps, and of training.
        tests: results by name of the test set.
    """

    training: str
    method: str
    seed: int
    settings: Settings
    versions: dict[str, str]
    hardware: dict[str, str]
    hashes: dict[str, str]
    seconds: dict[str, float]
    tests: dict[str, TestResult] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Names its files."""
        return run_name(self.training, self.method, self.seed)

    def save(self, folder: Path) -> None:
        """Write it whole, in place of its earlier state.

        Raises:
            InputError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / f"{self.name}.json", asdict(self))


def run_name(training: str, method: str, seed: int) -> str:
    """The name of a run's files."""
    return f"{training}__{method}__seed{seed}"


def read_record(path: Path) -> RunRecord:
    """Read a run's record.

    Raises:
        InputError: it is faulty, or its name is not that of its run.
    """
    record = read_json(path, RunRecord, _REMEDY)
    if path.stem != record.name:
        raise InputError(f"{path} is the record of {record.name}. Name it so, or remove it.")
    return record


def read_records(folder: Path) -> list[RunRecord]:
    """All records in a folder, by name."""
    return [read_record(path) for path in sorted(folder.glob("*.json"))]


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, and the project's commit where it is known."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        versions["commit"] = subprocess.run(git, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        versions["commit"] = "unknown"
    return versions


def hardware_of(device: str) -> dict[str, str]:
    """The processor, and the GPU if it is used, with the number format of training on it."""
    import torch

    from nnunet_phys.devices import computes_in_bfloat16

    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    hardware = {"cpu": models[0] if models else platform.processor(), "cores": str(os.cpu_count())}
    if device.startswith("cuda"):
        return {**hardware, "gpu": torch.cuda.get_device_name(device), "format": "float16 autocast"}
    bfloat16 = device == "cpu" and computes_in_bfloat16(torch.device("cpu"))
    return {**hardware, "format": "bfloat16 autocast, loss in float32" if bfloat16 else "float32"}
