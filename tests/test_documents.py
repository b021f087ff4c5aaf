"""The README and docs are true: their Python runs, their commands and tables are those of the code."""

from __future__ import annotations

import importlib
import re
import shlex
from importlib.metadata import version
from itertools import takewhile
from pathlib import Path
from unittest.mock import patch

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

from nnunet_phys.augmentations.recipe_files import load_recipe
from nnunet_phys.augmentations.recipe_tables import fill
from nnunet_phys.commands import COMMANDS, main
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.image_files import Geometry, write_volume
from nnunet_phys.sequences import BSSFP, SEQUENCES
from nnunet_phys.sequences.protocol_ranges import RANGES

ROOT = Path(__file__).parents[1]
ROOT_DOCUMENTS = [ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")]
DOCUMENTS = [*ROOT_DOCUMENTS, *sorted((ROOT / "docs").glob("*.md"))]


def python_blocks() -> dict[str, str]:
    """The Python that the documents show, by document and number of the block."""
    return {
        f"{document.name} {number}": block
        for document in DOCUMENTS
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL))
    }


def command_lines() -> list[list[str]]:
    """Arguments of every whole command that a document shows, in a block or in the text."""
    shown: list[list[str]] = []
    for document in DOCUMENTS:
        text = document.read_text()
        lines = [line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
        lines += re.findall(r"`(nnunet_phys [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        for line in lines:
            words = list(takewhile(lambda word: word != ">", shlex.split(line, comments=True)))
            for i, word in enumerate(words):
                if word == "nnunet_phys" and i + 1 < len(words) and "COMMAND" not in words and "..." not in words:
                    shown.append(words[i + 1 :])
    return shown


@pytest.fixture
def folder_with_images(tmp_path, monkeypatch) -> Path:
    """The current folder, with a cine of a digital heart in `images`."""
    heart = digital_heart(seed=1, slices=1, shape=(64, 64))
    slice_mm, row_mm, column_mm = heart.spacing_mm
    geometry = Geometry((64, 64, 1), (column_mm, row_mm, slice_mm), (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    (tmp_path / "images").mkdir()
    write_volume(tmp_path / "images" / "heart_0000.nii.gz", BSSFP(50.0)(heart.maps), geometry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", python_blocks())
def test_python_runs(name, folder_with_images):
    with patch.dict(SEQUENCES), patch.dict(RANGES):  # a sequence that a document defines is gone after the test
        exec(compile(python_blocks()[name], name, "exec", dont_inherit=True), {"__name__": "document"})


def test_links_lead_to_files_and_headings():
    for document in DOCUMENTS:
        for target, _, heading in (link.partition("#") for link in re.findall(r"\]\(([^):]+)\)", document.read_text())):
            path = document.parent / target
            assert path.is_file(), (document.name, target)
            if heading:
                headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
                assert heading in [text.lower().replace(" ", "-") for text in headings], (document.name, heading)


def test_commands_are_understood(monkeypatch):
    lines, ran = [line for line in command_lines() if line != ["--version"]], []
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


def leaves(value, path=()):
    """Paths and values of what is neither an object nor a list of objects; ranges as tuples."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list) and isinstance(value[0], dict):
        items = enumerate(value)
    else:
        yield path, tuple(value) if isinstance(value, list) else value
        return
    for key, inner in items:
        yield from leaves(inner, (*path, key))


def number_or_range(text):
    """A cell of that table: 0.3 or 20-130."""
    ends = tuple(map(float, text.split("-")))
    return ends if len(ends) == 2 else ends[0]


def test_the_table_of_3_t_is_the_difference_between_the_recipes():
    default, at_3t = (dict(leaves(load_recipe(name, tried=False).describe())) for name in ("default", "3t"))
    assert default.keys() == at_3t.keys()
    different = {
        (".".join(path[1:]) if path[0] == "scanner" else path[-1], default[path], at_3t[path])
        for path in default
        if default[path] != at_3t[path]
    }
    section = (ROOT / "docs" / "contrasts.md").read_text().partition("## At 3 T")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w.]+)` \| ([\d.-]+) \| ([\d.-]+) \|", section, re.MULTILINE)
    assert len(rows) == 9
    shown = {(field, *map(number_or_range, texts)) for field, *texts in rows}
    assert different == shown


def test_the_share_of_real_images_is_that_of_the_default_recipe():
    share = round(100 * load_recipe("default", tried=False).probability)
    assert f"In {share} % of training samples" in (ROOT / "docs" / "training.md").read_text()
    assert (
        f"In {100 - share} % of training samples the real image stays" in (ROOT / "docs" / "cine_cost.md").read_text()
    )


def test_the_table_of_commands_has_all_of_them():
    table = (ROOT / "docs" / "commands.md").read_text().partition("## Options")[0]
    rows = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(COMMANDS)


def test_the_cost_on_cine_is_that_of_the_benchmark():
    pages = [(ROOT / "docs" / f"{name}.md").read_text() for name in ("cine_cost", "measured", "benchmark")]
    rows = re.findall(r"^\| (nnU-Net|Phys) \| (.+) \| (.+) \| (.+) \|$", pages[0], re.MULTILINE)
    assert [method for method, *_ in rows] == ["nnU-Net", "Phys"]
    for method, wide, small, short in rows:
        assert f"\n| {method} | {wide} |" in pages[1], "bring cine_cost.md up to date"
        assert all(f"\n| {method} | 2 | {figure} |" in pages[2] for figure in (small, short)), (
            "bring cine_cost.md up to date"
        )


@pytest.mark.slow
def test_the_notebook_runs_and_is_kept_without_outputs(tmp_path):
    notebook = nbformat.read(ROOT / "docs" / "first_contrasts.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    figures = [output for cell in cells for output in cell.outputs if "image/png" in output.get("data", {})]
    assert len(figures) == 6


def test_the_citation_and_the_package_have_one_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == version("nnunet_phys")
    assert version("nnunet_phys") in (ROOT / "CHANGELOG.md").read_text()


def test_the_workflow_tests_every_python_that_the_package_names():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    named = re.findall(r"Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert jobs["tests"]["strategy"]["matrix"]["python"] == named


def test_the_navigation_of_the_documentation_names_every_page():
    shown = re.findall(r"[\w/]+\.md", (ROOT / "mkdocs.yml").read_text().partition("nav:")[2])
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert sorted(shown) == sorted(pages)
