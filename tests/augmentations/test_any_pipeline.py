"""Contrasts in a pipeline of torch alone."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from nnunet_phys.augmentations.any_pipeline import ContrastFromMaps
from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.errors import InputError

ALWAYS = replace(load_recipe("default"), probability=1.0)


class Hearts(Dataset):
    """Two volumes with maps."""

    def __init__(self, transform) -> None:
        self.transform = transform

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        spread = torch.tensor([0.5, 1200.0, 150.0])[:, None, None, None]
        maps = (
            torch.rand((3, 3, 24, 26), generator=generator) * spread + torch.tensor([0.3, 300, 40])[:, None, None, None]
        )
        return self.transform({"image": maps[:1], "maps": maps, "label": torch.zeros(1, 3, 24, 26)})


def test_a_batch_of_torchs_own_loader():
    transform = ContrastFromMaps(ALWAYS, (8.0, 1.5, 1.5), rng=np.random.default_rng(0))
    dataset = Hearts(lambda sample: {k: v for k, v in transform(sample).items() if k != "contrast"})
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    assert batch["image"].shape == (2, 1, 3, 24, 26) and batch["maps"].shape == (2, 3, 3, 24, 26)
    for image in batch["image"]:
        assert abs(float(image.mean())) < 1e-4 and abs(float(image.std()) - 1) < 1e-3


def test_workers_and_epochs_differ():
    transform = ContrastFromMaps(ALWAYS, (8.0, 1.5, 1.5))
    loader = DataLoader(Hearts(lambda sample: {"image": transform(sample)["image"]}), num_workers=2)
    images = [batch["image"] for _ in range(2) for batch in loader]
    assert len({float(image.std(dim=(-1, -2)).sum()) for image in images}) == 4


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.ones(3, 24, 26), "give PD, T1, T2 as"),
        (torch.full((3, 2, 4, 4), float("nan")), "NaN"),
        (torch.ones(3, 2, 4, 4), "'maps': the median T1 of its bright voxels is 1, .* seem to be seconds"),
        (torch.tensor([0.8, 1000.0, 0.05])[:, None, None, None].expand(3, 2, 4, 4), "the median T2 .* is 0.05"),
        (torch.tensor([0.8, 150.0, 400.0])[:, None, None, None].expand(3, 2, 4, 4), "Are the maps exchanged?"),
    ],
)
@pytest.mark.parametrize("probability", [0.0, 1.0])  # also where the real image is kept: not in the middle of an epoch
def test_maps_that_are_none(maps, message, probability):
    with pytest.raises(InputError, match=message):
        ContrastFromMaps(replace(ALWAYS, probability=probability))({"image": None, "maps": maps})


def test_a_crop_of_air_passes():
    assert float(ContrastFromMaps(ALWAYS)({"image": None, "maps": torch.zeros(3, 2, 8, 8)})["image"].std()) >= 0


def test_an_image_in_another_order_of_the_axes_is_refused():
    """MONAI and TorchIO read slices last."""
    maps = torch.tensor([0.8, 1000.0, 50.0])[:, None, None, None].expand(3, 8, 24, 26)
    with pytest.raises(InputError, match=r"'image' has shape \(1, 24, 26, 8\) where 'maps' has \(3, 8, 24, 26\)"):
        ContrastFromMaps(ALWAYS)({"image": torch.zeros(1, 24, 26, 8), "maps": maps})


def test_it_goes_to_spawned_workers_and_into_copies():
    for transform in (pickle.loads(pickle.dumps(ContrastFromMaps(ALWAYS))), deepcopy(ContrastFromMaps(ALWAYS))):
        assert transform(Hearts(lambda sample: sample)[0])["image"].shape == (1, 3, 24, 26)


def test_a_background_of_zeros_makes_no_image_of_nan():
    maps = torch.tensor([0.9, 1200.0, 60.0])[:, None, None, None].repeat(1, 1, 12, 12)
    maps[..., :4, :] = 0
    transform = ContrastFromMaps(ALWAYS, rng=np.random.default_rng(0))
    assert all(torch.isfinite(transform({"image": None, "maps": maps})["image"]).all() for _ in range(30))


@pytest.mark.parametrize("unknown", [1, 2])  # T1, T2
def test_tissue_that_a_fit_could_not_explain_has_no_signal(unknown):
    maps = torch.tensor([0.9, 1200.0, 60.0])[:, None, None, None].repeat(1, 1, 12, 12)
    maps[unknown, 0, 4, 4] = 0
    out = ContrastFromMaps(ALWAYS, rng=np.random.default_rng(0))({"image": None, "maps": maps})
    air = maps.clone()
    air[0, 0, 4, 4] = 0
    again = ContrastFromMaps(ALWAYS, rng=np.random.default_rng(0))({"image": None, "maps": air})
    torch.testing.assert_close(out["image"], again["image"])


def test_a_sample_tells_how_to_make_it_again():
    sample = Hearts(lambda sample: sample)[0]
    kept = sample["image"].clone()
    out = ContrastFromMaps(ALWAYS, (8.0, 1.5, 1.5), rng=np.random.default_rng(3))(sample)
    assert torch.equal(sample["image"], kept) and "contrast" not in sample
    image = ContrastDraw.from_description(out["contrast"]).scan(sample["maps"], (8.0, 1.5, 1.5))
    torch.testing.assert_close(out["image"][0], (image - image.mean()) / image.std(correction=0))


def test_real_images_are_passed_on():
    out = ContrastFromMaps(replace(ALWAYS, probability=0.0))(Hearts(lambda sample: sample)[1])
    assert out["contrast"] is None and out["image"] is not None
    assert torch.equal(out["image"], out["maps"][:1])
