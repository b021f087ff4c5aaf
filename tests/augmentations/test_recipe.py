"""Recipes are data: drawn reproducibly and within their ranges, refused with one line per fault."""

from __future__ import annotations

import copy
import json
import pickle
from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from nnunet_phys.augmentations import recipe_files
from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.augmentations.recipe_files import SHIPPED, load_recipe, read_recipe, recipe_in_force
from nnunet_phys.errors import InputError
from nnunet_phys.fields import Region, grid_positions
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.sequences import BSSFP, MOLLI, InversionRecoveryGRE, LookLocker, SpoiledGRE
from nnunet_phys.sequences.ernst import Ernst
from nnunet_phys.sequences.protocol_ranges import RANGES
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import TissueState

SHIPPED_NAMES = ("3t", "default", "gre", "lge", "molli", "paper")
GENERATORS = [np.random, np.random.RandomState(0), np.random.default_rng(0)]


def description(name: str = "default") -> dict:
    return json.loads((SHIPPED / f"{name}.json").read_text())


def refused(changed: dict) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_recipe(changed, "mine.json")
    lines = str(caught.value).splitlines()
    assert all(line.startswith("Recipe mine.json") for line in lines)
    return lines


def refused_with(path: tuple, value: object) -> list[str]:
    """What is said of the default recipe with one value changed."""
    changed = description()
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return refused(changed)


def only(recipe: ContrastRecipe, name: str) -> ContrastRecipe:
    return replace(recipe, sequences=tuple(e for e in recipe.sequences if e.name == name))


@pytest.mark.parametrize("name", SHIPPED_NAMES)
def test_what_ships_loads_and_describes_itself(name):
    recipe = load_recipe(name)
    described = json.loads(json.dumps(recipe.describe()))
    assert read_recipe(described, name) == recipe and read_recipe(described, name).describe() == recipe.describe()
    assert all(
        set(given) <= set(full)
        for given, full in zip(description(name)["sequences"], described["sequences"], strict=True)
    )
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert 10 < len(recipe.description) < 100 and recipe.description.isprintable()
    assert sorted(p.stem for p in SHIPPED.iterdir()) == sorted(SHIPPED_NAMES)


@pytest.mark.parametrize("name", RANGES)
def test_a_recipe_can_draw_every_sequence_by_its_name_alone(name):
    recipe = read_recipe({**description(), "sequences": [{"sequence": name}]}, "mine.json")
    draw = recipe.draw_contrast(np.random.default_rng(0))
    assert draw.sequence.name == name and draw.sequence.image_count == 1
    assert recipe.describe()["sequences"][0].keys() >= {field.name for field in fields(RANGES[name])}


@pytest.mark.parametrize("name", SHIPPED_NAMES)
@pytest.mark.parametrize("rng", GENERATORS, ids=["module", "RandomState", "Generator"])
def test_every_draw_gives_a_signal_and_is_replayed_from_its_record(name, rng):
    maps = torch.tensor([[0.9, 0.8], [1500.0, 1000.0], [200.0, 50.0]]).reshape(3, 1, 1, 2)
    recipe = load_recipe(name)
    for _ in range(60):
        draw = recipe.draw_contrast(rng)
        again = ContrastDraw.from_description(json.loads(json.dumps(draw.describe())))
        assert again == draw
        image = draw.scan(maps, (8.0, 1.5, 1.5))
        assert torch.isfinite(image).all() and torch.equal(again.scan(maps, (8.0, 1.5, 1.5)), image)


def test_draws_lie_within_their_ranges():
    rng, recipe = np.random.default_rng(1), load_recipe("default")
    seen = Counter()
    for _ in range(1500):
        draw = recipe.draw_contrast(rng)
        seen[type(draw.sequence).__name__] += 1
        assert 0.75 <= draw.tissue.t1_factor <= 1.4 and draw.noise.fraction <= 0.1
        if isinstance(draw.sequence, MOLLI):
            assert 20 <= draw.sequence.flip_angle_deg <= 50 and 45 <= draw.sequence.pulses <= 75
        if isinstance(draw.sequence, SpoiledGRE):
            assert draw.sequence.te_ms <= min(5, 0.7 * draw.sequence.tr_ms)
            assert 30 <= draw.sequence.inflow_pulses <= 1000
    assert len(seen) == len(recipe.sequences)
    total = sum(e.weight for e in recipe.sequences)
    for entry, count in zip(recipe.sequences[:3], (seen["BSSFP"], seen["MOLLI"], seen["SpoiledGRE"]), strict=True):
        assert abs(count / 1500 - entry.weight / total) < 0.04


