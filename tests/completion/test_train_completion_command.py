"""`train_completion` as typed: what it refuses, how it goes on, pretraining, and pretrained parts."""

from __future__ import annotations

import json
import shutil

import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.training_checkpoint import Checkpoint
from nnunet_phys.whole_files import making_alone


def _values(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


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
