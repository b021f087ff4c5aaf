"""`nnunet_phys phantom` as a command: what it writes, and how it refuses."""

import numpy as np
import SimpleITK as sitk

from nnunet_phys.commands import main


def test_phantom_refuses_what_makes_no_data_set(tmp_path, monkeypatch, refused):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    refused(["phantom", "-d", "901", "-slices", "0"], "-slices 0: give 1 or more")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    refused(["phantom", "-d", "901"], "no such folder")


def test_phantom_writes_a_valid_data_set(tmp_path, monkeypatch, refused, capsys):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    arguments = ["phantom", "-d", "901", "-train", "2", "-test", "1", "-slices", "2"]
    assert main(arguments) == 0
    folder = tmp_path / "Dataset901_DigitalHeart"
    verify_dataset_integrity(str(folder), 1)
    for contrast, count in (("cine", 1), ("molli", 11), ("gre", 1), ("lge", 1)):
        images, labels = (sorted((folder / f"{k}Ts_{contrast}").iterdir()) for k in ("images", "labels"))
        assert len(images) == len(labels) == count
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(images[0])))
        assert array.shape == (2, 128, 128) and np.isfinite(array).all() and array.std() > 0
    capsys.readouterr()  # progress
    refused(arguments, "exists. Choose another id or add --overwrite")
    (tmp_path / "Dataset902_Other").mkdir()
    refused(["phantom", "-d", "902"], "-d 902 is taken by")
