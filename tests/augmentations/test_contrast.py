"""SynthesizeContrast: the right signal, normalised as inference normalises, padding untouched."""

from __future__ import annotations

import pickle
from dataclasses import replace

import blosc2
import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_phys.augmentations.contrast import SynthesizeContrast, content, standard_normal, synthesize
from nnunet_phys.augmentations.recipe import (
    DEFAULT,
    GRE_ONLY,
    MOLLI_ONLY,
    BSSFPRanges,
    ContrastDraw,
    ContrastRecipe,
)
from nnunet_phys.precomputed_spin.preprocess import preprocess_maps
from nnunet_phys.precomputed_spin.preprocessed import open_preprocessed_dataset
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
from nnunet_phys.precomputed_spin.store import load_maps
from nnunet_phys.sequences import BSSFP, MOLLI
from nnunet_phys.spin import SpinMaps

ALWAYS = replace(DEFAULT, probability=1.0)


def some_maps(shape) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    low, span = torch.tensor([0.2, 300, 40]), torch.tensor([0.7, 1300, 160])
    return (torch.rand((*shape, 3), generator=generator) * span + low).movedim(-1, 0).contiguous()


def patch_of(shape, padding, case=0) -> torch.Tensor:
    """Image, maps and index plane, padded with zeros as nnU-Net pads."""
    planes = torch.cat((torch.randn((1, *shape)), some_maps(shape), torch.full((1, *shape), case + 1.0)))
    return torch.nn.functional.pad(planes, [n for ends in reversed(padding) for n in ends])


@pytest.mark.parametrize(("shape", "padding"), [((20, 30), ((3, 4), (0, 5))), ((4, 20, 30), ((1, 0), (3, 4), (2, 2)))])
@pytest.mark.parametrize("recipe", [ALWAYS, MOLLI_ONLY, GRE_ONLY])
def test_one_channel_with_padding_at_zero(shape, padding, recipe):
    patch = patch_of(shape, padding, case=1)
    reservoirs = [np.zeros((3, 1), np.float32), some_maps((4096,)).numpy()]
    transform = SynthesizeContrast(replace(recipe, probability=1.0), reservoirs)
    for _ in range(10):
        image = transform(image=patch.clone())["image"]
        assert image.shape == (1, *patch.shape[1:]) and torch.isfinite(image).all()
        assert (image[0][patch[-1] == 0] == 0).all()
        inside = image[0][patch[-1] > 0]
        assert abs(inside.mean()) < 0.3 and abs(inside.std() - 1) < 0.3


def test_the_real_image_is_passed_on():
    patch = patch_of((20, 30), ((0, 0), (2, 2)))
    segmentation = torch.zeros((1, 20, 34))
    transform = SynthesizeContrast(replace(DEFAULT, probability=0.0), [some_maps((9,)).numpy()])
    out = transform(image=patch.clone(), segmentation=segmentation)
    assert torch.equal(out["image"], patch[:1]) and out["segmentation"] is segmentation


def test_nothing_but_padding():
    patch = torch.zeros((5, 6, 6))
    image = SynthesizeContrast(ALWAYS, [some_maps((9,)).numpy()])(image=patch)["image"]
    assert torch.equal(image, torch.zeros((1, 6, 6)))
    assert content(patch[-1]) == (None, ())


def test_outside_the_mask_stays_zero():
    segmentation = torch.zeros((1, 20, 30))
    segmentation[:, :, :7] = -1
    transform = SynthesizeContrast(ALWAYS, [some_maps((4096,)).numpy()], masked=True)
    image = transform(image=patch_of((20, 30), ((0, 0), (0, 0))), segmentation=segmentation)["image"]
    assert (image[..., :7] == 0).all() and (image[..., 7:] != 0).any()


