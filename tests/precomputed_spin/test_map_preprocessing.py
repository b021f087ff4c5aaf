"""The maps' copies have the geometry of nnU-Net's preprocessed image, voxel by voxel."""

from __future__ import annotations

import json
import os
import shutil
from copy import deepcopy
from pathlib import Path

import blosc2
import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.image_files import read_image
from nnunet_phys.map_files import load_maps, map_paths, save_maps
from nnunet_phys.precomputed_spin import map_preprocessing
from nnunet_phys.precomputed_spin.dataset import faults
from nnunet_phys.precomputed_spin.map_preprocessing import preprocess_maps
from nnunet_phys.precomputed_spin.preprocessed_dataset import open_preprocessed_dataset
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
from nnunet_phys.precomputed_spin.spin_copies import reservoir_path, spin_folder
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.spin import SpinMaps


def changed_plans(plans: dict, name: str, transpose: list[int], spacing: list[float], masked: bool) -> dict:
    """Plans with another order of the axes, spacing and mask, under another name and folder."""
    plans = deepcopy(plans)
    plans["plans_name"] = "changedPlans"
    plans["transpose_forward"] = transpose
    plans["transpose_backward"] = [int(axis) for axis in np.argsort(transpose)]
    configuration = plans["configurations"][name]
    configuration.update(
        data_identifier=f"changed_{name}",
        spacing=spacing,
        use_mask_for_norm=[masked],
        normalization_schemes=["ZScoreNormalization"],
    )
    return plans


@pytest.fixture
def target(tiny):
    """The tiny data set's 2d configuration as nnU-Net preprocessed it."""
    return open_preprocessed_dataset("Dataset900_Tiny", "nnUNetPlans", "2d")


def _preprocess_maps(tiny, target) -> list[str]:
    return preprocess_maps(open_raw_dataset(900), [target], tiny.maps, 1)


def _preprocess_with(tiny, plans: dict, name: str) -> Path:
    """Preprocess images and maps with other plans; returns nnU-Net's folder."""
    (tiny.preprocessed / "changedPlans.json").write_text(json.dumps(plans))
    folder = tiny.nnunet_preprocess(plans, name)
    target = open_preprocessed_dataset("Dataset900_Tiny", "changedPlans", name)
    assert _preprocess_maps(tiny, target) == tiny.cases
    return folder


def _refused_by_training(target) -> list[str]:
    images = infer_dataset_class(str(target.folder))(str(target.folder))
    return faults(images, target.plans, target.configuration, "Do this.")


@pytest.mark.parametrize(
    ("name", "transpose", "spacing"),
    [
        ("2d", [0, 1, 2], [1.2, 1.2]),
        ("2d", [2, 0, 1], [7.0, 1.8]),
        ("3d_fullres", [0, 1, 2], [6.0, 1.3, 1.3]),
        ("3d_fullres", [1, 2, 0], [1.3, 2.0, 5.0]),
        ("3d_fullres", [0, 1, 2], [3.0, 2.0, 2.0]),
    ],
)
@pytest.mark.parametrize("order", [1, 3])
def test_a_map_equal_to_the_image_comes_out_equal(tiny, name, transpose, spacing, order):
    for case in tiny.cases:  # PD is the image; T1 and T2 are the image with an offset
        image = torch.from_numpy(read_image(tiny.image(case)))
        save_maps(tiny.maps, case, SpinMaps(image, image + 200, image + 20), tiny.image(case), ".nii.gz", {})
    plans = changed_plans(tiny.plans(), name, transpose, spacing, masked=False)
    plans["configurations"][name]["resampling_fn_data_kwargs"]["order"] = order
    folder = _preprocess_with(tiny, plans, name)

    for case in tiny.cases:
        theirs = blosc2.open(str(folder / f"{case}.b2nd"), mode="r")[:][0]
        maps = blosc2.open(str(spin_folder(folder) / f"{case}.b2nd"), mode="r")[:]
        assert maps.shape == (4, *theirs.shape) and maps.dtype == np.float16
        native = read_image(tiny.image(case)).transpose(transpose)
        filled = np.nonzero(native)
        native = native[tuple(slice(axis.min(), axis.max() + 1) for axis in filled)]
        for channel, offset in ((0, 0), (1, 200), (2, 20)) if order == 1 else ((0, 0),):  # T1, T2: always linear
            low, high = native.min() + offset, native.max() + offset
            expected = np.clip(theirs * native.std() + native.mean() + offset, low, high)
            unit = np.percentile(native[native > 0], 99) if channel == 0 else 1.0  # PD is stored relative to it
            np.testing.assert_allclose(maps[channel], expected / unit, rtol=2e-3, atol=0.05 / unit)


