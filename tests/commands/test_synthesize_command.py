"""`nnunet_phys synthesize`: what it writes is the signal of the maps, can be replayed, and how it refuses."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys import image_files
from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.augmentations.synthetic_image import SyntheticImage
from nnunet_phys.commands import main
from nnunet_phys.map_files import save_maps
from nnunet_phys.sequences import BSSFP, MOLLI, InversionRecoveryGRE
from nnunet_phys.sequences.description import make_sequence
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import ContrastAgent, TissueState

CASES = ("a", "b_1")
TISSUES = np.array([[0.85, 1050, 50], [0.9, 1500, 180], [0.65, 280, 65]], np.float32)


@pytest.fixture
def maps(tmp_path):
    """A folder with maps of two cases, oblique, without images or records."""
    folder, rng = tmp_path / "maps", np.random.default_rng(0)
    folder.mkdir()
    for case in CASES:
        voxels = TISSUES[rng.integers(0, 3, (2, 12, 14))]
        for name, values in zip(("PDmap", "T1map", "T2map"), np.moveaxis(voxels, -1, 0), strict=True):
            image = sitk.GetImageFromArray(np.ascontiguousarray(values))
            image.SetSpacing((1.4, 1.6, 8.0))
            image.SetOrigin((-12.5, 7.25, 31.0))
            image.SetDirection((0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))
            sitk.WriteImage(image, str(folder / f"{case}_{name}.nii.gz"))
    return folder


def _synthesize(maps, out, *more):
    return ["synthesize", "-i", str(maps), "-o", str(out), "--disable_progress_bar", *more]


def _spin(maps, case) -> SpinMaps:
    return SpinMaps(*(torch.from_numpy(_array(maps / f"{case}_{n}.nii.gz")) for n in ("PDmap", "T1map", "T2map")))


def _array(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _contents(folder) -> dict:
    return {p.name: _array(p) for p in sorted(folder.glob("*.nii.gz"))}


def _near(image, signal) -> bool:
    """The signal equation's own image, bit for bit but for the order of multiplications."""
    truth = signal.abs().numpy()
    return float(np.abs(image - truth).max()) <= 1e-6 * float(truth.max())


def test_one_image_is_the_signal_of_the_maps(maps, tmp_path):
    out = tmp_path / "out"
    assert main(_synthesize(maps, out, "-sequence", "bssfp", "-fa", "60")) == 0
    assert sorted(p.name for p in out.iterdir()) == ["a.json", "a_0000.nii.gz", "b_1.json", "b_1_0000.nii.gz"]
    for case in CASES:
        image, source = (sitk.ReadImage(str(p)) for p in (out / f"{case}_0000.nii.gz", maps / f"{case}_PDmap.nii.gz"))
        assert image.GetPixelID() == sitk.sitkFloat32
        for of in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(image, of)(), getattr(source, of)(), atol=1e-5)
        assert _near(sitk.GetArrayFromImage(image), BSSFP(60.0)(_spin(maps, case)))
    record = json.loads((out / "a.json").read_text())
    assert make_sequence(record["images"][0]["draw"]["sequence"]) == BSSFP(60.0)
    assert record["image"]["file"] == "a_PDmap.nii.gz" and [entry["file"] for entry in record["more_files"]] == [
        "a_0000.nii.gz"
    ]


@pytest.mark.parametrize(
    ("options", "sequence"),
    [
        ((), MOLLI()),
        (("-ti", "120", "1120", "2120"), MOLLI.from_inversion_times((120, 1120, 2120))),
        (("-fa", "20", "-tr", "2.5"), MOLLI(flip_angle_deg=20.0, tr_ms=2.5)),
    ],
)
def test_a_series_in_acquisition_order(maps, tmp_path, options, sequence):
    out = tmp_path / "out"
    assert main(_synthesize(maps, out, "-sequence", "molli", *options)) == 0
    truth = sequence(_spin(maps, "a"))
    assert len(list(out.glob("a_*.nii.gz"))) == len(truth)
    for i, signal in enumerate(truth):
        assert _near(_array(out / f"a_ti{i:02d}_0000.nii.gz"), signal)
    times = json.loads((out / "a.json").read_text())["inversion_times_ms"]
    assert tuple(times) == sequence.inversion_times_ms


