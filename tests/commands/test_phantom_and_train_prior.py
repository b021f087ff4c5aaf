"""`nnunet_phys phantom` as a command: what it writes, and how it refuses."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import SimpleITK as sitk

from nnunet_phys.commands import main
from nnunet_phys.whole_files import making_alone


@pytest.mark.parametrize(
    "more",
    [
        ("-d", "99999"),
        ("-d", "0"),
        ("-d", "-1"),
        ("-d", "x"),
        ("-np", "0"),
        ("-np", "100000"),
        ("-slices", "0"),
        ("-slices", "1000000"),
        ("-train", "0"),
        ("-train", "1e9"),
        ("-test", "-1"),
    ],
)
def test_phantom_refuses_numbers_that_make_no_sense(tmp_path, monkeypatch, capsys, more):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    with pytest.raises(SystemExit, match="2"):
        main(["phantom", "-d", "901", *more])
    assert f"argument {more[0]}: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_phantom_refuses_a_folder_that_is_not_there(tmp_path, monkeypatch, refused):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    refused(["phantom", "-d", "901"], "no such folder")


@pytest.mark.skipif(sys.platform == "win32", reason="no process groups")
def test_phantom_interrupted_and_killed(tmp_path, monkeypatch):
    """Ctrl-C ends it with a line; what a kill leaves goes at the next run."""
    environment = {**os.environ, "nnUNet_raw": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nnunet_phys", "phantom", "-d", "901", "-train", "9", "-test", "0", "-np", "2"]

    def started() -> subprocess.Popen:
        process = subprocess.Popen(
            command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True
        )
        while process.poll() is None and not list(tmp_path.glob(".Dataset901*/Dataset901*/imagesTr")):
            time.sleep(0.02)
        return process

    process = started()
    os.killpg(process.pid, signal.SIGINT)
    stderr = process.communicate()[1]
    assert process.returncode == 130 and stderr.endswith("nnunet_phys: Interrupted\n")
    assert "Traceback" not in stderr and list(tmp_path.iterdir()) == []
    process = started()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    lock = ".Dataset901_DigitalHeart.lock"  # an empty file, which no process holds any more
    assert [path.name[:11] for path in tmp_path.iterdir() if path.name != lock] == [".Dataset901"]
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    assert main(["phantom", "-d", "902", "-train", "1", "-test", "0", "-slices", "1", "-np", "1"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"Dataset902_DigitalHeart", lock}


def test_phantom_writes_a_valid_data_set(tmp_path, monkeypatch, refused, capsys):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    arguments = ["phantom", "-d", "901", "-train", "2", "-test", "1", "-slices", "2"]
    assert main(arguments) == 0
    folder = tmp_path / "Dataset901_DigitalHeart"
    verify_dataset_integrity(str(folder), 1)
    for contrast, count in (("cine", 1), ("molli", 11), ("gre", 1), ("lge", 1)):
        images, labels = (sorted((folder / f"{k}Ts_{contrast}").glob("*.nii.gz")) for k in ("images", "labels"))
        assert len(images) == len(labels) == count
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(images[0])))
        assert array.shape == (2, 128, 128) and np.isfinite(array).all() and array.std() > 0
    fit = ["fit", "-sequence", "molli", "-i", str(folder / "imagesTs_molli"), "-o", str(tmp_path / "fit")]
    assert main(fit) == 0
    t1, truth = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        for path in (tmp_path / "fit/heart000_T1map.nii.gz", labels[0])
    )
    assert 900 < np.median(t1[truth == 2]) < 1700  # of muscle, whose T1 was lengthened by 40 %
    capsys.readouterr()  # progress
    with making_alone(folder):
        refused([*arguments, "--overwrite"], "Dataset901_DigitalHeart: another process is making it")
    refused(arguments, "exists. Choose another id or add --overwrite")
    (tmp_path / "Dataset902_Other").mkdir()
    refused(["phantom", "-d", "902"], "-d 902 is taken by")
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    (tmp_path / "results" / "Dataset903_Trained").mkdir(parents=True)
    refused(["phantom", "-d", "903"], "-d 903 is taken by", "Dataset903_Trained")
