"""Sequences of other packages: the example of docs/own_sequence.md, installed, goes through recipes and commands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import main
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.image_files import Geometry, write_volume
from nnunet_phys.sequences import plugins
from nnunet_phys.sequences.protocol_ranges import RANGES
from nnunet_phys.sequences.pulse_sequence import SEQUENCES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "own_sequence.md").read_text()
(CODE,) = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
(ENTRY,) = re.findall(rf'entry-points."{plugins.GROUP}"\]\n(\w+ = "[\w:]+")\n', DOCUMENT)
RECIPE = {
    "probability": 1,
    "t1_factor": [1, 1],
    "t2_factor": [1, 1],
    "sequences": [{"sequence": "spin_echo", "te_ms": [15, 60]}],
    "scanner": {},
}


@pytest.fixture
def recipe(tmp_path):
    """Path of a recipe that draws the example."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(RECIPE))
    return str(path)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a module as the package my-sequences, as pip leaves it, and forgets its sequences after the test."""

    def write(code=CODE, entry=ENTRY, module="my_sequences"):
        folder = tmp_path / "site"
        info = folder / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{module}.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{entry.replace(chr(34), '')}\n")
        monkeypatch.syspath_prepend(folder)
        return folder

    plugins._import_plugins.cache_clear()
    with patch.dict(SEQUENCES), patch.dict(RANGES), patch.dict(sys.modules):
        yield write
    plugins._import_plugins.cache_clear()


@pytest.fixture
def maps(tmp_path):
    """A folder with the maps of a small digital heart, and the maps."""
    heart, folder = digital_heart(seed=1, slices=1, shape=(32, 32), pixel_mm=6.0), tmp_path / "maps"
    geometry = Geometry((32, 32, 1), heart.spacing_mm[::-1], (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
    folder.mkdir()
    for name, values in zip(("PDmap", "T1map", "T2map"), heart.maps.stack(), strict=True):
        write_volume(folder / f"a_{name}.nii.gz", values, geometry)
    return folder, heart.maps


def test_synthesize_and_reverse(install, maps, tmp_path, reverse_folder):
    install()
    folder, tissue = maps
    images, inferred = tmp_path / "images", tmp_path / "inferred"
    options = ("-sequence", "spin_echo", "-te", "15", "-tr", "700", "--disable_progress_bar")
    assert main(["synthesize", "-i", str(folder), "-o", str(images), *options]) == 0
    image = torch.from_numpy(sitk.GetArrayFromImage(sitk.ReadImage(str(images / "a_0000.nii.gz"))))
    expected = tissue.pd * (1 - torch.exp(-700 / tissue.t1)) * torch.exp(-15 / tissue.t2)
    assert torch.allclose(image, expected, rtol=1e-4, atol=1e-6)
    assert main(reverse_folder(images, inferred, "-sequence", "spin_echo")) == 0
    assert sorted(path.name for path in inferred.glob("a_*map*")) == [f"a_{n}map.nii.gz" for n in ("PD", "T1", "T2")]
    assert '"spin_echo"' in (inferred / "a.json").read_text()


def test_recipes_draw_it_and_records_replay_it(install, maps, recipe, tmp_path, capsys):
    install()
    assert main(["recipe", "check", recipe]) == 0
    assert "spin_echo  100.0%" in capsys.readouterr().out
    assert main(["recipe", "show", recipe]) == 0
    assert json.loads(capsys.readouterr().out)["sequences"][0]["tr_ms"] == [600, 1200]
    drawn, again = tmp_path / "drawn", tmp_path / "again"
    arguments = ["synthesize", "-i", str(maps[0]), "--disable_progress_bar"]
    assert main([*arguments, "-o", str(drawn), "-recipe", recipe, "-n", "2"]) == 0
    times = [json.loads((drawn / f"a_00{k}.json").read_text())["images"][0]["draw"]["sequence"] for k in range(2)]
    assert all(time["sequence"] == "spin_echo" and 15 <= time["te_ms"] <= 60 for time in times) and times[0] != times[1]
    assert main([*arguments, "-o", str(again), "-draw", str(drawn / "a_000.json")]) == 0
    assert (again / "a_0000.nii.gz").read_bytes() == (drawn / "a_000_0000.nii.gz").read_bytes()


def test_its_values_are_checked_as_those_of_shipped_sequences(install, maps, recipe, tmp_path, refused):
    install()
    arguments = ["synthesize", "-i", str(maps[0]), "-o", str(tmp_path / "out"), "-sequence"]
    refused([*arguments, "spin_echo", "-te", "0.02"], "te_ms", "looks like seconds: give ms")
    refused([*arguments, "spin_ech"], "No sequence 'spin_ech' (did you mean 'spin_echo'?)")
    Path(recipe).write_text(json.dumps({**RECIPE, "sequences": [{"sequence": "spin_echo", "te_ms": [60, 15]}]}))
    refused(["recipe", "check", recipe], "(spin_echo).te_ms: [60.0, 15.0] is reversed")


def test_a_module_of_the_package_may_be_imported_first(install, recipe):
    """Its import of this package must not import it again, half made."""
    folder = install("import nnunet_phys.sequences.blocks\n" + CODE)
    script = "import sys, my_sequences\nfrom nnunet_phys.commands import main\nsys.exit(main(sys.argv[1:]))"
    finished = subprocess.run(
        [sys.executable, "-c", script, "recipe", "show", recipe],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0 and '"spin_echo"' in finished.stdout, finished.stderr


@pytest.mark.parametrize(
    ("code", "entry", "fault"),
    [
        (
            "import no_such_module",
            ENTRY,
            "it cannot be imported (ModuleNotFoundError: No module named 'no_such_module')",
        ),
        ("x = 1 / 0", ENTRY, "it cannot be imported (ZeroDivisionError: division by zero)"),
        (CODE, "spin_echo = my_sequences:Spin", "it cannot be imported (AttributeError: "),
        (CODE.replace('"spin_echo"', '"bssfp"'), ENTRY, "'bssfp' is taken by nnunet_phys.sequences.bssfp.BSSFP"),
        (
            "from nnunet_phys.sequences import BSSFP\n" + CODE.replace("sequence = SpinEcho", "sequence = BSSFP"),
            ENTRY,
            "'bssfp' is taken by nnunet_phys.sequences.bssfp.BSSFPRanges",
        ),
        (CODE, "spin_echo = my_sequences:LONGEST_T1_MS", "it is no class of PulseSequence"),
        (CODE, "spin_echo = my_sequences:SpinEchoRanges", "it is no class of PulseSequence"),
        (CODE.replace('    name: ClassVar[str] = "spin_echo"\n', ""), ENTRY, "'SpinEcho' has no attribute 'name'"),
        (
            CODE.partition("@dataclass(frozen=True)\nclass SpinEchoRanges")[0],
            ENTRY,
            "'spin_echo' has no ProtocolRanges",
        ),
        (CODE.replace("__call__", "signal"), ENTRY, "SpinEcho lacks __call__"),
        (
            CODE.replace("@dataclass(frozen=True)\nclass SpinEchoRanges", "class SpinEchoRanges"),
            ENTRY,
            "SpinEchoRanges is",
        ),
        (CODE.replace("(frozen=True)", ""), ENTRY, "SpinEcho is no frozen dataclass"),
        (CODE.replace("default=20.0, ", ""), ENTRY, "SpinEcho makes no image (TypeError: "),
        (CODE.replace("maps.pd *", "maps.pd[None] *"), ENTRY, "of maps of shape (2, 3), SpinEcho makes (1, 2, 3)"),
    ],
)
def test_an_unusable_class_is_told_in_a_line_that_names_the_package(install, refused, code, entry, fault):
    install(code, entry)
    named = entry.replace('"', "")
    for _ in range(2):  # the first failure leaves nothing behind that hides it
        refused(
            ["recipe"],
            f"Package my-sequences 1.0, entry point {named} of nnunet_phys.sequences: ",
            fault,
            "Correct or uninstall that package.",
        )
    assert "bssfp" in SEQUENCES and SEQUENCES["bssfp"].__module__ == "nnunet_phys.sequences.bssfp"


def test_packages_that_take_the_same_name(install, refused):
    install()
    install(CODE, "again = other_sequences:SpinEcho", "other_sequences")
    refused(["recipe"], "'spin_echo' is taken by ", "-sequences 1.0, entry point ")
