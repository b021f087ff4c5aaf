"""`nnunet_phys gallery`: a page that needs nothing else, a figure, the physics of what they show, and refusals."""

from __future__ import annotations

import re
import struct

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from matplotlib.figure import Figure

from nnunet_phys.augmentations.contrast_draw import EFFECTS
from nnunet_phys.case_records import save_record
from nnunet_phys.commands import gallery, main
from nnunet_phys.commands.shared.gallery_rows import characteristic, effect_rows, muscle_t1_t2, sequence_rows
from nnunet_phys.sequences import SEQUENCES
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


def test_the_page_is_self_contained_and_holds_every_sequence(tmp_path):
    page = tmp_path / "page.html"
    case = _maps(tmp_path)
    assert main(_gallery("-i", case, "-o", page, "-image", tmp_path / "image.nii.gz")) == 0
    text = page.read_text()
    assert len(re.findall("<img ", text)) == len(re.findall('src="data:image/png;base64,', text)) == len(ROWS) + 1
    without_data = re.sub('base64,[^"]*', "", text)
    assert not re.search(r"https?:|file:|href|url\(|<script|<link", without_data)
    titles = re.findall("<h2>([a-z0-9_]+):", text)
    assert set(SEQUENCES) <= set(titles)
    assert set(EFFECTS) <= set(titles)  # every fault of a scanner


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


def test_muscle_is_found_or_assumed(tmp_path):
    pd, t1, t2 = (torch.full((1, 40, 40), value) for value in (0.8, 1180.0, 47.0))
    t1[:, :, :10] = 1600
    assert muscle_t1_t2(SpinMaps(pd, t1, t2), (2.0, 2.0)) == (1180.0, 47.0)
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


def test_what_is_shown_is_neither_mirrored_nor_turned():
    """A corner pixel stays in its corner, cropped or not, whatever the shape."""
    values = np.zeros((40, 60))
    values[2, 3] = 1
    maps = SpinMaps(*torch.zeros(3, 1, 40, 60))
    for crop, centre, place in ((None, (0, 0), (2, 3)), (50.0, (-40.0, -80.0), (2, 3)), (60.0, (0, -60.0), (None, 3))):
        axis = Figure().subplots()
        gallery.Case("x", maps, (8.0, 2.0, 2.0), None, crop, centre).show(axis, values, "")
        shown = axis.images[0].get_array()
        assert axis.get_ylim()[0] > axis.get_ylim()[1]  # rows downwards
        assert (place[0] is None and shown.max() == 0) or np.argwhere(shown)[0].tolist() == list(place)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-i", "phantom", "-o", "page.txt"), "name a file that ends in .html or .htm or .png"),
        (("-i", "phantom", "-o", "nowhere/page.html"), "there is no folder"),
        (("-i", "phantom", "-o", "page.html", "-slice", "9"), "-slice 9: the case has slices 0 to 4"),
        (("-i", "phantom", "-o", "page.html", "-image", "x.nii.gz"), "the phantom has none"),
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
