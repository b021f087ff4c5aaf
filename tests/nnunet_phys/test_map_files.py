"""Map files: what is written is read again, and what does not fit is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_phys.case_records import begin_case, discard, foreign_results, is_finished, load_record, record_path
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.map_files import find_maps, load_maps, map_paths, save_maps
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
from nnunet_phys.spin import SpinMaps

SHAPE = (3, 7, 9)


def some_maps(shape=SHAPE) -> SpinMaps:
    generator = torch.Generator().manual_seed(1)
    pd, t1, t2 = torch.rand((3, *shape), generator=generator)
    return SpinMaps(pd, 300 + 1500 * t1, 40 + 200 * t2)


def write_oblique(path, shape=SHAPE, spacing=(1.3, 1.4, 9.0)):
    image = sitk.GetImageFromArray(np.ones(shape, dtype=np.int16))
    image.SetSpacing(spacing[: image.GetDimension()])
    if len(shape) == 3:
        image.SetOrigin((-120.123, 33.3, 7.0))
        image.SetDirection((0.8, 0.6, 0, -0.6, 0.8, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture(params=[".nii.gz", ".nii", ".nrrd", ".mha"])
def stored(request, tmp_path):
    """Folder, ending and image of a case `a` with maps."""
    image = write_oblique(tmp_path / f"a_0000{request.param}")
    save_maps(tmp_path / "maps", "a", some_maps(), image, request.param, {"seed": 3})
    return tmp_path / "maps", request.param, image


def test_round_trip(stored):
    folder, ending, image = stored
    maps = load_maps(folder, "a", ending, image)
    assert torch.equal(maps.stack(), some_maps().stack())
    written, reference = (
        sitk.ReadImage(str(map_paths(folder, "a", ending)["T1map"])),
        sitk.ReadImage(str(image)),
    )
    assert np.allclose(written.GetDirection(), reference.GetDirection(), atol=1e-6)
    assert np.allclose(written.GetOrigin(), reference.GetOrigin(), atol=1e-4)
    record = json.loads(record_path(folder, "a").read_text())
    assert record["seed"] == 3 and record["image"]["file"] == image.name
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["a.json", *(path.name for path in map_paths(folder, "a", ending).values())]
    )


def test_both_readers_agree(tmp_path):
    image = write_oblique(tmp_path / "a_0000.nii.gz")
    save_maps(tmp_path, "a", some_maps(), image, ".nii.gz", {})
    ours = load_maps(tmp_path, "a", ".nii.gz", image)
    for reader in (NibabelIO(), SimpleITKIO()):
        theirs = load_maps(tmp_path, "a", ".nii.gz", image, partial(_read_by, reader))
        assert torch.equal(ours.t2, theirs.t2)


def _read_by(reader, path):
    return reader.read_images([str(path)])[0]


def test_two_dimensional_image(tmp_path):
    image = write_oblique(tmp_path / "a_0000.nii.gz", shape=(7, 9))
    assert read_image(image).shape == (1, 7, 9)
    save_maps(tmp_path, "a", some_maps((1, 7, 9)), image, ".nii.gz", {})
    assert load_maps(tmp_path, "a", ".nii.gz", image).shape == (1, 7, 9)


def test_a_case_is_finished_when_made_from_this_image(stored):
    folder, _, image = stored
    assert is_finished(folder, "a", (image,))
    write_oblique(image, spacing=(1.31, 1.4, 9.0))
    assert not is_finished(folder, "a", (image,))
    assert not is_finished(folder, "b", (image,))


def test_maps_of_anybody_need_no_record(stored):
    folder, ending, image = stored
    record_path(folder, "a").unlink()
    assert load_maps(folder, "a", ending, image).shape == SHAPE
    assert not is_finished(folder, "a", (image,))


@pytest.mark.parametrize("recorded", [True, False])
def test_map_cut_short(stored, recorded):
    folder, ending, image = stored
    if not recorded:
        record_path(folder, "a").unlink()
    path = map_paths(folder, "a", ending)["T2map"]
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 5])
    with pytest.raises(InputError, match=r"a: .*a_T2map.* cut short") as caught:
        load_maps(folder, "a", ending, image)
    assert "\n" not in str(caught.value)


def test_missing_map(stored):
    folder, ending, image = stored
    map_paths(folder, "a", ending)["PDmap"].unlink()
    with pytest.raises(InputError, match=r"a: .*a_PDmap.* is missing"):
        load_maps(folder, "a", ending, image)


def test_maps_alone_are_found_and_read(stored):
    folder, ending, image = stored
    image.unlink()
    (folder / f"a_T1sd{ending}").touch()
    (folder / "notes.txt").touch()
    assert find_maps(folder) == {"a": ending}
    assert torch.equal(load_maps(folder, "a", ending, None).stack(), some_maps().stack())
    assert np.allclose(Geometry.read(map_paths(folder, "a", ending)["PDmap"]).voxel_mm, (9.0, 1.4, 1.3))
    map_paths(folder, "a", ending)["PDmap"].unlink()
    assert find_maps(folder) == {"a": ending}
    with pytest.raises(InputError, match=r"_PDmap.* is missing"):
        load_maps(folder, "a", ending, None)


def test_maps_of_a_case_share_an_ending(stored):
    folder = stored[0]
    (folder / "a_T1map.gipl").touch()
    with pytest.raises(InputError, match=r"a: maps in .* end in \..* and \..*. Keep one format"):
        find_maps(folder)


def test_a_flat_image_is_a_slice_of_8_mm(tmp_path):
    assert np.allclose(Geometry.read(write_oblique(tmp_path / "a.nii.gz", (7, 9))).voxel_mm, (8.0, 1.4, 1.3))


def test_image_changed(stored):
    folder, ending, image = stored
    write_oblique(image, spacing=(1.2, 1.4, 9.0))
    with pytest.raises(InputError, match="not the image that its maps"):
        load_maps(folder, "a", ending, image)


@pytest.mark.parametrize("change", [{"spacing": (1.2, 1.4, 9.0)}, {"shape": (3, 7, 10)}])
def test_other_geometry(stored, change):
    folder, ending, image = stored
    record_path(folder, "a").unlink()
    write_oblique(image, **change)
    with pytest.raises(InputError, match=r"a: (size|spacing) of .*a_PDmap"):
        load_maps(folder, "a", ending, image)


def rewrite(path, change):
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image)
    changed = sitk.GetImageFromArray(change(array))
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(path))


def test_not_a_number_and_seconds(stored):
    folder, ending, image = stored
    record_path(folder, "a").unlink()
    paths = map_paths(folder, "a", ending)
    rewrite(paths["T1map"], lambda t1: t1 / 1000)
    with pytest.raises(InputError, match=r"a: the median T1 .* Give T1 in ms"):
        load_maps(folder, "a", ending, image)
    rewrite(paths["T1map"], lambda t1: np.where(t1 > 1, np.nan, t1))
    with pytest.raises(InputError, match="NaN"):
        load_maps(folder, "a", ending, image)


def test_a_background_of_zeros_is_lifted_to_the_bounds(stored):
    folder, ending, image = stored
    record_path(folder, "a").unlink()
    paths = map_paths(folder, "a", ending)
    for name in ("T1map", "T2map"):
        rewrite(paths[name], lambda values: np.where(values > values.mean(), values, 0))
    maps = load_maps(folder, "a", ending, image)
    assert maps.t1.min() == 50 and maps.t2.min() == 5


def test_a_failed_write_leaves_nothing(tmp_path):
    image = write_oblique(tmp_path / "a_0000.nii.gz")
    with pytest.raises(InputError, match="a volume of shape"):
        save_maps(tmp_path / "maps", "a", some_maps((2, 7, 9)), image, ".nii.gz", {})
    with pytest.raises(InputError, match=r"a_PDmap.png cannot be written .*Can its format hold float32"):
        save_maps(tmp_path / "maps", "a", some_maps(), image, ".png", {})
    assert list((tmp_path / "maps").iterdir()) == []


def test_raw_dataset(tiny):
    raw = open_raw_dataset("900")
    assert raw.name == "Dataset900_Tiny" and raw.ending == ".nii.gz" and len(raw.images) == 6
    assert raw.images["case0"] == tiny.image("case0") and raw.maps_folder == tiny.maps


def test_several_channels_are_refused(tiny):
    description = json.loads((tiny.raw / "dataset.json").read_text())
    description["channel_names"] = {"0": "cine", "1": "LGE"}
    (tiny.raw / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(InputError, match=r"2 input channels \(0: cine, 1: LGE\)"):
        open_raw_dataset(900)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size")
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".mha", ".nrrd"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, ending):
    image = write_oblique(tmp_path / f"a_0000{ending}")
    code = f"""
