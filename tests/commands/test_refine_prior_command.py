"""`nnunet_phys refine_prior`: rounds of sampling and learning, what ends them, and what they refuse."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import main
from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.precomputed_spin import prior_refinement
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.prior_maps import MAP_SIZE, TrainingMaps
from nnunet_phys.precomputed_spin.prior_refinement import HeldOutFigures, impossible_pixels, learning_maps
from nnunet_phys.precomputed_spin.quality_record import Flag, QualityRecord
from nnunet_phys.precomputed_spin.scan import Inferred, Scan, Series
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.sequences import BSSFP
from nnunet_phys.spin import SpinMaps
from nnunet_phys.whole_files import making_alone

CASES = ("heart1", "heart2", "heart3")
SHAPE, PIXEL_MM = (48, 48), 4.0
CODES = {"background": 0, "LV": 1, "MYO": 2, "RV": 3}  # another order than digital hearts have


def heart(seed):
    return digital_heart(seed, 2, SHAPE, PIXEL_MM)


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((PIXEL_MM, PIXEL_MM, 8.0))
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="session")
def hearts(tmp_path_factory):
    """A data set of three digital hearts. Never written to."""
    raw = tmp_path_factory.mktemp("hearts") / "Dataset901_Hearts"
    for seed, case in enumerate(CASES):
        of = heart(seed)
        write(raw / "imagesTr" / f"{case}_0000.nii.gz", 300 * BSSFP()(of.maps).abs().numpy())
        labels = np.zeros(of.labels.shape, np.uint8)
        for name, code in LABELS.items():
            labels[of.labels == code] = CODES[name]
        write(raw / "labelsTr" / f"{case}.nii.gz", labels)
    described = {"channel_names": {"0": "cine"}, "labels": CODES, "numTraining": 3, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(described))
    return raw


@pytest.fixture(scope="session")
def digital():
    """One slice to learn from, in place of many digital hearts."""
    of = digital_heart(7, 1, (MAP_SIZE, MAP_SIZE), 2.5)
    return TrainingMaps(of.maps.stack(1), torch.from_numpy(of.labels.astype(np.uint8)))


@pytest.fixture
def refine(hearts, digital, prior, tmp_path, monkeypatch):
    """Makes the arguments of a short refinement."""
    monkeypatch.setenv("nnUNet_raw", str(hearts.parent))
    monkeypatch.setattr(prior_refinement, "phantom_maps", lambda *args, **options: digital)
    options = (
        "-device",
        "cpu",
        "-np",
        "1",
        "-batch",
        "2",
        "-steps",
        "1",
        "--disable_progress_bar",
        "-held_out",
        "0.34",
    )
    return lambda *more: ["refine_prior", "-d", "901", "-o", str(tmp_path / "maps"), "-prior", prior, *options, *more]


def test_a_round_counts_only_if_it_costs_nothing():
    before = HeldOutFigures(0.001, 0.1, 0.05)
    assert HeldOutFigures(0.001, 0.1, 0.04).improves_on(before)
    assert not HeldOutFigures(0.001, 0.1, 0.0499).improves_on(before)
    assert not HeldOutFigures(0.001, 0.2, 0.01).improves_on(before)
    assert not HeldOutFigures(0.002, 0.1, 0.01).improves_on(before)
    unlabelled = HeldOutFigures(0.001, 0.1, None)
    assert HeldOutFigures(0.001, 0.05, None).improves_on(unlabelled)
    assert not HeldOutFigures(0.0005, 0.1, None).improves_on(unlabelled)


def test_fat_in_a_cavity_is_impossible():
    of = heart(0)
    scan = Scan("heart", (Series(BSSFP(), BSSFP()(of.maps).abs().numpy()[None]),), (PIXEL_MM, PIXEL_MM))
    structures = {name: of.labels == code for name, code in LABELS.items()}
    t1 = of.maps.t1.clone()
    t1[torch.from_numpy(structures["RV"])] = 300.0
    right, wrong = (
        impossible_pixels(Inferred(scan, maps, torch.zeros(scan.shape)), structures, SpinScaling())
        for maps in (of.maps, SpinMaps(of.maps.pd, t1, of.maps.t2))
    )
    assert right[1] == wrong[1] > 100
    assert right[0] <= 0.05 * right[1]
    assert wrong[0] - right[0] >= 0.1 * wrong[1]


def test_the_best_round_is_kept(refine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(HeldOutFigures, "improves_on", lambda self, before: True)
    seen, real = [], prior_refinement.learning_maps

    def spied(work, ending):
        seen.append(real(work, ending))
        return seen[-1]

    monkeypatch.setattr(prior_refinement, "learning_maps", spied)
    monkeypatch.setattr(prior_refinement, "quality", without_flags)
    assert main(refine("--labels", "-rounds", "2")) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "2 cases to learn from, 1 held out, from heart3 on"
    assert sum("labelled pixels impossible" in line for line in lines) == 3
    assert lines[-1] == f"{tmp_path / 'maps'}: the prior of round2"
    record = SpinPrior.load(tmp_path / "maps").record
    assert record["init"]["refined"] == "round 1, on 4 slices of 2 cases"
    assert record["command"].startswith("nnunet_phys refine_prior -d Dataset901_Hearts -o PRIOR --labels -prior ")
    assert "reverse -prior maps`" in (tmp_path / "maps" / "README.md").read_text()
    figures = json.loads((tmp_path / "maps" / "held_out.json").read_text())
    assert list(figures) == ["round 0", "round 1", "round 2"] and figures["round 0"]["flagged"] == 0
    assert not (tmp_path / "maps.rounds").exists()
    # labels and maps of the first case, on the prior's grid: blood is where LV is labelled
    t1, labels = seen[0].maps[:, 1], seen[0].labels
    assert labels.shape == t1.shape and int((labels == LABELS["LV"]).sum()) > 50
    assert float(t1[labels == LABELS["LV"]].median()) > float(t1[labels == LABELS["MYO"]].median()) + 50


def without_flags(inferred, scaling, structures=None):
    return QualityRecord(residual_rms=0.01, share_at_bound=0.0, flags=())


def test_slices_that_look_wrong_are_left_out(refine, tmp_path, monkeypatch, capsys):
    def first_slice(inferred, scaling, structures=None):
        return replace(without_flags(inferred, scaling), flags=(Flag(0, "wrong"),))

    monkeypatch.setattr(prior_refinement, "quality", first_slice)
    monkeypatch.setattr(prior_refinement, "train_prior", interrupt)
    seen, real = [], learning_maps
    monkeypatch.setattr(prior_refinement, "learning_maps", lambda *of: seen.append(real(*of)) or seen[-1])
    assert main(refine()) == 130
    assert len(seen[0].maps) == len(seen[0].labels) == 2
    assert "50.0 % of slices flagged" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "maps.rounds")

    def every_slice(inferred, scaling, structures=None):
        return replace(without_flags(inferred, scaling), flags=tuple(Flag(z, "wrong") for z in (0, 1)))

    monkeypatch.setattr(prior_refinement, "quality", every_slice)
    assert main(refine()) == 1
    assert "All slices of the 2 cases" in capsys.readouterr().err


def interrupt(*args, **options):
    raise KeyboardInterrupt


def test_a_sequence_with_a_list_of_times_goes_on(refine, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prior_refinement, "train_prior", interrupt)
    monkeypatch.setattr(prior_refinement, "quality", without_flags)
    (tmp_path / "protocol.json").write_text(json.dumps({"sequence": "t2prep", "t2_prep_ms": [45]}))
    for _ in range(2):
        assert main(refine("-protocol", str(tmp_path / "protocol.json"))) == 130
    assert "other settings" not in capsys.readouterr().err


def test_faulty_labels_of_held_out_cases_are_refused(refine, hearts, tmp_path, monkeypatch, refused):
    shutil.copytree(hearts, tmp_path / "raw" / hearts.name)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    write(tmp_path / "raw" / hearts.name / "labelsTr" / "heart3.nii.gz", np.zeros((1, 8, 8), np.uint8))
    refused(refine("--labels"), "heart3: ", "lies on another grid than")


def test_another_process_that_refines_to_the_same_place_is_refused(refine, tmp_path, refused):
    with making_alone(tmp_path / "maps"):
        refused(refine(), "another process is making it")


def test_a_launcher_is_refused(refine, monkeypatch, refused):
    monkeypatch.setenv("WORLD_SIZE", "2")
    refused(refine(), "refine_prior runs in one process")


def test_a_rerun_goes_on_and_no_gain_is_said(refine, hearts, prior, tmp_path, monkeypatch, capsys, refused):
    monkeypatch.setattr(prior_refinement, "quality", without_flags)
    with monkeypatch.context() as patch:
        patch.setattr(prior_refinement, "train_prior", interrupt)
        assert main(refine()) == 130
    maps = tmp_path / "maps.rounds" / "round1_maps"
    made = {path: path.stat().st_mtime_ns for path in maps.glob("*_T1map.nii.gz")}
    assert len(made) == 2
    refused(refine("-seed", "1"), "began with other settings (seed)")
    refused(refine("--labels"), "began with other settings (labels)")
    image = next(iter(hearts.glob("imagesTr/heart3*")))
    before = image.read_bytes()
    write(image, 200 * BSSFP()(heart(8).maps).abs().numpy())
    refused(refine(), "began with other settings (files_sha256)")
    image.write_bytes(before)
    monkeypatch.setattr(HeldOutFigures, "improves_on", lambda self, before: False)
    assert main(refine()) == 0
    assert {path: path.stat().st_mtime_ns for path in maps.glob("*_T1map.nii.gz")} == made
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"No round improved on {prior}: go on using it.")
    assert not (tmp_path / "maps").exists()


def test_what_cannot_be_refined_is_refused(refine, hearts, tmp_path, monkeypatch, refused):
    refused(refine("-held_out", "0.9"), "at least 2 are needed")
    refused(refine("-prior", "nobody"), "'nobody' has no prior.json")
    refused(refine("-sequence", "molli"), "A data set (-d) has one image a case")
    shutil.copytree(hearts, tmp_path / "raw" / hearts.name)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "raw"))
    write(tmp_path / "raw" / hearts.name / "imagesTr" / "heart3_0000.nii.gz", np.zeros((2, *SHAPE), np.float32))
    refused(refine(), "heart3")
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "file").touch()
    refused(refine(), "holds other files")
    assert not (tmp_path / "maps.rounds").exists()
