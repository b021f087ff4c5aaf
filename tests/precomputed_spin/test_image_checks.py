"""Checks of images before maps are inferred from them."""

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.image_checks import check_images
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.precomputed_spin.scan_loading import ImageReader, load_scan
from nnunet_phys.precomputed_spin.scan_protocol import ScanJob
from nnunet_phys.sequences import BSSFP, MOLLI, InversionRecoveryGRE


@pytest.fixture
def job(tmp_path):
    """Makes a case with one image."""

    def make_job(image, spacing=(2.0, 2.0, 8.0), sequence=BSSFP(), case="case"):
        written = sitk.GetImageFromArray(np.asarray(image, np.float32))
        written.SetSpacing(spacing)
        path = tmp_path / f"{case}_0000.nii.gz"
        sitk.WriteImage(written, str(path))
        return ScanJob(ScanFiles(case, {f"{case}_0000": path}), (sequence,), (False,))

    return make_job


@pytest.fixture
def body():
    return np.random.default_rng(0).uniform(1, 99, (2, 40, 48))


def _undershooting(image):
    return np.where(np.random.default_rng(1).random(image.shape) < 0.005, -0.1 * image.max(), image)


def _with_hot_voxel(image):
    image = image.copy()
    image[0, 20, 20] = 1e22
    return image


FAULTY = {
    "empty": (np.zeros_like, {}, "has no signal above 0"),
    "labels": (lambda image: (image > 50).astype(int), {}, "holds only 2 different values, as label images do"),
    "hot voxel": (_with_hot_voxel, {}, "holds values up to 1e\\+22, expected 1e-09 to 1e"),
    "tiny": (lambda image: 1e-12 * image, {}, "holds values up to 9.9e-11"),
    "z-scored": (
        lambda image: (image - image.mean()) / image.std(),
        {},
        "% of its pixels are clearly negative",
    ),
    "small": (lambda image: image[:, :10], {}, "spans only 20 mm in plane, the prior needs"),
    "slices first": (lambda image: image, {"spacing": (8.0, 1.9, 1.9)}, "slices seem to lie along a row or column"),
    "large": (lambda image: np.tile(image, 12), {}, "spans 1152 mm in plane, more than a scanner"),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_images_are_named(imager, job, body, name):
    change, options, message = FAULTY[name]
    with pytest.raises(InputError, match=f"^case: .*case_0000.nii.gz.*{message}"):
        check_images([job(change(body), **options)], imager.prior, ImageReader())


def test_all_faults_are_reported_at_once(imager, job, body):
    jobs = [job(0 * body, case="a"), job(body, case="b"), job(-body, case="c")]
    with pytest.raises(InputError) as refusal:
        check_images(jobs, imager.prior, ImageReader(), ["d: no inversion times."])
    assert [fault[0] for fault in refusal.value.faults] == ["d", "a", "c"]


def test_good_images_pass(imager, job, body):
    signed = body - 50
    jobs = [
        job(body, case="a"),
        job(_undershooting(body), case="b"),
        job(signed, sequence=MOLLI(readout=0), case="c"),
        job(signed, sequence=InversionRecoveryGRE(phase_sensitive=True), case="d"),
    ]
    check_images(jobs, imager.prior, ImageReader())
    signs = [load_scan(checked).series[0].signed for checked in jobs]
    assert signs == [False, False, True, True]


def test_images_are_kept_from_check_to_use_if_there_is_room(imager, job, body, monkeypatch):
    jobs = [job(body, case=case) for case in "abc"]
    read, read_cases = ScanFiles.read, []

    def counted(files):
        read_cases.append(files.case)
        return read(files)

    monkeypatch.setattr(ScanFiles, "read", counted)
    reader = ImageReader(most_bytes=2 * 4 * body.size)
    check_images(jobs, imager.prior, reader)
    for checked in jobs:
        load_scan(checked, reader=reader)
    assert read_cases == ["a", "b", "c", "c"]
