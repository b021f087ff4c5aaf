"""SynthesizeContrast and AcquireImage: the right signal, normalised as inference normalises, padding untouched."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, replace

import blosc2
import numpy as np
import pytest
import torch
from batchgenerators.utilities.file_and_folder_operations import load_pickle
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from blocks_of_tissue import SPACING, Whole, some_maps, with_distance
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnunet_phys.augmentations.contrast import AcquireImage, SynthesizeContrast, acquire, synthesize
from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.fields import ReceiveBias
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin.dataset import SpinCases
from nnunet_phys.precomputed_spin.index_plane import index_plane
from nnunet_phys.precomputed_spin.map_preprocessing import preprocess_maps
from nnunet_phys.precomputed_spin.preprocessed_dataset import open_preprocessed_dataset
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
from nnunet_phys.precomputed_spin.spin_copies import reservoir_path, spin_folder
from nnunet_phys.reservoir import Reservoir, draw_reservoir
from nnunet_phys.scanner import Ghost, Noise, PartialVolume, ZeroFilling
from nnunet_phys.sequences import (
    BSSFP,
    MOLLI,
    BlackBloodTSE,
    InversionRecoveryGRE,
    SpoiledGRE,
)
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import TissueState

ALWAYS = replace(load_recipe("default"), probability=1.0)


def patch_of(shape, padding, case=0, start=(0, 0, 0)) -> torch.Tensor:
    """Image and index plane, padded with zeros as nnU-Net pads."""
    plane = torch.from_numpy(index_plane(case, start, shape))
    planes = torch.stack((torch.randn(shape), plane))
    return torch.nn.functional.pad(planes, [n for ends in reversed(padding) for n in ends])


def both(recipe, cases, **options) -> ComposeTransforms:
    return ComposeTransforms([SynthesizeContrast(recipe, SpinCases(cases), **options), AcquireImage()])


@pytest.mark.parametrize(("shape", "padding"), [((40, 50), ((3, 4), (0, 5))), ((4, 30, 40), ((1, 0), (3, 4), (2, 2)))])
def test_one_channel_with_padding_at_zero(shape, padding):
    patch = patch_of(shape, padding, case=1)
    transform = both(ALWAYS, [Whole(some_maps((2, 9, 9))), Whole(some_maps(shape))])
    np.random.seed(0)
    for _ in range(40):
        sample = transform(image=patch.clone())
        image = sample["image"]
        assert set(sample) == {"image", "contrast"} and isinstance(sample["contrast"], ContrastDraw)
        assert image.shape == (1, *patch.shape[1:]) and torch.isfinite(image).all()
        assert (image[0][patch[-1] == 0] == 0).all()
        inside = image[0][patch[-1] > 0]
        assert abs(inside.mean()) < 0.1 and abs(inside.std() - 1) < 0.1


def test_the_real_image_is_passed_on():
    patch = patch_of((20, 30), ((0, 0), (2, 2)))
    segmentation = torch.zeros((1, 20, 34))
    out = both(replace(ALWAYS, probability=0.0), [Whole(some_maps((20, 30)))])(
        image=patch.clone(), segmentation=segmentation
    )
    assert torch.equal(out["image"], patch[:1]) and out["segmentation"] is segmentation and out["contrast"] is None


def test_nothing_but_padding():
    image = both(ALWAYS, [])(image=torch.zeros((2, 6, 6)))["image"]
    assert torch.equal(image, torch.zeros((1, 6, 6)))


def test_outside_the_mask_stays_zero():
    segmentation = torch.zeros((1, 20, 30))
    segmentation[:, :, :7] = -1
    patch = patch_of((20, 30), ((0, 0), (0, 0)))
    image = both(ALWAYS, [Whole(some_maps((20, 30)))], masked=True)(image=patch, segmentation=segmentation)["image"]
    assert (image[..., :7] == 0).all() and (image[..., 7:] != 0).any()


@pytest.mark.parametrize("part", ["partial_volume", "zero_filling"])
def test_outside_the_mask_lies_air_which_blurs_into_the_body(part):
    maps = some_maps((1, 20, 30))
    draw = ContrastDraw(BSSFP(50.0), **{part: {**FAULTS, "partial_volume": PartialVolume(1.0)}[part]})
    outside = torch.zeros((1, 20, 30), dtype=torch.bool)
    outside[..., :10] = True
    patch = SpinCases([Whole(maps[:, 0])]).locate(patch_of((20, 30), ((0, 0), (0, 0)))[1].numpy())
    sample = SynthesizeContrast(ALWAYS, SpinCases([])).apply({"image": torch.ones(2, 20, 30)}, draw, patch, outside[0])
    shown = acquire(sample["image"], sample["contrast"])[0]
    truth = BSSFP(50.0)(SpinMaps.unstack(maps)).masked_fill(outside, 0)
    truth = getattr(draw, part)(truth)[0].abs()
    inside, edge = (slice(None), slice(16, 26)), (slice(None), 10)
    below = shown[edge] - shown[inside].mean()
    scale = float(truth[inside].std() / shown[inside].std())
    torch.testing.assert_close(below * scale, truth[edge] - truth[inside].mean(), rtol=0.05, atol=0.01)


@pytest.mark.parametrize("shape", [(30, 40), (6, 30, 40)], ids=["2d", "3d"])
def test_a_patch_reads_its_own_part_of_the_maps(shape):
    """The same voxels, in a patch of the case and in the whole of it."""
    recipe = replace(ALWAYS, scanner=())
    case = Whole(some_maps((6, 30, 40)))
    start, size = (2, 7, 11), (3, 20, 24)
    if len(shape) == 2:
        size = size[1:]
    images = []
    for patch in (patch_of(size, ((1, 2),) * len(size), start=start), patch_of((6, 30, 40), ((0, 0),) * 3)):
        np.random.seed(3)
        images.append(both(recipe, [case])(image=patch)["image"][0])
    part, whole = images
    inside = part[tuple(slice(1, -2) for _ in size)]
    torch.testing.assert_close(inside, whole[2 if len(shape) == 2 else slice(2, 5), 7:27, 11:35])


def test_the_signal_is_the_sequences_own():
    maps = some_maps((1, 20, 30))
    sequence, tissue = MOLLI(readout=0), TissueState(1.2, 0.9)
    signal, acquisition = synthesize(
        with_distance(maps), (0, 0, 0), Whole(maps).reservoir, ContrastDraw(sequence, tissue)
    )
    scale = torch.tensor([1, 1.2, 0.9])[:, None, None, None]
    expected = sequence(SpinMaps.unstack(maps * scale))
    torch.testing.assert_close(signal * acquisition.deviation + acquisition.mean, expected, rtol=0.01, atol=2e-3)
    image = acquire(signal[None], acquisition)[0]
    expected = expected.abs()
    torch.testing.assert_close(image, (expected - expected.mean()) / expected.std(correction=0), rtol=0.02, atol=0.02)


def one_and(found: tuple) -> tuple:
    """What `synthesize` returned, with the channel that `acquire` takes."""
    return found[0][None], found[1]


def test_a_sequence_that_returns_the_map_itself_does_not_change_it():
    @dataclass(frozen=True)
    class DensityWeighted(SpoiledGRE):
        def __call__(self, maps, flip_angle_deg=None):
            return maps.pd

    maps = some_maps((2, 20, 20))
    kept = maps.clone()
    draw = ContrastDraw(DensityWeighted(2.5), receive_bias=ReceiveBias(3.0, 60.0, 0.2, 3), noise=Noise(0.05, 1))
    first, second = draw.scan(maps, SPACING), draw.scan(maps, SPACING)
    assert torch.equal(maps, kept) and torch.equal(first, second)


FAULTS = {
    "partial_volume": PartialVolume(0.9),
    "zero_filling": ZeroFilling(0.6),
    "ghost": Ghost(0.1, 0.2, True),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("noise", [None, Noise(0.03, 1)], ids=["still", "noisy"])
@pytest.mark.parametrize("patch", ["air", "one tissue"])
def test_a_patch_of_one_tissue_keeps_its_place_in_the_case(patch, noise, fault):
    """All that a blur or a ghost could measure on it is rounding."""
    maps = some_maps((1, 60, 60))
    maps[0, :, :, :30], maps[0, :, :, 30:] = 0.0, maps[0, :, :, 30:] + 0.2
    maps[:, :, 40:, 30:] = torch.tensor([0.8, 1000.0, 50.0])[:, None, None, None]
    case = draw_reservoir(maps.numpy(), None, SPACING, 0)
    start = (0, 5, 5) if patch == "air" else (0, 44, 40)
    box = tuple(slice(a, a + n) for a, n in zip(start, (1, 14, 14), strict=True))
    plain = ContrastDraw(BSSFP(), noise=noise)
    still, found = (
        acquire(*one_and(synthesize(with_distance(maps)[(slice(None), *box)], start, case, draw)))
        for draw in (plain, replace(plain, **{fault: FAULTS[fault]}))
    )
    brighter = 0.2 if fault == "ghost" else 0.0  # two copies of a tenth
    assert abs(float(found.mean() - still.mean())) < 0.1 + 3 * brighter


def test_psir_keeps_the_sign():
    maps = some_maps((1, 20, 30))
    sequence = InversionRecoveryGRE(inversion_time_ms=250.0, phase_sensitive=True)
    draw = ContrastDraw(sequence, noise=Noise(1e-4, 0))
    signal, acquisition = synthesize(with_distance(maps), (0, 0, 0), Whole(maps).reservoir, draw)
    assert (sequence(SpinMaps.unstack(maps)) < 0).any()
    torch.testing.assert_close(acquire(signal[None], acquisition)[0], signal, rtol=0.02, atol=0.02)


def test_magnitude_comes_after_mixing():
    """Interpolation mixes signals, not magnitudes: between +1 and -1 lies the dark rim."""
    maps = some_maps((1, 40, 40))
    maps[0], maps[1], maps[2] = 0.8, 300.0, 60.0
    maps[1, :, :, 20:] = 1600.0
    case, maps = Whole(maps).reservoir, with_distance(maps)
    draw = ContrastDraw(InversionRecoveryGRE(inversion_time_ms=350.0), partial_volume=PartialVolume(1.0))
    sharp = acquire(*one_and(synthesize(maps, (0, 0, 0), case, replace(draw, partial_volume=None))))[0, 0]
    assert abs(float(sharp[:, 18:22].mean() - sharp[:, [5, 35]].mean())) < 0.01
    signal, acquisition = synthesize(maps, (0, 0, 0), case, draw)
    signed = signal[0] * acquisition.deviation + acquisition.mean
    assert (signed[:, :20] > 0).all() and (signed[:, 20:] < 0).all()
    image = acquire(signal[None], acquisition)[0, 0]
    assert float(image[:, 18:22].mean()) < float(image[:, [5, 35]].mean()) - 0.2


def test_numpy_seeds_the_whole_draw():
    patch = patch_of((20, 30), ((0, 0), (0, 0)))
    transform = pickle.loads(pickle.dumps(both(ALWAYS, [Whole(some_maps((20, 30)))])))
    images = []
    for seed in (7, 7, 8):
        np.random.seed(seed)
        images.append(transform(image=patch.clone())["image"])
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])


def test_the_draw_of_a_sample_makes_it_again():
    case, patch = Whole(some_maps((20, 30))), patch_of((20, 30), ((0, 0), (0, 0)))
    np.random.seed(5)
    sample = both(ALWAYS, [case])(image=patch.clone())
    draw = ContrastDraw.from_description(json.loads(json.dumps(sample["contrast"].describe())))
    again = acquire(*one_and(synthesize(case.volume, (0, 0, 0), case.reservoir, draw)))
    assert torch.equal(again[:, 0], sample["image"])


def test_a_spatial_transform_between_them():
    patch = patch_of((60, 60), ((20, 20), (20, 20)))
    options = {"patch_center_dist_from_border": 0, "random_crop": False, "p_elastic_deform": 0}
    turn = {"p_rotation": 1.0, "rotation": (0.5, 0.6), "p_scaling": 1.0, "scaling": (0.9, 1.1)}
    first, last = both(ALWAYS, [Whole(some_maps((60, 60)))]).transforms
    for seed in range(10):
        np.random.seed(seed)
        image = ComposeTransforms([first, SpatialTransform((80, 80), **options, **turn), last])(image=patch.clone())[
            "image"
        ]
        assert image.shape == (1, 80, 80) and torch.isfinite(image).all()
        assert (image[0, :3, :3] == 0).all() and image.abs().max() > 1


@pytest.mark.parametrize("masked", [False, True], ids=["whole case", "nonzero mask"])
@pytest.mark.parametrize("resampled", [False, True], ids=["own spacing", "resampled"])
@pytest.mark.parametrize("name", ["2d", "3d_fullres"])
def test_normalised_as_nnunet_normalises_the_same_volume(tiny, name, resampled, masked):
    """50 draws, each on a volume that nnU-Net preprocesses as a test image, against the patch that a worker delivers.

    nnU-Net resamples the magnitude, we synthesise from resampled maps. That differs where neighbours have opposite
    signs, in black blood with an inversion for fat: there, half of the draws must agree, of the others all.
    """
    raw, rng, recipe = open_raw_dataset(900), np.random.default_rng(11), load_recipe("default")
    plans = {**tiny.plans(), "plans_name": "mine"}
    plans["configurations"][name]["use_mask_for_norm"] = [masked]
    if not resampled:
        plans["configurations"][name]["spacing"] = [10.0, 1.6, 1.6][-len(plans["configurations"][name]["spacing"]) :]
        plans["configurations"][name]["data_identifier"] = f"mine_{name}"
        tiny.nnunet_preprocess(plans, name)
    (tiny.preprocessed / "mine.json").write_text(json.dumps(plans))
    target = open_preprocessed_dataset(raw.name, "mine", name)
    preprocess_maps(raw, [target], tiny.maps, 1)
    plans = PlansManager(plans)
    differences, black_blood = [], []
    for index in range(50):
        case, draw = tiny.cases[2 * (index % 3)], recipe.draw_contrast(rng)
        native = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case)).stack()
        _, properties = plans.image_reader_writer_class().read_images([str(tiny.image(case))])
        crop = tuple(slice(*ends) for ends in load_pickle(str(target.folder / f"{case}.pkl"))["bbox_used_for_cropping"])
        volume = torch.zeros_like(native[0])
        volume[crop] = draw.scan(native[(slice(None), *crop)], tuple(properties["spacing"])) + 1e-6
        if masked:
            volume[native[0] == 0] = 0
        theirs, _, _ = DefaultPreprocessor(verbose=False).run_case_npy(
            volume[None].numpy(), None, dict(properties), plans, plans.get_configuration(name), {}
        )
        maps = torch.from_numpy(blosc2.open(str(spin_folder(target.folder) / f"{case}.b2nd"), mode="r")[:]).float()
        reservoir = Reservoir.load(reservoir_path(spin_folder(target.folder), case))
        signal, acquisition = synthesize(maps, (0, 0, 0), reservoir, draw)
        ours = acquire(signal[None], acquisition)[0].numpy()
        assert ours.shape == theirs[0].shape
        inside = maps[0].numpy() > 0.05 if masked else np.ones(ours.shape, bool)
        ours, theirs = ours[inside], theirs[0][inside]
        differences.append((abs(ours.mean() - theirs.mean()) / theirs.std(), abs(ours.std() / theirs.std() - 1)))
        black_blood.append(resampled and isinstance(draw.sequence, BlackBloodTSE))
    exact, mixed = np.array(differences)[~np.array(black_blood)], np.array(differences)[black_blood]
    assert len(exact) >= 30 and exact.max() < 0.05, exact
    assert not resampled or (np.median(mixed, 0) < 0.05).all(), mixed