def test_fields_over_the_heart_at_3_t_are_those_that_were_measured():
    """docs/contrasts.md names the studies."""
    positions = grid_positions((0, 0, 0), (11, 21, 21), (11, 21, 21), (10.0, 5.0, 5.0))
    heart = sum(axis**2 for axis in positions) < 50**2
    rng, recipe = np.random.default_rng(0), load_recipe("3t")
    draws = [recipe.draw_contrast(rng) for _ in range(150)]
    spans = [np.ptp(draw.off_resonance(positions)[heart].numpy()) for draw in draws]
    assert np.mean(spans) == pytest.approx(125, abs=15) and np.quantile(spans, 0.9) < 125 + 3 * 41
    flips = [draw.transmit(positions)[heart] for draw in draws]
    assert np.mean([flip.mean() for flip in flips]) == pytest.approx(0.81, abs=0.04)
    assert 0.02 < np.mean([flip.std() / flip.mean() for flip in flips]) < 0.11


def test_every_readout_of_every_scheme_comes_up():
    rng, recipe = np.random.default_rng(1), load_recipe("molli")
    drawn = {(one.scheme, one.readout) for one in (recipe.draw_contrast(rng).sequence for _ in range(3000))}
    assert len(drawn) == 8 + 8 + 9 + 11 + 7


def test_images_without_saturation_are_not_prepared():
    rng, recipe = np.random.default_rng(1), only(load_recipe("default"), "sasha")
    drawn = [recipe.draw_contrast(rng).sequence for _ in range(300)]
    assert {one.t2_prep_ms for one in drawn if one.ts_ms is None} == {0.0}
    assert any(one.t2_prep_ms > 0 for one in drawn)


def test_a_short_echo_time_is_none_in_seconds():
    changed = description("paper")
    next(one for one in changed["sequences"] if one["sequence"] == "ernst")["least_te_ms"] = 1.5
    read_recipe(changed, "mine.json")


def test_echo_times_may_be_shorter_than_the_default_repetition_time():
    entry = {"sequence": "lge_gre", "tr_ms": [2.0, 2.4], "te_ms": [0.9, 1.1]}
    recipe = read_recipe({**description("lge"), "sequences": [entry]}, "mine.json")
    assert recipe.draw_contrast(np.random.default_rng(0)).sequence.te_ms < 1.1


def test_slow_flow_is_refused_where_flow_does_nothing():
    flow = {"probability": 0.5, "share": [0.2, 0.4], "scale_mm": [10, 20], "at_rest": [0.5, 1.0]}
    (line,) = refused({**description("molli"), "sequences": [{"sequence": "molli", "slow_flow": flow}]})
    assert "sequences[0] (molli): it does not depend on the flow of blood: remove slow_flow" in line


@pytest.mark.parametrize("name", ["molli", "gre", "lge"])
def test_a_recipe_of_one_sequence_is_a_part_of_the_default(name):
    """But for weights, and for the device of GRE, which is why that recipe exists."""
    default, part = load_recipe("default"), load_recipe(name)
    by_name = {entry.name: entry for entry in default.sequences}
    for entry in part.sequences:
        assert replace(entry, weight=by_name[entry.name].weight) == by_name[entry.name]
    assert {effect for effect in part.scanner if effect not in default.scanner} == {
        effect for effect in part.scanner if name == "gre" and effect.name == "device"
    }
    assert (part.t1_factor, part.t2_factor) == (default.t1_factor, default.t2_factor)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"sequence": MOLLI()}, "a draw is of one image"),
        ({"sequence": BSSFP(), "region": Region(0.2, 20.0, 0)}, "a draw with region needs region_tissue"),
        ({"sequence": BSSFP(), "infarct_tissue": TissueState()}, "a draw with infarct needs infarct_tissue"),
    ],
)
def test_draws_that_contradict_themselves_are_refused(parts, message):
    with pytest.raises(ValueError, match=f"(?i){message}"):
        ContrastDraw(**parts)


def test_share_of_synthesis():
    rng, recipe = np.random.default_rng(2), load_recipe("default")
    share = np.mean([recipe.draw_sample(rng) is not None for _ in range(2000)])
    assert abs(share - recipe.probability) < 0.04
    assert replace(recipe, probability=0.0).draw_sample(rng) is None


