"""`nnunet_phys fit`: maps of simulated series, two series of one case, and how it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.commands import fit, main
from nnunet_phys.map_files import load_maps
from nnunet_phys.precomputed_spin.prior_maps import folder_maps
from nnunet_phys.precomputed_spin.series_times import TIMES
from nnunet_phys.sequences import MOLLI, MSASHA, T2PreparedGRE
from nnunet_phys.spin import SpinMaps

MSASHA_TIMES = {
    "ts_ms": [None, 600, 600, 600, 200, 900, 400, 600],
    "t2_prep_ms": [0, 0, 30, 55, 0, 0, 55, 80],
    "delay_ms": 12,
}
T2_TIMES = {"t2_prep_ms": [0, 25, 40, 55]}


@pytest.fixture
def truth():
    """Two slices of muscle and blood with a margin of air."""
    rng = np.random.default_rng(0)
    voxels = np.array([[0.85, 1050, 50], [0.9, 1500, 180]], np.float32)[rng.integers(0, 2, (2, 40, 44))]
    maps = np.moveaxis(voxels * rng.uniform(0.95, 1.05, voxels.shape), -1, 0).astype(np.float32)
    maps[0, :, :6] = 0
    return SpinMaps.unstack(torch.from_numpy(maps))


@pytest.fixture
def write(tmp_path):
    """Writes images (images, slices, rows, columns) of a case, with noise, and its times."""

    def write_series(name, signal, times, case="heart", gain=400.0, sd=0.004):
        folder, rng = tmp_path / name, np.random.default_rng(1)
        folder.mkdir(exist_ok=True)
        for i, image in enumerate(np.asarray(signal)):
            noisy = gain * np.hypot(image + rng.normal(0, sd, image.shape), rng.normal(0, sd, image.shape))
            written = sitk.GetImageFromArray(noisy.astype(np.float32))
            written.SetSpacing((2.5, 2.5, 8.0))
            sitk.WriteImage(written, str(folder / f"{case}_{i:04d}.nii.gz"))
        (folder / f"{case}.json").write_text(json.dumps(times))
        return folder

    return write_series


@pytest.fixture
def msasha(write, truth):
    """A folder with an mSASHA series."""
    times = zip(MSASHA_TIMES["ts_ms"], MSASHA_TIMES["t2_prep_ms"], strict=True)
    signal = torch.stack([MSASHA(ts_ms=ts, t2_prep_ms=te, delay_ms=12.0)(truth) for ts, te in times])
    return write("msasha", signal, MSASHA_TIMES)


@pytest.fixture
def molli(write, truth):
    """A folder with a MOLLI series."""
    return write("molli", MOLLI()(truth), {"inversion_times_ms": list(MOLLI().inversion_times_ms)})


@pytest.fixture
def t2prep(write, truth):
    """A folder with T2-prepared images."""
    sequence = T2PreparedGRE(t2_prep_ms=tuple(T2_TIMES["t2_prep_ms"]), centre_pulse=0)
    return write("t2prep", sequence(truth), T2_TIMES, gain=2000.0)


def _fit(images, out, sequence, *more):
    return ["fit", "-i", str(images), "-o", str(out), "-sequence", sequence, "--disable_progress_bar", *more]


def _names(folder):
    return sorted(path.name.removesuffix(".nii.gz") for path in folder.iterdir())


def _array(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _error(fitted, true):
    """Median relative error where there is signal."""
    return float((fitted / true - 1)[:, 6:].abs().median())


def test_msasha_gives_all_maps_which_other_commands_read(msasha, truth, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(_fit(msasha, out, "msasha")) == 0
    assert _names(out) == [
        *("heart.json", "heart_PDmap", "heart_T1map", "heart_T2map", "heart_msasharesidual", "heart_msashavalid"),
    ]
    maps = load_maps(out, "heart", ".nii.gz", msasha / "heart_0003.nii.gz")  # any image of the series
    assert _error(maps.pd, 400 * truth.pd) < 0.02
    assert _error(maps.t1, truth.t1) < 0.03
    assert _error(maps.t2, truth.t2) < 0.05
    valid = _array(out / "heart_msashavalid.nii.gz")
    assert valid[:, 6:].mean() > 0.97 and valid[:, :6].mean() < 0.05
    assert (_array(out / "heart_T1map.nii.gz")[valid == 0] == 0).all()
    assert 0.5 < np.median(_array(out / "heart_msasharesidual.nii.gz")) / 1.6 < 1.2
    record = json.loads((out / "heart.json").read_text())
    assert record["fits"]["msasha"]["noise"] == pytest.approx(1.6, rel=0.15)
    assert main(_fit(msasha, out, "msasha")) == 0
    assert "1 of 1 case is finished and skipped" in capsys.readouterr().err
    for path in list(out.iterdir()):
        path.with_name(path.name.replace("heart", "second")).write_bytes(path.read_bytes())
    (out / "second.json").unlink()
    learned, _ = folder_maps(out, 2.5, size=32)
    assert len(learned.maps) == 2


def test_two_series_complete_each_other(molli, t2prep, truth, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(_fit(molli, out, "molli")) == 0
    assert "1 case without T2map, which this series does not measure" in capsys.readouterr().err
    assert _names(out) == ["heart.json", "heart_PDmap", "heart_T1map", "heart_molliresidual", "heart_mollivalid"]
    pd = (out / "heart_PDmap.nii.gz").read_bytes()
    assert main(_fit(t2prep, out, "t2prep")) == 0
    assert "without" not in capsys.readouterr().err
    maps = load_maps(out, "heart", ".nii.gz", molli / "heart_0000.nii.gz")
    assert (out / "heart_PDmap.nii.gz").read_bytes() == pd
    assert _error(maps.t1, truth.t1) < 0.12  # MOLLI's bias
    assert _error(maps.t2, truth.t2) < 0.1
    for images, sequence in ((molli, "molli"), (t2prep, "t2prep")):
        assert main(_fit(images, out, sequence)) == 0
        assert "finished and skipped" in capsys.readouterr().err


def test_what_exists_is_refused_and_overwritten_if_asked(molli, t2prep, msasha, tmp_path, refused):
    out = tmp_path / "out"
    assert main(_fit(molli, out, "molli")) == 0
    refused(_fit(msasha, out, "msasha"), f"heart: {out / 'heart_T1map.nii.gz'} exists, from molli. Add --overwrite")
    assert main(_fit(msasha, out, "msasha", "--overwrite")) == 0
    assert "heart_mollivalid" not in _names(out) and "heart_T2map" in _names(out)
    times = json.loads((msasha / "heart.json").read_text())
    (msasha / "heart.json").write_text(json.dumps({**times, "delay_ms": 20}))
    refused(_fit(msasha, out, "msasha"), "heart: the fit in", "was made with other settings. Add --overwrite")
    record = json.loads((out / "heart.json").read_text())
    for fits, message in (({"fits": {"molli": 3}}, "3 is not an object"), ({}, "is of maps that another command made")):
        (out / "heart.json").write_text(json.dumps({k: v for k, v in record.items() if k != "fits"} | fits))
        refused(_fit(msasha, out, "msasha"), "heart: ", message)
    (out / "heart_T1map.nii.gz").write_bytes(b"mine")
    refused(_fit(msasha, out, "msasha"), "heart_T1map.nii.gz was not made by nnunet_phys, or was changed since")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "heart_T2map.nii.gz").write_bytes(b"mine")
    refused(_fit(molli, tmp_path / "foreign", "molli"), "heart_T2map.nii.gz was not made by nnunet_phys")


def test_a_killed_second_series_leaves_the_first_and_can_be_run_again(molli, t2prep, tmp_path, monkeypatch):
    from nnunet_phys.precomputed_spin import series_fitting

    out = tmp_path / "out"
    assert main(_fit(molli, out, "molli")) == 0

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(series_fitting, "write_json", killed)
        assert main(_fit(t2prep, out, "t2prep")) == 130
    assert "heart_T1map" in _names(out)
    assert main(_fit(t2prep, out, "t2prep")) == 0
    load_maps(out, "heart", ".nii.gz", molli / "heart_0000.nii.gz")


def test_one_file_of_times_for_all_cases_and_perfect_saturation(write, truth, tmp_path, refused):
    times = [None, *range(100, 900, 100)]
    images = write("sasha", torch.stack([MSASHA(ts_ms=ts, delay_ms=0.0)(truth) for ts in times]), {})
    shared = tmp_path / "times.json"
    shared.write_text(json.dumps({"ts_ms": times}))
    refused(_fit(images, tmp_path / "out", "sasha"), "heart.json", "'ts_ms' is missing", "null for the image without")
    for number, more in enumerate(((), ("--perfect_saturation",))):
        out = tmp_path / f"out{number}"
        assert main(_fit(images, out, "sasha", "-times", str(shared), *more)) == 0
        assert _error(torch.from_numpy(_array(out / "heart_T1map.nii.gz")), truth.t1) < 0.03
    refused(
        _fit(images, tmp_path / "no", "t2prep", "--perfect_saturation"), "--perfect_saturation is for -sequence sasha"
    )


def _negative(image):
    return image - 0.3 * image.max()


def _nan(image):
    image[0, 9, 9] = np.nan
    return image


IMAGE_FAULTS = {
    "negative": (_negative, "of its pixels are clearly negative"),
    "nan": (_nan, "holds NaN, infinite values or values beyond float32"),
    "large": (lambda image: 1e12 * image, "expected 1e-09 to 1e+09"),
    "cropped": (lambda image: image[:, :20], "differs in geometry from"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_faulty_images_are_refused_before_any_work(t2prep, tmp_path, refused, fault):
    change, message = IMAGE_FAULTS[fault]
    path = t2prep / "heart_0002.nii.gz"
    image = sitk.GetImageFromArray(change(_array(path)))
    image.SetSpacing((2.5, 2.5, 8.0))
    sitk.WriteImage(image, str(path))
    refused(_fit(t2prep, tmp_path / "out", "t2prep"), "heart: ", "heart_0002.nii.gz", message)
    assert not (tmp_path / "out").exists()


def test_images_scaled_one_by_one_are_refused(t2prep, tmp_path, refused, edit_image):
    for path in t2prep.glob("*.nii.gz"):
        edit_image(path, lambda image: (image / image.max()).astype(np.float32))
    refused(_fit(t2prep, tmp_path / "out", "t2prep"), "heart: ", "every image of the series has the same maximum, 1:")


def test_times_of_other_images_are_noticed(molli, tmp_path, capsys):
    path = molli / "heart.json"
    said = json.loads(path.read_text())["inversion_times_ms"]
    path.write_text(json.dumps({"inversion_times_ms": [*said[1:], said[0]]}))
    assert main(_fit(molli, tmp_path / "out", "molli")) == 0
    assert "Are the times those of the images, in their order?\n  heart: 0.0 % of the pixels" in capsys.readouterr().err


TIME_FAULTS = {
    "seconds": ({"t2_prep_ms": [0, 0.025, 0.04, 0.055]}, "t2_prep_ms up to 0.055", "look like seconds: give ms"),
    "number": ({"t2_prep_ms": [0, 25, 55]}, "3 t2_prep_ms in", "for 4 images. Give one per image."),
    "negative": ({"t2_prep_ms": [-1, 25, 40, 55]}, "must lie between 0 and 100000 ms"),
    "alike": ({"t2_prep_ms": [40, 40, 40, 40]}, "do not determine PD and T2. Give those of the scan."),
    "none": ({}, "'t2_prep_ms' is missing", 'Write {"t2_prep_ms": [...]}, in ms and one per image.'),
    "text": ({"t2_prep_ms": ["0", 25, 40, 55]}, '"0" is not a finite number'),
}


@pytest.mark.parametrize("fault", TIME_FAULTS)
def test_faulty_times_are_refused(t2prep, tmp_path, refused, fault):
    times, *messages = TIME_FAULTS[fault]
    (t2prep / "heart.json").write_text(json.dumps(times))
    refused(_fit(t2prep, tmp_path / "out", "t2prep"), "heart: ", "heart.json", *messages)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("delay_ms", "message"),
    [(-50, "-50.0 must lie between 0 and 10000 ms"), (0.01, "0.01 looks like seconds: give ms")],
)
def test_an_impossible_delay_is_refused(msasha, tmp_path, refused, delay_ms, message):
    (msasha / "heart.json").write_text(json.dumps({**MSASHA_TIMES, "delay_ms": delay_ms}))
    refused(_fit(msasha, tmp_path / "out", "msasha"), "heart: delay_ms in ", message)


def test_missing_times_and_images_are_refused(t2prep, tmp_path, refused):
    (t2prep / "heart.json").unlink()
    refused(_fit(t2prep, tmp_path / "out", "t2prep"), "heart: no times: there is no", "Write {")
    refused(_fit(t2prep, tmp_path / "out", "t2prep", "-times", str(tmp_path / "no")), "no such file or folder")
    (t2prep / "heart_0001.nii.gz").unlink()
    refused(_fit(t2prep, tmp_path / "out", "t2prep"), "heart: ", "numbered from _0000 without a gap")


def test_inversion_times_in_file_names_and_signed_images(truth, tmp_path):
    sequence, folder, rng = MOLLI(), tmp_path / "named", np.random.default_rng(2)
    folder.mkdir()
    for time, image in zip(sequence.inversion_times_ms, sequence(truth).numpy(), strict=True):
        noisy = (300 * image + rng.normal(0, 1, image.shape)).astype(np.float32)
        sitk.WriteImage(sitk.GetImageFromArray(noisy), str(folder / f"a_ti{time:g}_0000.nii.gz"))
    assert main(_fit(folder, tmp_path / "out", "molli")) == 0
    assert _error(torch.from_numpy(_array(tmp_path / "out" / "a_T1map.nii.gz")), truth.t1) < 0.12


def test_preprocess_takes_the_maps_of_a_data_set(tiny, tmp_path, capsys):
    images, maps = tmp_path / "series", tmp_path / "fitted"
    images.mkdir()
    for case in tiny.cases[:2]:
        spin = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case))
        for i, (ts, te) in enumerate(zip(MSASHA_TIMES["ts_ms"], MSASHA_TIMES["t2_prep_ms"], strict=True)):
            image = sitk.GetImageFromArray(300 * MSASHA(ts_ms=ts, t2_prep_ms=te, delay_ms=12.0)(spin).numpy())
            image.CopyInformation(sitk.ReadImage(str(tiny.image(case))))
            sitk.WriteImage(image, str(images / f"{case}_{i:04d}.nii.gz"))
    (tmp_path / "times.json").write_text(json.dumps(MSASHA_TIMES))
    assert main(_fit(images, maps, "msasha", "-times", str(tmp_path / "times.json"))) == 0
    preprocess = ["preprocess", "-d", "900", "-c", "2d", "-maps", str(maps), "-np", "1"]
    assert main(preprocess) == 1
    assert "is not the image that its maps in" in capsys.readouterr().err  # the data set's is a cine
    for record in maps.glob("*.json"):
        record.unlink()
    assert main(preprocess) == 0
    assert len(list((tiny.preprocessed / "nnUNetPlans_2d_spin").glob("case0*"))) > 0


def test_volumes_of_one_file_are_a_series(msasha, tmp_path):
    series = [sitk.ReadImage(str(path)) for path in sorted(msasha.glob("*.nii.gz"))]
    folder = tmp_path / "whole"
    folder.mkdir()
    sitk.WriteImage(sitk.JoinSeries(series), str(folder / "heart.nii.gz"))
    assert main(_fit(folder, tmp_path / "b", "msasha", "-times", str(msasha / "heart.json"))) == 0
    assert main(_fit(msasha, tmp_path / "a", "msasha")) == 0
    for name in ("PDmap", "T1map", "T2map"):
        one, other = (_array(tmp_path / out / f"heart_{name}.nii.gz") for out in "ab")
        np.testing.assert_array_equal(one, other)


def test_places_for_the_results_that_cannot_be(t2prep, tmp_path, refused):
    somebodys = tmp_path / "file"
    somebodys.write_text("{}")
    refused(_fit(t2prep, somebodys, "t2prep"), "is a file. Name a folder")
    refused(_fit(t2prep, t2prep, "t2prep"), "is a folder that is read from")
    refused(_fit(tmp_path / "no", tmp_path / "out", "t2prep"), "no such folder. Give a folder of images.")


def test_the_command_offers_all_sequences_that_can_be_fitted():
    assert set(fit._SEQUENCES) == set(TIMES)  # the command's parser must not import torch