import resource, signal, torch
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import Geometry, write_volume
from pathlib import Path
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
path = Path({str(tmp_path)!r}) / "maps{ending}"
try:
    write_volume(path, torch.rand({SHAPE}), Geometry.read({str(image)!r}))
except InputError as error:
    assert "Is the disk full?" in str(error)
else:
    raise SystemExit("nothing was noticed")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [image.name]


def test_a_map_cut_short_or_replaced_does_not_count_as_finished(stored):
    folder, ending, image = stored
    path = map_paths(folder, "a", ending)["T2map"]
    path.write_bytes(path.read_bytes()[:-40])
    assert not is_finished(folder, "a", (image,))


@pytest.mark.parametrize(
    "content", ["[]", "3", "null", "{", '"text"', '{"case": 3}', '{"case": "a"}', '{"case": "a", "image": []}',
                '{"case": "a", "image": {"file": 1, "sha256": null}}', '{"case": "b", "unfinished": ["x"]}',
                '{"case": "a", "image": {"file": "a", "sha256": "b"}, "maps": [1]}',
                '{"case": "a", "image": {"file": "a", "sha256": "b"}, "more_files": ["x"]}']
)  # fmt: skip
def test_a_record_of_another_form_is_refused_and_vouches_for_nothing(stored, content):
    folder, ending, image = stored
    record_path(folder, "a").write_text(content)
    with pytest.raises(InputError, match=r"a\.json"):
        load_record(folder, "a")
    with pytest.raises(InputError, match=r"a\.json"):
        load_maps(folder, "a", ending, image)
    assert not is_finished(folder, "a", (image,))
    lines = foreign_results(folder, "a", map_paths(folder, "a", ending).values())
    assert len(lines) == 4 and all(line.startswith("a: ") and "--overwrite" in line for line in lines)
    before = sorted(folder.glob("*map*"))
    discard(folder, "a")
    assert sorted(folder.iterdir()) == before