def test_late_enhancement_is_read_out_around_the_null_after_contrast():
    rng, ratios = np.random.default_rng(3), []
    recipe = only(load_recipe("lge"), "lge_gre")
    for _ in range(200):
        draw = recipe.draw_contrast(rng)
        assert isinstance(draw.sequence, InversionRecoveryGRE) and draw.tissue.agent.blood > 0
        now, _ = draw.tissue(SpinMaps(*(torch.tensor([v]) for v in (1.0, 1050.0, 52.0))))
        try:
            null = draw.sequence.null_inversion_time_ms(float(now.t1), float(now.t2))
        except ValueError:
            continue  # so much contrast agent that nothing nulls it
        ratios.append(draw.sequence.inversion_time_ms / null)
    assert len(ratios) > 150 and 1.0 < np.median(ratios) < 1.3
    assert np.quantile(ratios, 0.02) > 0.6 and np.quantile(ratios, 0.98) < 1.9  # the nulled myocardium varies, too


def test_the_papers_inversion_times_reach_beyond_the_longest_t1_of_the_case():
    voxels = np.tile(np.array([[1.0], [2000.0], [50.0]], np.float32), (1, 100))
    case = Reservoir(voxels, np.zeros((3, 100), np.float32), np.ones(100, np.float32), np.ones(3), np.ones(3))
    rng = np.random.default_rng(4)
    drawn = [load_recipe("paper").draw_contrast(rng, case).sequence for _ in range(600)]
    times = [one.time_ms for one in drawn if isinstance(one, LookLocker)]
    assert 180 <= min(times) < 250 and 2900 < max(times) <= 3000
    gradient_echoes = [one for one in drawn if isinstance(one, Ernst)]
    assert abs(len(times) / 600 - 0.5) < 0.06 and min(one.te_ms for one in gradient_echoes) == 5
    assert all(one.te_ms <= 0.8 * one.tr_ms for one in gradient_echoes)


def test_the_variable_names_another(tmp_path, monkeypatch):
    assert recipe_in_force("molli").name == "molli"
    (tmp_path / "mine.json").write_text(json.dumps(description("gre")))
    monkeypatch.setenv("nnUNet_phys_recipe", str(tmp_path / "mine.json"))
    assert recipe_in_force("molli") == replace(load_recipe("gre"), name=str(tmp_path / "mine.json"))


def test_no_such_recipe(tmp_path):
    with pytest.raises(InputError, match=r"No recipe 'moli' \(did you mean 'molli'"):
        load_recipe("moli")
    (tmp_path / "cut.json").write_text('{"probability": 0.')
    with pytest.raises(InputError, match=r"cut\.json is not readable JSON"):
        load_recipe(tmp_path / "cut.json")


FAULTS = [
    (("sequences", 1, "sequence"), "moli", "sequences[1]: no sequence 'moli' (did you mean 'molli'?"),
    (("sequences", 1, "flip_angel_deg"), [1, 2], "there is no 'flip_angel_deg' (did you mean 'flip_angle_deg'?"),
    (("sequences", 1, "flip_angle_deg"), [50, 25], "flip_angle_deg: [50.0, 25.0] is reversed: write [25, 50]"),
    (("sequences", 1, "flip_angle_deg"), [0.4, 0.9], "flip_angle_deg: [0.4, 0.9] looks like radians: give degrees"),
    (("sequences", 1, "flip_angle_deg"), 35, "flip_angle_deg: 35 is not a list of 2 values"),
    (("sequences", 1, "rr_ms"), [0.6, 1.2], "rr_ms: [0.6, 1.2] looks like seconds: give ms"),
    (("sequences", 1, "rr_ms"), [60, 120], "rr_ms: [60.0, 120.0] looks like beats per minute: give ms"),
    (("t1_factor",), [750, 1400], "t1_factor: [750.0, 1400.0] must lie between 0.1 and 10"),
    (("sequences", 1, "pulses"), [45.5, 75], "pulses: 45.5 is not a whole number"),
    (("sequences", 1, "pulses"), [300, 400], "do not fit into rr_ms"),
    (("sequences", 1, "schemes"), ["5(3"], "'5(3' is not a MOLLI scheme"),
    (("sequences", 1, "schemes"), [], "schemes is empty: name at least one"),
    (("sequences", 6, "nulled_t1_ms"), [0.9, 1.1], "nulled_t1_ms: [0.9, 1.1] looks like seconds: give ms"),
    (
        ("sequences", 6, "contrast_agent", "probability"),
        30,
        "contrast_agent.probability: 30.0 must lie between 0 and 1",
    ),
    (("sequences", 0, "weight"), -1, "weight: -1.0 must lie between 0 and"),
    (("probability",), 70, "probability: 70.0 must lie between 0 and 1"),
    (("t1_factor",), "wide", 't1_factor: "wide" is not a list of 2 values'),
    (("scanner", "nois"), {}, "there is no 'nois' (did you mean 'noise'?"),
    (("scanner", "noise", "sigma"), [0, 1], "scanner.noise: there is no 'sigma'"),
    (("seed",), 3, "there is no 'seed'"),
]