def test_resampling_makes_no_other_tissue_at_an_edge(tiny):
    for case in tiny.cases:
        shape = read_image(tiny.image(case)).shape
        left = torch.arange(shape[2]).expand(shape) < shape[2] // 2
        maps = SpinMaps(torch.ones(shape), torch.where(left, 1050.0, 1550.0), torch.where(left, 50.0, 235.0))
        maps.t2[..., :4] = 20.0  # elsewhere T2 reaches further down, which a bound for the whole case would allow
        save_maps(tiny.maps, case, maps, tiny.image(case), ".nii.gz", {})
    plans = changed_plans(tiny.plans(), "2d", [0, 1, 2], [1.0, 1.0], masked=False)
    folder = _preprocess_with(tiny, plans, "2d")
    for case in tiny.cases:
        _, t1, t2, _ = blosc2.open(str(spin_folder(folder) / f"{case}.b2nd"), mode="r")[:]
        assert (np.diff(t1, axis=2) >= -1e-3).all() and (np.diff(t2, axis=2) >= -1e-3).all()


def _without_corner(array):
    """A hole on the rim of the crop, which hole filling leaves open."""
    array[:, :20, :20] = 0
    return array


def test_a_mask_keeps_air_out_of_the_reservoir(tiny, edit_image):
    path = tiny.image("case0")
    edit_image(path, _without_corner)
    array = read_image(path)
    spin = torch.from_numpy(np.where(array == 0, 9.0, array)).float()  # 9 stands for air
    save_maps(tiny.maps, "case0", SpinMaps(spin, spin + 200, spin + 20), path, ".nii.gz", {})
    plans = changed_plans(tiny.plans(), "2d", [0, 1, 2], [1.4, 1.4], masked=True)
    folder = _preprocess_with(tiny, plans, "2d")
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tiny.raw / "labelsTr" / "case0.nii.gz")))
    reservoir = Reservoir.load(reservoir_path(spin_folder(folder), "case0"))
    inside = (array != 0) | (labels > 0)
    air = np.isclose(reservoir.voxels[1], 209)
    assert np.isclose(air.mean(), ((array == 0) & inside).sum() / inside.sum(), atol=0.02)


