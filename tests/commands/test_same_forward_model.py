"""`translate` and `synthesize` make the same images of the same maps, bit for bit, in every sequence."""

import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.sequences import SEQUENCES


@pytest.fixture
def cine_and_maps(tiny, prior, tmp_path):
    """A folder with one cine image, and a folder with its maps."""
    images, maps = tmp_path / "images", tmp_path / "maps"
    images.mkdir()
    shutil.copy(tiny.image("case0"), images)
    assert main(["reverse", "-i", str(images), "-o", str(maps), *_common(prior)]) == 0
    return images, maps


def _common(prior):
    return ["-prior", prior, "-device", "cpu", "-steps", "2", "--disable_progress_bar"]


def _read(folder):
    return {p.name: sitk.GetArrayFromImage(sitk.ReadImage(str(p))) for p in sorted(folder.glob("*.nii.gz"))}


def test_translate_and_synthesize_agree(cine_and_maps, prior, tmp_path):
    images, maps = cine_and_maps
    for name in SEQUENCES:
        translated, synthesised = tmp_path / f"to_{name}", tmp_path / name
        assert main(["translate", "-i", str(images), "-o", str(translated), "-to", name, *_common(prior)]) == 0
        made = ["-sequence", name, "--disable_progress_bar"]
        assert main(["synthesize", "-i", str(maps), "-o", str(synthesised), *made]) == 0
        by_translate, by_synthesize = _read(translated), _read(synthesised)
        assert by_translate.keys() == by_synthesize.keys() and by_translate
        for file, image in by_translate.items():
            assert np.array_equal(image, by_synthesize[file]), (name, file)