def test_single_readout_null_agent_and_several_values(maps, tmp_path):
    spin, agent = _spin(maps, "a"), ContrastAgent(0.5, 0.25)
    assert main(_synthesize(maps, tmp_path / "one", "-sequence", "molli", "-ti", "300")) == 0
    one = MOLLI(scheme="1", first_inversion_times_ms=(300.0,), readout=0)
    assert _near(_array(tmp_path / "one" / "a_0000.nii.gz"), one(spin))

    late = ("-sequence", "lge_gre", "-gd", "0.5", "0.25")
    assert main(_synthesize(maps, tmp_path / "null", *late, "--null")) == 0
    made = make_sequence(json.loads((tmp_path / "null" / "a.json").read_text())["images"][0]["draw"]["sequence"])
    after, _ = TissueState(agent=agent)(SpinMaps(*torch.tensor([[1.0], [1000.0], [50.0]])))
    assert abs(float(made(after))) < 1e-5
    assert _near(_array(tmp_path / "null" / "a_0000.nii.gz"), made(TissueState(agent=agent)(spin)[0]))

    assert main(_synthesize(maps, tmp_path / "scout", *late, "-ti", "200", "300")) == 0
    for i, time in enumerate((200.0, 300.0)):
        signal = InversionRecoveryGRE(inversion_time_ms=time)(TissueState(agent=agent)(spin)[0])
        assert _near(_array(tmp_path / "scout" / f"a_ti{i:02d}_0000.nii.gz"), signal)
    assert main(_synthesize(maps, tmp_path / "sasha", "-sequence", "sasha", "-ts", "100", "inf")) == 0
    assert "Infinity" not in (tmp_path / "sasha" / "a.json").read_text()


@pytest.mark.parametrize(
    "described", [{"first_inversion_times_ms": [100, 180], "readout": 3}, {"inversion_times_ms": [100, 1000, 1900]}]
)
def test_inversion_times_of_the_command_line_replace_those_of_a_protocol(maps, tmp_path, described):
    protocol = tmp_path / "molli.json"
    protocol.write_text(json.dumps({"sequence": "molli", **described}))
    for times in (("300",), ("100", "900", "1700")):
        out = tmp_path / f"{len(times)}"
        assert main(_synthesize(maps, out, "-protocol", str(protocol), "-ti", *times)) == 0
        assert len(list(out.glob("a_*.nii.gz"))) == len(times)


def test_a_killed_series_is_gone_on_with(maps, tmp_path, monkeypatch):
    out, arguments = tmp_path / "out", ("-sequence", "molli")
    write = image_files.write_volume
    calls = []

    def killed(*args):
        calls.append(args)
        if len(calls) == 12:  # within the second case's eight readouts
            raise KeyboardInterrupt
        return write(*args)

    monkeypatch.setattr(image_files, "write_volume", killed)
    assert main(_synthesize(maps, out, *arguments)) == 130
    first, half = sorted(CASES)
    kept = (out / f"{first}_ti00_0000.nii.gz").stat().st_mtime_ns
    assert len(list(out.glob(f"{half}_ti*"))) == 3
    assert main(_synthesize(maps, out, *arguments)) == 0
    assert len(list(out.glob("*.nii.gz"))) == 16 and (out / f"{first}_ti00_0000.nii.gz").stat().st_mtime_ns == kept


def test_phase_sensitive_images_are_signed(maps, tmp_path):
    protocol = tmp_path / "psir.json"
    protocol.write_text(json.dumps({"sequence": "lge_gre", "phase_sensitive": True}))
    assert main(_synthesize(maps, tmp_path / "out", "-protocol", str(protocol), "-ti", "200")) == 0
    truth = InversionRecoveryGRE(inversion_time_ms=200.0)(_spin(maps, "a")).numpy()
    assert truth.min() < 0
    np.testing.assert_allclose(_array(tmp_path / "out" / "a_0000.nii.gz"), truth, atol=0.01 * np.abs(truth).max())


def test_draws_of_a_recipe_differ_and_replay_bit_for_bit(maps, tmp_path):
    draws = ("-recipe", "default", "-n", "4", "-seed", "7")
    for out in ("first", "second"):
        assert main(_synthesize(maps, tmp_path / out, *draws)) == 0
    first, second = (_contents(tmp_path / out) for out in ("first", "second"))
    assert sorted(first) == sorted(f"{case}_{k:03d}_0000.nii.gz" for case in CASES for k in range(4))
    assert all(np.array_equal(first[name], second[name]) for name in first)
    drawn = [(tmp_path / "first" / f"{case}_{k:03d}.json").read_text() for case in CASES for k in range(4)]
    assert len({json.dumps(json.loads(text)["images"][0]["draw"]) for text in drawn}) == 8
    for k in range(4):
        out = tmp_path / f"again{k}"
        assert main(_synthesize(maps, out, "-draw", str(tmp_path / "first" / f"a_{k:03d}.json"))) == 0
        assert np.array_equal(_contents(out)["a_0000.nii.gz"], first[f"a_{k:03d}_0000.nii.gz"])


