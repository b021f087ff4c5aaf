"""`complete` as typed: what it writes, what is never overwritten, and how input is refused."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import main
from nnunet_phys.completion import completing
from nnunet_phys.completion.channel_files import ChannelCase
from nnunet_phys.completion.model_files import load_model
from nnunet_phys.completion.slices import Brightness


def _values(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def test_the_chain_as_typed(raw, quickly, images, tmp_path, capsys):
    model, done = tmp_path / "model", tmp_path / "done"
    assert main(["train_completion", "-d", "41", "-o", str(model), "-pixel_mm", "1.5", "-steps", "2"]) == 0
    assert main(["complete", "-i", str(images), "-o", str(done), "-model", str(model), "-steps", "2"]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert "1 channel" in said and "SYNTHETIC" in said and "no scar" in said
    made = done / "a_0001.nii.gz"
    assert sitk.ReadImage(str(made)).GetSpacing() == pytest.approx((1.5, 1.5, 8.0))
    assert _values(made).shape == (2, 30, 28)
    assert np.isfinite(_values(made)).all() and _values(made).min() >= 0 and _values(made).max() < 250
    assert nibabel.load(made).header["descrip"].tobytes().startswith(b"SYNTHETIC image, not acquired")
    record = json.loads((done / "a_0001.json").read_text())
    assert record["given"] == {"bSSFP": "a_0000.nii.gz", "T2": "a_0002.nii.gz"}
    assert record["channel"] == "LGE" and record["completed"].keys() == {"samples", "model"}
    for name in ("a_0000", "a_0002", "b_0000", "b_0001", "b_0002"):
        assert (done / f"{name}.nii.gz").read_bytes() == (images / f"{name}.nii.gz").read_bytes()


def test_samples_leave_their_mean_and_spread(complete, tmp_path):
    assert main(complete("-samples", "3")) == 0
    spread = _values(tmp_path / "done" / "spread" / "a_0001.nii.gz")
    assert spread.shape == (2, 30, 28) and spread.max() > 0
    record = json.loads((tmp_path / "done" / "a_0001.json").read_text())
    assert record["disagreement"] > 0
    assert record["flagged"] == (record["disagreement"] > 0.5)


@pytest.mark.parametrize("options", [("-start", "0"), ("-scales", "1.5")])
def test_options_of_sampling_take_a_sample(complete, tmp_path, options):
    assert main(complete(*options)) == 0
    assert json.loads((tmp_path / "done" / "a_0001.json").read_text())["completed"]["samples"] == 1


def test_no_sample_leaves_the_image_of_the_regressor(complete, model_folder, images, tmp_path):
    assert main(complete("-samples", "2")) == 0
    assert main(complete("--overwrite")) == 0
    assert not (tmp_path / "done" / "spread" / "a_0001.nii.gz").exists()
    record = json.loads((tmp_path / "done" / "a_0001.json").read_text())
    assert record["completed"]["samples"] == 0 and "flagged" not in record
    case = ChannelCase("a", {number: images / f"a_{number:04d}.nii.gz" for number in (0, 2)}, None)
    given, _, _ = case.slices((0, 2), 1.5)
    slices = torch.stack((given[:, 0], given[:, 0], given[:, 1]), 1)
    expected = load_model(model_folder, torch.device("cpu")).regressed(slices, (0, 2), 1)
    shown = Brightness(0.0, 180.0).to_image(expected).numpy()
    np.testing.assert_allclose(_values(tmp_path / "done" / "a_0001.nii.gz"), shown, atol=0.01)


def test_a_finished_channel_is_not_made_again(complete, tmp_path, capsys):
    assert main(complete()) == 0
    made = tmp_path / "done" / "a_0001.nii.gz"
    before = made.stat().st_mtime_ns
    assert main(complete()) == 0
    assert "0 of them made now" in capsys.readouterr().err
    assert made.stat().st_mtime_ns == before
    assert main(complete("--overwrite")) == 0
    assert made.stat().st_mtime_ns > before


def test_other_settings_do_not_replace_it_unasked(complete, refused):
    assert main(complete("-samples", "1")) == 0
    refused(complete("-samples", "1", "-seed", "1"), "made with other settings")
    assert main(complete("-samples", "1", "-seed", "1", "--overwrite")) == 0


def test_settings_of_samples_mean_nothing_to_the_regressor(complete, capsys):
    assert main(complete()) == 0
    assert main(complete("-steps", "3", "-seed", "1")) == 0
    assert "0 of them made now" in capsys.readouterr().err


@pytest.fixture
def killed(complete, monkeypatch):
    """A command that was killed before it wrote its record."""

    def kill(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(completing, "save_record", kill)
        assert main(complete()) == 130


def test_a_channel_that_was_only_begun_may_be_made_with_other_settings(killed, complete):
    assert main(complete("-samples", "1")) == 0


def test_an_acquired_image_in_the_place_of_one_that_was_only_begun(killed, complete, images, tmp_path, refused):
    made = tmp_path / "done" / "a_0001.nii.gz"
    shutil.copy(images / "b_0001.nii.gz", made)
    refused(complete(), "nnunet_phys complete did not make it")
    assert made.read_bytes() == (images / "b_0001.nii.gz").read_bytes()


def test_files_of_the_user_beside_another_ending(complete, images, tmp_path, refused):
    assert main(complete()) == 0
    mine = tmp_path / "done" / "a_0001.nii.gz"
    shutil.copy(images / "b_0001.nii.gz", mine)
    for path in sorted(images.iterdir()):
        sitk.WriteImage(sitk.ReadImage(str(path)), str(path).replace(".nii.gz", ".nrrd"))
        path.unlink()
    kept = mine.read_bytes()
    refused(complete("--overwrite"), f"{mine} exists, and nnunet_phys complete did not make it")
    sitk.WriteImage(sitk.ReadImage(str(images / "b_0001.nrrd")), str(images / "a_0001.nrrd"))  # acquired meanwhile
    refused(complete("--overwrite"), f"{mine} exists and is not {images / 'a_0001.nrrd'}")
    assert mine.read_bytes() == kept


def test_a_spread_that_the_user_replaced(complete, images, tmp_path, refused):
    assert main(complete("-samples", "2")) == 0
    spread = tmp_path / "done" / "spread" / "a_0001.nii.gz"
    shutil.copy(images / "b_0001.nii.gz", spread)
    refused(complete("--overwrite"), f"{spread} exists, and nnunet_phys complete did not make it")
    assert spread.read_bytes() == (images / "b_0001.nii.gz").read_bytes()


def test_all_copies_are_checked_before_the_first(complete, images, tmp_path, refused):
    done = tmp_path / "done"
    done.mkdir()
    for name in ("b_0001", "b_0002"):
        shutil.copy(images / "a_0000.nii.gz", done / f"{name}.nii.gz")
    for name in ("b_0001", "b_0002"):
        refused(complete(), f"{done / name}.nii.gz exists and is not {images / name}.nii.gz")
    assert sorted(path.name for path in done.iterdir()) == ["b_0001.nii.gz", "b_0002.nii.gz"]


def test_values_that_are_not_finite_are_not_written(complete, tmp_path, refused):
    refused(complete("-scales", "1e30"), "a_0001: the model makes values that are not finite")
    assert not (tmp_path / "done" / "a_0001.nii.gz").exists()


def test_results_inside_the_model(complete, model_folder, refused):
    arguments = complete()
    arguments[arguments.index("-o") + 1] = str(model_folder / "done")
    refused(arguments, "lies in the folder of the model")


@pytest.mark.parametrize("options", [(), ("--overwrite",)])
def test_an_acquired_image_is_never_overwritten(complete, images, tmp_path, refused, options):
    done = tmp_path / "done"
    done.mkdir()
    shutil.copy(images / "b_0001.nii.gz", done / "a_0001.nii.gz")
    refused(complete(*options), "nnunet_phys complete did not make it")
    assert (done / "a_0001.nii.gz").read_bytes() == (images / "b_0001.nii.gz").read_bytes()


def test_a_computed_image_that_was_replaced_is_kept(complete, images, tmp_path, refused):
    """Someone put the acquired image in the place of the computed one."""
    assert main(complete()) == 0
    made = tmp_path / "done" / "a_0001.nii.gz"
    shutil.copy(images / "b_0001.nii.gz", made)
    for options in ((), ("--overwrite",)):
        refused(complete(*options), "was changed since")
        assert made.read_bytes() == (images / "b_0001.nii.gz").read_bytes()


def test_a_computed_image_does_not_count_as_acquired(complete, tmp_path, refused):
    assert main(complete()) == 0
    arguments = complete()
    arguments[arguments.index("-i") + 1] = str(tmp_path / "done")
    arguments[arguments.index("-o") + 1] = str(tmp_path / "again")
    refused(arguments, "a_0001.nii.gz is a synthetic image, and would count as acquired. Remove it.")


def test_a_record_of_a_computed_image_does_not_stay_beside_the_acquired_one(complete, images, tmp_path):
    done = tmp_path / "done"
    assert main(complete("-samples", "2")) == 0
    (done / "a_0001.nii.gz").unlink()
    shutil.copy(images / "b_0001.nii.gz", images / "a_0001.nii.gz")
    assert main(complete("-samples", "2")) == 0
    assert (done / "a_0001.nii.gz").read_bytes() == (images / "a_0001.nii.gz").read_bytes()
    assert not (done / "a_0001.json").exists() and not (done / "spread" / "a_0001.nii.gz").exists()


def test_images_whose_format_cannot_say_that_they_are_computed(complete, images, refused):
    for path in images.iterdir():
        sitk.WriteImage(sitk.ReadImage(str(path)), str(path).replace(".nii.gz", ".gipl"))
        path.unlink()
    refused(complete(), ".gipl files hold no description")


def test_samples_that_disagree_are_named_again_when_nothing_is_left_to_do(complete, monkeypatch, capsys):
    monkeypatch.setattr(completing, "GREATEST_DISAGREEMENT", 0.0)
    for _ in range(2):
        assert main(complete("-samples", "2")) == 0
        assert "samples disagree in a_0001" in capsys.readouterr().err


def test_what_a_killed_process_left_behind_is_removed(complete, tmp_path):
    leftovers = [tmp_path / "done" / name / ".a_0001.nnunet_phys-abcdefgh" for name in (".", "spread")]
    for folder in leftovers:
        folder.mkdir(parents=True)
    assert main(complete("-samples", "2")) == 0
    assert not any(folder.exists() for folder in leftovers)


@pytest.mark.parametrize(
    "options", [("-wanted", "1"), ("-scales", "1.5"), ("-scales", "1.5", "0.5"), ("-start", "2", "-strength", "0.5")]
)
def test_options_change_the_image(complete, tmp_path, options):
    made = tmp_path / "done" / "a_0001.nii.gz"
    assert main(complete("-samples", "1")) == 0
    before = _values(made)
    assert main(complete("-samples", "1", *options, "--overwrite")) == 0
    assert np.allclose(_values(made), before) == (options[0] == "-wanted")


def test_nothing_is_missing(complete, images, tmp_path, capsys):
    for name in ("a_0000", "a_0002"):
        (images / f"{name}.nii.gz").unlink()
    assert main(complete()) == 0
    assert "No case lacks any channel" in capsys.readouterr().err
    assert len(list((tmp_path / "done").iterdir())) == 3


def test_channels_of_different_geometry(complete, images, refused):
    image = sitk.ReadImage(str(images / "a_0002.nii.gz"))
    image.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(image, str(images / "a_0002.nii.gz"))
    refused(complete(), "a: a_0002.nii.gz and a_0000.nii.gz differ in origin")


def test_a_channel_that_the_model_never_saw(complete, images, refused):
    refused(complete("-wanted", "5"), "-wanted 5: the model has channels 0 (bSSFP), 1 (LGE), 2 (T2)")
    shutil.copy(images / "a_0000.nii.gz", images / "a_0003.nii.gz")
    refused(complete(), "the model has no channel 3")


@pytest.mark.parametrize("value", [7.0, np.nan])
def test_constant_and_nan_images(complete, images, tmp_path, refused, value):
    image = sitk.ReadImage(str(images / "a_0000.nii.gz"))
    filled = sitk.GetImageFromArray(np.full(_values(images / "a_0000.nii.gz").shape, value, np.float32))
    filled.CopyInformation(image)
    sitk.WriteImage(filled, str(images / "a_0000.nii.gz"))
    refused(complete(), "constant" if value == 7.0 else "NaN")
    assert not (tmp_path / "done").exists()


def test_options_that_do_not_fit(complete, refused):
    refused(complete("-scales", "1.5", "2", "2"), "a has 2 given channels, but -scales has 3 values")
    refused(complete("-start", "1"), "a lacks channel 1, which -start names")
    refused(complete("-strength", "0.5"), "-strength goes with -start")
    refused(complete("-samples", "0", "-start", "0"), "-samples 0 takes no samples, on which")


def test_half_a_model(complete, images, tmp_path, refused):
    arguments = complete()
    arguments[arguments.index("-model") + 1] = str(images)
    refused(arguments, "holds no model_index.json")
