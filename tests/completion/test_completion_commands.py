"""`train_completion` and `complete`: the chain as typed, what is never overwritten, and how input is refused."""

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
from nnunet_phys.training_checkpoint import Checkpoint
from nnunet_phys.whole_files import making_alone


@pytest.fixture
def refused(capsys):
    """Asserts that a command is refused with this text."""

    def check(arguments, expected):
        capsys.readouterr()
        assert main([*arguments, "-q"]) == 1
        error = capsys.readouterr().err
        assert expected in error, error

    return check


@pytest.fixture
def images(raw, tmp_path):
    """Case a without LGE, case b with all channels."""
    folder = tmp_path / "images"
    shutil.copytree(raw / "Dataset041_Heart" / "imagesTr", folder)
    (folder / "a_0001.nii.gz").unlink()
    return folder


@pytest.fixture
def complete(model_folder, images, tmp_path):
    """Makes arguments of `nnunet_phys complete` for these images."""
    return lambda *options: [
        *("complete", "-i", str(images), "-o", str(tmp_path / "done"), "-model", str(model_folder)),
        *("-steps", "2", "-device", "cpu", "--disable_progress_bar", *options),
    ]


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


def test_a_data_set_of_one_channel(raw, tmp_path, monkeypatch, refused):
    other = tmp_path / "raw"
    shutil.copytree(raw, other)
    path = other / "Dataset041_Heart" / "dataset.json"
    description = json.loads(path.read_text()) | {"channel_names": {"0": "bSSFP"}}
    path.write_text(json.dumps(description))
    monkeypatch.setenv("nnUNet_raw", str(other))
    refused(["train_completion", "-d", "41", "-o", str(tmp_path / "m")], "has 1 channel. Completion needs two or more")


def test_training_refusals(raw, tmp_path, monkeypatch, refused):
    other = tmp_path / "raw"
    shutil.copytree(raw, other)
    monkeypatch.setenv("nnUNet_raw", str(other))
    train = ["train_completion", "-d", "41", "-o", str(tmp_path / "m"), "-device", "cpu"]
    refused([*train, "-regions", "scar"], "has no label scar")
    refused([*train, "-regions", "MYO", "--no_heat"], "exclude each other")
    refused([*train, "-sequences", "bssfp"], "-maps and -sequences go together")
    refused([*train, "-maps", str(other), "-sequences", "bssfp"], "1 sequences for 3 channels")
    refused([*train, "-maps", str(other), "-sequences", "bssfp", "lge", "gre"], "lge is not in the recipe default")
    refused([*train, "-vae", str(other)], "holds no autoencoder")
    refused([*train, "-image_encoder", str(other)], "holds no CLIP vision model")
    (other / "Dataset041_Heart" / "labelsTr" / "b.nii.gz").unlink()
    refused(train, "b: ")
    (other / "Dataset041_Heart" / "imagesTr" / "b_0001.nii.gz").unlink()
    refused(train, "b: channel 1 (LGE) is missing")
    (tmp_path / "m").mkdir()
    refused(train, "exists. Choose another folder")


def test_cases_that_the_description_lists(complete, raw, tmp_path, monkeypatch, refused):
    assert main(complete()) == 0
    other = tmp_path / "raw"
    shutil.copytree(raw, other)
    monkeypatch.setenv("nnUNet_raw", str(other))
    folder = other / "Dataset041_Heart"
    files = [str(tmp_path / "done" / f"a_{channel:04d}.nii.gz") for channel in range(3)]
    train = ["train_completion", "-d", "41", "-o", str(tmp_path / "m"), "-device", "cpu"]
    for cases, fault in (
        ({"a": {"images": files, "label": "labelsTr/a.nii.gz"}}, "a_0001.nii.gz is a synthetic image"),
        ({}, "lists no cases under 'dataset'"),
    ):
        description = json.loads((folder / "dataset.json").read_text()) | {"dataset": cases}
        (folder / "dataset.json").write_text(json.dumps(description))
        refused(train, fault)


def test_a_model_that_another_process_trains(raw, quickly, tmp_path, refused):
    with making_alone(tmp_path / "m"):
        refused(["train_completion", "-d", "41", "-o", str(tmp_path / "m"), "-device", "cpu"], "another process")


