"""`nnunet_phys report`: what the page and the list show, and what they never replace."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from nnunet_phys.commands import main
from nnunet_phys.commands import report as report_command
from nnunet_phys.image_files import read_image
from nnunet_phys.map_files import load_maps, save_maps

ATTACK = "<script>alert(1)</script>"


def quality(residual, flags=(), slices=3):
    by_slice = [residual + 0.01 * z for z in range(slices)]
    return {
        "residual_rms": residual,
        "residual_by_slice": by_slice,
        "share_at_bound": 0.02,
        "t1_spread": None,
        "flags": [{"slice": z, "reason": reason, "kind": "residual", "pixels": 30} for z, reason in flags],
    }


@pytest.fixture
def inferred(tiny):
    """The tiny data set with maps as `reverse` records them."""
    for number, case in enumerate(tiny.cases):
        maps = load_maps(tiny.maps, case, ".nii.gz", tiny.image(case))
        record = {
            "quality": quality(0.01 * (number + 1)),
            "sequences": [{"sequence": "bssfp", "flip_angle_deg": 45.0}],
            "prior": {"name": "digital_heart"},
            "sampler": {"name": "proximal", "steps": 12},
            "seed": 5,
            "versions": {"nnunet_phys": "0.0.7"},
        }
        save_maps(tiny.maps, case, maps, tiny.image(case), ".nii.gz", record)
    return tiny


def change(tiny, case, **changes):
    path = tiny.maps / f"{case}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def report(out: Path, *more: str) -> str | None:
    """The page of the tiny data set; None where the command fails."""
    arguments = ["report", "-d", "900", "-o", str(out), "-np", "1", "--disable_progress_bar", *more]
    return (out / "report.html").read_text() if main(arguments) == 0 else None


def rows(page: str) -> dict[str, list[str]]:
    """Cells of the table of all cases, by the case's name."""
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    cells = [[re.sub("<[^>]*>", "", cell) for cell in re.split("<td[^>]*>", row)[1:]] for row in body.split("<tr")[1:]]
    return {name: others for name, *others in cells}


def test_every_flagged_slice_is_drawn_under_its_own_residual(inferred, tmp_path, capsys):
    change(inferred, "case3", quality=quality(0.04, [(2, "residual <7.0> %"), (0, "dark"), (2, "dark")]))
    change(inferred, "case1", quality=quality(0.001, [(1, "dark")]))
    page = report(tmp_path / "out", "-pictures", "3")
    headings = re.findall(r"<h2>([^<]*)</h2>", page)
    assert headings[:3] == [
        "case3, slice 2: residual 6.00 %, 4.00 % in the whole case",
        "case3, slice 0: residual 4.00 %, 4.00 % in the whole case",
        "case1, slice 1: residual 1.10 %, 0.10 % in the whole case",
    ]
    assert len(headings) == page.count("<img loading=lazy") == 4 and headings[3].startswith("case5, slice ")
    assert "slice 2: residual &lt;7.0&gt; % (30 pixels)" in page and "<7.0>" not in page
    assert list(rows(page)) == [f"case{i}" for i in (3, 1, 5, 4, 2, 0)]
    assert "6 cases, 3 drawn, 2 flagged (flagged.txt), 0 faults" in capsys.readouterr().err
    page = report(tmp_path / "none", "-pictures", "0")
    assert page.count("<img loading=lazy") == 3  # flagged slices are drawn all the same


def test_the_header_says_how_maps_were_made_and_judged(inferred, tmp_path):
    change(inferred, "case0", quality=quality(0.5, [(0, "dark"), (1, "dark")]), seed=6)
    page = report(tmp_path / "out", "-pictures", "0")
    assert "Maps: prior digital_heart, sampler proximal with 12 steps, 1 sample, no labels, seed 5 (5 cases)" in page
    assert "Images: bssfp, flip angle 45.0° (6 cases)" in page and "Made with: nnunet_phys 0.0.7 (6 cases)" in page
    counts = "<td title=slices>2<td title=cases>1<td title=.what to do.>"
    line = rf"<td>residual<td>[^<]*exceeds 15 % [^<]*{counts}[^<]*-protocol"
    assert re.search(line, page)


