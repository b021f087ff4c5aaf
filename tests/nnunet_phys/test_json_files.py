"""JSON from disk: what a schema refuses, all faults at once, each with its place."""

import json
import os
import pickle
from dataclasses import dataclass, field

import pytest

from nnunet_phys.errors import InputError
from nnunet_phys.json_files import read_json, structure


def _positive(value: float) -> None:
    if value <= 0:
        raise ValueError(f"{value:g} must be positive")


@dataclass(frozen=True)
class Part:
    number: float
    whole: tuple[int, ...] = (1,)


@dataclass(frozen=True)
class File:
    parts: dict[str, Part]
    listed: list[Part] = field(default_factory=list)
    text: str | None = None
    switch: bool = False
    positive: float = field(default=1.0, metadata={"check": _positive})
    pair: tuple[float, float] = (0.0, 1.0)


def test_a_file_becomes_its_dataclass(tmp_path):
    content = {"parts": {"a": {"number": 3, "whole": [1, 2]}}, "switch": True, "pair": [1, 2.5]}
    (tmp_path / "file.json").write_text(json.dumps(content))
    assert read_json(tmp_path / "file.json", File, "") == File({"a": Part(3.0, (1, 2))}, switch=True, pair=(1.0, 2.5))


def test_all_faults_of_a_file_come_at_once_with_their_places():
    content = {
        "parts": {"a": {"number": "abc", "whole": [1, 2.5]}, "b": 3},
        "listed": [{}],
        "text": 5,
        "switch": "no",
        "positive": -1,
        "pair": [1],
        "swich": True,
    }
    with pytest.raises(InputError) as error:
        structure(content, File, "file.json", "Mend it.")
    assert sorted(error.value.faults) == sorted(
        [
            "file.json.parts['a'].number: \"abc\" is not a finite number. Mend it.",
            "file.json.parts['a'].whole[1]: 2.5 is not a whole number. Mend it.",
            "file.json.parts['b']: 3 is not an object, {...}. Mend it.",
            "file.json.listed[0].number: 'number' is missing. Mend it.",
            "file.json.text: 5 is not a text. Mend it.",
            'file.json.switch: "no" is not true or false. Mend it.',
            "file.json.positive: -1 must be positive. Mend it.",
            "file.json.pair: [1] is not a list of 2 values. Mend it.",
            "file.json: there is no 'swich' (did you mean 'switch'?). Mend it.",
        ]
    )


@pytest.mark.parametrize("content", ["", "[", "[]", "3", "null", '"text"', "{}", '{"parts": []}', "[" * 100_000])
def test_other_content_is_a_fault_and_no_traceback(tmp_path, content):
    (tmp_path / "file.json").write_text(content)
    with pytest.raises(InputError, match=r"file\.json.*Mend it\."):
        read_json(tmp_path / "file.json", File, "Mend it.")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), True, "1", None, [1]])
def test_a_number_is_finite_and_nothing_else(number):
    with pytest.raises(InputError, match="is not a finite number"):
        structure({"number": number}, Part, "file.json", "")


def test_keys_of_others_may_be_ignored():
    assert structure({"number": 1, "more": 2}, Part, "dataset.json", "", extra=True) == Part(1.0)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_the_encodings_that_shells_and_editors_write(tmp_path, encoding):
    (tmp_path / "file.json").write_text('{"parts": {"\u00e9": {"number": 3}}}', encoding=encoding)
    assert read_json(tmp_path / "file.json", File, "").parts == {"\u00e9": Part(3.0)}


def test_a_missing_file_and_a_folder_are_faults(tmp_path):
    for name, problem in (("none.json", "no such file"), ("", "not a regular")):
        with pytest.raises(InputError, match=problem):
            read_json(tmp_path / name, File, "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_a_fault(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="not a regular file"):
        read_json(tmp_path / "pipe.json", File, "")


def test_labels_of_nnunet_are_codes_or_regions():
    labels = {"background": 0, "whole heart": [1, 2, 3]}
    assert structure(labels, dict[str, int | list[int]], "dataset.json", "") == labels


def test_faults_survive_the_way_between_processes():
    assert pickle.loads(pickle.dumps(InputError("one", "two"))).faults == ("one", "two")
