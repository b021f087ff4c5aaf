"""Training and test sets: split by patient, complete or absent, and refused with a reason."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk

from generalization.digital_sets import DigitalSize, prepare_digital
from generalization.prepare import copy_own
from generalization.real_sets import acdc_patient, prepare_real, split_patients
from generalization.test_sets import TestFolder, read_test_sets
from generalization.training_sets import TRAINING_SETS
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import read_image

LABELS = np.zeros((1, 12, 12), np.uint8)
LABELS[0, 2:10, 2:10], LABELS[0, 4:8, 4:8], LABELS[0, 0, :3] = 2, 3, 1


def write(path, array=LABELS, spacing=(1.5, 1.5, 8.0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def data(tmp_path):
    """A folder as NNUNET_PHYS_DATA names it, with ten patients of ACDC, seven of MyoPS and a MOLLI series."""
    for patient in range(1, 11):
        for frame in ("frame01", "frame12"):
            case = f"patient{patient:03d}_{frame}"
            write(tmp_path / "data/Dataset027_ACDC/imagesTr" / f"{case}_0000.nii.gz", LABELS + np.uint8(patient))
            write(tmp_path / "data/Dataset027_ACDC/labelsTr" / f"{case}.nii.gz")
    for part, patients in (("train", range(3001, 3007)), ("validation", [3031])):
        for case in patients:
            for sequence in ("C0", "T2", "LGE"):
                write(tmp_path / "data/myops2020" / part / sequence / f"Case{case}_0000.nii.gz")
            write(tmp_path / "data/myops2020" / part / "labels" / f"Case{case}.nii.gz")
    for k in range(3):
        write(tmp_path / "data/molli_t1net/images" / f"pre0_ti{k:02d}_0000.nii.gz")
    write(tmp_path / "data/molli_t1net/labels/pre0.nii.gz")
    (tmp_path / "data/molli_t1net/reference").mkdir()
    (tmp_path / "data/molli_t1net/reference/pre0.json").write_text('{"inversion_times_ms": [120, 1100, 200]}')
    return tmp_path / "data"


@pytest.fixture
def own(tmp_path):
    """A test set of the user's: two cases of one patient."""
    folder = tmp_path / "hospital_a"
    for case in ("a1", "a2"):
        write(folder / "imagesTs" / f"{case}_0000.nii.gz")
        write(folder / "labelsTs" / f"{case}.nii.gz")
    describe(folder, title="LGE, hospital A", channel="LGE", groups={"a": ["a1", "a2"]})
    return folder


def describe(folder, **content):
    (folder / "test_set.json").write_text(json.dumps(content))


def test_patients_are_trained_on_or_tested_on():
    patients = [f"patient{k:03d}" for k in range(1, 71)]
    train, left_out = split_patients(patients + patients)
    assert not set(train) & set(left_out) and sorted(train + left_out) == patients
    assert len(left_out) == 14 and split_patients(patients[::-1]) == (train, left_out)


def test_real_sets_are_disjoint_by_patient(data, tmp_path):
    raw, tests = tmp_path / "raw", tmp_path / "tests"
    lines = list(prepare_real(data, raw, tests))
    assert any("left out" in line and "mscmr_lge" in line for line in lines)
    trained = {acdc_patient(case) for case in TRAINING_SETS["acdc"].images(raw)}
    test = read_test_sets(tests)
    assert not trained & test["acdc_cine"].test_set.groups.keys()
    assert len(trained) == 8 and all(len(cases) == 2 for cases in test["acdc_cine"].test_set.groups.values())
    single = set(TRAINING_SETS["myops_c0"].images(raw))
    assert single == set(TRAINING_SETS["myops_lge"].images(raw))
    assert len(single) == 5
    for name in ("single_c0", "single_t2", "single_lge"):
        assert set(test[name].images) == {"Case3005", "Case3031"}
    assert len(test["myops_t2"].images) == 7
    assert test["molli_readouts"].test_set.inversion_times_ms == {"pre0_ti00": 120, "pre0_ti01": 1100, "pre0_ti02": 200}
    assert {test["molli_readouts"].test_set.group_of(case) for case in test["molli_readouts"].images} == {"pre0"}

    again = list(prepare_real(data, raw, tests))
    assert all("done before" in line or "left out" in line for line in again)

    for path, made in (("Dataset027_ACDC/imagesTr", "Dataset701_BenchACDC"), ("myops2020/train/T2", "myops_t2")):
        image = min((data / path).iterdir())
        before = image.read_bytes()
        write(image, LABELS + np.uint8(99))
        with pytest.raises(InputError, match=rf"{made} was made of other files than the data hold now"):
            list(prepare_real(data, raw, tests))
        image.write_bytes(before)


