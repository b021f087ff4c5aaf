"""Maps that a prior learns from: digital hearts, and maps on disk."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.digital_heart import LABELS
from nnunet_phys.errors import InputError
from nnunet_phys.map_files import save_maps
from nnunet_phys.precomputed_spin.prior_maps import MAP_SIZE, SLICES_PER_HEART, folder_maps, phantom_maps
from nnunet_phys.spin import SpinMaps

VALUES = {"PDmap": 1.0, "T1map": 1000.0, "T2map": 50.0}


def write(folder, case, name, array, spacing=(2.5, 1.25, 8.0)):
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(folder / f"{case}_{name}.nii.gz"))


@pytest.fixture
def folder(tmp_path):
    """Two cases of 2 x 100 x 300 voxels, in which one voxel of each slice has twice the value."""
    for case in ("a", "b"):
        for name, value in VALUES.items():
            array = np.full((2, 100, 300), value)
            array[:, 51, 150] = 2 * value
            write(tmp_path, case, name, array)
    return tmp_path


def test_maps_on_disk_are_resampled_and_cropped_or_padded(folder):
    learn, held_out = (training.maps for training in folder_maps(folder, 2.5))
    assert learn.shape == (2, 3, 144, 144) and held_out.shape == (2, 3, 128, 128)
    body = learn[0, 0] > 0
    assert int(body.any(1).sum()) == 50 and int(body.any(0).sum()) == 144  # 50 rows of 2.5 mm; columns cropped
    assert learn[0, 1].min() == 1000 and learn[0, 2].min() == 50  # no air with T1 of 0
    assert learn[0, 0].max() == 2 and learn[0, 1].max() == 2000  # nothing mixed


def test_voxels_without_t1_or_t2_become_air(folder):
    """Where `fit` explains no pixel it writes 0, whose bound, 50 and 5 ms, is no tissue."""
    times = np.full((2, 100, 300), 1000.0)
    times[:, 40:60, 140:160] = 0
    write(folder, "b", "T1map", times)
    learn, _ = (training.maps for training in folder_maps(folder, 2.5))
    hole = learn[:, :, 68:76, 64:80]
    assert (hole[:, 0] == 0).all() and (hole[:, 1] == 1000).all() and (hole[:, 2] == 60).all()


def test_slices_without_tissue_are_left_out(folder):
    """An image of them has no brightness that could guide a prior."""
    density = np.ones((2, 100, 300))
    density[1] = 0
    write(folder, "b", "PDmap", density)
    learn, held_out = (training.maps for training in folder_maps(folder, 2.5))
    assert len(learn) == 1 and len(held_out) == 2
    density = np.zeros((2, 100, 300))
    density[:, :, 80:84] = 1  # at the left edge of what is learned, beyond what is held out
    write(folder, "a", "PDmap", density)
    with pytest.raises(InputError, match="a: its maps have no voxel with"):
        folder_maps(folder, 2.5)


def _nan(folder):
    array = np.full((2, 100, 300), 1000.0)
    array[0, 0, 0] = np.nan
    write(folder, "a", "T1map", array)


def _cut(folder):
    path = folder / "a_T1map.nii.gz"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _in_seconds(folder):
    write(folder, "a", "T1map", np.full((2, 100, 300), 1.0))


def _negative(folder):
    write(folder, "a", "T2map", np.full((2, 100, 300), -50.0))


def _no_proton_density(folder):
    maps = SpinMaps(*(torch.full((2, 100, 300), value) for value in (0.0, 1000.0, 50.0)))
    save_maps(folder, "a", maps, folder / "b_PDmap.nii.gz", ".nii.gz", {"fitted": "nothing"})


def _other_grid(folder):
    write(folder, "a", "T1map", np.full((2, 100, 300), 1000.0), (2.0, 2.0, 8.0))


@pytest.mark.parametrize(
    "spoil, expected",
    [
        (_nan, "a_T1map.nii.gz holds NaN"),
        (_cut, "a_T1map.nii.gz cannot be read, cut short?"),
        (_in_seconds, "a: the median T1 of its bright voxels is 1, expected 150 to"),
        (_in_seconds, "these seem to be seconds: multiply by 1000"),
        (_negative, "a: its T2 map has no value above 0"),
        (_no_proton_density, "a: its maps have no voxel with PD, T1 and T2 above 0. Leave"),
        (_other_grid, "a: spacing of"),
        (lambda folder: (folder / "a_T2map.nii.gz").unlink(), "a_T2map.nii.gz is missing"),
    ],
)
def test_faulty_maps_are_refused(folder, spoil, expected):
    spoil(folder)
    with pytest.raises(InputError) as refusal:
        folder_maps(folder, 2.5)
    (fault,) = refusal.value.faults
    assert expected in fault


def test_cases_of_different_shapes_and_units_of_pd_fit_together(folder):
    for name, value in VALUES.items():
        array = np.full((3, 64, 80), value if name != "PDmap" else 300.0)
        if name == "PDmap":
            array[:, :8] = -300.0
        write(folder, "c", name, array, (2.5, 2.5, 8.0))
    maps = folder_maps(folder, 2.5)[0].maps
    assert maps.shape == (5, 3, 144, 144)
    assert torch.equal(maps[:2, 0].unique(), torch.tensor([0.0, 1.0, 2.0]))  # as it was
    assert torch.equal(maps[2:, 0].unique(), torch.tensor([0.0, 1.0]))  # negative values are air


def test_all_cases_are_checked_at_once(folder):
    _nan(folder)
    (folder / "b_PDmap.nii.gz").unlink()
    with pytest.raises(InputError) as refusal:
        folder_maps(folder, 2.5)
    assert len(refusal.value.faults) == 2


@pytest.mark.parametrize(
    "spacing, pixel_mm, expected",
    [
        ((25.0, 25.0, 8.0), 2.5, "the column spacing is 25 mm"),
        ((0.0025, 0.0025, 8.0), 2.5, "the column spacing is 0.0025 mm"),
        ((9.0, 9.0, 8.0), 2.5, "pixels of 9 mm are too coarse for a prior of 2.5 mm"),
        ((0.2, 0.2, 8.0), 2.5, "a field of view of 20 x 60 mm is too small, at least 90 mm"),
    ],
)
def test_absurd_pixels_are_refused(folder, spacing, pixel_mm, expected):
    for name, value in VALUES.items():
        write(folder, "a", name, np.full((2, 100, 300), value), spacing)
    with pytest.raises(InputError) as refusal:
        folder_maps(folder, pixel_mm)
    assert any(expected in fault for fault in refusal.value.faults)


def test_one_case_is_too_few(folder):
    for path in folder.glob("b_*"):
        path.unlink()
    with pytest.raises(InputError, match="at least 2 are needed"):
        folder_maps(folder, 2.5)


def test_digital_hearts_do_not_depend_on_the_processes_that_draw_them():
    first = phantom_maps(3, 2.5, first_seed=7, processes=2)
    assert first.maps.shape == (3 * SLICES_PER_HEART, 3, MAP_SIZE, MAP_SIZE) and bool(first.maps.isfinite().all())
    again = phantom_maps(1, 2.5, first_seed=9, processes=1)
    assert torch.equal(first.maps[-SLICES_PER_HEART:], again.maps)
    assert torch.equal(first.labels[-SLICES_PER_HEART:], again.labels)


def test_labels_of_digital_hearts_lie_on_blood_and_muscle():
    hearts = phantom_maps(2, 2.5, processes=1)
    t2 = hearts.maps[:, 2]
    assert t2[hearts.labels == LABELS["LV"]].median() > 120 > t2[hearts.labels == LABELS["MYO"]].median()