def test_breathing_and_noise_are_recorded_and_replayed(maps, tmp_path):
    moved = ("-sequence", "molli", "-breathing", "4", "-noise", "0.02")
    assert main(_synthesize(maps, tmp_path / "moved", *moved)) == 0
    shifts = [one["shift_mm"] for one in json.loads((tmp_path / "moved" / "a.json").read_text())["images"]]
    assert len(set(shifts)) == 8 and 0 < max(map(abs, shifts)) <= 4
    assert main(_synthesize(maps, tmp_path / "again", "-draw", str(tmp_path / "moved" / "a.json"))) == 0
    first, again = (_contents(tmp_path / out) for out in ("moved", "again"))
    assert all(np.array_equal(first[name], again[name]) for name in first if name.startswith("a_"))
    assert main(_synthesize(maps, tmp_path / "other", *moved, "-seed", "1")) == 0
    assert not np.array_equal(_contents(tmp_path / "other")["a_ti00_0000.nii.gz"], first["a_ti00_0000.nii.gz"])


def test_a_shift_goes_from_row_to_row(maps, tmp_path):
    assert main(_synthesize(maps, tmp_path / "still", "-sequence", "bssfp")) == 0
    record = json.loads((tmp_path / "still" / "a.json").read_text())
    record["images"][0]["shift_mm"] = 2 * 1.6
    draw = tmp_path / "draw.json"
    draw.write_text(json.dumps(record))
    assert main(_synthesize(maps, tmp_path / "moved", "-draw", str(draw))) == 0
    still, moved = (_array(tmp_path / out / "a_0000.nii.gz") for out in ("still", "moved"))
    np.testing.assert_allclose(moved[:, 2:], still[:, :-2], atol=1e-5)


def test_images_in_tiff_have_their_spacing_beside_them(tmp_path, refused):
    from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

    image = sitk.GetImageFromArray(np.ones((3, 12, 14), np.float32))
    sitk.WriteImage(image, str(tmp_path / "a_0000.tif"))
    (tmp_path / "a.json").write_text(json.dumps({"spacing": [8.0, 1.6, 1.4]}))
    ones = torch.ones(3, 12, 14)
    save_maps(tmp_path / "maps", "a", SpinMaps(ones, 1000 * ones, 50 * ones), tmp_path / "a_0000.tif", ".tif", {})
    assert main(_synthesize(tmp_path / "maps", tmp_path / "out", "-sequence", "gre")) == 0
    _, properties = Tiff3DIO().read_images([str(tmp_path / "out" / "a_0000.tif")])
    assert list(properties["spacing"]) == [8.0, 1.6, 1.4]
    refused(_synthesize(tmp_path / "maps", tmp_path / "series", "-sequence", "molli"), "a series of .tif files")


def test_breathing_moves_the_signed_signal():
    """Between tissue before its null and after it, signals cancel, and magnitudes would not."""
    ones = torch.ones(1, 8, 4)
    t1 = torch.where(torch.arange(8)[None, :, None] < 4, 300.0, 2000.0) * ones
    image = SyntheticImage(ContrastDraw(InversionRecoveryGRE(inversion_time_ms=400.0)), shift_mm=0.5)
    made = image.make(SpinMaps(ones, t1, 50 * ones), (8.0, 1.0, 1.0))[0, :, 0]
    torch.testing.assert_close(made[4], (made[2] - made[6]) / 2)


def test_an_image_changed_since_is_not_replaced(maps, tmp_path, refused):
    out = tmp_path / "out"
    arguments = _synthesize(maps, out, "-sequence", "bssfp")
    assert main(arguments) == 0
    image = out / "a_0000.nii.gz"
    image.write_bytes(image.read_bytes() + b"edited")
    refused(arguments, "a_0000.nii.gz was not made by nnunet_phys, or was changed since", "add --overwrite")
    assert image.read_bytes().endswith(b"edited")
    assert main([*arguments, "--overwrite"]) == 0 and not image.read_bytes().endswith(b"edited")


