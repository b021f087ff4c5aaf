"""`nnunet_phys report`: what the page shows, and what it never replaces."""

from __future__ import annotations

import json
import re

import pytest
import torch

from nnunet_phys.commands import main
from nnunet_phys.image_files import read_image
from nnunet_phys.map_files import load_maps, save_maps
from nnunet_phys.pictures import MADE_BY

ATTACK = "<script>alert(1)</script>"


def quality(residual, flags=(), slices=3):
    by_slice = [residual + 0.01 * z for z in range(slices)]
    return {
        "residual_rms": residual,
        "residual_by_slice": by_slice,
        "share_at_bound": 0.02,
        "t1_spread": None,
        "flags": [{"slice": z, "reason": reason} for z, reason in flags],
    }


@pytest.fixture
def inferred(tiny):
    """The tiny data set with maps as `reverse` records them."""
    for number, case in enumerate(tiny.cases):
        maps = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case))
        record = {"quality": quality(0.01 * (number + 1)), "sequences": [{"sequence": "bssfp"}]}
        save_maps(tiny.maps, case, maps, tiny.image(case), ".nii.gz", record)
    return tiny


def change(tiny, case, **changes):
    path = tiny.maps / f"{case}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def report(page, *more) -> int:
    return main(["report", "-d", "900", "-o", str(page), "--disable_progress_bar", *more])


def test_the_heading_gives_the_residual_of_its_slice(inferred, tmp_path, capsys):
    change(inferred, "case3", quality=quality(0.04, [(2, "residual <7.0> %")]))
    page = tmp_path / "page.html"
    assert report(page, "-cases", "2") == 0
    text = page.read_text()
    assert "case3, slice 2: residual 6.00 %, 4.00 % in the whole case" in text
    assert re.findall(r"<h2>(case\d)", text) == ["case3", "case5"] and "residual &lt;7.0&gt; %" in text
    table = text[text.index("All cases") :]
    assert re.findall(r"<td>(case\d)<td>(\d)", table) == [(f"case{i}", str(int(i == 3))) for i in (3, 5, 4, 2, 1, 0)]
    assert "2 of 6 cases shown, 1 flagged, 0 faults" in capsys.readouterr().err


def test_text_of_records_is_escaped(inferred, tmp_path):
    change(inferred, "case0", quality=quality(0.5, [(0, ATTACK)]))
    change(inferred, "case1", quality={**quality(0.5), "flags": [{"slice": ATTACK, "reason": "x"}]})
    change(inferred, "case2", sequences=[{"sequence": ATTACK}])
    page = tmp_path / "page.html"
    assert report(page) == 0
    assert "<script" not in page.read_text() and "&lt;script" in page.read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": []},
        {"quality": {"residual_rms": "x"}},
        {"quality": quality(0.1, [(99, "no such slice")])},
        {"sequences": []},
        {"sequences": [3]},
        {"sequences": [{"sequence": "bssfp", "flip_angle_deg": "x"}]},
        {"image": []},
    ],
)
def test_a_bad_record_does_not_stop_the_report(inferred, tmp_path, changes):
    change(inferred, "case4", **changes)
    page = tmp_path / "page.html"
    assert report(page) == 0
    text = page.read_text()
    assert text.count("<h2>") == 5 and re.search(r"<div class=flag>case4: ", text)


def test_broken_files_do_not_stop_the_report(inferred, tmp_path):
    (inferred.maps / "case0.json").write_text("[]")
    (inferred.maps / "case1_T1map.nii.gz").unlink()
    (inferred.raw / "labelsTr" / "case2.nii.gz").write_text("no image")
    page = tmp_path / "page.html"
    assert report(page) == 0
    assert page.read_text().count("<h2>") == 3
    assert all(re.search(rf"<div class=flag>case{i}: ", page.read_text()) for i in range(3))


def test_a_case_named_like_an_image(inferred, tmp_path):
    for folder in (inferred.raw / "imagesTr", inferred.raw / "labelsTr", inferred.maps):
        for path in folder.glob("case0*"):
            path.rename(path.with_name(path.name.replace("case0", "case0_0000", 1)))
    image = inferred.raw / "imagesTr" / "case0_0000_0000.nii.gz"
    maps = load_maps(inferred.maps, "case1", ".nii.gz", inferred.image("case1"))
    maps = maps.map(lambda values: torch.ones(read_image(image).shape) * values.mean())
    record = {"quality": quality(0.2), "sequences": [{"sequence": "bssfp"}]}
    save_maps(inferred.maps, "case0_0000", maps, image, ".nii.gz", record)
    assert report(tmp_path / "page.html") == 0
    assert "<h2>case0_0000, slice" in (tmp_path / "page.html").read_text()


def test_it_replaces_its_own_page_and_nothing_else(inferred, tmp_path, refused):
    page, arguments = tmp_path / "page.html", ["report", "-d", "900", "--disable_progress_bar", "-o"]
    assert report(page) == 0 and MADE_BY in page.read_text() and report(page) == 0
    notes = tmp_path / "notes.html"
    notes.write_text("<!doctype html>mine")
    refused([*arguments, str(notes)], "exists, and nnunet_phys did not make it")
    description = inferred.raw / "dataset.json"
    before = description.read_text()
    refused([*arguments, str(description)], "name a file that ends in .html or .htm")
    (tmp_path / "folder.html").mkdir()
    refused([*arguments, str(tmp_path / "folder.html")], "is a folder")
    refused([*arguments, str(notes / "page.html")], "there is no folder")
    assert description.read_text() == before and notes.read_text() == "<!doctype html>mine"


@pytest.mark.parametrize("more", [("-o", ""), ("-maps", ""), ("-cases", "-1"), ("-cases", "x")])
def test_arguments_that_make_no_sense(more, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["report", "-d", "900", *more])
    assert f"argument {more[0]}" in capsys.readouterr().err


def test_there_is_nothing_to_report(tiny, refused):
    refused(["report", "-d", "900"], "holds no maps of Dataset900_Tiny made by nnunet_phys reverse")


def test_report_shows_flagged_cases_first(fresh, prior, tmp_path, capsys):
    assert main(["report", "-d", "900"]) == 1
    assert "holds no maps of Dataset900_Tiny made by nnunet_phys reverse, such as case0.json" in capsys.readouterr().err
    arguments = ["reverse", "-d", "900", "-device", "cpu", "-steps", "2", "-prior", prior, "--disable_progress_bar"]
    assert main(arguments) == 0
    record = fresh.maps / "case3.json"
    content = json.loads(record.read_text())
    for case in fresh.cases:
        path = fresh.maps / f"{case}.json"
        every = json.loads(path.read_text())
        every["quality"]["flags"] = []
        path.write_text(json.dumps(every))
    content["quality"]["flags"] = [{"slice": 1, "reason": "residual <7.0> %"}]
    record.write_text(json.dumps(content))
    assert main(["report", "-d", "900", "-o", str(tmp_path / "no" / "page.html")]) == 1
    page = tmp_path / "page.html"
    assert main(["report", "-d", "900", "-o", str(page), "-cases", "2"]) == 0
    text = page.read_text()
    assert re.findall(r"<h2>(case\d), slice (\d)", text)[0] == ("case3", "1") and text.count("<h2>") == 2
    assert "residual &lt;7.0&gt; %" in text and 'src="http' not in text
    assert "<td>myocardium" in text  # a structure of labelsTr
    (fresh.maps / "case1_T1map.nii.gz").unlink()
    assert main(["report", "-d", "900", "-o", str(page)]) == 0
    assert page.read_text().count("<h2>") == 5 and "case1_T1map.nii.gz is missing" in page.read_text()
