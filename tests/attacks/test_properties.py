"""JSON and arguments of any kind end in a value or in lines that say what is wrong, never in anything else."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnunet_phys.augmentations.contrast_draw import ContrastDraw
from nnunet_phys.augmentations.recipe_files import SHIPPED, read_recipe
from nnunet_phys.augmentations.synthetic_image import SyntheticImage
from nnunet_phys.commands import COMMANDS, main
from nnunet_phys.errors import InputError
from nnunet_phys.json_files import structure
from nnunet_phys.precomputed_spin.prior import DEFAULT_PRIOR
from nnunet_phys.precomputed_spin.prior_files import SHIPPED as SHIPPED_PRIORS
from nnunet_phys.precomputed_spin.prior_files import PriorDescription
from nnunet_phys.precomputed_spin.quality_record import InferredRecord, load_inferred_record
from nnunet_phys.precomputed_spin.raw_dataset import describe_dataset
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.precomputed_spin.scan_protocol import ScanJob, ScanProtocol, SequenceDescription, read_descriptions
from nnunet_phys.sequences import SEQUENCES
from nnunet_phys.sequences.description import describe_sequence, make_sequence

Json = Any
"""What `json.loads` gives."""

_SETTINGS = settings(
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
_NUMBERS = st.integers(-(10**30), 10**30) | st.floats() | st.sampled_from([0, -1, 0.5, 1e308, -1e308, 10**400])
_SCALARS = st.none() | st.booleans() | _NUMBERS | st.text(max_size=8) | st.sampled_from(sorted(SEQUENCES))
_KEYS = st.text(max_size=6) | st.sampled_from(["sequence", "images", "draw", "labels", "weight", "probability"])
_JSON = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=12
)


def _places(content: Json, path: tuple = ()) -> list[tuple]:
    """The paths of all nodes below the root."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [place for key, value in items for place in ((*path, key), *_places(value, (*path, key)))]


def _changed(content: Json, place: tuple, value: Json) -> Json:
    """A copy of JSON with another value at one place."""
    if not place:
        return value
    copy = dict(content) if isinstance(content, dict) else list(content)
    copy[place[0]] = _changed(content[place[0]], place[1:], value)
    return copy


def _read_or_refused(read: Callable[[Json], Any], content: Json) -> None:
    try:
        read(content)
    except InputError as error:
        assert error.faults
        for fault in error.faults:
            assert fault.strip() and len(fault.splitlines()) == 1, fault


@dataclass(frozen=True)
class Reader:
    """A reader of JSON in memory, and what it takes."""

    read: Callable[[Json], Any]
    valid: Json


def _protocol(content: Json) -> ScanProtocol:
    return ScanProtocol((SequenceDescription.of(content, "protocol.json"),))


def _protocol_file(content: Json) -> list[SequenceDescription]:
    return _read_from_disk(content, read_descriptions)


def _case_file(content: Json) -> InferredRecord | None:
    return _read_from_disk(content, lambda path: load_inferred_record(path.parent, path.stem))


def _times_file(content: Json) -> list[ScanJob]:
    return _read_from_disk(content, lambda path: _MOLLI.resolve(_series(path)))


def _prior_file(content: Json) -> torch.Tensor:
    return structure(content, PriorDescription, "prior.json", "Mend it.").error_by_timestep(1000)


def _read_from_disk(content: Json, read: Callable[[Path], Any]) -> Any:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "case.json"
        path.write_text(json.dumps(content))
        return read(path)


def _series(times_file: Path) -> ScanFiles:
    names = [f"case_{index:04d}" for index in range(3)]
    return ScanFiles("case", {name: times_file.with_name(f"{name}.nii.gz") for name in names})


