"""Inference as a library: from images in a folder to maps on disk."""

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.case_records import is_finished
from nnunet_phys.errors import InputError
from nnunet_phys.forward import signals
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin.image_folder import ImageFolder
from nnunet_phys.precomputed_spin.map_inference import infer_maps, map_result_paths, save_inferred, save_translation
from nnunet_phys.precomputed_spin.samplers import ProximalMean, ProximalSampler
from nnunet_phys.precomputed_spin.scan import Inferred, Scan, Series
from nnunet_phys.precomputed_spin.scan_files import ScanFiles, scans_of_files
from nnunet_phys.precomputed_spin.scan_loading import load_scan
from nnunet_phys.precomputed_spin.scan_protocol import ScanProtocol, SequenceDescription
from nnunet_phys.sequences import BSSFP, InversionRecoveryGRE
from nnunet_phys.spin import SpinMaps


@pytest.fixture
def images(tmp_path) -> ImageFolder:
    """A folder with images of two cases."""
    folder = tmp_path / "images"
    folder.mkdir()
    for case in "ab":
        image = sitk.GetImageFromArray(np.random.default_rng(0).uniform(20, 99, (2, 32, 36)).astype(np.float32))
        image.SetSpacing((2.0, 2.0, 8.0))
        sitk.WriteImage(image, str(folder / f"{case}_0000.nii.gz"))
    return ImageFolder.read(folder)


def test_maps_of_a_folder(images, imager, tmp_path):
    protocol = ScanProtocol((SequenceDescription({"sequence": "bssfp", "flip_angle_deg": 50}),))
    jobs = [job for files in scans_of_files(images.files, protocol.is_series) for job in protocol.resolve(files)]
    out = tmp_path / "maps"
    scans = map(load_scan, jobs)
    sampler = ProximalSampler(3)
    for job, inferred in zip(jobs, infer_maps(scans, imager.prior, sampler, samples=2), strict=True):
        save_inferred(inferred, job.files, out, images.ending, {"sequences": job.described()}, save_samples=True)
    for job in jobs:
        maps = load_maps(out, job.case, ".nii.gz", job.files.paths[0])
        image = job.files.read()[0]
        assert np.corrcoef(BSSFP(50.0)(maps).numpy().ravel(), image.ravel())[0, 1] > 0.98
        assert is_finished(out, job.case, job.files.paths)
        assert json.loads((out / f"{job.case}.json").read_text())["sequences"][0]["flip_angle_deg"] == 50
    written = {path for job in jobs for path in map_result_paths(out, job.case, ".nii.gz", 2, save_samples=True)}
    assert written | {out / "a.json", out / "b.json"} == {path for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("phase_sensitive", [False, True])
def test_a_translation_shows_the_sign_where_it_is_phase_sensitive(images, tmp_path, phase_sensitive):
    name = next(iter(images.files))
    files = ScanFiles("a", {name: images.files[name]})
    times = torch.linspace(200, 1500, 2 * 32 * 36).reshape(2, 32, 36)
    maps = SpinMaps(torch.ones_like(times), times, 0.1 * times)
    target = InversionRecoveryGRE(inversion_time_ms=400.0, phase_sensitive=phase_sensitive)
    scan = Scan("a", (Series(BSSFP(), files.read()),), (2.0, 2.0))
    save_translation(Inferred(scan, maps, 0 * times), target, files, tmp_path, ".nii.gz", {})
    shown = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a_0000.nii.gz")))
    signal = signals(target, maps)[0].numpy()
    np.testing.assert_array_equal(shown, signal if phase_sensitive else np.abs(signal))
    assert (signal < 0).any()


def test_maps_that_are_not_finite_are_refused(imager):
    image = np.random.default_rng(0).uniform(20, 99, (1, 32, 36)).astype(np.float32)
    image[0, 10, 10] = 1e30
    with pytest.raises(InputError, match="case: its maps are not finite"):
        list(infer_maps([Scan("case", (Series(BSSFP(), image[None]),), (2.0, 2.0))], imager.prior, ProximalMean(3)))
