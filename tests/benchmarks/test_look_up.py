"""Maps by tissue look-up."""

import json

import numpy as np
import pytest

from generalization.competitors.look_up import look_up_maps
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import read_image
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin.prior import SpinPrior


@pytest.fixture
def without_maps(tiny, prior, monkeypatch):
    """The tiny data set without maps, and a prior that takes its small images."""
    small = SpinPrior.load(prior)
    monkeypatch.setattr(SpinPrior, "load", lambda *arguments, **options: small)
    for path in tiny.maps.iterdir():
        path.unlink()
    return tiny


def test_labels_decide_and_finished_cases_are_skipped(without_maps, capsys):
    tiny = without_maps
    look_up_maps(900, "cpu")
    records = [json.loads((tiny.maps / f"{case}.json").read_text()) for case in tiny.cases]
    assert all(record["sampler"] == {"name": "lookup"} for record in records)
    maps = load_maps(tiny.maps, "case0", ".nii.gz", tiny.image("case0"))
    labels = read_image(tiny.raw / "labelsTr" / "case0.nii.gz")
    t1 = maps.t1.numpy()
    assert np.median(t1[labels == 2]) < 1300  # myocardium; the prior's library holds blood of 1500 ms and this
    untouched = (tiny.maps / "case1_T1map.nii.gz").stat().st_mtime_ns
    (tiny.maps / "case0_T1map.nii.gz").unlink()
    look_up_maps(900, "cpu")
    assert (tiny.maps / "case0_T1map.nii.gz").is_file()
    assert (tiny.maps / "case1_T1map.nii.gz").stat().st_mtime_ns == untouched


def test_faults_are_reported(without_maps):
    with pytest.raises(InputError, match="did you mean 'bssfp'"):
        look_up_maps(900, "cpu", {"sequence": "bsfp"})
    for path in (without_maps.raw / "imagesTr").iterdir():
        path.unlink()
    with pytest.raises(InputError, match="Dataset900_Tiny has no images"):
        look_up_maps(900, "cpu")
