"""`nnunet_phys reverse`, `phantom` and `train_prior` as commands: what they write, and how they refuse."""

import json
import shutil

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import main
from nnunet_phys.precomputed_spin.prior import SpinPrior, SpinScaling, new_scheduler, new_unet
from nnunet_phys.precomputed_spin.store import load_maps
from nnunet_phys.sequences import BSSFP


@pytest.fixture(scope="module")
def prior(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prior")
    torch.manual_seed(0)
    reference = torch.tensor([[0.9, 1500.0, 200.0], [0.8, 1050.0, 50.0]]).T.repeat(1, 50).contiguous()
    SpinPrior(new_unet((16, 32)), new_scheduler(), SpinScaling(), 2.5, torch.full((1000, 3), 0.02), reference).save(
        folder
    )
    return str(folder)


def _refused(capsys, arguments, *expected):
    assert main(arguments) == 1
    lines = capsys.readouterr().err.splitlines()
    assert all(line.startswith("nnunet_phys: ") for line in lines)
    for text in expected:
        assert any(text in line for line in lines), lines


def _edit(path, change):
    image = sitk.ReadImage(str(path))
    array = change(sitk.GetArrayFromImage(image))
    edited = sitk.GetImageFromArray(array)
    edited.CopyInformation(image)
    sitk.WriteImage(edited, str(path))


@pytest.fixture
def fresh(tiny):
    """The tiny data set without maps."""
    for path in tiny.maps.iterdir():
        path.unlink()
    return tiny


def _reverse(prior, *more):
    return ["reverse", "-d", "900", "-device", "cpu", "-steps", "3", "-prior", prior, "--disable_progress_bar", *more]


def test_maps_of_a_data_set(fresh, prior, capsys):
    assert main(_reverse(prior, "-fa", "50")) == 0
    for case in fresh.cases:
        maps = load_maps(fresh.maps, case, ".nii.gz", fresh.image(case))
        image = sitk.GetArrayFromImage(sitk.ReadImage(str(fresh.image(case))))
        assert np.corrcoef(BSSFP(50.0)(maps).numpy().ravel(), image.ravel())[0, 1] > 0.98
        record = json.loads((fresh.maps / f"{case}.json").read_text())
        assert record["sequence"]["flip_angle_deg"] == 50 and record["sampler"]["steps"] == 3
        assert set(record["quality"]) == {"residual_rms", "share_at_bound"}
        assert record["image"]["sha256"] and record["versions"]["nnunetv2"]
    assert not [p for p in fresh.maps.iterdir() if p.name.startswith(".")]

    before = {p: p.stat().st_mtime_ns for p in fresh.maps.iterdir()}
    (fresh.maps / "case0_T1map.nii.gz").unlink()
    assert main(_reverse(prior, "-fa", "50")) == 0
    assert f"{len(fresh.cases) - 1} of {len(fresh.cases)} cases are finished" in capsys.readouterr().out
    changed = {p.name for p in fresh.maps.iterdir() if p.stat().st_mtime_ns != before.get(p)}
    assert changed == {f"case0{end}" for end in ("_PDmap.nii.gz", "_T1map.nii.gz", "_T2map.nii.gz", ".json")}


def test_maps_made_with_other_settings_are_not_taken_for_finished(fresh, prior, tmp_path, capsys):
    shutil.copytree(prior, tmp_path / "moved")
    assert main(_reverse(prior)) == 0
    assert main(_reverse(str(tmp_path / "moved"))) == 0  # the same prior
    for other, name in (
        (_reverse(prior, "-fa", "60"), "sequence"),
        (_reverse(prior, "-seed", "1"), "seed"),
        (_reverse("digital_heart"), "prior"),
    ):
        _refused(capsys, other, f"case0 and 5 more: maps in {fresh.maps} were made with other settings ({name}). Add")
    before = {p: p.stat().st_mtime_ns for p in fresh.maps.iterdir()}
    assert main(_reverse(prior, "-fa", "60", "--overwrite")) == 0
    assert all(p.stat().st_mtime_ns > before[p] for p in fresh.maps.iterdir())


def test_parts_share_the_work_and_agree_with_the_whole(fresh, prior, tmp_path):
    inputs = ["-i", str(fresh.raw / "imagesTr")]
    common = ["-device", "cpu", "-steps", "2", "-prior", prior, "--disable_progress_bar"]
    assert main(["reverse", *inputs, "-o", str(tmp_path / "whole"), *common]) == 0
    for part in ("0", "1"):
        assert (
            main(["reverse", *inputs, "-o", str(tmp_path / "parts"), "-num_parts", "2", "-part_id", part, *common]) == 0
        )
    names = sorted(p.name for p in (tmp_path / "whole").iterdir())
    assert names == sorted(p.name for p in (tmp_path / "parts").iterdir()) and len(names) == 4 * len(fresh.cases)
    for name in (n for n in names if n.endswith(".nii.gz")):
        a, b = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / w / name))) for w in ("whole", "parts"))
        assert np.array_equal(a, b)


