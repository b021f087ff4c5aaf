"""The report's page and the README's table, from made-up records."""

import re
from argparse import Namespace
from dataclasses import replace

import pytest

from generalization import report
from generalization.methods import LEFT_OUT, METHODS
from generalization.records import RunRecord, Settings, TestResult, read_record, read_records
from generalization.results import Results, by_inversion_time, worst_cases
from generalization.scores import Score
from generalization.test_sets import TestSet
from nnunet_phys.errors import InputError

GROUPS = {f"series{k}": tuple(f"series{k}_ti{i:02d}" for i in range(3)) for k in range(8)}
TIMES = {case: 100.0 + 700 * i + k for k, cases in enumerate(GROUPS.values()) for i, case in enumerate(cases)}
MOLLI = TestSet("MOLLI of a clinic", "MOLLI", GROUPS, inversion_times_ms=TIMES, note="Made up.")
CINE = TestSet("cine of a clinic", "cine")


def result(test_set: TestSet, dice: dict[str, float | None], sha256: str = "a") -> TestResult:
    """A result with the same Dice for all structures of a case."""
    cases = {
        case: {s: Score(value, 5.0 if value else None) for s in ("RV", "MYO", "LV")} for case, value in dice.items()
    }
    return TestResult(test_set, sha256, 60.0, cases)


def record(method: str, tests: dict[str, TestResult], seed: int = 0, iterations: int = 100) -> RunRecord:
    """A run on digital hearts."""
    return RunRecord(
        "digital",
        method,
        seed,
        Settings(iterations, "small", "nnUNetTrainerBench", None, None, False, "cpu"),
        {"torch": "2.0", "nnunetv2": "2.8", "commit": "abc"},
        {"cpu": "a processor", "cores": "2", "format": "float32"},
        {"training_set": "t"},
        {"training": 120.0},
        tests,
    )


def molli_dice(first: float, rest: float, step: float = 0.002) -> dict[str, float | None]:
    """Dice of all readouts: that of the first of each series, and of the others, rising by a step from series to
    series."""
    return {
        case: (first if case.endswith("ti00") else rest) + step * k
        for k, cases in enumerate(GROUPS.values())
        for case in cases
    }


@pytest.fixture
def records():
    """Phys with two seeds, plain with one; plain fails on the first readout."""
    return [
        record("phys", {"molli": result(MOLLI, molli_dice(0.8, 0.9)), "cine": result(CINE, {"c1": 0.9, "c2": 0.7})}),
        record("phys", {"molli": result(MOLLI, molli_dice(0.7, 0.9))}, seed=1),
        record(
            "plain",
            {"molli": result(MOLLI, molli_dice(0.0, 0.6, 0.004)), "cine": result(CINE, {"c1": None, "c2": 0.8})},
        ),
    ]


@pytest.fixture
def page(records, tmp_path):
    """Paths of the page and of the README."""
    for run in records:
        run.save(tmp_path / "work" / "runs")
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- benchmark -->\nold 99.9\n<!-- end of benchmark -->\nafter\n")
    report.run(Namespace(work=[tmp_path / "work"], o=tmp_path / "docs" / "benchmark.md", readme=readme))
    return tmp_path / "docs" / "benchmark.md", readme


