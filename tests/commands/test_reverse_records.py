"""`nnunet_phys reverse` where results are already: what it resumes, replaces and refuses to replace."""

import re
import shutil

import pytest

from nnunet_phys.commands import main


def test_only_a_case_with_a_missing_map_is_made_again(fresh, capsys, reverse):
    assert main(reverse()) == 0
    before = {path: path.stat().st_mtime_ns for path in fresh.maps.iterdir()}
    (fresh.maps / "case0_T1map.nii.gz").unlink()
    assert main(reverse()) == 0
    assert f"{len(fresh.cases) - 1} of {len(fresh.cases)} cases are finished" in capsys.readouterr().err
    changed = {path.name for path in fresh.maps.glob("case*") if path.stat().st_mtime_ns != before.get(path)}
    assert changed == {f"case0{end}" for end in ("_PDmap.nii.gz", "_T1map.nii.gz", "_T2map.nii.gz", ".json")}


def test_maps_made_with_other_settings_do_not_count_as_finished(fresh, prior, tmp_path, refused, reverse):
    shutil.copytree(prior, tmp_path / "moved")
    assert main(reverse()) == 0
    assert main(reverse("-prior", str(tmp_path / "moved"))) == 0  # the same prior in another folder
    for options, name in (
        (("-fa", "60"), "sequences"),
        (("-seed", "1"), "seed"),
        (("-prior", "digital_heart"), "prior"),
    ):
        message = f"case0 and 5 more: the results in {fresh.maps} were made with other settings ({name}). Add"
        refused(reverse(*options), message)


def test_overwritten_results_leave_nothing_behind(fresh, reverse):
    assert main(reverse()) == 0
    before = {path: path.stat().st_mtime_ns for path in fresh.maps.glob("case*")}
    assert main(reverse("-samples", "2", "--save_samples", "--overwrite")) == 0
    assert (fresh.maps / "case0_T1sd.nii.gz").is_file()
    assert main(reverse("-fa", "60", "--overwrite")) == 0
    assert {path for path in fresh.maps.rglob("case*") if path.is_file()} == set(before)
    assert all(path.stat().st_mtime_ns > former for path, former in before.items())


def test_maps_from_elsewhere_are_not_replaced(fresh, refused, reverse):
    measured = fresh.maps / "case2_T1map.nii.gz"
    shutil.copy(fresh.image("case2"), measured)
    content = measured.read_bytes()
    refused(reverse(), f"case2: {measured} was not made by nnunet_phys", "add --overwrite")
    assert [path.name for path in fresh.maps.iterdir()] == [measured.name] and measured.read_bytes() == content
    assert main(reverse("--overwrite")) == 0
    assert measured.read_bytes() != content


@pytest.mark.parametrize("content", ["[]", "", '{"inversion_times_ms": 5}'])
def test_a_file_that_is_not_a_record_is_not_replaced(fresh, refused, reverse, content):
    (fresh.maps / "case1.json").write_text(content)
    refused(reverse(), "case1: ", "is not a record of nnunet_phys")
    assert (fresh.maps / "case1.json").read_text() == content


def test_files_named_like_leftovers_do_no_harm(fresh, reverse):
    leftover = fresh.maps / ".case0.nnunet_phys-abcdefgh"
    leftover.write_text("")
    (fresh.maps / ".case0_T1map.host-x.nii.gz").write_text("")
    assert main(reverse()) == 0


def test_listed_cases_are_made_again_with_other_settings(fresh, capsys, reverse, tmp_path):
    assert main(reverse()) == 0
    listed, records = tmp_path / "listed.txt", {path: path.read_text() for path in fresh.maps.glob("case*.json")}
    listed.write_text("# looked wrong\n\ncase1\tslice 2: dark\ncase4\n")
    capsys.readouterr()
    assert main(reverse("-cases", str(listed))) == 0
    assert "2 of 2 cases are finished and skipped" in capsys.readouterr().err  # the same settings give the same maps
    assert main(reverse("-cases", str(listed), "-fa", "60")) == 0
    changed = {path.stem for path, former in records.items() if path.read_text() != former}
    assert changed == {"case1", "case4"} and "2 cases made in" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("case7\n", "there is no case 'case7' (did you mean 'case"),
        ("# nothing\n\n", "names no case"),
        (b"\xff\xfe\xd8", "cannot be read"),
    ],
)
def test_lists_that_cannot_be_used(fresh, reverse, refused, tmp_path, content, message):
    listed = tmp_path / "listed.txt"
    listed.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(reverse("-cases", str(listed)), message)
    assert not list(fresh.maps.iterdir())


def test_fitted_maps_of_other_images_are_not_replaced(series, tmp_path, refused, reverse_folder):
    maps, cine, listed = tmp_path / "maps", tmp_path / "cine", tmp_path / "listed.txt"
    assert main(["fit", "-sequence", "molli", "-i", str(series), "-o", str(maps), "--disable_progress_bar"]) == 0
    before = {path: path.read_bytes() for path in maps.iterdir()}
    listed.write_text("case0\ncase1\n")
    cine.mkdir()
    for case in ("case0", "case1"):
        shutil.copy(series / f"{case}_ti03_0000.nii.gz", cine / f"{case}_0000.nii.gz")
    for more in ((), ("-cases", str(listed))):
        refused(reverse_folder(cine, maps, *more), "case0 and 1 more: the results", "(another command, other images)")
    assert {path: path.read_bytes() for path in maps.iterdir()} == before
    assert main(reverse_folder(cine, maps, "--overwrite")) == 0


def test_flags_of_finished_cases_are_told_again(fresh, monkeypatch, capsys, reverse):
    monkeypatch.setattr("nnunet_phys.precomputed_spin.quality.MOST_RESIDUAL", 0.0)
    assert main(reverse()) == 0
    flagged = (fresh.maps / "flagged.txt").read_text()
    assert [line.split("\t")[0] for line in flagged.splitlines()[1:]] == fresh.cases and "pixels)" in flagged
    capsys.readouterr()
    assert main(reverse()) == 0
    printed = capsys.readouterr().err
    assert f"6 cases with flags in {fresh.maps}, listed in {fresh.maps / 'flagged.txt'}" in printed
    assert re.search(r"residual \(\d+ slices\): describe the sequence", printed)
    (fresh.maps / "flagged.txt").write_text("mine\n")
    assert main(reverse()) == 1 and (fresh.maps / "flagged.txt").read_text() == "mine\n"