def test_the_signal_is_the_sequences_own():
    maps, reservoir = some_maps((20, 30)), some_maps((4096,))
    sequence = MOLLI(readout=0)
    draw = ContrastDraw(sequence, t1_factor=1.2, t2_factor=0.9, noise=0.0, seed=1)
    scale = torch.tensor([1, 1.2, 0.9])
    expected = sequence(SpinMaps.unstack(maps * scale[:, None, None])).abs()
    case = sequence(SpinMaps.unstack(reservoir * scale[:, None])).abs()
    expected = (expected - case.mean()) / case.std(correction=0)
    torch.testing.assert_close(synthesize(maps, reservoir, draw), expected, rtol=1e-4, atol=1e-4)


def test_noise_has_the_drawn_strength():
    air = some_maps((200, 200))
    air[0] = 0
    reservoir = some_maps((4096,))
    draw = ContrastDraw(BSSFP(), 1.0, 1.0, noise=0.05, seed=3)
    case = BSSFP()(SpinMaps.unstack(reservoir))
    sigma = 0.05 * torch.quantile(case, 0.95)
    noisy = synthesize(air, reservoir, draw)
    rayleigh = noisy.std() * case.std()  # of pure noise: sigma sqrt(2 - pi/2)
    assert abs(rayleigh / (sigma * np.sqrt(2 - np.pi / 2)) - 1) < 0.05
    assert torch.equal(noisy, synthesize(air, reservoir, draw))


@pytest.mark.parametrize("count", [50_000, 1_500_000])
def test_noise_follows_its_seed(count):
    one, same, other = (standard_normal(count, seed) for seed in (3, 3, 2**31 - 4))
    assert torch.equal(one, same) and len(one) == count
    assert abs(float(torch.corrcoef(torch.stack((one, other)))[0, 1])) < 0.02
    assert abs(float(one.mean())) < 0.02 and abs(float(one.std()) - 1) < 0.02


def test_numpy_seeds_the_whole_draw():
    patch = patch_of((20, 30), ((0, 0), (0, 0)))
    transform = pickle.loads(pickle.dumps(SynthesizeContrast(ALWAYS, [some_maps((500,)).numpy()])))
    images = []
    for seed in (7, 7, 8):
        np.random.seed(seed)
        images.append(transform(image=patch.clone())["image"])
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
@pytest.mark.parametrize(
    "recipe",
    [ContrastRecipe(sequences=(BSSFPRanges(),)), MOLLI_ONLY, GRE_ONLY],
    ids=["bSSFP", "MOLLI", "GRE"],
)
def test_normalised_as_nnunet_normalises_the_same_volume(tiny, name, recipe):
    """A synthesised volume, preprocessed by nnU-Net as a test image is, against our patch of all of it."""
    raw = open_raw_dataset(900)
    target = open_preprocessed_dataset(raw.name, "nnUNetPlans", name)
    preprocess_maps(raw, [target], tiny.maps, 1)
    plans = PlansManager(tiny.plans())
    rng = np.random.default_rng(11)
    for index, case in enumerate(tiny.cases[:3]):
        reservoir = torch.from_numpy(np.load(target.spin_folder / f"{case}_reservoir.npy"))
        draw = replace(recipe.draw_contrast(rng), noise=0.0)
        factors = torch.tensor([1, draw.t1_factor, draw.t2_factor])[:, None, None, None]
        native = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case)).stack() * factors
        volume = draw.sequence(SpinMaps.unstack(native)).abs()[None].numpy()
        _, properties = plans.image_reader_writer_class().read_images([str(tiny.image(case))])
        theirs, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
            volume, None, properties, plans, plans.get_configuration(name), {}
        )

        maps = torch.from_numpy(blosc2.open(str(target.spin_folder / f"{case}.b2nd"), mode="r")[:])
        ours = synthesize(maps, reservoir, draw).numpy()
        assert ours.shape == theirs[0].shape
        assert abs(ours.mean() - theirs.mean()) < 0.05 * theirs.std(), (index, draw)
        assert abs(ours.std() / theirs.std() - 1) < 0.05, (index, draw)
