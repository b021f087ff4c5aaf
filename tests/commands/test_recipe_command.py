"""`nnunet_phys recipe`: what it lists, prints and checks is what training reads."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from nnunet_phys.augmentations.recipe_files import SHIPPED, load_recipe, shipped_recipes
from nnunet_phys.commands import main

SMALL = {
    "probability": 0.5,
    "t1_factor": [1, 1],
    "t2_factor": [1, 1],
    "sequences": [
        {"sequence": "gre", "weight": 3, "slow_flow": {"probability": 0.5, "share": [0, 1], "scale_mm": [3, 9]}},
        {"sequence": "looklocker"},
        {"sequence": "looklocker", "weight": 0},
    ],
    "scanner": {"noise": {"probability": 0.2, "fraction": [0, 0.04]}},
}
SMALL["sequences"][0]["slow_flow"]["at_rest"] = [0, 1]


@pytest.fixture
def mine(tmp_path):
    """Writes a recipe's JSON, and returns its path."""

    def write(content):
        path = tmp_path / "mine.json"
        path.write_text(json.dumps(content))
        return str(path)

    return write


def test_the_list_names_every_recipe_with_its_size_and_purpose(capsys):
    assert main(["recipe"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split()[0] for line in lines] == shipped_recipes()
    for line in lines:
        described = json.loads((SHIPPED / f"{line.split()[0]}.json").read_text())
        assert line.split()[1] == str(len(described["sequences"])) and line.endswith(f"  {described['description']}")
    assert "recipe show NAME > mine.json" in printed.err


@pytest.mark.parametrize("name", shipped_recipes())
def test_what_is_shown_is_a_file_that_draws_the_same(name, tmp_path, capsys):
    assert main(["recipe", "show", name]) == 0
    path = tmp_path / "mine.json"
    path.write_text(capsys.readouterr().out)
    shipped, copy = load_recipe(name, tried=False), load_recipe(path, tried=False)
    assert copy == replace(shipped, name=str(path)) and copy.description == shipped.description
    assert max(map(len, path.read_text().splitlines())) <= 120
    assert main(["recipe", "show", str(path)]) == 0
    assert capsys.readouterr().out == path.read_text()


def test_what_is_shown_holds_the_ranges_that_a_file_leaves_to_their_defaults(mine, capsys):
    assert main(["recipe", "show", mine(SMALL)]) == 0
    shown = json.loads(capsys.readouterr().out)["sequences"]
    assert shown[0]["flip_angle_deg"] == [8, 25] and shown[1]["weight"] == 1


def test_a_check_says_how_often_everything_is_drawn(mine, capsys):
    path = mine(SMALL)
    assert main(["recipe", "check", path]) == 0
    title, columns, *rows, effects = capsys.readouterr().out.splitlines()
    assert title == f"{path}: no faults. 50% of the training samples are synthetic. Shares of these:"
    assert columns.split("  ")[-5:] == ["images", "contrast agent", "slow flow", "region", "infarct"]
    assert [row.split() for row in rows] == [
        ["gre", "75.0%", "37.5%"],
        ["looklocker", "25.0%"],
        ["looklocker"],
        ["all", "100.0%", "37.5%"],
    ]
    assert rows[0].index("37.5%") + len("37.5%") == columns.index("slow flow") + len("slow flow")
    assert effects == "Scanner effects: noise 20%"


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"probability": 75, "t1_factor": [2, 1]}, ["probability: 75.0 must lie between 0 and 1", "t1_factor: [2.0, "]),
        ({"description": 3}, ["description: 3 is not a text"]),
        (
            {"sequences": [{"sequence": "molli", "pulses": [300, 400]}]},
            ["sequences[0] (molli): ", "do not fit into rr_ms"],
        ),
    ],
)
def test_a_check_finds_what_training_would(mine, refused, capsys, change, messages):
    refused(["recipe", "check", mine(SMALL | change)], *messages)
    assert not capsys.readouterr().out


@pytest.mark.parametrize("action", ["show", "check"])
def test_actions_take_the_options_of_all_commands(action, capsys):
    assert main(["recipe", action, "gre", "-q"]) == 0
    assert not capsys.readouterr().err


def test_what_is_no_recipe(refused, capsys):
    for action in ("show", "check"):
        refused(["recipe", action, "defalt"], "No recipe 'defalt' (did you mean 'default'?)")
    with pytest.raises(SystemExit):
        main(["recipe", "default"])
    assert "choose from" in capsys.readouterr().err
