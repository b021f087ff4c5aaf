"""`nnunet_phys gallery`: a page that needs nothing else, a figure, the physics of what they show, and refusals."""

from __future__ import annotations

import argparse
import html
import json
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from nnunet_phys.augmentations.contrast_draw import EFFECTS, ContrastDraw
from nnunet_phys.case_records import package_versions, save_record
from nnunet_phys.commands import gallery, main
from nnunet_phys.commands.parts import gallery_page
from nnunet_phys.commands.parts.gallery_case import GalleryCase, Shown, load_case
from nnunet_phys.commands.parts.gallery_page import MOST_BYTES, GalleryPage
from nnunet_phys.commands.shared.gallery_rows import Row, characteristic, effect_rows, sequence_rows
from nnunet_phys.commands.shared.record_text import versions_text
from nnunet_phys.commands.shared.shown_muscle import muscle_t1_t2
from nnunet_phys.errors import InputError
from nnunet_phys.map_files import load_maps, save_maps
from nnunet_phys.sequences import BSSFP, SEQUENCES, BlackBloodTSE
from nnunet_phys.sequences.description import describe_sequence
from nnunet_phys.spin import SpinMaps

ROWS = (*sequence_rows(1000.0, 50.0, 0), *effect_rows(0))


def _gallery(*more):
    return ["gallery", "--disable_progress_bar", *map(str, more)]


