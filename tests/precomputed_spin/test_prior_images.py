"""Images that a prior learns from before maps: their channels, their range, and what is refused."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.brightness import bright_level
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.image_folder import ImageFolder
from nnunet_phys.precomputed_spin.prior_images import BRIGHT, pretraining_images
from nnunet_phys.precomputed_spin.scan_files import scans_of_files


def write(folder, name, array, spacing=(2.5, 2.5, 8.0)):
    image = sitk.GetImageFromArray(array.astype(np.float32))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))


def body(shape, gain=400.0):
    """A body of noise about the gain, with a tenth of it far brighter, in air."""
    rng = np.random.default_rng(0)
    image = np.zeros(shape)
    inside = image[..., 10:-10, 10:-10]
    inside[...] = gain * rng.uniform(0.4, 1.0, inside.shape)
    inside[..., :2, :] *= 5
    return image


def read(folder, pixel_mm=2.5, size=144):
    return pretraining_images(scans_of_files(ImageFolder.read(folder).files, False), pixel_mm, size)


def test_images_fill_three_channels_in_the_range_of_maps(tmp_path):
    write(tmp_path, "a_0000", body((2, 100, 160)))
    write(tmp_path, "b_0000", body((3, 60, 80), gain=3.0), (4.0, 5.0, 8.0))  # another grid, unit and number of slices
    slices = read(tmp_path)
    assert slices.shape == (5, 3, 144, 144) and slices.dtype == torch.float32
    assert torch.equal(slices[:, 0], slices[:, 1]) and torch.equal(slices[:, 0], slices[:, 2])
    assert bool((slices[:, :, 0] == -1).all())  # rows beside the image are air
    for case in (slices[:2, 0], slices[2:, 0]):
        assert case.max() == pytest.approx(1.3)  # clipped
        assert bright_level(case + 1) == pytest.approx(BRIGHT + 1, rel=0.1)


def test_the_frames_of_a_4d_file_are_images(tmp_path):
    frames = [sitk.GetImageFromArray(body((2, 60, 60)).astype(np.float32)) for _ in range(3)]
    for frame in frames:
        frame.SetSpacing((2.5, 2.5, 8.0))
    sitk.WriteImage(sitk.JoinSeries(frames), str(tmp_path / "cine.nii.gz"))
    assert len(read(tmp_path)) == 6


def test_finer_images_are_smoothed_and_not_sampled(tmp_path):
    stripes = body((1, 160, 160))
    stripes[..., ::2] = 0
    write(tmp_path, "a", stripes, (1.25, 1.25, 8.0))
    inside = read(tmp_path)[0, 0, 60:80, 60:80]
    write(tmp_path, "a", body((1, 160, 160)), (1.25, 1.25, 8.0))
    without = read(tmp_path)[0, 0, 60:80, 60:80]
    assert float(inside.std()) < 2 * float(without.std())


def test_all_faults_are_listed(tmp_path):
    write(tmp_path, "a", np.where(body((1, 60, 60)) > 0, np.nan, 0))
    write(tmp_path, "b", np.zeros((1, 60, 60)))
    write(tmp_path, "c", body((1, 60, 60)) - 200)
    write(tmp_path, "d", (body((1, 60, 60)) > 300).astype(float))
    write(tmp_path, "e", body((1, 60, 60)), (9.0, 9.0, 8.0))
    write(tmp_path, "f", body((1, 60, 60)), (0.5, 0.5, 8.0))
    write(tmp_path, "g", body((1, 60, 60)))
    (tmp_path / "g.nii.gz").write_bytes((tmp_path / "g.nii.gz").read_bytes()[:2000])
    with pytest.raises(InputError) as refusal:
        read(tmp_path)
    expected = ["NaN", "no signal", "clearly negative", "2 different values", "too coarse", "too small", "cut short"]
    assert len(refusal.value.faults) == len(expected)
    for fault, words in zip(refusal.value.faults, expected, strict=True):
        assert words in fault