def test_a_mask_needs_labels_which_are_checked_before_anything_is_written(tiny):
    plans = changed_plans(tiny.plans(), "2d", [0, 1, 2], [1.4, 1.4], masked=True)
    folder = _preprocess_with(tiny, plans, "2d")
    shutil.rmtree(spin_folder(folder))
    (tiny.raw / "labelsTr" / "case2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"case2: .*case2\.nii\.gz cannot be read"):
        _preprocess_maps(tiny, open_preprocessed_dataset("Dataset900_Tiny", "changedPlans", "2d"))
    assert not spin_folder(folder).exists()


def test_an_image_that_vanished_is_named(tiny, target):
    tiny.image("case1").unlink()
    tiny.image("case1").symlink_to(tiny.root / "nowhere.nii.gz")
    with pytest.raises(InputError, match=r"case1: .*case1_0000\.nii\.gz is not a file"):
        _preprocess_maps(tiny, target)


def test_all_faults_are_reported_at_once_and_nothing_is_written(tiny, target):
    paths = [map_paths(tiny.maps, case, ".nii.gz") for case in ("case0", "case1", "case2")]
    paths[0]["T1map"].unlink()
    paths[1]["PDmap"].write_bytes(paths[1]["PDmap"].read_bytes()[:200])
    tiny.image("case2").write_bytes(tiny.image("case3").read_bytes())
    with pytest.raises(InputError) as caught:
        _preprocess_maps(tiny, target)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["case0", "case1", "case2"]
    assert not spin_folder(target.folder).exists()


def test_a_case_without_any_tissue_is_refused(tiny, target):
    """Its PD cannot be scaled to 1; a record, as `fit` writes it, vouches for values that are 0 everywhere."""
    image = tiny.image("case1")
    nothing = SpinMaps(*(torch.zeros(sitk.GetArrayFromImage(sitk.ReadImage(str(image))).shape) for _ in range(3)))
    save_maps(tiny.maps, "case1", nothing, image, ".nii.gz", {"fit": "molli"})
    with pytest.raises(InputError, match="case1: its maps have no voxel with PD, T1 and T2 above 0"):
        _preprocess_maps(tiny, target)


def test_cases_without_maps_are_left_out(tiny, target):
    for path in tiny.maps.glob("case5*"):
        path.unlink()
    done = _preprocess_maps(tiny, target)
    assert done == [f"case{i}" for i in range(5)]
    assert sorted(path.name for path in spin_folder(target.folder).iterdir()) == sorted(
        f"{case}{end}" for case in done for end in (".b2nd", ".json", "_reservoir.npz")
    )
    with pytest.raises(InputError, match="nnunet_phys reverse -d 900"):
        preprocess_maps(open_raw_dataset(900), [target], tiny.root, 1)


def test_an_image_that_had_another_shape_is_refused(tiny, target):
    for path in tiny.maps.glob("case1.json"):
        path.unlink()
    for name in ("PDmap", "T1map", "T2map"):
        paths = [map_paths(tiny.maps, case, ".nii.gz")[name] for case in ("case0", "case1")]
        paths[1].write_bytes(paths[0].read_bytes())
    tiny.image("case1").write_bytes(tiny.image("case0").read_bytes())
    with pytest.raises(InputError, match=r"case1: .* another shape when nnU-Net preprocessed it"):
        _preprocess_maps(tiny, target)


def test_copies_that_are_faulty_or_of_other_plans_are_not_trained_on(tiny, target):
    _preprocess_maps(tiny, target)

    images = infer_dataset_class(str(target.folder))(str(target.folder))
    assert faults(images, target.plans, target.configuration, "Do this.") == []
    (spin_folder(target.folder) / "case0.b2nd").write_bytes((spin_folder(target.folder) / "case1.b2nd").read_bytes())
    (spin_folder(target.folder) / "case2.json").unlink()
    (spin_folder(target.folder) / "case3_reservoir.npz").unlink()
    (spin_folder(target.folder) / "case4.b2nd").write_bytes(b"b2nd")
    reservoir = spin_folder(target.folder) / "case5_reservoir.npz"
    reservoir.write_bytes(reservoir.read_bytes()[:2000])
    (spin_folder(target.folder) / "case1.json").write_text('{"maps"')
    lines = faults(images, target.plans, target.configuration, "Do this.")
    assert [line.split(":")[0] for line in lines] == [f"case{i}" for i in range(6)]
    assert all(line.endswith("Do this.") for line in lines)

    other = PlansManager(changed_plans(tiny.plans(), "2d", [0, 2, 1], [1.0, 1.0], masked=False))
    assert len(faults(images, other, other.get_configuration("2d"), "Do this.")) == 6


def test_maps_made_again_must_be_preprocessed_again(tiny, target):
    _preprocess_maps(tiny, target)
    later = (spin_folder(target.folder) / "case1.json").stat().st_mtime + 10
    for case in ("case1", "case2"):
        path = map_paths(tiny.maps, case, ".nii.gz")["T1map"]
        if case == "case1":
            path.write_bytes(map_paths(tiny.maps, case, ".nii.gz")["T2map"].read_bytes())
        os.utime(path, (later, later))  # case2 was only touched
    (line,) = _refused_by_training(target)
    assert line.startswith("case1: ") and line.endswith(
        "case1_T1map.nii.gz has changed since it was preprocessed. Do this."
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda array: np.where(array > 0, array[:, ::-1], 0) + (array > 0),
        lambda array: array[::-1],  # slices in another order, whose mean, deviation and middle slice are the same
    ],
    ids=["mirrored", "other order"],
)
def test_another_image_that_was_preprocessed_since_is_not_trained_on(tiny, target, edit_image, change):
    _preprocess_maps(tiny, target)
    shutil.rmtree(target.folder)
    tiny.nnunet_preprocess(tiny.plans(), "2d")  # the same images again
    assert _refused_by_training(target) == []
    edit_image(tiny.image("case2"), change)
    shutil.rmtree(target.folder)
    tiny.nnunet_preprocess(tiny.plans(), "2d")
    (line,) = _refused_by_training(target)
    assert line.startswith("case2: nnU-Net has preprocessed another image of this name since") and "Do this." in line
    with pytest.raises(InputError, match=r"case2: .* is not the image that its maps"):
        _preprocess_maps(tiny, target)