def test_a_killed_training_goes_on_in_float32(raw, quickly, tmp_path, monkeypatch):
    """The remedy after a loss that is not finite."""
    train = ["train_completion", "-d", "41", "-o", str(tmp_path / "m"), "-steps", "2", "-device", "cpu"]
    save = Checkpoint.save

    def save_and_stop(checkpoint, state):
        save(checkpoint, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop)
        assert main(train) == 130
    assert main([*train, "--fp32"]) == 0


def test_two_channels_and_pretraining_on_maps(raw, digital, quickly, tmp_path, monkeypatch):
    other, images = tmp_path / "raw", tmp_path / "images"
    shutil.copytree(raw, other)
    folder = other / "Dataset041_Heart"
    for case in ("a", "b"):
        (folder / "imagesTr" / f"{case}_0001.nii.gz").unlink()
        (folder / "imagesTr" / f"{case}_0002.nii.gz").rename(folder / "imagesTr" / f"{case}_0001.nii.gz")
    description = json.loads((folder / "dataset.json").read_text()) | {"channel_names": {"0": "bSSFP", "1": "T2"}}
    (folder / "dataset.json").write_text(json.dumps(description))
    monkeypatch.setenv("nnUNet_raw", str(other))
    pretraining = ("-maps", str(digital[1]), "-sequences", "bssfp", "black_blood")
    train = ["train_completion", "-d", "41", "-o", str(tmp_path / "m"), "-pixel_mm", "1.5", "-steps", "2"]
    assert main([*train, *pretraining, "-device", "cpu"]) == 0
    losses = json.loads((tmp_path / "m" / "model_index.json").read_text())["record"]["losses"]
    assert "denoiser, pretraining" in losses
    images.mkdir()
    shutil.copy(folder / "imagesTr" / "a_0001.nii.gz", images)
    assert main(["complete", "-i", str(images), "-o", str(tmp_path / "done"), "-model", str(tmp_path / "m")]) == 0
    assert _values(tmp_path / "done" / "a_0000.nii.gz").shape == (2, 30, 28)


def test_latent_diffusion_alone(raw, quickly, complete, refused, tmp_path):
    """`--no_regressor`: CMRDiff as published."""
    model = tmp_path / "model"
    assert main(["train_completion", "-d", "41", "-o", str(model), "--no_regressor", "-steps", "2"]) == 0
    assert json.loads((model / "model_index.json").read_text())["regressor"] == [None, None]
    assert not (model / "regressor").exists()
    arguments = complete("-samples", "0")
    arguments[arguments.index("-model") + 1] = str(model)
    refused(arguments, f"-samples 0: {model} has no regressor")
    assert main([argument for argument in arguments if argument not in ("-samples", "0")]) == 0
    assert json.loads((tmp_path / "done" / "a_0001.json").read_text())["completed"]["samples"] == 1


def test_pretrained_parts(raw, quickly, images, tmp_path):
    """An autoencoder as Stable Diffusion's, for colours, and a CLIP vision model, both tiny and random."""
    from diffusers import AutoencoderKL
    from transformers import CLIPVisionConfig, CLIPVisionModel

    vae, clip = tmp_path / "vae", tmp_path / "clip"
    AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    ).save_pretrained(vae)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=16)).save_pretrained(clip)
    model, done = tmp_path / "model", tmp_path / "done"
    arguments = ["train_completion", "-d", "41", "-o", str(model), "--no_heat", "-steps", "2", "-device", "cpu"]
    assert main([*arguments, "-vae", str(vae), "-image_encoder", str(clip)]) == 0
    assert main(["complete", "-i", str(images), "-o", str(done), "-model", str(model), "-steps", "2"]) == 0
    assert _values(done / "a_0001.nii.gz").std() > 0


@pytest.mark.parametrize("fault", ["another model", "cut off"])
def test_an_image_encoder_that_is_no_whole_clip_model(raw, tmp_path, refused, fault):
    from safetensors.torch import load_file, save_file
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=32, patch_size=16)).save_pretrained(tmp_path / "clip")
    weights = tmp_path / "clip" / "model.safetensors"
    if fault == "cut off":
        weights.write_bytes(weights.read_bytes()[:-100])
    else:
        renamed = {f"encoder.{name}": values for name, values in load_file(weights).items()}
        save_file(renamed, weights, {"format": "pt"})
    train = ["train_completion", "-d", "41", "-o", str(tmp_path / "m"), "-image_encoder", str(tmp_path / "clip")]
    refused([*train, "-device", "cpu"], "holds no CLIP vision model")