def test_results_that_are_not_ours_are_told(stored):
    folder, ending, _ = stored
    paths = map_paths(folder, "a", ending)
    assert foreign_results(folder, "a", paths.values()) == []
    assert foreign_results(folder, "b", map_paths(folder, "b", ending).values()) == []
    rewrite(paths["T1map"], lambda t1: t1 + 1)
    (line,) = foreign_results(folder, "a", paths.values())
    assert f"a: {paths['T1map']} was not made by nnunet_phys, or was changed since" in line
    record_path(folder, "a").unlink()
    assert len(foreign_results(folder, "a", paths.values())) == 3  # measured maps, say


def test_a_case_begun_is_ours_but_unfinished(stored):
    folder, ending, image = stored
    paths = map_paths(folder, "a", ending)
    begin_case(folder, "a", paths.values())
    assert not any(path.exists() for path in paths.values())
    paths["PDmap"].write_text("half")  # and killed
    assert foreign_results(folder, "a", paths.values()) == [] and not is_finished(folder, "a", (image,))
    with pytest.raises(InputError, match=r"a: its maps in .* are unfinished"):
        load_maps(folder, "a", ending, image)
    discard(folder, "a")
    assert list(folder.iterdir()) == []


def test_no_record_leads_out_of_its_folder(stored, tmp_path):
    folder, ending, image = stored
    other = tmp_path / "other.txt"
    other.write_text("dear")
    record = json.loads(record_path(folder, "a").read_text())
    record["more_files"] = [{"file": "../other.txt", "sha256": "0"}, {"file": str(other), "sha256": "0"}]
    record_path(folder, "a").write_text(json.dumps(record))
    discard(folder, "a")
    assert other.read_text() == "dear" and list(folder.iterdir()) == []
    for case in ("../a", str(tmp_path / "a"), "b/../../a"):
        with pytest.raises(InputError, match="does not name a file in"):
            save_maps(folder, case, some_maps(), image, ending, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pd, t1, t2: (pd, 1000 * t1, t2), "median T1"),
        (lambda pd, t1, t2: (pd, t1 / 1000, t2), "median T1"),
        (lambda pd, t1, t2: (pd, t1, 1000 / t2), "median T2 .* R2"),
        (lambda pd, t1, t2: (pd, 1000 / t1, t2), "median T1 .* R1"),
        (lambda pd, t1, t2: (pd, t2 + 150, t1 / 3), "T2 exceeds T1 in .* Are the maps exchanged"),
        (lambda pd, t1, t2: (0 * pd, t1, t2), "PD map has no value above 0"),
    ],
)
def test_maps_of_anybody_must_be_plausible(tmp_path, change, message):
    image = write_oblique(tmp_path / "a_0000.nii.gz")
    changed = SpinMaps(*change(*some_maps().stack()))
    save_maps(tmp_path, "a", changed, image, ".nii.gz", {})
    record_path(tmp_path, "a").unlink()
    with pytest.raises(InputError, match=f"a: .*{message}"):
        load_maps(tmp_path, "a", ".nii.gz", image)