def test_a_series_without_all_its_inversion_times_is_refused(data, tmp_path):
    (data / "molli_t1net/reference/pre0.json").write_text('{"inversion_times_ms": [120, 1100]}')
    with pytest.raises(InputError, match=r"pre0.json has another number of inversion times"):
        list(prepare_real(data, tmp_path / "raw", tmp_path / "tests"))
    assert not (tmp_path / "tests" / "molli_readouts").exists()


def test_digital_sets(tmp_path):
    raw, tests, size = tmp_path / "raw", tmp_path / "tests", DigitalSize(2, 2, 1, rows=56, pixel_mm=5.0)
    list(prepare_digital(raw, tests, size, processes=1))
    assert set(TRAINING_SETS["digital"].images(raw)) == {"heart000", "heart001"}
    assert (raw / TRAINING_SETS["digital"].dataset / "trueTr" / "heart001_T1map.nii.gz").is_file()
    test = read_test_sets(tests)
    assert {name.removeprefix("digital_") for name in test} == {
        "cine", "cine_other", "molli", "molli_post", "gre_device", "t2prep", "lge",
    }  # fmt: skip
    molli = test["digital_molli"]
    assert len(molli.images) == 22 and molli.test_set.groups.keys() == {"dilated000", "hypertrophic001"}
    times = [molli.test_set.inversion_times_ms[f"dilated000_ti{k:02d}"] for k in range(11)]
    assert (times[0], times[3], times[6]) == (140, 230, 320)
    assert times[1] - times[0] == pytest.approx(times[10] - times[9]) and times[1] > 1200
    for folder in test.values():
        for case, path in folder.images.items():
            image, labels = read_image(path), read_image(folder.labels[case])
            assert image.shape == labels.shape == (1, 56, 56)
            assert np.isfinite(image).all() and image[labels > 0].min() >= 0 and np.unique(image).size > 100

    assert all("done before" in line for line in prepare_digital(raw, tests, size, processes=1))
    with pytest.raises(InputError, match=r"holds 2 hearts, not 4. Give -hearts 2"):
        list(prepare_digital(raw, tests, DigitalSize(2, 4, 1), processes=1))
    with pytest.raises(InputError, match=r"holds 1 slices per heart, not 2. Give -slices 1"):
        list(prepare_digital(raw, tests, DigitalSize(2, 2, 2), processes=1))
    shutil.rmtree(tests / "digital_lge")  # as an interruption may leave it: the missing one is made again
    list(prepare_digital(raw, tests, size, processes=1))
    assert (tests / "digital_lge" / "test_set.json").is_file()


def test_own_test_set_is_copied_once(own, tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    for _ in range(2):
        copy_own(own, tests)
    copied = read_test_sets(tests)["hospital_a"]
    assert copied.test_set.title == "LGE, hospital A" and copied.sha256 == TestFolder.read(own).sha256
    write(own / "labelsTs" / "a2.nii.gz", np.roll(LABELS, 1, axis=2))
    with pytest.raises(InputError, match=r"exists and differs"):
        copy_own(own, tests)


def test_folders_that_cannot_be_test_sets(own, tmp_path):
    (own / "labelsTs" / "a2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"a2: .*labelsTs holds no a2.nii.gz"):
        TestFolder.read(own)
    write(own / "labelsTs" / "a2.nii.gz", spacing=(1.5, 1.5, 5.0))
    with pytest.raises(InputError, match=r"a2: .* another spacing than its image"):
        TestFolder.read(own).check_labels()
    write(own / "labelsTs" / "a2.nii.gz", LABELS * 7)
    with pytest.raises(InputError, match=r"a2: .* codes \[0, 7, 14, 21\]. Use 0, 1 \(RV\)"):
        TestFolder.read(own).check_labels()
    describe(own, title="LGE", channel="LGE", groups={"a": ["a1"]})
    with pytest.raises(InputError, match=r"groups and imagesTs differ in a2"):
        TestFolder.read(own)
    describe(own, title="LGE", channel="LGE", groups={"a": ["a1", "a2"], "b": ["a2"]})
    with pytest.raises(InputError, match=r"a2 is in groups twice"):
        TestFolder.read(own)
    describe(own, titel="LGE", channel="LGE")
    with pytest.raises(InputError, match=r"did you mean 'title'"):
        TestFolder.read(own)
    (own / "test_set.json").unlink()
    with pytest.raises(InputError, match=r"test_set.json is missing. Write for example"):
        TestFolder.read(own)
    shutil.rmtree(own / "imagesTs")
    describe(own, title="LGE", channel="LGE")
    with pytest.raises(InputError, match=r"holds no CASE_0000.nii.gz"):
        TestFolder.read(own)


def test_a_faulty_own_set_leaves_nothing_behind(own, tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    write(own / "labelsTs" / "a2.nii.gz", LABELS * 7)
    with pytest.raises(InputError, match=r"codes"):
        copy_own(own, tests)
    assert list(tests.iterdir()) == []
