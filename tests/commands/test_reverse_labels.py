"""`nnunet_phys reverse --labels`: labels as evidence of tissue, with and without posterior samples."""

import json

import numpy as np
import SimpleITK as sitk

from nnunet_phys.commands import main


def _name_labels(data_set, **codes):
    """Write other names of the labels and their codes into dataset.json."""
    path = data_set.raw / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "labels": {"background": 0, **codes}}))


def test_labels_and_samples_are_recorded_and_resumed(fresh, refused, capsys, reverse):
    _name_labels(fresh, LV=1, MYO=2)
    with_samples = reverse("--labels", "-samples", "2", "--save_samples")
    assert main(with_samples) == 0
    record = json.loads((fresh.maps / "case0.json").read_text())
    assert record["labels"] == {"LV": 1, "MYO": 2}
    assert record["samples"]["drawn"] == 2 and "overshoot" not in record["sampler"]
    assert record["quality"]["t1_spread"] > 0
    sizes = {sitk.ReadImage(str(path)).GetSize() for path in fresh.maps.rglob("case0_*.nii.gz")}
    assert len(list(fresh.maps.rglob("case0_*.nii.gz"))) == 3 + 3 + 6 and len(sizes) == 1
    refused(reverse(), "were made with other settings (sampler, samples, labels, label_sha256)")
    (fresh.maps / "samples" / "1" / "case3_T2map.nii.gz").unlink()
    assert main(with_samples) == 0
    assert "5 of 6 cases are finished" in capsys.readouterr().err


def test_a_case_whose_labels_were_corrected_is_made_again(fresh, capsys, reverse, edit_image):
    _name_labels(fresh, LV=1, MYO=2)
    assert main(reverse("--labels")) == 0
    before = {case: (fresh.maps / f"{case}.json").read_text() for case in fresh.cases}
    edit_image(fresh.raw / "labelsTr" / "case3.nii.gz", lambda labels: np.roll(labels, 3, axis=-1))
    assert main(reverse("--labels")) == 0
    assert "5 of 6 cases are finished" in capsys.readouterr().err
    changed = [case for case in fresh.cases if (fresh.maps / f"{case}.json").read_text() != before[case]]
    assert changed == ["case3"]


def test_a_case_whose_name_ends_like_a_channel_keeps_its_name(fresh, reverse):
    fresh.image("case0").rename(fresh.image("heart_0000"))
    (fresh.raw / "labelsTr" / "case0.nii.gz").rename(fresh.raw / "labelsTr" / "heart_0000.nii.gz")
    _name_labels(fresh, LV=1, MYO=2)
    assert main(reverse("--labels")) == 0
    assert (fresh.maps / "heart_0000_T1map.nii.gz").is_file() and not (fresh.maps / "heart_T1map.nii.gz").exists()


def test_faulty_labels_are_refused(fresh, refused, reverse, edit_image):
    _name_labels(fresh, LV=1, MYO=2)
    labels = fresh.raw / "labelsTr"
    (labels / "case4.nii.gz").unlink()
    edit_image(labels / "case1.nii.gz", np.zeros_like)
    sitk.WriteImage(sitk.ReadImage(str(labels / "case2.nii.gz"))[1:], str(labels / "case2.nii.gz"))
    refused(
        reverse("--labels"),
        f"case1: {labels / 'case1.nii.gz'} holds none of the codes",
        f"case2: {labels / 'case2.nii.gz'} lies on another grid than",
        f"case4: {labels / 'case4.nii.gz'} cannot be read",
    )
    assert not list(fresh.maps.iterdir())


def test_labels_that_cannot_judge_maps_are_named(fresh, capsys, reverse):
    _name_labels(fresh, LV=1, MYO=2)
    path = str(fresh.raw / "labelsTr" / "case2.nii.gz")
    sitk.WriteImage(sitk.ReadImage(path)[1:], path)
    assert main(reverse()) == 0
    said = capsys.readouterr().err
    assert "1 label image cannot be used:\n  case2: " in said and "lies on another grid" in said


def test_options_that_exclude_labels_are_refused(fresh, tmp_path, refused, reverse, reverse_folder):
    _name_labels(fresh, a=1, b=2)
    refused(reverse("--labels"), "none of background, a, b in dataset.json is known as RV, MYO or LV")
    _name_labels(fresh, LV=1)
    refused(reverse("--labels", "-sampler", "dps"), "does not use labels. Use -sampler proximal")
    refused(reverse_folder(fresh.raw / "imagesTr", tmp_path / "out", "--labels"), "--labels needs -d")
    assert not list(fresh.maps.iterdir())
