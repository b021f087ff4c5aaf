"""A tiny nnU-Net data set, planned and preprocessed by nnU-Net itself, with a plan small enough for a CPU."""

from __future__ import annotations

import os

os.environ.setdefault("nnUNet_def_n_proc", "1")  # read when nnunetv2 is imported
os.environ.setdefault("nnUNet_n_proc_DA", "1")

import json
import shutil
import signal
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

NNUNET_VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
TINY = "Dataset900_Tiny"
CASES = [f"case{i}" for i in range(6)]
CONFIGURATIONS = ("2d", "3d_fullres")
TISSUES = np.array([[0.85, 1050, 50], [0.9, 1500, 180], [0.65, 280, 65], [0.3, 1100, 60]], dtype=np.float32)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """What the tests start can be interrupted, also where a shell runs them in the background and ignores SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Tiny:
    """Where the tiny data set lies."""

    root: Path
    cases = CASES

    @property
    def raw(self) -> Path:
        return self.root / "nnUNet_raw" / TINY

    @property
    def preprocessed(self) -> Path:
        return self.root / "nnUNet_preprocessed" / TINY

    @property
    def maps(self) -> Path:
        return self.raw / "spinTr"

    def image(self, case: str) -> Path:
        return self.raw / "imagesTr" / f"{case}_0000.nii.gz"

    def plans(self) -> dict:
        return json.loads((self.preprocessed / "nnUNetPlans.json").read_text())

    def nnunet_preprocess(self, plans: dict, configuration_name: str) -> Path:
        """Preprocess all cases as nnUNetv2_preprocess does, in this process; returns nnU-Net's folder."""
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        manager = PlansManager(plans)
        configuration = manager.get_configuration(configuration_name)
        folder = self.preprocessed / configuration.data_identifier
        folder.mkdir(exist_ok=True)
        for case in self.cases:
            labels = str(self.raw / "labelsTr" / f"{case}.nii.gz")
            DefaultPreprocessor(verbose=False).run_case_save(
                str(folder / case), [str(self.image(case))], labels, manager, configuration, dataset_json()
            )
        return folder


