"""Image files: their grid, and what is refused before its voxels are read."""

from __future__ import annotations

import json
import os

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import torch

from nnunet_phys.case_records import is_finished, record_path
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import SLICE_OF_2D_MM, Geometry, read_image
from nnunet_phys.map_files import load_maps, map_paths, save_maps
from nnunet_phys.spin import SpinMaps


def write(path, shape=(3, 8, 9), spacing=(1.3, 1.4, 9.0), vector=False):
    image = sitk.GetImageFromArray(np.ones(shape, np.uint8), isVector=vector)
    image.SetSpacing(spacing[: image.GetDimension()])
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    pipe = tmp_path / "a_0000.nii.gz"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="is not a file"):
        Geometry.read(pipe)
    with pytest.raises(InputError, match="is not a file"):
        Geometry.read(tmp_path)


def test_colours_are_refused(tmp_path):
    path = write(tmp_path / "a.png", (8, 9, 3), (1, 1), vector=True)
    with pytest.raises(InputError, match="3 values per pixel"):
        Geometry.read(path)


def test_five_dimensions_are_refused(tmp_path):
    path = tmp_path / "a.nii.gz"
    nibabel.Nifti1Image(np.ones((8, 9, 3, 2, 2), np.float32), np.diag([1.4, 1.4, 8, 1])).to_filename(path)
    with pytest.raises(InputError, match=r"a\.nii\.gz"):
        read_image(path)


@pytest.mark.parametrize("spacing", [(0.0014, 1.4, 9.0), (1.4, 1400.0, 9.0), (1.4, 1.4, 9000.0), (25.0, 25.0, 9.0)])
def test_a_spacing_in_another_unit_is_refused(tmp_path, spacing):
    path = write(tmp_path / "a.nii.gz", spacing=spacing)
    with pytest.raises(InputError, match=r"(column|row|slice) spacing is .* Fix its header: spacings are in mm"):
        Geometry.read(path)


def test_a_single_slice_may_have_the_spacing_that_nnunet_once_wrote(tmp_path):
    grid = Geometry.read(write(tmp_path / "a.nii.gz", (1, 8, 9), spacing=(1.4, 1.3, 999.0)))
    assert grid.voxel_mm == pytest.approx((SLICE_OF_2D_MM, 1.3, 1.4))
    grid = Geometry.read(write(tmp_path / "b.nii.gz", (1, 8, 9), spacing=(1.4, 1.3, 6.0)))
    assert grid.voxel_mm == pytest.approx((6.0, 1.3, 1.4))


def test_the_spacing_of_a_tiff_file_stands_beside_it(tmp_path, caplog):
    image = tmp_path / "case0_0000.tif"
    pixels = np.random.default_rng(0).integers(0, 99, (3, 8, 9)).astype(np.uint16)
    tifffile.imwrite(image, pixels, photometric="minisblack")
    assert Geometry.read(image).voxel_mm == (1.0, 1.0, 1.0)  # as nnU-Net takes it
    assert "TIFF files without a spacing are read as 1 mm" in caplog.text
    (tmp_path / "case0.json").write_text(json.dumps({"spacing": [9.0, 1.4, 1.3]}))
    assert Geometry.read(image).voxel_mm == (9.0, 1.4, 1.3) and Geometry.read(image).size == (9, 8, 3)
    maps = SpinMaps(*(torch.full((3, 8, 9), value) for value in (1.0, 1000.0, 50.0)))
    save_maps(tmp_path / "maps", "case0", maps, image, ".tif", {})
    paths = map_paths(tmp_path / "maps", "case0", ".tif")
    assert Geometry.read(paths["PDmap"]).voxel_mm == (9.0, 1.4, 1.3)
    assert torch.equal(load_maps(tmp_path / "maps", "case0", ".tif", image).t1, maps.t1)
    assert is_finished(tmp_path / "maps", "case0", (image,))
    (tmp_path / "case0.json").write_text(json.dumps({"spacing": [9.0, 1.5, 1.5]}))
    assert not is_finished(tmp_path / "maps", "case0", (image,))
    (tmp_path / "case0.json").write_text(json.dumps({"spacing": [9.0, 1.4, 1.3]}))
    record_path(tmp_path / "maps", "case0").unlink()  # maps of anybody
    assert load_maps(tmp_path / "maps", "case0", ".tif", image).shape == (3, 8, 9)
    for content in ("[]", '{"spacing": 3}', '{"spacing": [1, 2]}', '{"spacing": [9, "1", 1]}'):
        (tmp_path / "case0.json").write_text(content)
        with pytest.raises(InputError, match=r"case0\.json.*Write"):
            Geometry.read(image)
