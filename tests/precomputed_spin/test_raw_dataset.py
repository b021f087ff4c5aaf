"""Data sets in nnU-Net's raw format: which images and labels they have, and how faulty ones are refused."""

from __future__ import annotations

import json
import os

import pytest
from nnunetv2.utilities.utils import get_filenames_of_train_images_and_targets

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset

NAME = "Dataset900_Tiny"


@pytest.fixture
def raw(tmp_path, monkeypatch):
    """A data set in nnUNet_raw with two cases. Its files are empty, as no test reads them."""
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    monkeypatch.delenv("nnUNet_results", raising=False)
    folder = tmp_path / NAME
    for name in ("imagesTr/a_0000.nii.gz", "imagesTr/b_0000_0000.nii.gz", "labelsTr/a.nii.gz"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    describe(folder)
    return folder


def describe(folder, **changes) -> None:
    """Write dataset.json with changes; None leaves an entry out."""
    content = {
        "channel_names": {"0": "MRI"},
        "labels": {"background": 0, "blood": 1, "heart": [1, 2]},
        "file_ending": ".nii.gz",
        "numTraining": 2,
        **changes,
    }
    (folder / "dataset.json").write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def test_it_finds_the_files_that_nnunet_finds(raw):
    dataset = open_raw_dataset("900")
    expected = get_filenames_of_train_images_and_targets(str(raw))
    assert {case: [str(path)] for case, path in dataset.images.items()} == {c: f["images"] for c, f in expected.items()}
    assert {case: str(path) for case, path in dataset.labels.items()} == {c: f["label"] for c, f in expected.items()}
    assert list(dataset.images) == ["a", "b_0000"] and dataset.codes["heart"] == [1, 2]
    assert dataset.maps_folder == raw / "spinTr"


def test_hidden_files_are_ignored(raw):
    (raw / "imagesTr" / "._a_0000.nii.gz").write_text("what macOS leaves")
    (raw / "imagesTr" / "notes.txt").touch()
    assert list(open_raw_dataset(900).images) == ["a", "b_0000"]


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '"text"', "{}", "\ufeff{}"])
def test_a_dataset_json_of_another_form(raw, content):
    (raw / "dataset.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"dataset\.json"):
        open_raw_dataset(900)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file_ending": None}, "'file_ending' is missing"),
        ({"file_ending": 3}, "file_ending: 3 is not a text"),
        ({"file_ending": "nii/../gz"}, "is not a file ending"),
        ({"labels": None}, "'labels' is missing"),
        ({"labels": ["a"]}, "labels"),
        ({"labels": {"a": "1"}}, "labels"),
        ({"channel_names": ["MRI"]}, "channel_names"),
        ({"channel_names": "MRI"}, "channel_names"),
        ({"channel_names": {}}, "0 input channels"),
        ({"channel_names": {"0": "cine", "1": "LGE"}}, r"2 input channels \(0: cine, 1: LGE\)"),
        ({"dataset": ["a"]}, "dataset"),
        ({"dataset": {"a": {"images": []}}}, "'label' is missing"),
        ({"dataset": {"a": {"images": [], "label": "x"}}}, "a: 0 images in"),
        ({"dataset": {"a": {"images": ["nowhere.nii.gz"], "label": "x"}}}, "a: there is no image"),
    ],
)
def test_faults_of_dataset_json(raw, changes, message):
    describe(raw, **changes)
    with pytest.raises(InputError, match=message):
        open_raw_dataset(900)


@pytest.mark.parametrize("case", ["../../../home/config", "/tmp/config", "a/b", "", "..", ".a", "a\nb", "a\0"])
def test_a_case_whose_name_cannot_be_a_file_name(raw, case):
    describe(raw, dataset={case: {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"}})
    with pytest.raises(InputError, match="cannot name a case"):
        open_raw_dataset(900)


def test_cases_that_dataset_json_names_itself(raw, tmp_path, monkeypatch):
    monkeypatch.setenv("ELSEWHERE", str(tmp_path))
    (tmp_path / "other.nii.gz").touch()
    cases = {
        "x": {"images": ["imagesTr/a_0000.nii.gz"], "label": "labelsTr/a.nii.gz"},
        "y": {"images": ["$ELSEWHERE/other.nii.gz"], "label": str(tmp_path / "label.nii.gz")},
    }
    describe(raw, dataset=cases)
    dataset = open_raw_dataset(900)
    assert dataset.images == {"x": raw / "imagesTr" / "a_0000.nii.gz", "y": tmp_path / "other.nii.gz"}
    assert dataset.labels["y"] == tmp_path / "label.nii.gz"


def test_images_with_other_names_and_no_images(raw):
    (raw / "imagesTr" / "c.nii.gz").touch()
    (raw / "imagesTr" / "d_0001.nii.gz").touch()
    with pytest.raises(InputError) as caught:
        open_raw_dataset(900)
    assert len(caught.value.faults) == 2 and all("Rename or remove it" in line for line in caught.value.faults)
    for path in (raw / "imagesTr").iterdir():
        path.unlink()
    (raw / "imagesTr").rmdir()
    with pytest.raises(InputError, match=r"there is no folder .*imagesTr"):
        open_raw_dataset(900)


@pytest.mark.parametrize(
    "name", ["99999", "-1", "0", "9" * 30, "heart", "", "Dataset", "DatasetXYZ_a", "Dataset900_Tiny/../x", "Dataset901"]
)
def test_no_such_data_set(raw, name):
    os.makedirs(raw.parent / "DatasetXYZ_a")
    with pytest.raises(InputError):
        open_raw_dataset(name)


def test_an_empty_path_variable(raw, monkeypatch):
    monkeypatch.setenv("nnUNet_raw", "")
    with pytest.raises(InputError, match="nnUNet_raw"):
        open_raw_dataset(NAME)