def test_times_stand_beside_normal_values(inferred, tmp_path):
    case = inferred.cases[2]
    labels = read_image(inferred.raw / "labelsTr" / f"{case}.nii.gz")
    maps = load_maps(inferred.maps, case, ".nii.gz", inferred.image(case))
    page = report(tmp_path / "out", "-pictures", "0")
    t1 = np.median(maps.t1.numpy()[labels == 2])
    row = rows(page)[case]
    heads = re.findall(r"<th><button>([^<]*)", page)
    assert row[heads.index("myocardium: T1, ms") - 1] == f"{t1:.0f}"
    assert "1.5 T: 920-1200<br>3 T: 1080-1480" in page and f"class=out>{t1:.0f}" not in page
    maps.t1[torch.from_numpy(labels == 2)] = 700.0
    record = json.loads((inferred.maps / f"{case}.json").read_text())
    save_maps(inferred.maps, case, maps, inferred.image(case), ".nii.gz", {"quality": record["quality"]})
    assert "<td class=out>700" in report(tmp_path / "again", "-pictures", "0")


def test_text_of_records_is_escaped(inferred, tmp_path):
    change(inferred, "case0", quality=quality(0.5, [(0, ATTACK)]))
    change(inferred, "case1", quality={**quality(0.5), "flags": [{"slice": ATTACK, "reason": "x"}]})
    change(inferred, "case2", sequences=[{"sequence": ATTACK}], versions={"x": ATTACK}, prior={"name": ATTACK})
    change(inferred, "case3", quality={**quality(0.5), "flags": [{"slice": 0, "reason": "x", "kind": ATTACK}]})
    page = report(tmp_path / "out")
    assert ATTACK not in page and page.count("<script") == 1 and "&lt;script" in page


@pytest.mark.parametrize(
    "changes",
    [
        {"quality": []},
        {"quality": {"residual_rms": "x"}},
        {"quality": quality(0.1, [(99, "no such slice")])},
        {"sequences": []},
        {"sequences": [{"sequence": "bssfp", "flip_angle_deg": "x"}]},
        {"image": []},
        {"versions": 3},
    ],
)
def test_a_bad_record_does_not_stop_the_report(inferred, tmp_path, changes):
    change(inferred, "case4", **changes)
    page = report(tmp_path / "out")
    assert page.count("<h2>") == 5 and re.search(r"<div class=flag>case4: ", page)


def test_broken_files_do_not_stop_the_report(inferred, tmp_path):
    (inferred.maps / "case0.json").write_text("[]")
    (inferred.maps / "case1_T1map.nii.gz").unlink()
    (inferred.raw / "labelsTr" / "case2.nii.gz").write_text("no image")
    page = report(tmp_path / "out")
    assert page.count("<h2>") == 4 and "<h2>case2" in page  # maps without labels are shown all the same
    assert all(re.search(rf"<div class=flag>case{i}: ", page) for i in range(3))
    assert "muscle found by the maps: T1, ms" in page


def test_a_case_named_like_an_image(inferred, tmp_path):
    for folder in (inferred.raw / "imagesTr", inferred.raw / "labelsTr", inferred.maps):
        for path in folder.glob("case0*"):
            path.rename(path.with_name(path.name.replace("case0", "case0_0000", 1)))
    image = inferred.raw / "imagesTr" / "case0_0000_0000.nii.gz"
    maps = load_maps(inferred.maps, "case1", ".nii.gz", inferred.image("case1"))
    maps = maps.map(lambda values: torch.ones(read_image(image).shape) * values.mean())
    record = {"quality": quality(0.2), "sequences": [{"sequence": "bssfp"}]}
    save_maps(inferred.maps, "case0_0000", maps, image, ".nii.gz", record)
    assert "<h2>case0_0000, slice" in report(tmp_path / "out")


def test_figures_that_are_too_large_for_a_page_lie_beside_it(inferred, tmp_path, monkeypatch):
    out = tmp_path / "out"
    assert "src='data:image/webp" in report(out) and not list(out.glob("figures/*"))
    monkeypatch.setattr(report_command, "_MOST_EMBEDDED_BYTES", 10)
    page = report(out, "--overwrite")
    sources = re.findall(r"loading=lazy [^>]*src='([^']*)'", page)
    assert len(sources) == 6 and all((out / source).read_bytes()[8:12] == b"WEBP" for source in sources)


