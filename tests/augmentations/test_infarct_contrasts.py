"""Infarcts in drawn contrasts: bright in LGE, the same in every patch, and counted in the z-score."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from nnunet_phys.augmentations.contrast import AcquireImage, SynthesizeContrast, synthesize
from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import load_recipe, read_recipe, shipped_recipes
from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.errors import InputError
from nnunet_phys.fields import Region, grid_positions
from nnunet_phys.infarct import Infarct, blood_distance
from nnunet_phys.precomputed_spin.dataset import SpinCases
from nnunet_phys.precomputed_spin.index_plane import index_plane
from nnunet_phys.reservoir import draw_reservoir
from nnunet_phys.sequences import BlackBloodTSE, InversionRecoveryGRE
from nnunet_phys.tissue_state import ContrastAgent, TissueState

LATE = TissueState(agent=ContrastAgent(0.5, 0.25))
SCAR = replace(LATE, muscle_t1_factor=1.2, muscle_uptake=2.2)
DRAW = ContrastDraw(InversionRecoveryGRE(300.0), LATE, infarct=Infarct(13.0, 0.4, 45.0, 2), infarct_tissue=SCAR)


class Heart:
    """A digital heart as a training case."""

    def __init__(self, seed: int = 4, spacing_mm: tuple[float, float, float] = (10.0, 1.8, 1.8)) -> None:
        self.heart = digital_heart(seed, slices=4, shape=(128, 128), pixel_mm=1.8)
        self.spacing_mm, maps = spacing_mm, self.heart.maps
        self.volume = torch.cat((maps.stack(), blood_distance(maps, spacing_mm)[None]))
        self.reservoir = draw_reservoir(maps.stack().numpy(), None, spacing_mm, 0)

    def maps(self, box: tuple[slice, ...]) -> torch.Tensor:
        return self.volume[(slice(None), *box)]

    def infarcted(self, infarct: Infarct) -> np.ndarray:
        shape = self.volume.shape[1:]
        return infarct(grid_positions((0, 0, 0), shape, shape, self.spacing_mm), self.volume[3]).numpy() > 0


def infarcts_only(name: str) -> ContrastRecipe:
    """A recipe that always draws an infarct, and neither regions nor scanner effects."""
    recipe = load_recipe(name)
    entries = (
        replace(entry, region=None, infarct=replace(entry.infarct, probability=1.0))
        for entry in recipe.sequences
        if entry.infarct is not None
    )
    return replace(recipe, probability=1.0, sequences=tuple(entries), scanner=())


def transformed(recipe: ContrastRecipe, case: Heart, start: tuple[int, ...], size: tuple[int, ...]) -> torch.Tensor:
    """The image of a patch, with the draw of a fixed seed."""
    np.random.seed(3)
    patch = torch.stack((torch.zeros(size), torch.from_numpy(index_plane(0, start, size))))
    return SynthesizeContrast(recipe, SpinCases([case]))(image=patch)["image"][0]


@pytest.mark.parametrize("spacing", [(10.0, 1.8, 1.8), (1.8, 1.8, 2.5)], ids=["thick slices", "thin slices"])
@pytest.mark.parametrize("name", ["lge", "molli"])
def test_a_patch_shows_what_the_whole_case_shows(name, spacing):
    case, recipe = Heart(spacing_mm=spacing), infarcts_only(name)
    whole = transformed(recipe, case, (0, 0, 0), (4, 128, 128))
    for start, size in (((1, 40, 50), (2, 30, 33)), ((0, 0, 20), (3, 128, 40)), ((2, 55, 47), (40, 30))):
        patch = transformed(recipe, case, start, size)
        box = tuple(slice(low, low + n) for low, n in zip(start, ((1,) * (3 - len(size)) + size), strict=True))
        torch.testing.assert_close(patch, whole[box].reshape(size), rtol=1e-4, atol=1e-4)


def test_an_infarct_is_bright_as_blood_in_late_enhancement():
    case, recipe, rng = Heart(), infarcts_only("lge"), np.random.default_rng(0)
    wall, pool = (case.heart.labels == LABELS[name] for name in ("MYO", "LV"))
    of_remote, of_blood = [], []
    for _ in range(60):
        draw = recipe.draw_contrast(rng)
        scar = case.infarcted(draw.infarct)
        if (scar & wall).sum() < 30:
            continue
        image = draw.scan(case.heart.maps.stack(), case.spacing_mm).abs().numpy()
        of_remote.append(np.median(image[scar & wall]) / np.median(image[wall & ~scar]))
        of_blood.append(np.median(image[scar & wall]) / np.median(image[pool]))
    assert len(of_remote) > 30 and np.median(of_remote) > 2 and 0.7 < np.median(of_blood) < 1.7


def test_only_infarcted_tissue_like_myocardium_changes():
    case = Heart()
    plain = replace(DRAW, infarct=None, infarct_tissue=None).scan(case.heart.maps.stack(), case.spacing_mm)
    changed = (DRAW.scan(case.heart.maps.stack(), case.spacing_mm) != plain).numpy()
    scar = case.infarcted(DRAW.infarct)
    assert not changed[~scar].any() and changed[scar & (case.heart.labels == LABELS["MYO"])].mean() > 0.99


def test_oedema_is_bright_in_black_blood():
    case = Heart()
    draw = replace(
        DRAW,
        sequence=BlackBloodTSE(te_ms=60.0),
        tissue=TissueState(),
        infarct_tissue=TissueState(muscle_t1_factor=1.2, muscle_t2_factor=1.5),
    )
    image, scar = draw.scan(case.heart.maps.stack(), case.spacing_mm), case.infarcted(DRAW.infarct)
    wall = case.heart.labels == LABELS["MYO"]
    assert image[scar & wall].median() > 1.2 * image[wall & ~scar].median()


def test_the_z_score_counts_infarcts():
    """Without the distances in the reservoir, its mean would be off by 0.05 to 0.2 standard deviations."""
    case = Heart()
    draw = replace(DRAW, infarct=Infarct(20.0, 0.9, 60.0, 1))
    for image_of in (draw, replace(draw, infarct=None, infarct_tissue=None)):
        signal, _ = synthesize(case.volume, (0, 0, 0), case.reservoir, image_of)
        assert abs(float(signal.mean())) < 0.02 and abs(float(signal.std()) - 1) < 0.02


def test_a_region_and_an_infarct_in_one_image():
    case = Heart()
    dark = replace(LATE, agent=ContrastAgent(0.0, 0.25))
    both = replace(DRAW, region=Region(0.5, 30.0, 7), region_tissue=dark)
    by_part = [
        synthesize(case.volume, (0, 0, 0), case.reservoir, draw)
        for draw in (both, replace(both, region=None, region_tissue=None), DRAW)
    ]
    with_region, without, _ = (signal * a.deviation + a.mean for signal, a in by_part)
    scar = case.infarcted(DRAW.infarct)
    torch.testing.assert_close(with_region[scar], without[scar], rtol=1e-4, atol=1e-4)
    assert (with_region - without)[~scar].abs().max() > 0.01


def test_the_whole_transform_delivers_it():
    case, recipe = Heart(), infarcts_only("default")
    np.random.seed(0)
    patch = torch.stack((torch.zeros(60, 60), torch.from_numpy(index_plane(0, (1, 30, 30), (60, 60)))))
    for _ in range(20):
        sample = AcquireImage()(**SynthesizeContrast(recipe, SpinCases([case]))(image=patch.clone()))
        draw = sample["contrast"]
        assert torch.isfinite(sample["image"]).all() and draw.infarct is not None
        assert ContrastDraw.from_description(json.loads(json.dumps(draw.describe()))) == draw


def test_what_ships_draws_infarcts():
    shares = {
        name: {entry.name: entry.infarct.probability for entry in load_recipe(name).sequences if entry.infarct}
        for name in shipped_recipes()
    }
    late, others = (
        {"lge_gre": 0.7, "lge_bssfp": 0.7},
        {"molli": 0.15, "sasha": 0.15, "t2prep": 0.15, "t2prep_gre": 0.15},
    )
    assert shares == {
        "3t": {**late, **others, "black_blood": 0.2},
        "default": {**late, **others, "black_blood": 0.2},
        "lge": late,
        "molli": {"molli": 0.15},
        "gre": {},
        "paper": {},
    }
    rng, recipe = np.random.default_rng(0), load_recipe("lge")
    assert np.mean([recipe.draw_contrast(rng).infarct is not None for _ in range(600)]) == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth_mm": [4, 30]}, "infarct.depth_mm: [4.0, 30.0] must lie between 0.5 and 20 mm"),
        ({"depth_mm": [16, 4]}, "infarct.depth_mm: [16.0, 4.0] is reversed: write [4, 16]"),
        ({"share": [0, 0.3]}, "infarct.share: [0.0, 0.3] must lie between 0.01 and 0.99"),
        ({"scale_mm": [0.03, 0.06]}, "infarct.scale_mm: [0.03, 0.06] must lie between 5 and 200 mm"),
        ({"blood_factor": [1, 1]}, "infarct: there is no 'blood_factor'"),
        ({"probability": 40}, "infarct.probability: 40.0 must lie between 0 and 1"),
    ],
)
def test_faults_in_a_recipe(change, message):
    described = json.loads(json.dumps(load_recipe("molli").describe()))
    described["sequences"][0]["infarct"] |= change
    with pytest.raises(InputError) as caught:
        read_recipe(described, "mine.json")
    assert len(caught.value.faults) == 1 and message in caught.value.faults[0]


def test_a_record_with_half_an_infarct_is_refused():
    described = DRAW.describe()
    del described["infarct_tissue"]
    with pytest.raises(InputError, match="A draw with infarct needs infarct_tissue"):
        ContrastDraw.from_description(described)
