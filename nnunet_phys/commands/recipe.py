"""`nnunet_phys recipe`: the recipes that ship, a recipe as a file to change, and what a file draws or what is wrong."""

from __future__ import annotations

import argparse
import logging
from typing import TYPE_CHECKING

from nnunet_phys.commands.shared.messages import add_message_arguments
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.errors import counted

if TYPE_CHECKING:
    from nnunet_phys.augmentations.recipe import ContrastRecipe

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do with which recipe; without an action, the shipped recipes are listed."""
    actions = parser.add_subparsers(
        dest="action", metavar="ACTION", title="actions", description="Without an action, list the recipes that ship."
    )
    for action, summary in (
        ("show", "print a recipe with every range, as JSON: a file to change"),
        ("check", "print what is wrong with a recipe, one line per fault, else what it draws"),
    ):
        command = actions.add_parser(action, help=summary, description=summary[0].upper() + summary[1:] + ".")
        add_message_arguments(command)
        command.add_argument("recipe", type=named_path, metavar="RECIPE", help="name of a recipe that ships, or a file")


def run(args: argparse.Namespace) -> None:
    """List the shipped recipes, print one, or check one as training does."""
    from nnunet_phys.augmentations.recipe_files import load_recipe, recipe_text, shipped_recipes

    if args.action == "show":
        print(recipe_text(load_recipe(args.recipe, tried=False)))
    elif args.action == "check":
        print(_table(load_recipe(args.recipe)))
    else:
        for name in shipped_recipes():
            recipe = load_recipe(name, tried=False)
            print(f"{name:<9}{counted(len(recipe.sequences), 'sequence'):<14}{recipe.description}")
        logger.info("To change one: nnunet_phys recipe show NAME > mine.json; nnunet_phys recipe check mine.json")


def _table(recipe: ContrastRecipe) -> str:
    """What a recipe draws: sequences, states of their tissue and scanner effects as shares of all synthetic images."""
    from nnunet_phys.augmentations.tissue_ranges import TISSUE_PARTS

    total = sum(entry.weight for entry in recipe.sequences)
    rows: list[tuple[str, list[float]]] = []
    for entry in recipe.sequences:
        share = entry.weight / total
        parts = [getattr(entry, part) for part in TISSUE_PARTS]
        rows.append((entry.name, [share, *(0.0 if part is None else share * part.probability for part in parts)]))
    rows.append(("all", [sum(column) for column in zip(*(shares for _, shares in rows), strict=True)]))
    width = max(len(name) for name, _ in rows)
    titles = [" " * width, "images", *(part.replace("_", " ") for part in TISSUE_PARTS)]
    lines = [
        f"{recipe.name}: no faults. {recipe.probability:.0%} of the training samples are synthetic. Shares of these:",
        "  ".join(titles),
    ]
    for name, shares in rows:
        cells = [
            f"{share:.1%}".rjust(len(title)) if share else " " * len(title)
            for share, title in zip(shares, titles[1:], strict=True)
        ]
        lines.append("  ".join([name.ljust(width), *cells]).rstrip())
    effects = ", ".join(f"{effect.name} {effect.probability:.0%}" for effect in recipe.scanner)
    lines.append(f"Scanner effects: {effects or 'none'}")
    return "\n".join(lines)
