"""Which cases a process works on."""

import pytest

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.work_parts import WorkPart


def test_parts_of_job_arrays_and_launchers_cover_all_cases_once(monkeypatch):
    cases, taken = list(range(11)), []
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        for part_id in range(3):
            part = WorkPart.of_process(part_id, 3)
            assert "RANK and WORLD_SIZE" in str(part)
            taken.extend(part.take(cases))
    assert sorted(taken) == cases


@pytest.mark.parametrize(("rank", "message"), [("2", "RANK=2 with WORLD_SIZE=2: unset them"), ("x", "RANK=x")])
def test_leftover_variables_of_a_launcher_are_refused(monkeypatch, rank, message):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    with pytest.raises(InputError, match=message):
        WorkPart.of_process(0, 1)