def tissue_maps(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """PD, T1, T2 of blocks of tissue, PD with some texture, (3, z, y, x); a border of air without signal."""
    z, y, x = shape
    blocks = rng.integers(0, len(TISSUES), (z, -(-y // 16), -(-x // 16))).repeat(16, 1).repeat(16, 2)[:, :y, :x]
    maps = TISSUES[blocks].transpose(3, 0, 1, 2).copy()
    maps[0] *= rng.uniform(0.9, 1.1, shape).astype(np.float32)
    margin = rng.integers(2, 6, 4)
    air = np.ones(shape, dtype=bool)
    air[:, margin[0] : y - margin[1], margin[2] : x - margin[3]] = False
    maps[0, air] = 0
    return maps


def write_image(path: Path, array: np.ndarray, spacing: tuple[float, ...]) -> None:
    """Write (z, y, x) with an oblique geometry; spacing in SimpleITK's order x, y, z."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    if array.ndim == 3:
        image.SetOrigin((-12.5, 7.25, 31.0))
        image.SetDirection((0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path), True)


def dataset_json(**changes) -> dict:
    """dataset.json of the tiny data set."""
    return {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "blood": 1, "myocardium": 2},
        "numTraining": len(CASES),
        "file_ending": ".nii.gz",
        **changes,
    }


def write_raw(root: Path) -> None:
    """Cine-like images, labels and maps with records, in nnU-Net's raw format."""
    import torch

    from nnunet_phys.map_files import save_maps
    from nnunet_phys.sequences import BSSFP
    from nnunet_phys.spin import SpinMaps

    tiny, rng = Tiny(root), np.random.default_rng(0)
    for i, case in enumerate(CASES):
        maps = tissue_maps(rng, (3 + i % 3, 40 + 4 * (i % 2), 48))
        spacing = (1.4, 1.4, 8.0) if i % 2 else (1.6, 1.6, 10.0)
        spin = SpinMaps.unstack(torch.from_numpy(maps))
        write_image(tiny.image(case), BSSFP()(spin).abs().numpy() * 400, spacing)
        labels = np.where(maps[0] == 0, 0, np.where(maps[1] > 1300, 1, 2 * (maps[1] > 900))).astype(np.uint8)
        labels[maps[0] == 0] = 0
        write_image(tiny.raw / "labelsTr" / f"{case}.nii.gz", labels, spacing)
        save_maps(tiny.maps, case, spin, tiny.image(case), ".nii.gz", {"prior": "none"})
    (tiny.raw / "dataset.json").write_text(json.dumps(dataset_json()))


def shrink_plans(plans: dict) -> dict:
    """The same plans with networks and patches that train on a CPU in seconds."""
    for name, dim in (("2d", 2), ("3d_fullres", 3)):
        configuration = plans["configurations"][name]
        configuration["patch_size"] = [8, 32, 32][-dim:]
        configuration["batch_size"] = 2
        stride = [1, 2, 2][-dim:]
        configuration["architecture"]["arch_kwargs"].update(
            n_stages=3,
            features_per_stage=[4, 8, 8],
            kernel_sizes=[[1, 3, 3][-dim:]] * 3,
            strides=[[1] * dim, stride, stride],
            n_conv_per_stage=[1, 1, 1],
            n_conv_per_stage_decoder=[1, 1],
        )
    return plans


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory) -> Tiny:
    """Raw images, labels and maps; nnU-Net's plans and preprocessed cases. Never written to: copy it."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprint_dataset,
        plan_experiment_dataset,
    )

    tiny = Tiny(tmp_path_factory.mktemp("tiny"))
    write_raw(tiny.root)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        _point_nnunet_at(tiny.root, patch)
        extract_fingerprint_dataset(900, num_processes=1, verbose=False, show_progress_bar=False)
        plan_experiment_dataset(900)
        plans = shrink_plans(tiny.plans())
        (tiny.preprocessed / "nnUNetPlans.json").write_text(json.dumps(plans))
        for name in CONFIGURATIONS:
            tiny.nnunet_preprocess(plans, name)
    shutil.copytree(tiny.raw / "labelsTr", tiny.preprocessed / "gt_segmentations")
    return tiny


@pytest.fixture
def tiny(tiny_files, tmp_path, monkeypatch) -> Tiny:
    """A copy of the tiny data set of one's own, with nnU-Net's variables pointing at it."""
    shutil.copytree(tiny_files.root, tmp_path, dirs_exist_ok=True)
    _point_nnunet_at(tmp_path, monkeypatch)
    monkeypatch.setenv("nnUNet_n_proc_DA", "0")  # augment in this process
    return Tiny(tmp_path)


@pytest.fixture
def edit_image():
    """Applies a function to the voxels of an image on disk."""

    def edit(path, change):
        image = sitk.ReadImage(str(path))
        edited = sitk.GetImageFromArray(change(sitk.GetArrayFromImage(image)))
        edited.CopyInformation(image)
        sitk.WriteImage(edited, str(path))

    return edit


@pytest.fixture(scope="session")
def prior(tmp_path_factory) -> str:
    """Folder of a small untrained prior. Never written to: copy it."""
    import torch

    from nnunet_phys.precomputed_spin.prior import SpinPrior, new_scheduler, new_unet
    from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling

    folder = tmp_path_factory.mktemp("prior")
    torch.manual_seed(0)
    reference = torch.tensor([[0.9, 1500.0, 200.0], [0.8, 1050.0, 50.0]]).T.repeat(1, 50).contiguous()
    SpinPrior(new_unet((16, 32)), new_scheduler(), SpinScaling(), 2.5, torch.full((1000, 3), 0.02), reference).save(
        folder
    )
    return str(folder)


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> str:
    """Folder of a small untrained DDPM of three channels, as diffusers saves it. Never written to: copy it."""
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=32,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=16,
    )
    DDPMPipeline(unet, DDPMScheduler()).save_pretrained(folder)
    return str(folder)


def _point_nnunet_at(root: Path, patch: pytest.MonkeyPatch) -> None:
    for variable in NNUNET_VARIABLES:
        (root / variable).mkdir(exist_ok=True)
        patch.setenv(variable, str(root / variable))
    patch.delenv("nnUNet_extTrainer", raising=False)
