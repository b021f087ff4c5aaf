"""`nnunet_phys reverse` where results are already: what it resumes, replaces and refuses to replace."""

import shutil

import pytest

from nnunet_phys.commands import main


def test_only_a_case_with_a_missing_map_is_made_again(fresh, capsys, reverse):
    assert main(reverse()) == 0
    before = {path: path.stat().st_mtime_ns for path in fresh.maps.iterdir()}
    (fresh.maps / "case0_T1map.nii.gz").unlink()
    assert main(reverse()) == 0
    assert f"{len(fresh.cases) - 1} of {len(fresh.cases)} cases are finished" in capsys.readouterr().err
    changed = {path.name for path in fresh.maps.iterdir() if path.stat().st_mtime_ns != before.get(path)}
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
    before = {path: path.stat().st_mtime_ns for path in fresh.maps.iterdir()}
    assert main(reverse("-samples", "2", "--save_samples", "--overwrite")) == 0
    assert (fresh.maps / "case0_T1sd.nii.gz").is_file()
    assert main(reverse("-fa", "60", "--overwrite")) == 0
    assert {path for path in fresh.maps.rglob("*") if path.is_file()} == set(before)
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