def test_all_faulty_images_are_named_before_work_starts(fresh, prior, capsys):
    _edit(fresh.image("case1"), lambda a: np.full_like(a, np.nan))
    _edit(fresh.image("case2"), np.zeros_like)
    fresh.image("case3").write_bytes(fresh.image("case3").read_bytes()[:200])
    small = sitk.ReadImage(str(fresh.image("case4")))[:20]
    sitk.WriteImage(small, str(fresh.image("case4")))
    _refused(
        capsys,
        _reverse(prior),
        "case1: " + str(fresh.image("case1")) + " holds NaN",
        "case2: " + str(fresh.image("case2")) + " has no signal",
        "case3: ",
        "mm in plane, the prior needs 40 mm",
    )
    assert not list(fresh.maps.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-d", "901"], "901"),
        ([], "Give either -d DATASET or -i FOLDER"),
        (["-i", "nowhere"], "needs -o"),
        (["-i", "nowhere", "-o", "out"], "nowhere: no such folder"),
        (["-d", "900", "-num_parts", "2", "-part_id", "2"], "-part_id 2 of -num_parts 2"),
        (["-d", "900", "-device", "cpu", "-prior", "nothing"], "Prior 'nothing' has no prior.json"),
        (["-d", "900", "-device", "nodevice"], "-device nodevice is not available"),
        (["-d", "900", "-device", "cpu", "-fa", "0.6"], "radians"),
        (["-d", "900", "-device", "cpu", "-steps", "1"], "2 to 1000"),
        (["-d", "900", "-device", "cpu", "-batch", "0"], "-batch 0"),
    ],
)
def test_bad_arguments(fresh, prior, capsys, arguments, message):
    _refused(capsys, ["reverse", *arguments], message)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu(fresh, capsys):
    _refused(capsys, ["reverse", "-d", "900"], "-device cuda is not available", "Use -device cpu")


def test_variables_unset(monkeypatch, capsys):
    monkeypatch.delenv("nnUNet_raw", raising=False)
    _refused(capsys, ["reverse", "-d", "900"], "nnUNet_raw is not set")
    _refused(capsys, ["phantom", "-d", "900"], "nnUNet_raw is not set")


def test_labels_are_no_image(fresh, prior, capsys, tmp_path):
    arguments = ["reverse", "-i", str(fresh.raw / "labelsTr"), "-o", str(tmp_path / "out"), "-device", "cpu"]
    _refused(capsys, [*arguments, "-prior", prior], "case0: ", "different values, as labels do")


def test_several_channels(fresh, capsys):
    path = fresh.raw / "dataset.json"
    description = json.loads(path.read_text()) | {"channel_names": {"0": "cine", "1": "LGE"}}
    path.write_text(json.dumps(description))
    _refused(capsys, ["reverse", "-d", "900"], "2 input channels (0: cine, 1: LGE)")


def test_phantom_refuses_what_makes_no_data_set(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    _refused(capsys, ["phantom", "-d", "901", "-slices", "0"], "-slices 0: give 1 or more")
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "nowhere"))
    _refused(capsys, ["phantom", "-d", "901"], "no such folder")


def test_phantom_writes_a_valid_data_set(tmp_path, monkeypatch, capsys):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    arguments = ["phantom", "-d", "901", "-train", "2", "-test", "1", "-slices", "2"]
    assert main(arguments) == 0
    folder = tmp_path / "Dataset901_DigitalHeart"
    verify_dataset_integrity(str(folder), 1)
    for contrast, count in (("cine", 1), ("molli", 11), ("gre", 1)):
        images, labels = (sorted((folder / f"{k}Ts_{contrast}").iterdir()) for k in ("images", "labels"))
        assert len(images) == len(labels) == count
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(images[0])))
        assert array.shape == (2, 128, 128) and np.isfinite(array).all() and array.std() > 0
    capsys.readouterr()  # progress
    _refused(capsys, arguments, "exists. Choose another id or add --overwrite")
    (tmp_path / "Dataset902_Other").mkdir()
    _refused(capsys, ["phantom", "-d", "902"], "-d 902 is taken by")


def test_train_prior_refuses_what_is_not_there(tmp_path, capsys):
    _refused(capsys, ["train_prior", "-i", str(tmp_path / "none"), "-o", str(tmp_path / "p")], "no such folder")
    (tmp_path / "empty").mkdir()
    _refused(capsys, ["train_prior", "-i", str(tmp_path / "empty"), "-o", str(tmp_path / "p")], "_PDmap")
    assert not (tmp_path / "p").exists()
