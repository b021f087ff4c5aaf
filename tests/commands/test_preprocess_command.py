"""The commands: their dialect, and one line per fault without a traceback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import nnunet_phys.trainers
from nnunet_phys.case_records import record_path
from nnunet_phys.commands import COMMANDS, main
from nnunet_phys.map_files import map_paths
from nnunet_phys.precomputed_spin.spin_copies import load_copy_record


def fails(capsys, *arguments) -> str:
    """The one line with which a command fails."""
    capsys.readouterr()
    assert main(list(arguments)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("nnunet_phys: ")
    return lines[0]


def test_trainers_is_quick_and_prints_the_folder(tmp_path):
    code = "import sys; from nnunet_phys.commands import main; main(['trainers']); "
    code += "sys.exit('torch' in sys.modules)"
    # elsewhere than in the checkout, whose nnunet_phys/ lacks the mapped folders
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0
    assert Path(done.stdout.strip()) == Path(nnunet_phys.trainers.__file__).resolve().parent


def test_help_lists_all_commands(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["-h"])
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)


def test_preprocess_with_two_workers(tiny, capsys):
    for case in ("case0", "case1", "case2", "case3"):
        record_path(tiny.maps, case).unlink()
    for path in map_paths(tiny.maps, "case5", ".nii.gz").values():
        path.unlink()
    assert main(["preprocess", "-d", "Dataset900_Tiny", "-c", "2d", "3d_fullres", "-np", "2"]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("\n5 cases in ") == 2 and not printed.out
    assert "1 case has no maps and cannot be trained on: case5." in printed.err
    assert "maps of case0, case1, case2 and 1 more were made from" in printed.err
    assert len(list((tiny.preprocessed / "nnUNetPlans_2d_spin").iterdir())) == 15


def test_cases_that_nnunet_has_not_finished_are_named(tiny, capsys):
    (tiny.preprocessed / "nnUNetPlans_2d" / "case2.b2nd").unlink()
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1"]) == 0
    said = capsys.readouterr().err
    assert "1 case with maps, but not preprocessed by nnU-Net: case2. Run `nnUNetv2_preprocess -d 900" in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("resampling_fn_data", "resample_foo", "resample_foo"),
        ("resampling_fn_data_kwargs", {"foo": 1}, "unexpected keyword argument 'foo'"),
    ],
)
def test_plans_of_another_nnunet_are_refused(tiny, capsys, name, value, message):
    path = tiny.preprocessed / "nnUNetPlans.json"
    plans = tiny.plans()
    plans["configurations"]["2d"][name] = value
    path.write_text(json.dumps(plans))
    said = fails(capsys, "preprocess", "-d", "900", "-c", "2d")
    assert "configurations.2d: nnU-Net here lacks what it names" in said and message in said


def test_maps_elsewhere_and_again(tiny):
    elsewhere = tiny.root / "elsewhere"
    tiny.maps.rename(elsewhere)
    for _ in range(2):
        assert main(["preprocess", "-d", "900", "-c", "2d", "-maps", str(elsewhere), "-np", "1"]) == 0


def test_other_maps_and_cases_included_again_are_named(tiny, tmp_path, capsys):
    preprocess = ["preprocess", "-d", "900", "-c", "2d", "-np", "1"]
    excluded, elsewhere = tmp_path / "excluded.txt", tmp_path / "elsewhere"
    excluded.write_text("case1\n")
    assert main([*preprocess, "-exclude", str(excluded)]) == 0
    shutil.copytree(tiny.maps, elsewhere)
    capsys.readouterr()
    assert main([*preprocess, "-maps", str(elsewhere)]) == 0
    printed = capsys.readouterr().err
    assert "1 case excluded before, which trainings will use: case1." in printed
    assert f"come from {elsewhere}; earlier ones came from {tiny.maps}." in printed


def test_a_link_to_other_maps_is_noticed(tiny):
    first, second = tiny.root / "maps_v1", tiny.root / "maps_v2"
    tiny.maps.rename(first)
    shutil.copytree(first, second)
    (second / "case0_T1map.nii.gz").write_bytes((second / "case1_T1map.nii.gz").read_bytes())
    tiny.maps.symlink_to(first)
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1"]) == 0
    source = load_copy_record(tiny.preprocessed / "nnUNetPlans_2d_spin", "case0").maps["T1map"]
    assert not source.changed
    tiny.maps.unlink()
    tiny.maps.symlink_to(second)
    assert source.changed


@pytest.mark.parametrize("variable", ["nnUNet_raw", "nnUNet_preprocessed"])
def test_variable_unset(tiny, monkeypatch, capsys, variable):
    monkeypatch.delenv(variable)
    assert f"{variable} is not set" in fails(capsys, "preprocess", "-d", "900", "-c", "2d")


@pytest.mark.parametrize("dataset", ["901", "Dataset901_None", "heart"])
def test_no_such_dataset(tiny, capsys, dataset):
    line = fails(capsys, "preprocess", "-d", dataset, "-c", "2d")
    assert dataset in line and "nnUNet_raw" in line


def test_no_such_configuration_or_plans(tiny, capsys):
    assert "no configuration 3d_lowres; it has 2d, 3d_fullres" in fails(
        capsys, "preprocess", "-d", "900", "-c", "3d_lowres"
    )
    line = fails(capsys, "preprocess", "-d", "900", "-c", "2d", "-plans_name", "otherPlans")
    assert "otherPlans.json is missing" in line


def test_not_preprocessed_by_nnunet(tiny, capsys):
    (tiny.preprocessed / "nnUNetPlans_2d").rename(tiny.root / "gone")
    line = fails(capsys, "preprocess", "-d", "900", "-c", "2d")
    assert "Run `nnUNetv2_preprocess -d 900 -plans_name nnUNetPlans -c 2d` first" in line


def test_faults_of_all_cases(tiny, capsys):
    for case in ("case1", "case4"):
        path = map_paths(tiny.maps, case, ".nii.gz")["T1map"]
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    capsys.readouterr()
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("nnunet_phys: ")]
    assert [line.split(": ")[1] for line in lines] == ["case1", "case4"]
    assert all("cut short" in line and "again" in line for line in lines)
    assert not (tiny.preprocessed / "nnUNetPlans_2d_spin").exists()