def test_it_replaces_only_its_own_report_and_only_if_told(inferred, tmp_path, refused):
    out, arguments = tmp_path / "out", ["report", "-d", "900", "-pictures", "0", "-np", "1", "-o"]
    assert report(out, "-pictures", "0")
    refused([*arguments, str(out)], "holds a report. Add --overwrite")
    (out / "flagged.txt").write_text("mine\n")
    refused([*arguments, str(out), "--overwrite"], "flagged.txt is not of the report there, or was changed since")
    assert (out / "flagged.txt").read_text() == "mine\n"
    (inferred.maps / "case0_T1map.nii.gz").rename(tmp_path / "aside.nii.gz")
    refused([*arguments, str(inferred.maps)], "is a folder that is read from")


@pytest.mark.parametrize("more", [("-o", ""), ("-maps", ""), ("-pictures", "-1"), ("-pictures", "x"), ("-np", "0")])
def test_arguments_that_make_no_sense(more, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["report", "-d", "900", *more])
    assert f"argument {more[0]}" in capsys.readouterr().err


def test_there_is_nothing_to_report(tiny, tmp_path, refused):
    arguments = ["report", "-d", "900", "-o", str(tmp_path / "out")]
    refused(arguments, "holds no maps of Dataset900_Tiny made by nnunet_phys reverse, such as case0.json")
    assert not (tmp_path / "out").exists()


def test_folders_without_a_data_set(series, reverse_folder, tmp_path, capsys):
    maps, out = tmp_path / "maps", tmp_path / "out"
    assert main(reverse_folder(series, maps, "-sequence", "molli")) == 0
    arguments = ["report", "-i", str(series), "-maps", str(maps), "-o", str(out), "-np", "1"]
    assert main(arguments) == 0
    page = (out / "report.html").read_text()
    assert list(rows(page)) and page.count("<img loading=lazy") >= 2 and "0 faults" in capsys.readouterr().err
    assert "Images: molli" in page and "found by the maps" in page


def test_a_list_of_no_flagged_case_excludes_none(inferred, tmp_path, capsys):
    out = tmp_path / "out"
    assert report(out, "-pictures", "0")
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1", "-exclude", str(out / "flagged.txt")]) == 0
    assert "excluded" not in capsys.readouterr().err


def test_the_ignore_label_is_no_structure(inferred, tmp_path):
    path = inferred.raw / "dataset.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "labels": {**described["labels"], "ignore": 7}}))
    page = report(tmp_path / "out", "-pictures", "0")
    header = page[page.index("<table") : page.index("<tbody>")]
    assert all(name in header for name in described["labels"] if name != "background") and "ignore" not in header


def test_the_list_of_flagged_cases_is_what_reverse_and_preprocess_take(inferred, reverse, tmp_path, capsys):
    change(inferred, "case3", quality=quality(0.04, [(2, "dark")]))
    change(inferred, "case5", quality=quality(0.04, [(0, "dark"), (1, "dark")]))
    out = tmp_path / "out"
    assert report(out, "-pictures", "0")
    flagged = out / "flagged.txt"
    assert [line.split("\t")[0] for line in flagged.read_text().splitlines()[1:]] == ["case5", "case3"]
    assert "case3\tslice 2: dark (30 pixels)" in flagged.read_text()
    assert main(["preprocess", "-d", "900", "-c", "2d", "-np", "1", "-exclude", str(flagged)]) == 0
    assert "2 cases excluded, which trainings leave out: case5, case3." in capsys.readouterr().err
    copies = {path.name.split(".")[0] for path in (inferred.preprocessed / "nnUNetPlans_2d_spin").iterdir()}
    assert {name.partition("_")[0] for name in copies} == {"case0", "case1", "case2", "case4", "excluded"}
    assert (inferred.preprocessed / "nnUNetPlans_2d_spin" / "excluded.txt").read_text() == "case5\ncase3\n"
    shutil.rmtree(inferred.maps)
    assert main(reverse("-cases", str(flagged))) == 0
    assert sorted(path.name for path in inferred.maps.glob("case*.json")) == ["case3.json", "case5.json"]
