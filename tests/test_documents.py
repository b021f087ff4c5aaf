"""What README and docs show, runs."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from nnunet_phys.augmentations.recipe_tables import fill
from nnunet_phys.commands import main
from nnunet_phys.sequences import SEQUENCES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list:
    found = []
    for document in DOCUMENTS:
        for number, text in enumerate(re.findall(rf"```{language}\n(.*?)```", document.read_text(), re.DOTALL)):
            found.append(pytest.param(text, id=f"{document.name} {number}"))
    return found


def command_lines() -> list[list[str]]:
    """Arguments of every whole command that a document shows in a block, or in the text with its options."""
    shown = []
    for document in DOCUMENTS:
        text = document.read_text()
        lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        lines += re.findall(r"`(nnunet_phys [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in lines:
            words = shlex.split(line, comments=True)
            for i, word in enumerate(words):
                if word == "nnunet_phys" and i + 1 < len(words) and "COMMAND" not in words and "..." not in words:
                    shown.append(words[i + 1 :])
    return shown


@pytest.mark.parametrize("text", blocks("python"))
def test_python_runs(text):
    exec(compile(text, "document", "exec"), {"__name__": "document"})


def test_commands_are_understood(monkeypatch):
    lines, ran = command_lines(), []
    assert len(lines) > 5
    for arguments in lines:
        module = importlib.import_module(f"nnunet_phys.commands.{arguments[0]}")
        monkeypatch.setattr(module, "run", ran.append)
        assert main(arguments) == 0, arguments
    assert len(ran) == len(lines)


def test_the_tables_of_a_recipes_fields_are_those_of_the_code():
    text = (ROOT / "docs" / "contrasts.md").read_text()
    assert text.count("<!-- fields of ") == 3
    assert fill(text) == text, "python -m nnunet_phys.augmentations.recipe_tables docs/contrasts.md"
    assert all(f"`{name}`" in text.partition("## Recipes")[0] for name in SEQUENCES)
