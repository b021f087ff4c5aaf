"""`nnunet_phys reverse` of series: MOLLI, protocols of several sequences, and 4-D files."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps

MOLLI_OPTIONS = ("-sequence", "molli")


def test_a_whole_molli_series_gives_t1(tiny, series, tmp_path, reverse_folder, edit_image):
    out = tmp_path / "out"
    assert main(reverse_folder(series, out, *MOLLI_OPTIONS)) == 0
    for case in tiny.cases[:2]:
        maps = load_maps(out, case, ".nii.gz", series / f"{case}_ti00_0000.nii.gz")
        truth = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case))
        body = truth.pd > 0.5
        assert float((maps.t1 / truth.t1 - 1)[body].abs().median()) < 0.03
        record = json.loads((out / f"{case}.json").read_text())
        assert len(record["more_images"]) == 7 and record["sequences"][0]["scheme"] == "5(3)3"
    before = (out / "case0_T1map.nii.gz").stat().st_mtime_ns
    edit_image(series / "case0_ti05_0000.nii.gz", lambda a: a * 1.1)  # the maps are now out of date
    assert main(reverse_folder(series, out, *MOLLI_OPTIONS)) == 0
    assert (out / "case0_T1map.nii.gz").stat().st_mtime_ns > before


def test_inversion_times_from_file_names(series, tmp_path, reverse_folder):
    named = tmp_path / "named"
    named.mkdir()
    times = json.loads((series / "case0.json").read_text())["inversion_times_ms"]
    for i, time in enumerate(times):
        shutil.copy(series / f"case0_ti{i:02d}_0000.nii.gz", named / f"case0_TI{time:g}_0000.nii.gz")
    shutil.copytree(named, tmp_path / "both")
    shutil.copy(series / "case0.json", tmp_path / "both")
    for name, content in (("timed", {"inversion_times_ms": times}), ("scheme", {"scheme": "5(3)3"})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"sequence": "molli", **content}))
    sources = {
        "by_json": (series, *MOLLI_OPTIONS),
        "by_name": (named, *MOLLI_OPTIONS),
        "by_both": (tmp_path / "both", *MOLLI_OPTIONS),
        "by_protocol": (named, "-protocol", str(tmp_path / "timed.json")),
        "by_scheme": (named, "-protocol", str(tmp_path / "scheme.json")),
        "by_scheme_and_json": (series, "-protocol", str(tmp_path / "scheme.json")),
    }
    for out, (folder, *options) in sources.items():
        assert main(reverse_folder(folder, tmp_path / out, *options)) == 0
    outs = [tmp_path / out for out in sources]
    sequences = [json.loads((out / "case0.json").read_text())["sequences"] for out in outs]
    assert sequences[1:] == sequences[:1] * 5
    first, *others = (sitk.GetArrayFromImage(sitk.ReadImage(str(out / "case0_T1map.nii.gz"))) for out in outs)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-3)


def test_single_readouts_are_cases(series, tmp_path, capsys, reverse_folder):
    out = tmp_path / "single"
    assert main(reverse_folder(series, out, *MOLLI_OPTIONS, "--single")) == 0
    record = json.loads((out / "case1_ti05.json").read_text())
    assert record["sequences"][0]["readout"] == 5 and len(list(out.glob("*_T1map.nii.gz"))) == 16
    capsys.readouterr()
    assert main(reverse_folder(series, tmp_path / "mistaken", "-steps", "2")) == 0
    assert "nnunet_phys: case0_ti00_0000.nii.gz, ... are named as readouts of a MOLLI" in capsys.readouterr().err


def test_a_4d_file_is_a_series_or_a_case_per_volume(series, tmp_path, reverse_folder):
    folder = tmp_path / "4d"
    folder.mkdir()
    volumes = [sitk.ReadImage(str(series / f"case0_ti{i:02d}_0000.nii.gz")) for i in range(8)]
    sitk.WriteImage(sitk.JoinSeries(volumes), str(folder / "case0.nii.gz"))
    shutil.copy(series / "case0.json", folder)
    assert main(reverse_folder(folder, tmp_path / "whole", *MOLLI_OPTIONS)) == 0
    assert sorted(path.name for path in (tmp_path / "whole").glob("*.json")) == ["case0.json"]
    for _ in range(2):  # the second time all volumes are finished
        assert main(reverse_folder(folder, tmp_path / "frames")) == 0
        assert len(list((tmp_path / "frames").glob("case0_t0?_T1map.nii.gz"))) == 8
    frame = sitk.ReadImage(str(tmp_path / "frames" / "case0_t03_PDmap.nii.gz"))
    assert frame.GetSize() == volumes[3].GetSize() and np.allclose(frame.GetDirection(), volumes[3].GetDirection())


@pytest.mark.parametrize(
    ("times", "messages"),
    [
        ([100, 900], ("case0: 2 inversion times in ", "for 8 images")),
        ([0.1, 0.9, 1.7, 2.5, 3.3, 0.2, 1.0, 1.8], ("case0: inversion times up to 3.3 look like seconds",)),
    ],
)
def test_inversion_times_that_do_not_fit_are_refused(series, tmp_path, refused, reverse_folder, times, messages):
    (series / "case0.json").write_text(json.dumps({"inversion_times_ms": times}))
    refused(reverse_folder(series, tmp_path / "out", *MOLLI_OPTIONS), *messages)
    assert not (tmp_path / "out").exists()


def test_a_listed_case_without_inversion_times_is_refused_for_that(series, tmp_path, refused, reverse_folder):
    (series / "case1.json").unlink()
    (tmp_path / "listed.txt").write_text("case1\n")
    arguments = reverse_folder(series, tmp_path / "out", *MOLLI_OPTIONS, "-cases", str(tmp_path / "listed.txt"))
    refused(arguments, "case1: no inversion times. Write")


def test_a_folder_of_times_that_no_sequence_needs_is_refused(series, tmp_path, refused, reverse_folder):
    refused(reverse_folder(series, tmp_path / "out", "-ti", str(series)), "Leave -ti out")
    timed = {"sequence": "molli", "first_inversion_times_ms": [120, 200]}
    (tmp_path / "protocol.json").write_text(json.dumps(timed))
    arguments = ("-protocol", str(tmp_path / "protocol.json"), "-ti", str(series))
    refused(reverse_folder(series, tmp_path / "out", *arguments), "no sequence of the protocol is a MOLLI without")


def test_a_series_on_several_grids_is_refused(series, tmp_path, refused, reverse_folder):
    path = str(series / "case1_ti03_0000.nii.gz")
    sitk.WriteImage(sitk.ReadImage(path)[:, 1:], path)
    refused(reverse_folder(series, tmp_path / "out", *MOLLI_OPTIONS), "case1: ", "differs in geometry from")
    assert not (tmp_path / "out").exists()


def test_file_names_that_do_not_fit_the_sequences_are_refused(series, tmp_path, refused, reverse_folder):
    of_single_molli = "names with _ti are for all images of a single MOLLI"
    protocol, out, numbered = tmp_path / "protocol.json", tmp_path / "out", tmp_path / "numbered"
    protocol.write_text('[{"sequence": "bssfp"}, {"sequence": "t2prep", "t2_prep_ms": [25, 55]}]')
    refused(reverse_folder(series, out, "-protocol", str(protocol)), of_single_molli)
    numbered.mkdir()
    for i in range(8):
        shutil.copy(series / f"case0_ti{i:02d}_0000.nii.gz", numbered / f"case0_{i:04d}.nii.gz")
    refused(reverse_folder(numbered, out, "-protocol", str(protocol)), "8 images", "sequences make 3")
    shutil.copy(series / "case0_ti00_0000.nii.gz", numbered / "case0_ti08_0000.nii.gz")
    refused(reverse_folder(numbered, out, *MOLLI_OPTIONS), of_single_molli)
    assert not out.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"sequence": "molli", "flip_angel_deg": 35}', "did you mean 'flip_angle_deg'?"),
        ('{"sequence": "bssfp", "flip_angle_deg": "45"}', 'flip_angle_deg: "45" is not a finite number'),
        ('{"sequence": "molli", "inversion_times_ms": []}', "Sequence molli: "),
        ('{"sequence": "t2prep", "t2_prep_ms": [0.025, 0.055]}', "t2_prep_ms = 0.055 looks like seconds"),
        ("[]", "is an empty list"),
        ('[{"sequence": "molli", "same_gain": "no"}]', 'same_gain: "no" is not true or false'),
    ],
)
def test_faulty_protocols_are_refused(series, tmp_path, refused, reverse_folder, content, message):
    protocol = tmp_path / "protocol.json"
    protocol.write_text(content)
    refused(reverse_folder(series, tmp_path / "out", "-protocol", str(protocol)), message)
    assert not (tmp_path / "out").exists()