def test_what_is_finished_is_kept(maps, tmp_path, refused, capsys):
    out = tmp_path / "out"
    assert main(_synthesize(maps, out, "-sequence", "molli")) == 0
    before = (out / "a_ti00_0000.nii.gz").stat().st_mtime_ns
    (out / "b_1_ti03_0000.nii.gz").unlink()
    assert main(_synthesize(maps, out, "-sequence", "molli")) == 0
    assert "1 set of images finished and skipped" in capsys.readouterr().err
    assert (out / "a_ti00_0000.nii.gz").stat().st_mtime_ns == before and (out / "b_1_ti03_0000.nii.gz").is_file()
    refused(_synthesize(maps, out, "-sequence", "bssfp"), "a and 1 more: images in", "Add --overwrite")
    assert main(_synthesize(maps, out, "-sequence", "bssfp", "--overwrite")) == 0
    assert sorted(p.name for p in out.glob("*.nii.gz")) == ["a_0000.nii.gz", "b_1_0000.nii.gz"]
    (out / "a.json").unlink()  # somebody else's image
    refused(_synthesize(maps, out, "-sequence", "bssfp"), "a: images in", "or by something else")
    (out / "a.json").write_text('{"maps": {"PDmap": {"file": "a_0000.nii.gz"}}}')
    refused(_synthesize(maps, out, "-sequence", "bssfp", "--overwrite"), "is not a record of nnunet_phys: move it away")
    assert (out / "a_0000.nii.gz").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "Give one of -sequence, -protocol, -recipe, -draw."),
        (("-recipe", "default", "-sequence", "gre"), "Give one of -sequence, -protocol, -recipe, -draw, not -sequence"),
        (("-sequence", "moli"), "No sequence 'moli' (did you mean 'molli'?"),
        (("-sequence", "molli", "-te", "3"), "-te: molli has no such parameter; it has -fa, -tr, -ti."),
        (("-sequence", "bssfp", "-n", "3"), "-n goes with -recipe, not with -sequence."),
        (("-recipe", "default", "-gd", "1", "1"), "-gd goes with -sequence or -protocol, not with -recipe."),
        (("-recipe", "nothing"), "No recipe 'nothing'"),
        (("-sequence", "gre", "-fa", "0.3"), "looks like radians"),
        (("-sequence", "lge_gre", "-ti", "0.3"), "looks like seconds"),
        (("-sequence", "gre", "--null"), "--null sets the inversion time of lge_gre or lge_bssfp"),
        (("-sequence", "lge_gre", "--null", "-gd", "9", "9"), "--null: no inversion time nulls"),
        (("-sequence", "bssfp", "-gd", "-1", "1"), "-gd -1 1: blood must lie between 0 and 50"),
        (("-sequence", "bssfp", "-breathing", "3"), "this is one image"),
        (("-sequence", "sasha", "-ts", "99", "500", "600", "-t2_prep", "0", "50"), "3 of -ts and 2 of -t2_prep"),
        (("-protocol", "nowhere.json"), "-protocol nowhere.json is not readable JSON (no such file)"),
        (("-draw", "nowhere.json"), "nowhere.json is not readable JSON (no such file)"),
    ],
)
def test_bad_arguments(maps, tmp_path, refused, options, message):
    refused(_synthesize(maps, tmp_path / "out", *options), message)
    assert not (tmp_path / "out").exists()


def test_a_protocol_that_would_not_be_followed(maps, tmp_path, refused):
    protocol = tmp_path / "protocol.json"
    arguments = _synthesize(maps, tmp_path / "out", "-protocol", str(protocol))
    for content, message in (
        ([{"sequence": "gre"}, {"sequence": "bssfp"}], "describe one sequence"),
        ({"sequence": "gre", "te": 3}, "Sequence gre has no parameter 'te'"),
    ):
        protocol.write_text(json.dumps(content))
        refused(arguments, message)


def test_records_that_are_none(maps, tmp_path, refused):
    draw = tmp_path / "draw.json"
    bssfp = {"sequence": "bssfp"}
    for content in (
        [],
        {"images": 3},
        {"sequence": bssfp, "tissue": 3},
        {"sequence": bssfp, "noise": {"of": 1}},
        {},
        {"images": []},
    ):
        draw.write_text(json.dumps(content))
        refused(_synthesize(maps, tmp_path / "out", "-draw", str(draw)), f"-draw {draw}")


def test_faults_of_maps_are_found_before_anything_is_written(maps, tmp_path, refused):
    out, bssfp = tmp_path / "out", ("-sequence", "bssfp")
    refused(_synthesize(tmp_path / "none", out, *bssfp), "no such folder")
    (tmp_path / "empty").mkdir()
    refused(_synthesize(tmp_path / "empty", out, *bssfp), "holds no maps, such as CASE_PDmap.nii.gz")
    refused(_synthesize(maps, maps, *bssfp), "is a folder that is read from")
    (maps / "a_PDmap.nii.gz").unlink()
    image = sitk.ReadImage(str(maps / "b_1_T1map.nii.gz"))
    sitk.WriteImage(image * float("nan"), str(maps / "b_1_T1map.nii.gz"))
    missing = f"a: {maps / 'a_PDmap.nii.gz'} is missing"
    refused(_synthesize(maps, out, *bssfp), missing, "b_1: ", "holds NaN")
    assert not out.exists()


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="may write anywhere")
def test_no_right_to_write(maps, tmp_path, refused):
    (tmp_path / "out").mkdir(mode=0o500)
    refused(_synthesize(maps, tmp_path / "out", "-sequence", "bssfp"), "cannot be written to")


def test_a_file_for_a_folder(maps, tmp_path, refused):
    (tmp_path / "out").write_text("")
    refused(_synthesize(maps, tmp_path / "out" / "in", "-sequence", "bssfp"), "cannot be written to")
