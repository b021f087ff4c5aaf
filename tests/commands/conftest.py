"""Images and arguments for `nnunet_phys reverse`, and what a refusal looks like."""

import json

import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps
from nnunet_phys.sequences import MOLLI

QUICKLY = ("-device", "cpu", "-steps", "3", "--disable_progress_bar")


@pytest.fixture
def fresh(tiny):
    """The tiny data set without maps."""
    for path in tiny.maps.iterdir():
        path.unlink()
    return tiny


@pytest.fixture
def series(tiny, tmp_path):
    """MOLLI readouts of two cases, one file each, and their inversion times."""
    folder, sequence = tmp_path / "series", MOLLI(rr_ms=750.0)
    folder.mkdir()
    for case in tiny.cases[:2]:
        maps = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case))
        for i, readout in enumerate(sequence(maps)):
            image = sitk.GetImageFromArray(300 * readout.abs().numpy())
            image.CopyInformation(sitk.ReadImage(str(tiny.image(case))))
            sitk.WriteImage(image, str(folder / f"{case}_ti{i:02d}_0000.nii.gz"))
        (folder / f"{case}.json").write_text(json.dumps({"inversion_times_ms": sequence.inversion_times_ms}))
    return folder


@pytest.fixture
def reverse(prior):
    """Makes arguments of `nnunet_phys reverse` for the tiny data set."""
    return lambda *options: ["reverse", "-d", "900", *QUICKLY, "-prior", prior, *options]


@pytest.fixture
def reverse_folder(prior):
    """Makes arguments of `nnunet_phys reverse` for a folder of images."""
    return lambda folder, out, *options: [
        *("reverse", "-i", str(folder), "-o", str(out), *QUICKLY, "-prior", prior),
        *options,
    ]


@pytest.fixture
def refused(capsys):
    """Asserts that a command is refused, and that every expected text stands in one of the lines on stderr."""

    def check(arguments, *expected):
        capsys.readouterr()
        assert main(arguments) == 1
        lines = capsys.readouterr().err.splitlines()
        assert all(line.startswith("nnunet_phys: ") for line in lines)
        for text in expected:
            assert any(text in line for line in lines), lines

    return check
