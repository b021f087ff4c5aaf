"""The pipeline: what it is given decides what it makes; on disk it stays the same."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from nnunet_phys.completion.autoencoder import images_of, latents_of, new_autoencoder, normalise_latents
from nnunet_phys.completion.image_encoder import ImageEncoder, contrastive_loss
from nnunet_phys.completion.model_files import load_model, model_sha256
from nnunet_phys.completion.regressor import regress
from nnunet_phys.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(model_folder):
    """The tiny model, in float32 so that equal inputs give equal outputs in any batch."""
    return load_model(model_folder, CPU)


def _images(slices: int = 3) -> torch.Tensor:
    return torch.rand(slices, 3, 30, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1


def _made(pipeline, images, given=(0, 2), wanted=1, **options) -> torch.Tensor:
    return pipeline(images, given, wanted, steps=2, generator=torch.Generator().manual_seed(3), **options).images


def test_slices_of_any_size(pipeline):
    made = _made(pipeline, _images(), samples=2)
    assert made.shape == (2, 3, 30, 28)
    assert float(made.abs().max()) <= 1
    assert not torch.equal(made[0], made[1])


def test_only_given_channels_decide(pipeline):
    images = _images()
    other = images.clone()
    other[:, 1] = 0.7
    assert torch.equal(_made(pipeline, images), _made(pipeline, other))
    other[:, 2] = -0.2
    assert not torch.equal(_made(pipeline, images), _made(pipeline, other))


def test_all_slices_begin_with_the_same_noise(pipeline):
    """The same slice three times becomes the same image three times."""
    made = _made(pipeline, _images(1).expand(3, -1, -1, -1))[0]
    torch.testing.assert_close(made[0], made[2], atol=2e-2, rtol=0)


def test_one_scale_for_each_given_channel_changes_the_image(pipeline):
    plain, same, guided = (_made(pipeline, _images(), scales=scales) for scales in (None, (1.0, 1.0), (3.0, 1.0)))
    assert torch.equal(plain, same)
    assert not torch.equal(plain, guided)


@pytest.mark.parametrize(
    ("given", "wanted", "options", "message"),
    [
        ((0, 1), 1, {}, "must be different channels"),
        ((2, 0), 1, {}, "ascending"),
        ((), 1, {}, "must be different channels"),
        ((0, 3), 1, {}, "must be different channels"),
        ((0, 2), 1, {"scales": (1.5,)}, "1 scales for 2 given channels"),
        ((0,), 1, {"start": 2}, "start 2 is not among"),
    ],
)
def test_channels_that_do_not_go_together_are_refused(pipeline, given, wanted, options, message):
    with pytest.raises(ValueError, match=message):
        _made(pipeline, _images(1), given, wanted, **options)


def test_without_a_residual_the_image_is_the_regression(pipeline):
    """What the denoiser samples is added to what the regressor expects."""
    images = _images(1)
    padded = torch.nn.functional.pad(images, (2, 2, 1, 1), value=-1.0)
    given = torch.tensor([[True, False, True]])
    expected = regress(pipeline.regressor, padded, given, torch.tensor([1])).clamp(-1, 1)
    decoded = images_of(pipeline.autoencoder, latents_of(pipeline.autoencoder, expected))[:, 1:-1, 2:-2]
    scale = pipeline.config["residual_scale"]
    pipeline.register_to_config(residual_scale=1e-6)
    try:
        made = _made(pipeline, images)[0]
    finally:
        pipeline.register_to_config(residual_scale=scale)
    assert float((made - decoded).abs().mean()) < 0.01  # the pipeline may compute in bfloat16


def test_what_samples_scatter_about_is_the_regression(pipeline):
    images = _images(2)
    padded = torch.nn.functional.pad(images, (2, 2, 1, 1), value=-1.0)
    given = torch.tensor([[True, False, True]]).expand(2, -1)
    regression = regress(pipeline.regressor, padded, given, torch.tensor([1, 1])).clamp(-1, 1)[:, 1:-1, 2:-2]
    assert float((pipeline.regressed(images, (0, 2), 1) - regression).abs().mean()) < 0.01  # perhaps in bfloat16
    with pytest.raises(ValueError, match="ascending"):
        pipeline.regressed(images, (2, 0), 1)


def test_a_guided_start_of_little_strength_stays_near_its_channel(pipeline):
    """With 1 of 50 steps taken, the latents are almost those of the channel that it starts from."""
    images = _images(1)
    made = pipeline(
        images, (0,), 1, steps=50, start=0, strength=0.02, generator=torch.Generator().manual_seed(0)
    ).images[0]
    from_noise = pipeline(images, (0,), 1, steps=50, generator=torch.Generator().manual_seed(0)).images[0]
    padded = torch.nn.functional.pad(images[:, 0], (2, 2, 1, 1), value=-1.0)
    decoded = images_of(pipeline.autoencoder, latents_of(pipeline.autoencoder, padded))[:, 1:-1, 2:-2]
    assert float((made - decoded).abs().mean()) < 0.5 * float((from_noise - decoded).abs().mean())


@pytest.mark.parametrize("steps", [1, 25, 61, 103, 1000])
def test_sampling_begins_where_all_is_noise(pipeline, monkeypatch, steps):
    """Also a model that was read from disk, whose scheduler spells out how it spaces its own steps."""
    asked = []

    def ask(latents, timestep, *_):
        asked.append(int(timestep))
        return torch.zeros_like(latents)

    monkeypatch.setattr(pipeline, "_guided_velocity", ask)
    made = pipeline(_images(1), (0, 2), 1, steps=steps).images
    assert asked[0] == 999 and len(asked) == steps and bool(torch.isfinite(made).all())


def test_a_model_is_safetensors_and_json_alone(model_folder):
    endings = {path.suffix for path in model_folder.rglob("*") if path.is_file()}
    assert endings == {".json", ".safetensors"}
    index = json.loads((model_folder / "model_index.json").read_text())
    assert index["channels"] == ["bSSFP", "LGE", "T2"]
    assert index["record"]["of"] == "test"


def test_the_hash_follows_the_content(model_folder, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(model_folder, copy)
    assert model_sha256(copy) == model_sha256(model_folder)
    index = copy / "model_index.json"
    index.write_text(index.read_text().replace("LGE", "lge"))
    assert model_sha256(copy) != model_sha256(model_folder)


def test_a_model_without_brightness_is_refused(model_folder, tmp_path):
    copy = tmp_path / "half"
    shutil.copytree(model_folder, copy)
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"dark": []}))
    with pytest.raises(InputError, match="does not name its channels or their brightness"):
        load_model(copy, CPU)


def test_a_model_loads_without_a_word(model_folder, caplog, capfd):
    load_model(model_folder, CPU)
    assert "type annotation" not in capfd.readouterr().err + caplog.text


@pytest.mark.parametrize("broken", ["model_index.json", "unet/diffusion_pytorch_model.safetensors", "unet/config.json"])
def test_half_a_model_is_refused(model_folder, tmp_path, broken):
    copy = tmp_path / "half"
    shutil.copytree(model_folder, copy)
    (copy / broken).unlink()
    with pytest.raises(InputError, match="train_completion"):
        load_model(copy, CPU)


def test_latents_have_unit_scale():
    torch.manual_seed(0)
    autoencoder, images = new_autoencoder(), _images(4)[:, 0, :28]
    normalise_latents(autoencoder, images)
    with torch.no_grad():
        deviation = latents_of(autoencoder, images).std()
    assert float(deviation) == pytest.approx(1, abs=0.01)


def test_features_that_agree_within_a_slice_are_rewarded():
    """Equal channels lose less than channels of other slices, and learning makes features of a slice agree."""
    torch.manual_seed(0)
    encoder, first = ImageEncoder(), _images(6)[:, 0] * torch.linspace(0.1, 1, 6)[:, None, None]
    equal, mixed = torch.stack((first, first), 1), torch.stack((first, first.roll(1, 0)), 1)
    with torch.no_grad():
        assert float(contrastive_loss(encoder, equal)) < float(contrastive_loss(encoder, mixed))
    inverted = torch.stack((first, -first), 1)
    optimiser, losses = torch.optim.Adam(encoder.parameters(), 3e-3), []
    for _ in range(15):
        loss = contrastive_loss(encoder, inverted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