@pytest.mark.parametrize("masked", [False, True])
def test_an_image_that_nnunet_has_not_preprocessed_since_it_changed(tiny, edit_image, masked):
    """Labels, maps and image were mirrored; nnU-Net's copies are those of before."""
    plans = changed_plans(tiny.plans(), "2d", [2, 0, 1], [1.4, 1.4], masked)
    _preprocess_with(tiny, plans, "2d")
    image, labels = tiny.image("case1"), tiny.raw / "labelsTr" / "case1.nii.gz"
    maps = load_maps(tiny.maps, "case1", ".nii.gz", image)
    for path in (image, labels):
        edit_image(path, lambda array: np.ascontiguousarray(array[:, :, ::-1]))
    mirrored = SpinMaps(*(values.flip(2) for values in (maps.pd, maps.t1, maps.t2)))
    save_maps(tiny.maps, "case1", mirrored, image, ".nii.gz", {})
    target = open_preprocessed_dataset("Dataset900_Tiny", "changedPlans", "2d")
    with pytest.raises(InputError, match=r"case1: nnU-Net has not preprocessed .*case1_0000.*Run `nnUNetv2_preprocess"):
        _preprocess_maps(tiny, target)
    shutil.rmtree(target.folder)
    tiny.nnunet_preprocess(plans, "2d")
    assert _preprocess_maps(tiny, target) == tiny.cases


def test_maps_whose_labels_have_changed(tiny, target, edit_image):
    labels = tiny.raw / "labelsTr" / "case1.nii.gz"
    maps = load_maps(tiny.maps, "case1", ".nii.gz", tiny.image("case1"))
    save_maps(tiny.maps, "case1", maps, tiny.image("case1"), ".nii.gz", {"label_sha256": file_sha256(labels)})
    _preprocess_maps(tiny, target)
    edit_image(labels, lambda array: np.where(array == 1, 2, array))
    with pytest.raises(InputError, match=r"case1: .*case1\.nii\.gz has changed since its maps were made"):
        _preprocess_maps(tiny, target)


def test_a_killed_command_leaves_no_mixture(tiny, target, monkeypatch):
    _preprocess_maps(tiny, target)
    done: list[str] = []

    def killed(job):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(job.case)
        whole(job)

    whole = map_preprocessing._preprocess_case
    monkeypatch.setattr(map_preprocessing, "_preprocess_case", killed)
    with pytest.raises(KeyboardInterrupt):
        _preprocess_maps(tiny, target)
    assert [line.split(":")[0] for line in _refused_by_training(target)] == sorted(set(tiny.cases) - set(done))


def test_a_pixel_whose_pd_is_an_artefact_does_not_darken_the_others(tiny, target):
    maps = load_maps(tiny.maps, "case0", ".nii.gz", tiny.image("case0"))
    _preprocess_maps(tiny, target)
    before = blosc2.open(str(spin_folder(target.folder) / "case0.b2nd"), mode="r")[0]
    maps.pd[0, 20, 20] = 1e8
    save_maps(tiny.maps, "case0", maps, tiny.image("case0"), ".nii.gz", {"fit": "molli"})
    _preprocess_maps(tiny, target)
    after = blosc2.open(str(spin_folder(target.folder) / "case0.b2nd"), mode="r")[0]
    assert 50 < after.max() <= 100
    np.testing.assert_allclose(after[1:], before[1:], rtol=0.02)


