"""`nnunet_phys reverse`: the maps and the record that it writes, and how often it reads."""

import json
import re
import shutil

import numpy as np
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps
from nnunet_phys.sequences import BSSFP


def test_maps_of_a_data_set_explain_its_images(fresh, reverse):
    assert main(reverse("-fa", "50")) == 0
    for case in fresh.cases:
        maps = load_maps(fresh.maps, case, ".nii.gz", fresh.image(case))
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(fresh.image(case))))
        assert np.corrcoef(BSSFP(50.0)(maps).numpy().ravel(), image.ravel())[0, 1] > 0.98
        record = json.loads((fresh.maps / f"{case}.json").read_text())
        assert record["sequences"][0]["flip_angle_deg"] == 50 and record["sampler"]["steps"] == 3
        assert set(record["quality"]) >= {"residual_rms", "share_at_bound", "t1_spread", "flags"}
        assert record["image"]["sha256"] and record["versions"]["nnunetv2"]
    assert not [path for path in fresh.maps.iterdir() if path.name.startswith(".")]


def test_headers_are_read_once(fresh, tmp_path, monkeypatch, reverse_folder):
    opened = []

    class Reader(sitk.ImageFileReader):
        def ReadImageInformation(self):
            opened.append(self.GetFileName())
            super().ReadImageInformation()

    folder = tmp_path / "in"
    folder.mkdir()
    for case in fresh.cases[:2]:
        shutil.copy(fresh.image(case), folder)
    monkeypatch.setattr(sitk, "ImageFileReader", Reader)
    assert main(reverse_folder(folder, tmp_path / "out")) == 0
    assert len(opened) == len(set(opened)) == 2


def test_slices_that_look_wrong_are_reported(fresh, capsys, monkeypatch, reverse):
    monkeypatch.setattr("nnunet_phys.precomputed_spin.quality.FAT_IN_CAVITY_T1_MS", 1e5)
    monkeypatch.setattr("nnunet_phys.precomputed_spin.quality.FAT_IN_CAVITY_T2_MS", 1e5)
    description = json.loads((fresh.raw / "dataset.json").read_text())
    (fresh.raw / "dataset.json").write_text(json.dumps({**description, "labels": {"background": 0, "LV": 2}}))
    assert main(reverse()) == 0
    flags = json.loads((fresh.maps / "case0.json").read_text())["quality"]["flags"]
    assert any(re.fullmatch(r"LV has T1 \d+ and T2 \d+ ms, as fat has", flag["reason"]) for flag in flags)
    printed = capsys.readouterr().err
    assert "slices look wrong:" in printed and f"case0, slice {flags[0]['slice']}: {flags[0]['reason']}" in printed