def _maps(tmp_path):
    """Blood within myocardium within fat, and their image."""
    rows, columns = np.mgrid[-12:12, -15:15]
    tissue = np.digitize(np.hypot(rows, columns), (5, 9))
    values = np.array([[0.9, 1500, 200], [0.8, 1000, 50], [0.7, 300, 70]], np.float32)[tissue]
    for name, array in zip(("PDmap", "T1map", "T2map"), np.moveaxis(values, -1, 0), strict=True):
        sitk.WriteImage(sitk.GetImageFromArray(array[None].copy()), str(tmp_path / f"x_{name}.nii.gz"))
    sitk.WriteImage(sitk.GetImageFromArray(values[None, ..., 2].copy()), str(tmp_path / "image.nii.gz"))
    return tmp_path / "x"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a case, and where it lies."""
    folder = tmp_path_factory.mktemp("gallery")
    path = folder / "page.html"
    assert main(_gallery("-i", _maps(folder), "-o", path, "-image", folder / "image.nii.gz")) == 0
    return path.read_text(), path


def test_the_page_is_self_contained_and_holds_every_sequence(page):
    text, path = page
    images = sum(len(row.images) for row in ROWS) + 4
    assert len(re.findall("<img ", text)) == len(re.findall("src='data:image/webp;base64,", text)) == images
    without_data = re.sub("base64,[^']*", "", text)
    assert not re.search(r"https?:|file:|url\(|<script|<link", without_data)
    titles = re.findall("<h2>([a-z0-9_]+):", text)
    assert set(SEQUENCES) <= set(titles)
    assert set(EFFECTS) <= set(titles)  # every fault of a scanner
    assert path.stat().st_size < MOST_BYTES


def test_all_rows_are_linked_and_say_what_to_notice_and_how_they_are_scaled(page):
    text, _ = page
    links, places = re.findall("href=#([a-z0-9]+)", text), re.findall(" id=([a-z0-9]+)", text)
    assert set(links) == set(places) and len(places) == len(set(places)) == len(ROWS) + 2  # the contents, and the maps
    assert text.count("One grey scale for the row.") == sum(row.one_scale for row in ROWS)
    assert text.count("Each image has its own grey scale.") == sum(not row.one_scale for row in ROWS) + 1
    for row in ROWS:
        assert row.notice.endswith(".") and html.escape(row.notice) in text
    assert "<span>2,500</span>" in text  # the upper end of T1
    assert versions_text(package_versions()) in text and "by seed 0" in text


def _case(maps, **changes):
    window = (slice(0, maps.shape[1]), slice(0, maps.shape[2]))
    return replace(GalleryCase("x", 0, maps, (8.0, 2.0, 2.0), None, window, "the labels", None), **changes)


def _tissues():
    """Blood, muscle and fat side by side."""
    values = torch.tensor([[0.9, 1500, 200], [0.8, 1000, 50], [0.7, 300, 70]]).repeat_interleave(8, 0)
    return SpinMaps(*values.T[:, None, None].expand(3, 1, 20, 24).contiguous())


def test_one_scale_shows_levels_and_own_scales_show_contrast(monkeypatch):
    decay = [(f"{te} ms", ContrastDraw(BlackBloodTSE(te_ms=te))) for te in (6.0, 36.0, 90.0)]
    rows = [Row("common", "", decay, one_scale=True), Row("own", "", decay)]
    monkeypatch.setattr(gallery_page, "sequence_rows", lambda *_: rows)
    monkeypatch.setattr(gallery_page, "effect_rows", lambda *_: [])
    shown = []
    monkeypatch.setattr(gallery_page, "webp_of_pixels", lambda pixels, *_: shown.append(pixels) or b"")
    GalleryPage(_case(_tissues()), 0, progress=False).parts()
    greys = [pixels.max() for pixels in shown if pixels.ndim == 2]
    assert greys[0] > 250 and greys[0] > greys[1] + 50 > greys[2] + 100 and min(greys[3:]) > 250


def test_images_lose_quality_where_the_page_would_be_too_large(monkeypatch):
    rng = np.random.default_rng(0)
    noise = SpinMaps(*(torch.from_numpy(rng.uniform(0.2, 1, (1, 64, 64))).float() * top for top in (1, 1500, 200)))
    monkeypatch.setattr(gallery_page, "sequence_rows", lambda *_: [Row("bssfp", "", [("", ContrastDraw(BSSFP()))] * 5)])
    monkeypatch.setattr(gallery_page, "effect_rows", lambda *_: [])
    large = GalleryPage(_case(noise), 0, progress=False)
    whole = sum(map(len, large.parts()))
    for most in (whole // 2, whole // 3):
        monkeypatch.setattr(gallery_page, "MOST_BYTES", most)
        assert most // 3 < sum(map(len, large.parts())) < most


def test_what_a_record_flags_stands_at_the_top(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(gallery_page, "sequence_rows", lambda *_: [])
    monkeypatch.setattr(gallery_page, "effect_rows", lambda *_: [])
    maps = load_maps(tiny.maps, "case1", ".nii.gz", tiny.image("case1"))
    flags = [{"slice": z, "reason": f"<b>{z}", "kind": kind, "pixels": 30} for z, kind in ((2, "tissue"), (0, None))]
    quality = {"residual_rms": 0.02, "residual_by_slice": [0.01, 0.03], "share_at_bound": 0.0, "flags": flags}
    record = {"quality": quality, "sequences": [{"sequence": "bssfp", "flip_angle_deg": 45.0}], "seed": 7}
    save_maps(tiny.maps, "case1", maps, tiny.image("case1"), ".nii.gz", record)
    for z, said in (
        (0, "Slice 0: residual 1.00 %, 2.00 %"),
        (1, "residual 3.00 %, 2.00 % in the whole case. This slice"),
    ):
        assert main(_gallery("-i", tiny.maps / "case1", "-o", tmp_path / "page.html", "-slice", z)) == 0
        top = (tmp_path / "page.html").read_text().partition("<nav")[0]
        found = re.findall("<div class=flag>([^<]*)</div>", top)
        assert found == ["slice 0: &lt;b&gt;0 (30 pixels)", "slice 2: &lt;b&gt;2 (30 pixels)"] and said in top
        assert ("This slice is not flagged" in top) == (z == 1)
        assert "What to do (tissue): give labels" in top
        assert "Images: bssfp, flip angle 45.0°" in top and "seed 7" in top and "(1 case)" not in top


def test_the_heart_is_cropped_by_labels_or_by_the_maps(tmp_path):
    """Blood in one corner, labels in another, in a case of 300 mm."""
    pd, t1, t2 = torch.full((3, 150, 150), 0.8), torch.full((3, 150, 150), 1000.0), torch.full((3, 150, 150), 50.0)
    t1[1, 30:50, 35:55], t2[1, 30:50, 35:55] = 1500.0, 200.0
    labels = np.zeros((3, 150, 150), np.uint8)
    labels[2, 100:120, 90:100] = 3
    for folder in ("spinTr", "labelsTr"):
        (tmp_path / folder).mkdir()

    def write(array, name):
        image = sitk.GetImageFromArray(np.asarray(array))
        image.SetSpacing((2.0, 2.0, 8.0))
        sitk.WriteImage(image, str(tmp_path / name))

    for name, values in (("PDmap", pd), ("T1map", t1), ("T2map", t2)):
        write(values, f"spinTr/x_{name}.nii.gz")

    def shown(crop_mm=None, named=None):
        case = load_case(tmp_path / "spinTr" / "x", None, named, Shown(None, crop_mm))
        return case.z, *((part.start, part.stop) for part in case.window)

    z, rows, columns = shown()
    assert z == 1 and rows[0] < 30 < 50 < rows[1] < 100 and columns[0] < 35 < 55 < columns[1] < 100
    write(np.where(labels > 0, labels, 4).astype(np.uint8), "labelsTr/x.nii.gz")
    described = {"labels": {"background": 0, "LV": 3, "ignore": 4}, "file_ending": ".nii.gz"}
    (tmp_path / "dataset.json").write_text(json.dumps(described))
    assert shown()[0] == 2
    (tmp_path / "dataset.json").unlink()
    write(labels, "labelsTr/x.nii.gz")
    assert shown() == (2, (88, 132), (78, 112))  # 25 mm around
    assert shown(40.0) == (2, (100, 120), (85, 105))
    assert shown(1000.0) == (2, (0, 150), (0, 150))
    write(labels[:, :100], "labelsTr/x.nii.gz")
    assert shown() == (z, rows, columns)  # labels on another grid
    with pytest.raises(InputError, match=r"-labels .* lies on another grid"):
        shown(named=tmp_path / "labelsTr" / "x.nii.gz")
    write(t1.fill_(1000.0), "spinTr/x_T1map.nii.gz")
    write(t2.fill_(50.0), "spinTr/x_T2map.nii.gz")
    assert shown() == (1, (30, 120), (30, 120))  # the middle, without a heart


def test_rows_name_the_sequences_they_hold():
    shown = set()
    for row in ROWS[: -len(effect_rows(0))]:
        names = {describe_sequence(draw.sequence)["sequence"] for _, draw in row.images}
        assert names == {row.title.partition(":")[0]}
        shown |= names
    assert shown == set(SEQUENCES)


def _signal(draw, t1, t2):
    """What a voxel of this tissue gives, outside any region."""
    maps = torch.tensor([1.0, t1, t2])[:, None, None, None].expand(3, 1, 4, 4)
    return float(draw.scan(maps, (8.0, 1.5, 1.5)).mean())


BLOOD, MUSCLE = (1550.0, 220.0), (1000.0, 50.0)


def _row(start):
    return dict(next(row for row in ROWS if row.title.startswith(start)).images)


def test_blood_is_dark_in_black_blood_and_muscle_at_its_null():
    for caption, draw in _row("black_blood: turbo").items():
        assert _signal(draw, *BLOOD) < 0.5 * _signal(draw, *MUSCLE), caption
    null = next(draw for caption, draw in _row("lge_gre: 15").items() if "null" in caption)
    assert _signal(null, *MUSCLE) < 0.03 * _signal(null, *BLOOD)
    for caption, draw in _row("bssfp: cine").items():
        assert _signal(draw, *BLOOD) > _signal(draw, *MUSCLE), caption
    signed = [_signal(draw, *MUSCLE) for draw in _row("lge_gre: the same, phase").values()]
    assert signed[0] < 0 < signed[-1] and signed == sorted(signed)


def test_blood_brightens_by_inflow_and_in_the_first_pass():
    inflow = [_signal(draw, *BLOOD) for draw in _row("gre: 15").values()]
    assert inflow == sorted(inflow)
    bolus = [_signal(draw, *BLOOD) for draw in _row("perfusion").values()]
    assert bolus[0] < bolus[1] < bolus[2] < bolus[3] > bolus[-1]


@pytest.mark.parametrize("muscle_t1", [1180.0, 1460.0])  # as at 1.5 T and at 3 T
def test_muscle_is_found_or_assumed(muscle_t1):
    pd, t1, t2 = (torch.full((1, 40, 40), value) for value in (0.8, muscle_t1, 47.0))
    t1[:, :, :10], t2[:, :, :10] = 1600, 180
    t1[:, :, 10:12] = 1000  # other muscle
    assert muscle_t1_t2(SpinMaps(pd, t1, t2), (2.0, 2.0)) == (muscle_t1, 47.0)
    assert muscle_t1_t2(SpinMaps(pd, 0.2 * t1, t2), (2.0, 2.0)) == (1000.0, 50.0)


def test_the_figure(tmp_path):
    figure = tmp_path / "figure.png"
    assert main(_gallery("-i", "phantom", "-o", figure, "-seed", "3")) == 0
    content = figure.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and len(content) < 400_000
    assert struct.unpack(">II", content[16:24])[0] == 1400
    assert 8 <= len(characteristic(*MUSCLE, 0)) <= 10


def test_the_recorded_image_is_found(tmp_path, monkeypatch):
    seen, image = [], tmp_path / "imagesTr" / "x_0000.nii.gz"
    monkeypatch.setattr(gallery, "_write_figure", lambda args, case: seen.append(case))
    for folder in ("imagesTr", "spinTr"):
        (tmp_path / folder).mkdir()
    case = _maps(tmp_path / "spinTr")
    (tmp_path / "spinTr" / "image.nii.gz").rename(image)
    save_record(tmp_path / "spinTr", "x", {}, (image,))
    arguments = _gallery("-i", case, "-o", tmp_path / "f.png")
    assert main(arguments) == 0
    image.rename(tmp_path / "away.nii.gz")
    assert main(arguments) == 0
    assert main([*arguments, "-image", str(tmp_path / "away.nii.gz")]) == 0
    pixels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "away.nii.gz")))[0]
    assert np.array_equal(seen[0].image, pixels) and seen[1].image is None and np.array_equal(seen[2].image, pixels)


def test_a_case_of_a_4d_image_shows_its_own_volume(tmp_path):
    values = np.stack([np.full((2, 64, 64), frame, np.float32) for frame in range(1, 4)])
    image = sitk.GetImageFromArray(values, isVector=False)
    image.SetSpacing((2.0, 2.0, 8.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "C_0000.nii.gz"))
    maps = SpinMaps(*(torch.full((2, 64, 64), value) for value in (0.8, 1000.0, 50.0)))
    save_maps(tmp_path, "C_t02", maps, tmp_path / "C_0000.nii.gz", ".nii.gz", {})
    for named in (None, tmp_path / "C_0000.nii.gz"):
        assert load_case(tmp_path / "C_t02", named, None, Shown(0, None)).image.max() == 3


def test_what_is_shown_is_neither_mirrored_nor_turned(monkeypatch, tmp_path):
    """What lies in a corner stays there, on the page and in the figure, whatever the shape."""
    values = np.full((40, 60), 0.01)
    values[2:6, 3:7] = 1
    maps = SpinMaps(*(torch.full((1, 40, 60), value) for value in (0.8, 1000.0, 50.0)))
    maps.pd[0, 2:6, 3:7] = 5
    case = _case(maps, image=values, voxel_mm=(8.0, 2.0, 1.0), window=(slice(0, 30), slice(1, 60)))
    shown = []
    monkeypatch.setattr(gallery_page, "webp_of_pixels", lambda pixels, *_: shown.append(pixels) or b"")
    monkeypatch.setattr(gallery_page, "sequence_rows", lambda *_: [Row("", "", [("", ContrastDraw(BSSFP()))])])
    monkeypatch.setattr(gallery_page, "effect_rows", lambda *_: [])
    GalleryPage(case, 0, progress=False).parts()
    for pixels in (shown[0], shown[4]):
        height, width = pixels.shape
        assert height == 256 and width == round(256 * 59 / 60)  # 30 rows of 2 mm, 59 columns of 1 mm
        rows, columns = (pixels > 128).nonzero()
        assert rows.mean() / height == pytest.approx(4 / 30, abs=0.01)
        assert columns.mean() / width == pytest.approx(4 / 59, abs=0.01)
    figures = []
    monkeypatch.setattr(gallery, "png", lambda figure, _: figures.append(figure) or b"")
    gallery._write_figure(argparse.Namespace(seed=0, o=tmp_path / "f.png"), case)
    axis = figures[0].axes[0]
    assert axis.get_ylim()[0] > axis.get_ylim()[1] and axis.get_aspect() == 2  # rows downwards
    assert np.argwhere(axis.images[0].get_array() == 1)[0].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-i", "phantom", "-o", "page.txt"), "name a file that ends in .html or .htm or .png"),
        (("-i", "phantom", "-o", "nowhere/page.html"), "there is no folder"),
        (("-i", "phantom", "-o", "page.html", "-slice", "9"), "-slice 9: the case has slices 0 to 4"),
        (("-i", "phantom", "-o", "page.html", "-image", "x.nii.gz"), "-image: the phantom has its own"),
        (("-i", "phantom", "-o", "page.html", "-labels", "x.nii.gz"), "-labels: the phantom has its own"),
        (("-i", "x", "-o", "page.html", "-labels", "small.nii.gz"), "-labels small.nii.gz lies on another grid"),
        (("-i", "y", "-o", "page.html"), "holds no maps of y, but of 1 case, such as x"),
        (("-i", "none/y", "-o", "page.html"), "none: no such folder"),
        (("-i", "x", "-o", "page.html", "-image", "small.nii.gz"), "lies on another grid"),
        (("-i", "x", "-o", "page.html", "-image", "gone.nii.gz"), "gone.nii.gz is not a file"),
    ],
)
def test_bad_arguments(tmp_path, monkeypatch, capsys, arguments, message):
    _maps(tmp_path)
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 5, 5), np.float32)), str(tmp_path / "small.nii.gz"))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(_gallery(*arguments)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "page.html").exists()
