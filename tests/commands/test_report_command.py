"""`nnunet_phys report`: what it shows."""

import json
import re

from nnunet_phys.commands import main


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
