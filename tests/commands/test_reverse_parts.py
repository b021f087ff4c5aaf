"""`nnunet_phys reverse` in parts: job arrays, and processes of a launcher."""

import numpy as np
import SimpleITK as sitk

from nnunet_phys.commands import main


def test_parts_share_the_work_and_agree_with_the_whole(fresh, tmp_path, reverse_folder):
    images, whole, parts = fresh.raw / "imagesTr", tmp_path / "whole", tmp_path / "parts"
    assert main(reverse_folder(images, whole)) == 0
    for part in ("0", "1"):
        assert main(reverse_folder(images, parts, "-num_parts", "2", "-part_id", part)) == 0
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in parts.iterdir()) and len(names) == 4 * len(fresh.cases)
    for name in (name for name in names if name.endswith(".nii.gz")):
        in_one_run, in_parts = (sitk.GetArrayFromImage(sitk.ReadImage(str(out / name))) for out in (whole, parts))
        assert np.array_equal(in_one_run, in_parts)


def test_processes_of_a_launcher_share_the_work(fresh, monkeypatch, reverse):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, expected in (("0", 3), ("1", 6)):
        monkeypatch.setenv("RANK", rank)
        assert main(reverse()) == 0
        assert len(list(fresh.maps.glob("*.json"))) == expected


def test_a_part_without_cases_is_reported(fresh, capsys, monkeypatch, reverse):
    assert main(reverse("-num_parts", "9", "-part_id", "8")) == 0
    assert "part 9 of 9: 0 cases of 6" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "6")
    monkeypatch.setenv("WORLD_SIZE", "7")
    assert main(reverse()) == 0
    assert "part 7 of 7 (by RANK and WORLD_SIZE in the environment): 0 cases of 6" in capsys.readouterr().err