@pytest.mark.parametrize(("path", "value", "message"), FAULTS, ids=[f[2][:40] for f in FAULTS])
def test_a_fault_is_told_in_one_line(path, value, message):
    lines = refused_with(path, value)
    assert len(lines) == 1 and message in lines[0], lines


def test_all_faults_come_at_once():
    changed = copy.deepcopy(description())
    changed["probability"] = 7
    del changed["scanner"]["noise"]["fraction"]
    changed["sequences"][0]["tr_ms"] = [4, 2]
    lines = refused(changed)
    assert len(lines) == 3 and any("'fraction' is missing" in line for line in lines)
    assert "0 sequences: give 1 to 100" in refused({**description(), "sequences": []})[0]
    assert "1000 sequences: give 1 to 100" in refused({**description(), "sequences": [{"sequence": "gre"}] * 1000})[0]


def nodes(value, path=()):
    """Every place in a description."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from nodes(inner, (*path, key))


@pytest.mark.parametrize("nonsense", [None, [], {}, "x", True, float("nan"), float("inf"), 10**400], ids=repr)
def test_whatever_stands_wherever_is_refused_in_one_line(nonsense, monkeypatch):
    """Nothing but an InputError; what is valid there (a missing region, say) is valid."""
    monkeypatch.setattr(recipe_files, "_trial_faults", lambda *_: ())
    small = json.loads(json.dumps(load_recipe("lge").describe()))
    small["sequences"] = small["sequences"][:1]
    for path in nodes(small):
        changed = copy.deepcopy(small)
        place = changed
        for key in path[:-1]:
            place = place[key]
        if path:
            place[path[-1]] = nonsense
        else:
            changed = nonsense
        if path and path[-1] in ("slow_flow", "region", "infarct", "contrast_agent") and nonsense is None:
            read_recipe(changed, "mine.json")
            continue
        if (path == ("scanner",) and nonsense == {}) or (
            path[:1] == ("scanner",) and len(path) == 2 and nonsense is None
        ):
            read_recipe(changed, "mine.json")
            continue
        assert all("\n" not in line and len(line) < 400 for line in refused(changed)), path


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("sequences", 1, "schemes"), ["5(3)3", "5[3]3", "4(1)3(1)2"], "'5[3]3' is not a MOLLI scheme"),
        (("sequences", 1, "centre_pulse"), [10, 45], "centre_pulse must lie between 0 and pulses - 1"),
        (
            ("sequences", 0, "flip_angle_deg"),
            [20, 180.5],
            "flip_angle_deg: [20.0, 180.5] must be above 0 and at most 180",
        ),
        (("sequences", 0, "inflow_pulses"), [0.9, 100], "inflow_pulses: [0.9, 100.0] must be at least 1"),
        (("sequences", 0, "tr_ms"), [0, 4], "tr_ms: [0.0, 4.0] must be above 0 and"),
        (("scanner", "partial_volume", "sigma_pixels"), [0, 0], "sigma_pixels: [0.0, 0.0] must lie between"),
        (("scanner", "receive_bias", "remainder"), [0, 500], "remainder: [0.0, 500.0] must lie between"),
        (("sequences", 1, "region", "scale_mm"), [0, 0], "scale_mm: [0.0, 0.0] must lie between"),
        (("sequences", 6, "contrast_agent", "blood_mmol_l"), [250, 1200], "looks like umol/l: give mmol/l"),
    ],
)
def test_what_only_some_draws_would_meet_is_found_before_the_first(path, value, message):
    assert message in refused_with(path, value)[0]


def test_the_trial_leaves_the_threads_as_they_were(monkeypatch):
    before = torch.get_num_threads()

    def fails(*_):
        assert torch.get_num_threads() == 1
        raise TypeError("not foreseen")

    monkeypatch.setattr(recipe_files, "_trial_fault", fails)
    recipe_files._trial_faults.cache_clear()
    try:
        torch.set_num_threads(2)
        with pytest.raises(TypeError):
            read_recipe(description(), "mine.json")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("index", "changes", "message"),
    [
        (1, {"schemes": ["5(3)3", "4(1)3(0)2", "5(3s)3"], "pulses": [45, 200]}, "do not fit into rr_ms"),
        (8, {"rr_ms": [380, 1200], "pulses": [40, 100]}, "the read-out ends after rr_ms"),
    ],
)
def test_values_that_seldom_do_not_fit_together_are_found(index, changes, message):
    changed = description()
    changed["sequences"][index] |= changes
    assert message in refused(changed)[0]
