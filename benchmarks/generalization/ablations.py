"""The default recipe with one change, mostly without one of its parts, to see what that part brings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.whole_files import write_json

BASE = "default"
"""The shipped recipe that is changed."""


@dataclass(frozen=True)
class Ablation:
    """One change of the recipe.

    Attributes:
        title: of the method, for tables.
        change: changes the recipe's description in place.
    """

    title: str
    change: Callable[[dict[str, Any]], None]


def _without_part(part: str) -> Callable[[dict[str, Any]], None]:
    def change(recipe: dict[str, Any]) -> None:
        for sequence in recipe["sequences"]:
            sequence.pop(part, None)

    return change


def _without_effects(*effects: str) -> Callable[[dict[str, Any]], None]:
    def change(recipe: dict[str, Any]) -> None:
        for effect in effects:
            del recipe["scanner"][effect]

    return change


def _one_tissue_state(recipe: dict[str, Any]) -> None:
    recipe["t1_factor"] = recipe["t2_factor"] = [1.0, 1.0]


def _no_real_images(recipe: dict[str, Any]) -> None:
    recipe["probability"] = 1.0


def _mostly_real_images(recipe: dict[str, Any]) -> None:
    recipe["probability"] = 0.3


ABLATIONS: dict[str, Ablation] = {
    "no_agent": Ablation("Phys without contrast agent", _without_part("contrast_agent")),
    "no_infarct": Ablation("Phys without infarcts", _without_part("infarct")),
    "no_region": Ablation("Phys without regions", _without_part("region")),
    "no_factors": Ablation("Phys without factors of T1 and T2", _one_tissue_state),
    "no_fields": Ablation(
        "Phys without B1, off-resonance and devices", _without_effects("transmit", "off_resonance", "device")
    ),
    "no_coils": Ablation("Phys without coil sensitivity", _without_effects("receive_bias")),
    "no_blur": Ablation("Phys without blur and cut k-space", _without_effects("partial_volume", "zero_filling")),
    "no_noise": Ablation("Phys without noise", _without_effects("noise")),
    "no_real_images": Ablation("Phys without real images", _no_real_images),
    "mostly_real": Ablation("Phys with 30 % synthetic images", _mostly_real_images),
}
"""All ablations by name."""


def write_recipe(ablation: str, folder: Path) -> Path:
    """Write the recipe of an ablation to a folder, and return its path.

    Raises:
        InputError: it cannot be written.
    """
    recipe = load_recipe(BASE).describe()
    ABLATIONS[ablation].change(recipe)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{BASE}_{ablation}.json"
    write_json(path, recipe)
    return path
