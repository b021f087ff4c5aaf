"""Which files make up a scan."""

from collections import Counter

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys import image_files
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.image_folder import ImageFolder
from nnunet_phys.precomputed_spin.scan_files import ScanFiles, scans_of_cases, scans_of_files


@pytest.fixture
def write(tmp_path):
    """Writes images (slices, rows, columns) or (images, slices, rows, columns); returns name to path."""

    def write_images(*names, shape=(2, 6, 8)):
        files = {}
        for name in names:
            files[name] = tmp_path / f"{name}.nii.gz"
            image = sitk.GetImageFromArray(np.random.default_rng(0).uniform(0, 9, shape[-3:]))
            if len(shape) == 4:
                image = sitk.JoinSeries([image] * shape[0])
            sitk.WriteImage(image, str(files[name]))
        return files

    return write_images


def test_cases_of_a_data_set_keep_their_names(write):
    scans = scans_of_cases(write("heart_0000", "heart"))
    assert [scan.case for scan in scans] == ["heart", "heart_0000"]


def test_files_of_a_folder_are_cases_by_name(write):
    scans = scans_of_files(write("a_0000", "b"), series=False)
    assert [scan.case for scan in scans] == ["a", "b"]
    frames = scans_of_files(write("cine", shape=(3, 2, 6, 8)), series=False)
    assert [scan.case for scan in frames] == ["cine_t00", "cine_t01", "cine_t02"]
    assert [scan.read().shape for scan in frames] == [(1, 2, 6, 8)] * 3


def test_files_of_a_series_are_grouped_and_sorted_by_their_numbers(write):
    (scan,) = scans_of_files(write("a_ti1000_0000", "a_ti90_0000"), series=True)
    assert scan.case == "a" and scan.times_ms == (90, 1000) and scan.read().shape == (2, 2, 6, 8)
    (scan,) = scans_of_files(write("b_ti00_0000", "b_ti01_0000"), series=True)
    assert scan.times_ms == () and scan.marked == (True, True)
    (scan,) = scans_of_files(write("c_0001", "c_0000"), series=True)
    assert list(scan.files) == ["c_0000", "c_0001"] and scan.channels == (0, 1)


def test_headers_and_images_are_read_once(write, monkeypatch):
    headers, images = Counter(), Counter()
    read_voxels = image_files.voxels

    class Reader(sitk.ImageFileReader):
        def ReadImageInformation(self):
            headers[self.GetFileName()] += 1
            super().ReadImageInformation()

    def counted_voxels(path, *more):
        images[str(path)] += 1
        return read_voxels(path, *more)

    files = write("a_0000", "a_0001")
    monkeypatch.setattr(sitk, "ImageFileReader", Reader)
    monkeypatch.setattr(image_files, "voxels", counted_voxels)
    (scan,) = scans_of_files(files, series=True)
    assert scan.count == 2 and scan.geometry.volumes == 1
    scan.read()
    assert set(headers.values()) == {1} and set(images.values()) == {1} and len(headers) == len(images) == 2


def test_series_on_several_grids_are_refused(write):
    files = {**write("a_0000"), **write("a_0001", shape=(2, 6, 9))}
    with pytest.raises(InputError, match="differs in geometry from"):
        ScanFiles("a", files).read()


def test_images_of_a_folder(write, tmp_path):
    write("a")
    (tmp_path / "._a.nii.gz").write_bytes(b"macOS")
    (tmp_path / "notes.txt").write_text("")
    images = ImageFolder.read(tmp_path)
    assert list(images.files) == ["a"] and images.ending == ".nii.gz"
    for name in ("b.nii", "b.mha"):  # a format that would be left out, and a second ending
        other = tmp_path / name
        other.write_bytes(b"")
        with pytest.raises(InputError, match=r"holds images that end in \.\w+"):
            ImageFolder.read(tmp_path)
        other.unlink()
    (tmp_path / "c.nii.gz").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"c\.nii\.gz is not a regular file"):
        ImageFolder.read(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        ImageFolder.read(tmp_path / "nowhere")
