"""`nnunet_phys translate`: what it writes, and how it refuses."""

import json
import shutil

import numpy as np
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin import map_inference
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
    assert "2 of 2 cases are finished and skipped" in capsys.readouterr().err
    assert main(_translate(series, out, prior, "-from", "molli", "-to", "gre")) == 1
    assert "were made with other settings (to). Add --overwrite" in capsys.readouterr().err
    target = tmp_path / "target.json"
    target.write_text(json.dumps({"sequence": "t2prep", "t2_prep_ms": [25, 55]}))
    assert main(_translate(series, out, prior, "-from", "molli", "-to_protocol", str(target), "--overwrite")) == 0
    assert {p.name for p in out.glob("case0*.gz")} == {"case0_ti00_0000.nii.gz", "case0_ti01_0000.nii.gz"}
    assert main(_translate(series, series, prior, "-from", "molli")) == 1
    assert "is a folder that is read from" in capsys.readouterr().err


def test_a_molli_that_was_made_can_be_read(tiny, prior, tmp_path):
    images, made = tmp_path / "images", tmp_path / "made"
    images.mkdir()
    shutil.copy(tiny.image("case0"), images)
    assert main(_translate(images, made, prior, "-to", "molli")) == 0
    assert main(["fit", "-i", str(made), "-o", str(tmp_path / "fit"), "-sequence", "molli"]) == 0
    assert (tmp_path / "fit" / "case0_T1map.nii.gz").is_file()
    (tmp_path / "readout.json").write_text(json.dumps({"sequence": "molli", "readout": 2}))
    assert main(_translate(images, tmp_path / "one", prior, "-to_protocol", str(tmp_path / "readout.json"))) == 0
    assert "inversion_times_ms" not in json.loads((tmp_path / "one" / "case0.json").read_text())


def test_the_published_network_translates(series, published, tmp_path, capsys):
    out, options = tmp_path / "cine", ("-from", "molli", "-scaling", "published")
    assert main(_translate(series, out, published, *options)) == 0
    assert json.loads((out / "case0.json").read_text())["prior"]["scaling"] == "published"
    assert main(_translate(series, out, published, *options)) == 0
    assert "2 of 2 cases are finished and skipped" in capsys.readouterr().err


def test_killed_while_it_overwrites_no_record_vouches_for_what_is_there(series, prior, tmp_path, monkeypatch):
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


def test_single_readouts_are_refused_unless_they_are_allowed(series, prior, tmp_path, refused):
    out, reason = tmp_path / "out", "does not determine T1"
    readouts = 2 * len(MOLLI().inversion_times_ms)
    expected = f"case0_ti00 and {readouts - 1} more: a single readout of an inversion series {reason}"
    refused(_translate(series, out, prior, "-from", "molli", "--single"), expected, "without --single")
    refused(_translate(series, out, prior), expected, "add --allow_single_readouts")  # read as cine
    assert not out.exists()
    for path in series.glob("*_ti0[1-9]_*"):
        path.unlink()
    for case in ("case0", "case1"):
        (series / f"{case}.json").write_text('{"inversion_times_ms": [120]}')
    refused(_translate(series, out, prior, "-from", "molli"), "case0 and 1 more: a single readout of an")
    assert main(_translate(series, out, prior, "-from", "molli", "--allow_single_readouts")) == 0
    assert len(list(out.glob("*.nii.gz"))) == 2


def test_single_readouts_become_a_series(series, prior, tmp_path):
    target = tmp_path / "target.json"
    target.write_text(json.dumps({"sequence": "t2prep", "t2_prep_ms": [0, 55]}))
    out = tmp_path / "out"
    options = ("-from", "molli", "--single", "--allow_single_readouts", "-to_protocol", str(target))
    assert main(_translate(series, out, prior, *options)) == 0
    assert len(list(out.glob("*.nii.gz"))) == 2 * len(MOLLI().inversion_times_ms) * 2
    assert (out / "case1_ti03_ti01_0000.nii.gz").is_file()


def test_translation_to_nothing(series, prior, tmp_path, capsys):
    assert main(_translate(series, tmp_path / "o", prior, "-from", "molli", "-to", "bsfp")) == 1
    assert "did you mean 'bssfp'?" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_what_looks_wrong_is_said_and_recorded(series, prior, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nnunet_phys.precomputed_spin.quality.MOST_RESIDUAL", 0.0)
    out = tmp_path / "out"
    assert main(_translate(series, out, prior, "-from", "molli")) == 0
    flags = json.loads((out / "case0.json").read_text())["quality"]["flags"]
    printed = capsys.readouterr().err
    assert flags and f"case0, slice {flags[0]['slice']}: {flags[0]['reason']}" in printed
    assert f"2 cases with flags in {out}, listed in {out / 'flagged.txt'}" in printed
    assert (out / "flagged.txt").read_text().splitlines()[1].startswith("case0\tslice 0: residual ")


def test_a_phase_sensitive_target_keeps_the_sign(series, prior, tmp_path):
    target = tmp_path / "target.json"
    target.write_text(json.dumps({"sequence": "lge_gre", "inversion_time_ms": 300, "phase_sensitive": True}))
    assert main(_translate(series, tmp_path / "out", prior, "-from", "molli", "-to_protocol", str(target))) == 0
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "case0_0000.nii.gz"))).min() < 0


def test_options_that_contradict_each_other(series, prior, tmp_path, refused):
    target = tmp_path / "target.json"
    target.write_text('{"sequence": "gre"}')
    common = (series, tmp_path / "out", prior)
    refused(_translate(*common, "-to", "bssfp", "-to_protocol", str(target)), "-to bssfp and -to_protocol")
    refused(_translate(*common, "-from", "molli", "-protocol", str(target)), "-from molli and -protocol")
    target.write_text('[{"sequence": "gre"}, {"sequence": "gre"}]')
    refused(_translate(*common, "-to_protocol", str(target)), "describe one sequence")


def test_images_of_others_stay(series, prior, tmp_path, refused):
    out = tmp_path / "out"
    out.mkdir()
    (out / "case1_0000.nii.gz").write_bytes(b"measured")
    refused(_translate(series, out, prior, "-from", "molli"), "case1_0000.nii.gz was not made by nnunet_phys")
    assert [path.name for path in out.iterdir()] == ["case1_0000.nii.gz"]
    assert main(_translate(series, out, prior, "-from", "molli", "--overwrite")) == 0
