"""A user's description of the imaging protocol, and the files that it fits."""

import json

import pytest

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin import scan_files
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.precomputed_spin.scan_protocol import ScanProtocol, SequenceDescription, read_descriptions

SHMOLLI_MS = [100.0, 1100.0, 2100.0, 3100.0, 4100.0, 180.0, 260.0]


def protocol(*descriptions, **options) -> ScanProtocol:
    return ScanProtocol(tuple(SequenceDescription.of(d, "protocol") for d in descriptions), **options)


@pytest.fixture
def scan(tmp_path, monkeypatch):
    """Makes scans from file names; the files need not exist."""
    monkeypatch.setattr(scan_files.ScanFiles, "count", property(lambda files: len(files.files)))
    return lambda *names: ScanFiles("case", {name: tmp_path / f"{name}.nii.gz" for name in names})


@pytest.mark.parametrize(
    ("description", "is_series"),
    [
        ({"sequence": "bssfp"}, False),
        ({"sequence": "t2prep_gre"}, True),
        ({"sequence": "t2prep", "t2_prep_ms": 55}, False),
        ({"sequence": "molli"}, True),
        ({"sequence": "molli", "first_inversion_times_ms": [120, 200]}, True),
        ({"sequence": "molli", "first_inversion_times_ms": [120, 200], "readout": 3}, False),
    ],
)
def test_the_sequence_decides_whether_it_is_a_series(description, is_series):
    assert protocol(description).is_series == is_series


def test_a_t2_prepared_gre_takes_a_series(scan):
    described = {"sequence": "t2prep_gre", "t2_prep_ms": [0, 40]}
    (job,) = protocol(described).resolve(scan("case_0000", "case_0001"))
    assert len(job.files.files) == job.sequences[0].image_count == 2


@pytest.mark.parametrize("way", ["names", "file", "scheme"])
def test_a_shmolli_series_is_recognised(scan, tmp_path, way):
    names = [f"case_ti{time:g}_0000" for time in sorted(SHMOLLI_MS)]
    if way == "file":
        names = [f"case_ti{i:02d}_0000" for i in range(len(SHMOLLI_MS))]
        (tmp_path / "case.json").write_text(json.dumps({"inversion_times_ms": SHMOLLI_MS}))
    scheme = {"scheme": "5(1)1(1)1"} if way == "scheme" else {}
    (job,) = protocol({"sequence": "molli", **scheme}).resolve(scan(*names))
    assert job.sequences[0].scheme == "5(1)1(1)1"
    assert job.sequences[0].inversion_times_ms == tuple(SHMOLLI_MS)
    if way != "file":
        assert job.files.times_ms == tuple(SHMOLLI_MS)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ("case_0001", "case_0002"),
            "case_0001.nii.gz, case_0002.nii.gz: the images of a series are",
        ),
        (("case_0000", "case_0002"), "numbered from _0000 without a gap"),
        (("case_0000", "case_0001", "case_0002"), "3 images .* where its sequences make 2"),
        (("case_0000",), "1 image .* where its sequences make 2"),
        (("case_ti10_0000", "case_ti20_0000"), "names with _ti are for all images of a single MOLLI"),
    ],
)
def test_names_that_do_not_fit(scan, names, message):
    pair = protocol({"sequence": "bssfp"}, {"sequence": "gre"})
    with pytest.raises(InputError, match=message):
        pair.resolve(scan(*names))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", r"case\.json: \[\] is not an object"),
        ("{}", "'inversion_times_ms' is missing"),
        ('{"inversion_times_ms": [100, "900"]}', '"900" is not a finite number'),
        ('{"inversion_times_ms": [0.1, 0.9]}', "inversion times up to 0.9 look like seconds"),
        ('{"inversion_times_ms": [100]}', "1 inversion times? in .* for 2 images"),
        ('{"inversion_times_ms": [900, 100]}', "900, 100 ms fit no published scheme .* or else the scheme, too.$"),
    ],
)
def test_faulty_inversion_times(scan, tmp_path, content, message):
    (tmp_path / "case.json").write_text(content)
    with pytest.raises(InputError, match=message):
        protocol({"sequence": "molli"}).resolve(scan("case_ti00_0000", "case_ti01_0000"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "is an empty list"),
        ("[5]", "5 is not an object"),
        ('{"sequence": "bssfp", "same_gain": "no"}', 'same_gain: "no" is not true or false'),
        ("{", "is not readable JSON"),
    ],
)
def test_faulty_protocol_files(tmp_path, content, message):
    path = tmp_path / "protocol.json"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_descriptions(path)


def test_faulty_descriptions():
    with pytest.raises(InputError, match="did you mean 'flip_angle_deg'"):
        protocol({"sequence": "molli", "flip_angel_deg": 35})
    with pytest.raises(InputError, match="'5-3' is not a MOLLI scheme"):
        protocol({"sequence": "molli", "scheme": "5-3"})
    with pytest.raises(InputError, match="--single is for the readouts of one MOLLI"):
        protocol({"sequence": "bssfp"}, single=True)
