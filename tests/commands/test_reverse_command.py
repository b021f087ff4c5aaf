"""`nnunet_phys reverse` as a command: what it writes, and how it refuses."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import main
from nnunet_phys.map_files import load_maps
from nnunet_phys.sequences import BSSFP


def _edit(path, change):
    image = sitk.ReadImage(str(path))
    array = change(sitk.GetArrayFromImage(image))
    edited = sitk.GetImageFromArray(array)
    edited.CopyInformation(image)
    sitk.WriteImage(edited, str(path))


def _reverse(prior, *more):
    return ["reverse", "-d", "900", "-device", "cpu", "-steps", "3", "-prior", prior, "--disable_progress_bar", *more]


def test_maps_of_a_data_set(fresh, prior, capsys):
    assert main(_reverse(prior, "-fa", "50")) == 0
    for case in fresh.cases:
        maps = load_maps(fresh.maps, case, ".nii.gz", fresh.image(case))
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(fresh.image(case))))
        assert np.corrcoef(BSSFP(50.0)(maps).numpy().ravel(), image.ravel())[0, 1] > 0.98
        record = json.loads((fresh.maps / f"{case}.json").read_text())
        assert record["sequences"][0]["flip_angle_deg"] == 50 and record["sampler"]["steps"] == 3
        assert set(record["quality"]) >= {"residual_rms", "share_at_bound", "t1_spread", "flags"}
        assert record["image"]["sha256"] and record["versions"]["nnunetv2"]
    assert not [p for p in fresh.maps.iterdir() if p.name.startswith(".")]

    before = {p: p.stat().st_mtime_ns for p in fresh.maps.iterdir()}
    (fresh.maps / "case0_T1map.nii.gz").unlink()
    assert main(_reverse(prior, "-fa", "50")) == 0
    assert f"{len(fresh.cases) - 1} of {len(fresh.cases)} cases are finished" in capsys.readouterr().out
    changed = {p.name for p in fresh.maps.iterdir() if p.stat().st_mtime_ns != before.get(p)}
    assert changed == {f"case0{end}" for end in ("_PDmap.nii.gz", "_T1map.nii.gz", "_T2map.nii.gz", ".json")}


def test_maps_made_with_other_settings_are_not_taken_for_finished(fresh, prior, tmp_path, refused):
    shutil.copytree(prior, tmp_path / "moved")
    assert main(_reverse(prior)) == 0
    assert main(_reverse(str(tmp_path / "moved"))) == 0  # the same prior
    for other, name in (
        (_reverse(prior, "-fa", "60"), "sequences"),
        (_reverse(prior, "-seed", "1"), "seed"),
        (_reverse("digital_heart"), "prior"),
    ):
        refused(other, f"case0 and 5 more: what lies in {fresh.maps} was made with other settings ({name}). Add")
    before = {p: p.stat().st_mtime_ns for p in fresh.maps.iterdir()}
    assert main(_reverse(prior, "-samples", "2", "--save_samples", "--overwrite")) == 0
    assert (fresh.maps / "case0_T1sd.nii.gz").is_file()
    assert main(_reverse(prior, "-fa", "60", "--overwrite")) == 0
    assert {p for p in fresh.maps.rglob("*") if p.is_file()} == set(before)  # nothing of the other settings stays
    assert all(p.stat().st_mtime_ns > former for p, former in before.items())


def test_parts_share_the_work_and_agree_with_the_whole(fresh, prior, tmp_path):
    inputs = ["-i", str(fresh.raw / "imagesTr")]
    common = ["-device", "cpu", "-steps", "2", "-prior", prior, "--disable_progress_bar"]
    assert main(["reverse", *inputs, "-o", str(tmp_path / "whole"), *common]) == 0
    for part in ("0", "1"):
        assert (
            main(["reverse", *inputs, "-o", str(tmp_path / "parts"), "-num_parts", "2", "-part_id", part, *common]) == 0
        )
    names = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "parts").iterdir()) and len(names) == 4 * len(fresh.cases)
    for name in (n for n in names if n.endswith(".nii.gz")):
        a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / w / name))) for w in ("whole", "parts"))
        assert np.array_equal(a, b)


def _from(folder, out, prior, *more):
    common = ["-device", "cpu", "-steps", "3", "-prior", prior, "--disable_progress_bar"]
    return ["reverse", "-i", str(folder), "-o", str(out), *common, *more]


def test_a_whole_molli_series_gives_t1(tiny, series, prior, tmp_path):
    out = tmp_path / "out"
    assert main(_from(series, out, prior, "-sequence", "molli")) == 0
    for case in tiny.cases[:2]:
        maps = load_maps(out, case, ".nii.gz", series / f"{case}_ti00_0000.nii.gz")
        truth = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case))
        body = truth.pd > 0.5
        assert float((maps.t1 / truth.t1 - 1)[body].abs().median()) < 0.03
        record = json.loads((out / f"{case}.json").read_text())
        assert len(record["more_images"]) == 7 and record["sequences"][0]["scheme"] == "5(3)3"
    before = (out / "case0_T1map.nii.gz").stat().st_mtime_ns
    _edit(series / "case0_ti05_0000.nii.gz", lambda a: a * 1.1)  # another image: the maps are out of date
    assert main(_from(series, out, prior, "-sequence", "molli")) == 0
    assert (out / "case0_T1map.nii.gz").stat().st_mtime_ns > before


def test_inversion_times_from_file_names(series, prior, tmp_path):
    named = tmp_path / "named"
    named.mkdir()
    times = json.loads((series / "case0.json").read_text())["inversion_times_ms"]
    for i, ti in enumerate(times):
        shutil.copy(series / f"case0_ti{i:02d}_0000.nii.gz", named / f"case0_TI{ti:g}_0000.nii.gz")
    shutil.copytree(named, tmp_path / "both")
    shutil.copy(series / "case0.json", tmp_path / "both")
    for name, content in (("timed", {"inversion_times_ms": times}), ("scheme", {"scheme": "5(3)3"})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"sequence": "molli", **content}))
    ways = {
        "by_json": (series, "-sequence", "molli"),
        "by_name": (named, "-sequence", "molli"),
        "by_both": (tmp_path / "both", "-sequence", "molli"),
        "by_protocol": (named, "-protocol", str(tmp_path / "timed.json")),
        "by_scheme": (named, "-protocol", str(tmp_path / "scheme.json")),
        "by_scheme_and_json": (series, "-protocol", str(tmp_path / "scheme.json")),
    }
    for out, (folder, *arguments) in ways.items():
        assert main(_from(folder, tmp_path / out, prior, *arguments)) == 0
    outs = [tmp_path / out for out in ways]
    sequences = [json.loads((out / "case0.json").read_text())["sequences"] for out in outs]
    assert sequences[1:] == sequences[:1] * 5
    first, *others = (sitk.GetArrayFromImage(sitk.ReadImage(str(out / "case0_T1map.nii.gz"))) for out in outs)
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-3)


def test_single_readouts_and_4d_files(tiny, series, prior, tmp_path, capsys):
    assert main(_from(series, tmp_path / "single", prior, "-sequence", "molli", "--single")) == 0
    record = json.loads((tmp_path / "single" / "case1_ti05.json").read_text())
    assert record["sequences"][0]["readout"] == 5 and len(list((tmp_path / "single").glob("*_T1map.nii.gz"))) == 16
    folder = tmp_path / "4d"
    folder.mkdir()
    volumes = [sitk.ReadImage(str(series / f"case0_ti{i:02d}_0000.nii.gz")) for i in range(8)]
    sitk.WriteImage(sitk.JoinSeries(volumes), str(folder / "case0.nii.gz"))
    shutil.copy(series / "case0.json", folder)
    assert main(_from(folder, tmp_path / "whole", prior, "-sequence", "molli")) == 0
    assert main(_from(folder, tmp_path / "frames", prior)) == 0
    assert sorted(p.name for p in (tmp_path / "whole").glob("*.json")) == ["case0.json"]
    capsys.readouterr()
    assert main(_from(series, tmp_path / "mistaken", prior, "-steps", "2")) == 0
    assert "Warning: case0_ti00_0000.nii.gz, ... are named as readouts of a MOLLI" in capsys.readouterr().out
    assert len(list((tmp_path / "frames").glob("case0_t0?_T1map.nii.gz"))) == 8
    assert main(_from(folder, tmp_path / "frames", prior)) == 0  # all finished
    frame = sitk.ReadImage(str(tmp_path / "frames" / "case0_t03_PDmap.nii.gz"))
    assert frame.GetSize() == volumes[3].GetSize() and np.allclose(frame.GetDirection(), volumes[3].GetDirection())


def test_series_that_do_not_fit(series, prior, tmp_path, refused):
    molli = ("-sequence", "molli")
    times = series / "case0.json"
    good = times.read_text()
    times.write_text('{"inversion_times_ms": [100, 900]}')
    refused(_from(series, tmp_path / "o", prior, *molli), "case0: 2 inversion times in ", "for 8 images")
    times.write_text('{"inversion_times_ms": [0.1, 0.9, 1.7, 2.5, 3.3, 0.2, 1.0, 1.8]}')
    refused(_from(series, tmp_path / "o", prior, *molli), "case0: inversion times up to 3.3 look like seconds")
    times.write_text(good)
    other = sitk.ReadImage(str(series / "case1_ti03_0000.nii.gz"))[:, 1:]
    sitk.WriteImage(other, str(series / "case1_ti03_0000.nii.gz"))
    refused(_from(series, tmp_path / "o", prior, *molli), "case1: ", "differs in geometry from")
    protocol = tmp_path / "protocol.json"
    (tmp_path / "in").mkdir()
    protocol.write_text('[{"sequence": "bssfp"}, {"sequence": "t2prep", "t2_prep_ms": [25, 55]}]')
    refused(_from(series, tmp_path / "o", prior, "-protocol", str(protocol)), "_ti marks all images of one")
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    for i in range(8):
        shutil.copy(series / f"case0_ti{i:02d}_0000.nii.gz", numbered / f"case0_{i:04d}.nii.gz")
    refused(_from(numbered, tmp_path / "o", prior, "-protocol", str(protocol)), "8 images", "sequences make 3")
    shutil.copy(series / "case0_ti00_0000.nii.gz", numbered / "case0_ti08_0000.nii.gz")
    refused(_from(numbered, tmp_path / "o", prior, *molli), "_ti marks all images of one")
    for content, message in (
        ('{"sequence": "molli", "flip_angel_deg": 35}', "did you mean 'flip_angle_deg'?"),
        ('{"sequence": "bssfp", "flip_angle_deg": "45"}', 'flip_angle_deg: "45" is not a finite number'),
        ('{"sequence": "molli", "inversion_times_ms": []}', "Sequence molli: "),
        ('{"sequence": "t2prep", "t2_prep_ms": [0.025, 0.055]}', "t2_prep_ms = 0.055 looks like seconds"),
        ("[]", "is an empty list"),
        ('[{"sequence": "molli", "same_gain": "no"}]', 'same_gain: "no" is not true or false'),
    ):
        protocol.write_text(content)
        refused(_from(series, tmp_path / "o", prior, "-protocol", str(protocol)), message)
    refused(_from(series, series, prior, *molli), "is a folder that is read from")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.nii").touch()
    refused(
        _from(tmp_path / "raw", tmp_path / "o", prior),
        "holds images that end in .nii. Give",
        "such as .nii.gz",
    )
    shutil.copy(series / "case0_ti00_0000.nii.gz", tmp_path / "in" / "a.nii.gz")
    shutil.copy(series / "case0_ti00_0000.nii.gz", tmp_path / "in" / "a_0000.nii.gz")
    refused(_from(tmp_path / "in", tmp_path / "o", prior), "a: ", "are one case by their names")
    assert not (tmp_path / "o").exists()


def test_a_data_set_of_4d_files_is_refused(fresh, prior, refused):
    volume = sitk.ReadImage(str(fresh.image("case0")))
    sitk.WriteImage(sitk.JoinSeries([volume, volume]), str(fresh.image("case0")))
    refused(_reverse(prior), "case0: ", "is 4-D. A data set holds volumes")
    refused(_reverse(prior, "-o", str(fresh.raw / "imagesTr")), "is a folder that is read from")


def test_an_option_with_a_dash_too_few(capsys):
    with pytest.raises(SystemExit):
        main(["reverse", "-d", "900", "-single"])
    message = capsys.readouterr().err
    assert "usage: nnunet_phys reverse" in message and "-single (did you mean '--single'?)" in message


def test_slices_that_look_wrong_are_told(fresh, prior, capsys, monkeypatch):
    monkeypatch.setattr("nnunet_phys.precomputed_spin.quality.FAT_T1_MS", 1e5)
    monkeypatch.setattr("nnunet_phys.precomputed_spin.quality.FAT_T2_MS", 1e5)
    description = json.loads((fresh.raw / "dataset.json").read_text())
    (fresh.raw / "dataset.json").write_text(json.dumps({**description, "labels": {"background": 0, "LV": 2}}))
    assert main(_reverse(prior)) == 0
    flags = json.loads((fresh.maps / "case0.json").read_text())["quality"]["flags"]
    assert any(re.fullmatch(r"LV has T1 \d+ and T2 \d+ ms, as fat has", flag["reason"]) for flag in flags)
    printed = capsys.readouterr().out
    assert "slices look wrong:" in printed and f"case0, slice {flags[0]['slice']}: {flags[0]['reason']}" in printed


def test_a_folder_that_takes_no_maps(fresh, prior, tmp_path, refused, monkeypatch):
    (tmp_path / "file").write_text("")
    refused([*_reverse(prior), "-o", str(tmp_path / "file" / "maps")], "cannot be written to")
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    refused(_reverse(prior), "GiB are free, the results may take")


def test_samples_and_labels(fresh, prior, tmp_path, refused, capsys):
    path = fresh.raw / "dataset.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({**description, "labels": {"background": 0, "a": 1, "b": 2}}))
    refused(_reverse(prior, "--labels"), "none of background, a, b in dataset.json is known as RV, MYO or LV")
    path.write_text(json.dumps({**description, "labels": {"background": 0, "LV": 1, "MYO": 2}}))
    assert main(_reverse(prior, "--labels", "-samples", "2", "--save_samples")) == 0
    record = json.loads((fresh.maps / "case0.json").read_text())
    assert (
        record["labels"] == {"LV": 1, "MYO": 2}
        and record["samples"]["drawn"] == 2
        and record["sampler"]["average"] == 1
    )
    assert record["quality"]["t1_spread"] > 0
    sizes = {sitk.ReadImage(str(p)).GetSize() for p in fresh.maps.rglob("case0_*.nii.gz")}
    assert len(list(fresh.maps.rglob("case0_*.nii.gz"))) == 3 + 3 + 6 and len(sizes) == 1
    refused(_reverse(prior), "was made with other settings (sampler, samples, labels, label_sha256)")
    (fresh.maps / "samples" / "1" / "case3_T2map.nii.gz").unlink()
    assert main(_reverse(prior, "--labels", "-samples", "2", "--save_samples")) == 0
    assert "5 of 6 cases are finished" in capsys.readouterr().out
    labels = fresh.raw / "labelsTr"
    (labels / "case4.nii.gz").rename(tmp_path / "away.nii.gz")
    refused(_reverse(prior, "--labels", "--overwrite"), "case4: ", "cannot be read")
    (tmp_path / "away.nii.gz").rename(labels / "case4.nii.gz")
    _edit(labels / "case1.nii.gz", np.zeros_like)
    sitk.WriteImage(sitk.ReadImage(str(labels / "case2.nii.gz"))[1:], str(labels / "case2.nii.gz"))
    again = _reverse(prior, "--labels", "--overwrite")
    refused(again, "case1: ", "holds none of the codes", "case2: ", "lies on another grid than")
    refused(_from(fresh.raw / "imagesTr", tmp_path / "o", prior, "--labels"), "--labels needs -d")


def test_processes_of_a_launcher_share_the_work(fresh, prior, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in (("0", 3), ("1", 6)):
        monkeypatch.setenv("RANK", rank)
        assert main(_reverse(prior)) == 0
        assert len(list(fresh.maps.glob("*.json"))) == expected


def test_all_faulty_images_are_named_before_work_starts(fresh, prior, refused):
    _edit(fresh.image("case1"), lambda a: np.full_like(a, np.nan))
    _edit(fresh.image("case2"), np.zeros_like)
    fresh.image("case3").write_bytes(fresh.image("case3").read_bytes()[:200])
    small = sitk.ReadImage(str(fresh.image("case4")))[:20]
    sitk.WriteImage(small, str(fresh.image("case4")))
    refused(
        _reverse(prior),
        "case1: " + str(fresh.image("case1")) + " holds NaN",
        "case2: " + str(fresh.image("case2")) + " has no signal",
        "case3: ",
        "mm in plane, the prior needs 40 mm",
    )
    assert not list(fresh.maps.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "901"], "901"),
        ([], "Give either -d DATASET or -i FOLDER"),
        (["-i", "nowhere"], "needs -o"),
        (["-i", "nowhere", "-o", "out"], "nowhere: no such folder"),
        (["-d", "900", "-num_parts", "2", "-part_id", "2"], "-part_id 2 of -num_parts 2"),
        (["-d", "900", "-device", "cpu", "-prior", "nothing"], "Prior 'nothing' has no prior.json"),
        (["-d", "900", "-device", "nodevice"], "-device nodevice is not available"),
        (["-d", "900", "-device", "cpu", "-fa", "0.6"], "radians"),
        (["-d", "900", "-device", "cpu", "-sequence", "bsfp"], "No sequence 'bsfp' (did you mean 'bssfp'?"),
        (["-d", "900", "-device", "cpu", "--single"], "--single is for the readouts of one MOLLI"),
        (
            ["-d", "900", "-device", "cpu", "-protocol", "nowhere.json"],
            "-protocol nowhere.json is not readable JSON",
        ),
        (["-d", "900", "-device", "cpu", "-sequence", "molli"], "A data set (-d) has one image a case"),
    ],
)
def test_bad_arguments(fresh, prior, refused, arguments, message):
    refused(["reverse", *arguments], message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu(fresh, refused):
    refused(["reverse", "-d", "900"], "-device cuda is not available", "Use -device cpu")


def test_variables_unset(monkeypatch, refused):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    refused(["reverse", "-d", "900"], "nnUNet_raw is not set")
    refused(["phantom", "-d", "900"], "nnUNet_raw is not set")


def test_labels_are_no_image(fresh, prior, refused, tmp_path):
    arguments = ["reverse", "-i", str(fresh.raw / "labelsTr"), "-o", str(tmp_path / "out"), "-device", "cpu"]
    refused([*arguments, "-prior", prior], "case0: ", "different values, as labels do")


def test_several_channels(fresh, refused):
    path = fresh.raw / "dataset.json"
    description = json.loads(path.read_text()) | {"channel_names": {"0": "cine", "1": "LGE"}}
    path.write_text(json.dumps(description))
    refused(["reverse", "-d", "900"], "2 input channels (0: cine, 1: LGE)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-steps", "1"], "argument -steps: 1 is less than 2"),
        (["-batch", "0"], "argument -batch: 0 is less than 1"),
        (["-batch", "1000000"], "argument -batch: 1000000 is more than 256"),
        (["-samples", "0"], "argument -samples: 0 is less than 1"),
        (["-seed", "-1"], "argument -seed: -1 is less than 0"),
        (["-num_parts", "0"], "argument -num_parts: 0 is less than 1"),
        (["-o", ""], "argument -o: it is empty: name a file or folder"),
    ],
)
def test_numbers_out_of_bounds(arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(["reverse", "-d", "900", *arguments])
    assert message in capsys.readouterr().err


def test_options_that_contradict_each_other(fresh, prior, refused, tmp_path):
    protocol = tmp_path / "protocol.json"
    protocol.write_text('{"sequence": "gre"}')
    refused(_reverse(prior, "-sequence", "bssfp", "-protocol", str(protocol)), "-sequence bssfp and -protocol")
    refused(_reverse(prior, "--save_samples"), "--save_samples with -samples 1")
    path = fresh.raw / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": {"background": 0, "LV": 1}}))
    refused(_reverse(prior, "--labels", "-sampler", "dps"), "does not heed labels. Use -sampler proximal")
    assert not list(fresh.maps.iterdir())


def test_a_case_whose_name_ends_like_a_channel_keeps_its_name(fresh, prior, capsys):
    fresh.image("case0").rename(fresh.image("heart_0000"))
    (fresh.raw / "labelsTr" / "case0.nii.gz").rename(fresh.raw / "labelsTr" / "heart_0000.nii.gz")
    path = fresh.raw / "dataset.json"
    labels = {"background": 0, "LV": 1, "MYO": 2}
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": labels}))
    assert main(_reverse(prior, "--labels")) == 0
    assert (fresh.maps / "heart_0000_T1map.nii.gz").is_file() and not (fresh.maps / "heart_T1map.nii.gz").exists()


def test_maps_of_others_stay(fresh, prior, refused):
    measured = fresh.maps / "case2_T1map.nii.gz"
    shutil.copy(fresh.image("case2"), measured)
    content = measured.read_bytes()
    refused(_reverse(prior), f"case2: {measured} was not made by nnunet_phys", "add --overwrite")
    assert [path.name for path in fresh.maps.iterdir()] == [measured.name] and measured.read_bytes() == content
    assert main(_reverse(prior, "--overwrite")) == 0
    assert measured.read_bytes() != content


@pytest.mark.parametrize("content", ["[]", "", '{"inversion_times_ms": 5}'])
def test_a_broken_file_where_a_record_goes_stays(fresh, prior, refused, content):
    (fresh.maps / "case1.json").write_text(content)
    refused(_reverse(prior), "case1: ", "is not a record of nnunet_phys")
    assert (fresh.maps / "case1.json").read_text() == content


def test_files_named_like_leftovers_do_no_harm(fresh, prior):
    leftover = fresh.maps / ".case0.nnunet_phys-abcdefgh"
    leftover.write_text("")
    (fresh.maps / ".case0_T1map.host-x.nii.gz").write_text("")
    assert main(_reverse(prior)) == 0


def test_folders_that_hold_no_images(fresh, prior, refused, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    refused(_from(folder, tmp_path / "o", prior), "holds no image")
    os.mkfifo(folder / "case.nii.gz")
    refused(_from(folder, tmp_path / "o", prior), "case.nii.gz is no regular file")
    (folder / "case.nii.gz").unlink()
    shutil.copy(fresh.image("case0"), folder / "a.nii.gz")
    (tmp_path / "file").write_text("")
    refused(_from(folder, tmp_path / "file", prior), "file is a file. Name a folder")
    colours = sitk.GetImageFromArray(np.ones((2, 40, 40, 3), np.uint8), isVector=True)
    sitk.WriteImage(colours, str(folder / "rgb.nii.gz"))
    refused(_from(folder, tmp_path / "o", prior), "rgb: ", "3 values per pixel")
    assert not (tmp_path / "o").exists()


def test_a_part_without_cases_says_so(fresh, prior, capsys, monkeypatch):
    assert main(_reverse(prior, "-num_parts", "9", "-part_id", "8")) == 0
    assert "part 9 of 9: 0 cases of 6" in capsys.readouterr().out
    monkeypatch.setenv("RANK", "6")
    monkeypatch.setenv("WORLD_SIZE", "7")
    assert main(_reverse(prior)) == 0
    assert "part 7 of 7 (by RANK and WORLD_SIZE in the environment): 0 cases of 6" in capsys.readouterr().out


def test_headers_are_read_once(fresh, prior, tmp_path, monkeypatch):
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
    assert main(_from(folder, tmp_path / "out", prior)) == 0
    assert len(opened) == len(set(opened)) == 2