def row(text: str, title: str, number: int = 0) -> list[str]:
    """The cells of the row with this first cell, in table number `number` of those that have one."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in lines[number].strip("|").split("|")]


def test_records_survive_writing(records, tmp_path):
    for run in records:
        run.save(tmp_path)
    assert read_records(tmp_path) == sorted(records, key=lambda r: r.name)
    (tmp_path / "other.json").write_text((tmp_path / f"{records[0].name}.json").read_text())
    with pytest.raises(InputError, match=r"is the record of digital__phys__seed0. Name it so"):
        read_record(tmp_path / "other.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match="'training' is missing"):
        read_record(tmp_path / "other.json")


def test_seeds_readouts_and_groups_are_averaged(records):
    results = Results(tuple(records))
    scores = results.scores("digital", "phys", "molli")
    assert scores.mean["series0_ti00"] == pytest.approx(0.75)  # of 0.8 and 0.7
    assert scores.groups["series0"] == pytest.approx((0.75 + 0.9 + 0.9) / 3)
    assert scores.by_seed[1]["series1"] == pytest.approx((0.7 + 0.9 + 0.9) / 3 + 0.002)
    curve = by_inversion_time(scores, MOLLI)
    assert curve == pytest.approx([0.757, 0.907, 0.907])
    assert worst_cases(scores, 2) == ["series0_ti00", "series1_ti00"]
    plain = results.scores("digital", "plain", "molli")
    assert set(plain.missed.values()) == {1 / 24}  # series0's first readout has Dice 0; the others more


def test_the_page_holds_what_the_records_say(page):
    text = page[0].read_text()
    summary = row(text, "nnU-Net", 1)
    assert summary[1] == "1" and row(text, "Phys", 1)[1] == "2"  # seeds
    assert summary[2].startswith("80.0")  # cine: the case without the structures does not count
    assert summary[3].startswith("41.4 (")  # MOLLI: a mean of 0.4 + 0.014 over series, with its interval
    molli = row(text, "nnU-Net", 3)
    assert molli[1].startswith("41.4 ±") and "(4 % missed)" in molli[5]
    assert molli[-2] == "-44.3" and molli[-1] == "0.008"  # all eight series are worse than Phys: 2 / 2^8
    assert row(text, "nnU-Net", 2)[-1] == ""  # two cases of cine are too few for a test
    assert "24 cases of 8 patients or series. Made up." in text
    assert row(text, METHODS["da5"].title)[4] == "not run"
    assert row(text, "Phys", 4) == ["Phys", "MOLLI of a clinic", "0: 87.4, 1: 84.0", "0.008"]
    for name, reason in LEFT_OUT.items():
        assert f"| {name} |" in text and reason.split("|")[0] in text
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (page[0].parent / picture).stat().st_size > 1000
    assert "benchmark/digital_small_100_molli_readouts.png" in text


def test_the_readme_gets_the_summary_of_methods_that_were_run(page):
    text = page[1].read_text()
    assert text.startswith("before\n<!-- benchmark -->\nTrained on") and text.endswith(
        "<!-- end of benchmark -->\nafter\n"
    )
    assert "99.9" not in text and row(text, "nnU-Net")[3].startswith("41.4")
    assert METHODS["da5"].title not in text and "100 iterations" in text


def test_reports_are_the_same_in_every_call(page, tmp_path):
    before = page[0].read_text()
    report.run(Namespace(work=[tmp_path / "work"], o=page[0], readme=None))
    assert page[0].read_text() == before


def test_another_schedule_gets_its_own_section(records, page, tmp_path):
    record("phys", {"cine": result(CINE, {"c1": 0.95, "c2": 0.95})}, iterations=200).save(tmp_path / "long" / "runs")
    folders = [tmp_path / "work", tmp_path / "long"]
    report.run(Namespace(work=folders, o=page[0], readme=page[1]))
    text = page[0].read_text()
    assert text.index("small plan, 100 iterations") < text.index("small plan, 200 iterations")
    assert row(text, "Phys", 5)[2].startswith("95.0") and row(text, "nnU-Net", 1)[2].startswith("80.0")
    readme = page[1].read_text()  # has the first folder alone
    assert "100 iterations" in readme and "200 iterations" not in readme
    assert len([line for line in text.splitlines() if line.startswith("| `digital__phys__seed0` |")]) == 2
    record("plain", {}, iterations=200).save(tmp_path / "again" / "runs")
    with pytest.raises(InputError, match=r"hold runs of digital_small_200. Give only one"):
        report.run(Namespace(work=[*folders, tmp_path / "again"], o=page[0], readme=None))


def test_what_cannot_be_reported_is_refused(records, tmp_path):
    arguments = Namespace(work=[tmp_path], o=tmp_path / "benchmark.md", readme=None)
    with pytest.raises(InputError, match="runs holds no runs"):
        report.run(arguments)
    for run in records:
        run.save(tmp_path / "runs")
    arguments.readme = tmp_path / "README.md"
    arguments.readme.write_text("no marks\n")
    with pytest.raises(InputError, match=r"README.md needs one line <!-- benchmark -->"):
        report.run(arguments)
    assert not arguments.o.exists()
    with pytest.raises(InputError, match="differ in iterations, plan or training set"):
        Results((*records, record("da5", {}, iterations=200)))
    with pytest.raises(InputError, match="scored on different cine"):
        Results((*records, record("da5", {"cine": result(CINE, {"c1": 0.5, "c2": 0.5}, sha256="b")})))
    changed = record("phys", {"molli": result(MOLLI, molli_dice(0.8, 0.9))}, seed=2)
    for other in (
        replace(changed, hashes=changed.hashes | {"recipe": "another"}),
        replace(changed, settings=replace(changed.settings, maps="labels")),
    ):
        with pytest.raises(InputError, match=r"digital__phys__seed2 differ in settings, plan or recipe"):
            Results((*records, other))
    regrouped = replace(MOLLI, groups={})
    with pytest.raises(InputError, match="scored on different molli"):
        Results((*records, record("da5", {"molli": result(regrouped, molli_dice(0.8, 0.9))})))
    with pytest.raises(InputError, match=r"Name the page benchmark.md"):
        report.run(Namespace(work=[tmp_path], o=tmp_path / "benchmark", readme=None))
    with pytest.raises(InputError, match="there is no method 'magic'"):
        Results((record("magic", {}),))
