"""`nnunet_phys translate` and `report`: what they write, and how they refuse."""

import json
import re

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps
from nnunet_phys.sequences import BSSFP, MOLLI


def _translate(folder, out, prior, *more):
    common = ["-device", "cpu", "-steps", "3", "-prior", prior, "--disable_progress_bar"]
    return ["translate", "-i", str(folder), "-o", str(out), *common, *more]


def test_a_molli_series_becomes_cine(tiny, series, prior, tmp_path, capsys):
    out = tmp_path / "cine"
    assert main(_translate(series, out, prior, "-from", "molli", "-to", "bssfp", "-to_fa", "60")) == 0
    assert sorted(p.name for p in out.glob("*.nii.gz")) == ["case0_0000.nii.gz", "case1_0000.nii.gz"]
    image = sitk.ReadImage(str(out / "case0_0000.nii.gz"))
    source = sitk.ReadImage(str(series / "case0_ti00_0000.nii.gz"))
    assert image.GetSize() == source.GetSize() and np.allclose(image.GetDirection(), source.GetDirection())
    maps = load_maps(tiny.maps, "case0", ".nii.gz", tiny.image("case0"))
    truth = BSSFP(60.0)(maps).numpy()
    assert np.corrcoef(sitk.GetArrayFromImage(image).ravel(), truth.ravel())[0, 1] > 0.9
    capsys.readouterr()
    assert main(_translate(series, out, prior, "-from", "molli", "-to_fa", "60")) == 0
    assert "2 of 2 cases are finished and skipped" in capsys.readouterr().out
    assert main(_translate(series, out, prior, "-from", "molli", "-to", "gre")) == 1
    assert "was made with other settings (to). Add --overwrite" in capsys.readouterr().err
    target = tmp_path / "target.json"
    target.write_text(json.dumps({"sequence": "t2prep", "t2_prep_ms": [25, 55]}))
    assert main(_translate(series, out, prior, "-from", "molli", "-to_protocol", str(target), "--overwrite")) == 0
    assert {p.name for p in out.glob("case0*.gz")} == {"case0_ti00_0000.nii.gz", "case0_ti01_0000.nii.gz"}
    assert main(_translate(series, series, prior, "-from", "molli")) == 1
    assert "is a folder that is read from" in capsys.readouterr().err


def test_killed_while_it_overwrites_no_record_vouches_for_what_is_there(series, prior, tmp_path, monkeypatch):
    from nnunet_phys.precomputed_spin import map_inference

    out, common = tmp_path / "out", ("-from", "molli")
    assert main(_translate(series, out, prior, *common)) == 0
    good = (out / "case0_0000.nii.gz").read_bytes()

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(map_inference, "save_record", killed)
        assert main(_translate(series, out, prior, *common, "-to", "gre", "--overwrite")) == 130
    assert (out / "case0_0000.nii.gz").read_bytes() != good
    assert main(_translate(series, out, prior, *common)) == 0
    assert (out / "case0_0000.nii.gz").read_bytes() == good


def test_single_readouts_become_a_series(series, prior, tmp_path):
    target = tmp_path / "target.json"
    target.write_text(json.dumps({"sequence": "t2prep", "t2_prep_ms": [0, 55]}))
    out = tmp_path / "out"
    assert main(_translate(series, out, prior, "-from", "molli", "--single", "-to_protocol", str(target))) == 0
    assert len(list(out.glob("*.nii.gz"))) == 2 * len(MOLLI().inversion_times_ms) * 2
    assert (out / "case1_ti03_ti01_0000.nii.gz").is_file()


def test_translation_to_nothing(series, prior, tmp_path, capsys):
    assert main(_translate(series, tmp_path / "o", prior, "-from", "molli", "-to", "bsfp")) == 1
    assert "did you mean 'bssfp'?" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_report_shows_flagged_cases_first(fresh, prior, tmp_path, capsys):
    assert main(["report", "-d", "900"]) == 1
    assert "holds no maps of Dataset900_Tiny made by nnunet_phys reverse, such as case0.json" in capsys.readouterr().err
    arguments = ["reverse", "-d", "900", "-device", "cpu", "-steps", "2", "-prior", prior, "--disable_progress_bar"]
    assert main(arguments) == 0
    record = fresh.maps / "case3.json"
    content = json.loads(record.read_text())
    for case in fresh.cases:
        path = fresh.maps / f"{case}.json"
        every = json.loads(path.read_text())
        every["quality"]["flags"] = []
        path.write_text(json.dumps(every))
    content["quality"]["flags"] = [{"slice": 1, "reason": "residual <7.0> %"}]
    record.write_text(json.dumps(content))
    assert main(["report", "-d", "900", "-o", str(tmp_path / "no" / "page.html")]) == 1
    page = tmp_path / "page.html"
    assert main(["report", "-d", "900", "-o", str(page), "-cases", "2"]) == 0
    text = page.read_text()
    assert re.findall(r"<h2>(case\d), slice (\d)", text)[0] == ("case3", "1") and text.count("<h2>") == 2
    assert "residual &lt;7.0&gt; %" in text and 'src="http' not in text
    assert "<td>myocardium" in text  # a structure of labelsTr
    (fresh.maps / "case1_T1map.nii.gz").unlink()
    assert main(["report", "-d", "900", "-o", str(page)]) == 0
    assert page.read_text().count("<h2>") == 5 and "case1_T1map.nii.gz is missing" in page.read_text()