def test_a_case_whose_maps_are_gone_is_not_trained_on(tiny, target):
    _preprocess_maps(tiny, target)
    for path in tiny.maps.glob("case3*"):
        path.unlink()
    (spin_folder(target.folder) / ".case0.nnunet_phys-abcd1234").mkdir()  # of a killed run
    _preprocess_maps(tiny, target)
    assert [line.split(":")[0] for line in _refused_by_training(target)] == ["case3"]
    assert not list(spin_folder(target.folder).glob("*case3*")) and not list(spin_folder(target.folder).glob(".*"))


def test_truncated_files_of_nnunet_are_reported_before_anything_is_written(tiny, target):
    for name in ("case0.b2nd", "case1.pkl"):
        path = target.folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError) as caught:
        _preprocess_maps(tiny, target)
    assert [line.split(":")[0] for line in caught.value.faults] == ["case0", "case1"]
    assert all("Run `nnUNetv2_preprocess -d 900 " in line for line in caught.value.faults)
    assert not spin_folder(target.folder).exists()
    assert len(_refused_by_training(target)) == 6
    (target.folder / ".DS_Store").touch()
    with pytest.raises(InputError, match="holds files that nnU-Net does not know"):
        _preprocess_maps(tiny, target)


def test_a_target_that_cannot_be_written(tiny, target):
    spin_folder(target.folder).touch()
    with pytest.raises(InputError, match="cannot be written to"):
        _preprocess_maps(tiny, target)
    spin_folder(target.folder).unlink()
    (spin_folder(target.folder) / "case0.b2nd").mkdir(parents=True)
    with pytest.raises(InputError, match=r"case0: .*case0\.b2nd cannot be written"):
        _preprocess_maps(tiny, target)
    assert not list(spin_folder(target.folder).glob("case0.json"))


def test_a_case_named_like_an_image(tiny, target):
    """Only the last _0000 of a file name is nnU-Net's channel; an earlier one belongs to the case's name."""
    for folder in (tiny.raw / "imagesTr", tiny.raw / "labelsTr", tiny.maps, tiny.preprocessed / "nnUNetPlans_2d"):
        for path in folder.glob("case0*"):
            path.rename(path.with_name(path.name.replace("case0", "case0_0000", 1)))
    image = tiny.raw / "imagesTr" / "case0_0000_0000.nii.gz"
    maps = SpinMaps(*(torch.full(read_image(image).shape, value) for value in (1.0, 1000.0, 50.0)))
    save_maps(tiny.maps, "case0_0000", maps, image, ".nii.gz", {})
    assert _preprocess_maps(tiny, target)[0] == "case0_0000"
    assert _refused_by_training(target) == []


@pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format")
@pytest.mark.parametrize(
    "change",
    [
        "[]",
        "",
        "{",
        '{"configurations": []}',
        {"configurations": {"2d": []}},
        {"configurations": {"2d": {}}},
        {"transpose_forward": 3},
        {"plans_name": None},
        {"configurations": {"2d": {"inherits_from": "nothing"}}},
        {"2d": {"spacing": "wide"}},
        {"2d": {"normalization_schemes": []}},
        {"2d": {"data_identifier": 3}},
        {"2d": {"preprocessor_name": "MyPreprocessor"}},
    ],
)
def test_broken_plans(tiny, change):
    plans, path = tiny.plans(), tiny.preprocessed / "nnUNetPlans.json"
    if isinstance(change, dict) and "2d" in change:
        plans["configurations"]["2d"].update(change["2d"])
        change = {}
    path.write_text(change if isinstance(change, str) else json.dumps({**plans, **change}))
    with pytest.raises(InputError, match=r"nnUNetPlans\.json.*nnUNetv2_plan_and_preprocess -d 900"):
        open_preprocessed_dataset("Dataset900_Tiny", "nnUNetPlans", "2d")