_MOLLI = ScanProtocol((SequenceDescription({"sequence": "molli"}),))
_HASHED = {"file": "case.nii.gz", "sha256": 64 * "0"}
_CASE = {
    "case": "case",
    "image": _HASHED,
    "more_images": [_HASHED],
    "maps": {"T1map": _HASHED},
    "quality": {
        "residual_rms": 0.1,
        "share_at_bound": 0.1,
        "flags": [{"slice": 1, "reason": "dark", "kind": "residual", "pixels": 30}],
        "t1_spread": None,
        "residual_by_slice": [0.1, None],
    },
    "sequences": [{"sequence": "bssfp"}],
    "prior": {"name": "digital_heart"},
    "sampler": {"name": "proximal", "steps": 12},
    "seed": 0,
    "samples": {"drawn": 1},
    "labels": {"LV": 3},
    "versions": {"numpy": "2"},
}
_RECIPE = {
    "probability": 0.7,
    "t1_factor": [0.75, 1.35],
    "t2_factor": [0.8, 1.25],
    "sequences": [json.loads((SHIPPED / "lge.json").read_text())["sequences"][0]],
    "scanner": {},
}
_DRAW = {
    "sequence": describe_sequence(make_sequence({"sequence": "bssfp"})),
    "tissue": {"t1_factor": 1.1, "t2_factor": 0.9, "agent": {"blood": 0.5, "tissue": 0.25}},
    "off_resonance": {"span_hz": 20.0, "seed": 1},
    "noise": {"fraction": 0.02, "seed": 3},
}
_DATASET = {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "LV": [1, 2]}, "file_ending": ".nii.gz"}

READERS = {
    "recipe": Reader(partial(read_recipe, name="any"), _RECIPE),
    "draw": Reader(ContrastDraw.from_description, _DRAW),
    "record of images": Reader(
        partial(SyntheticImage.from_record, where="a.json"), {"images": [{"draw": _DRAW, "shift_mm": 0.5}]}
    ),
    "CASE.json of maps": Reader(_case_file, _CASE),
    "CASE.json of times": Reader(_times_file, {"inversion_times_ms": [100, 1100, 2100]}),
    "protocol.json": Reader(_protocol_file, [{"sequence": "bssfp"}, {"sequence": "t2prep", "same_gain": True}]),
    "prior.json": Reader(_prior_file, json.loads((SHIPPED_PRIORS / DEFAULT_PRIOR / "prior.json").read_text())),
    "dataset.json": Reader(partial(describe_dataset, where="dataset.json"), _DATASET),
    **{name: Reader(_protocol, describe_sequence(make_sequence({"sequence": name}))) for name in SEQUENCES},
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_readers_take_what_is_valid(reader):
    reader.read(reader.valid)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@_SETTINGS
@given(content=_JSON)
def test_json_of_any_shape(reader, content):
    _read_or_refused(reader.read, content)


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@_SETTINGS
@given(data=st.data())
def test_valid_json_with_any_value_at_one_place(reader, data):
    place = data.draw(st.sampled_from(_places(reader.valid)))
    _read_or_refused(reader.read, _changed(reader.valid, place, data.draw(_JSON)))


_ODD_VALUES = st.sampled_from(
    [
        "",
        " ",
        "-",
        "--",
        "0",
        "-1",
        "-1e5",
        "1e400",
        "nan",
        "-inf",
        "9" * 400,
        "x",
        "\0",
        "\n",
        "../..",
        "-o",
        "=",
    ]
)


@cache
def _options(command: str) -> list[str]:
    """All options of a command."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"nnunet_phys.commands.{command}").add_arguments(parser)
    return [option for action in parser._actions for option in action.option_strings]


@pytest.mark.parametrize("command", COMMANDS)
@_SETTINGS
@given(data=st.data())
def test_options_with_odd_values(command, data, monkeypatch, capsys):
    """The parser takes them or refuses them; no work is done."""
    monkeypatch.setattr(f"nnunet_phys.commands.{command}.run", lambda arguments: None)
    options = st.sampled_from(_options(command)) | st.text(max_size=5)
    arguments = data.draw(st.lists(options | _ODD_VALUES | st.builds("{}={}".format, options, _ODD_VALUES), max_size=8))
    try:
        status = main([command, *arguments])
    except SystemExit as end:
        status = end.code
    assert status in (0, 1, 2)
    assert "Traceback" not in capsys.readouterr().err
