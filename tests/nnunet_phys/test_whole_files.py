"""Files are written whole or not at all, and what killed processes leave is removed, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from nnunet_phys.errors import InputError
from nnunet_phys.whole_files import (
    hold_until_the_end,
    making_alone,
    remove_leftovers,
    whole_file,
    working_folder,
    write_json,
    writing_alone,
)

_KILLED = """
import os, signal, sys
from pathlib import Path
from nnunet_phys.whole_files import whole_file
with whole_file(Path(sys.argv[1])) as path:
    path.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_takes_its_place_at_the_end(tmp_path):
    place = tmp_path / "case0_T1map.nii.gz"
    with whole_file(place) as temporary:
        temporary.write_text("whole")
        assert temporary.name == place.name and not place.exists()
    assert place.read_text() == "whole"
    with pytest.raises(KeyError), whole_file(place) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert place.read_text() == "whole" and list(tmp_path.iterdir()) == [place]


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(tmp_path):
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "dead.nii.gz")], cwd=tmp_path)
    assert killed.returncode == -signal.SIGKILL
    (leftover,) = tmp_path.iterdir()
    with working_folder(tmp_path, "alive") as mine:
        remove_leftovers(tmp_path)
        assert mine.is_dir() and not leftover.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_killed_before_it_could_lock(tmp_path):
    (tmp_path / ".case0.nnunet_phys-abcd1234").mkdir()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_only_looks_like_a_leftover_stays(tmp_path):
    (tmp_path / ".case0.nnunet_phys-abcd1234").write_text("a file")
    (tmp_path / ".notes.nnunet_phys-x").mkdir()
    (tmp_path / f".case0.host-{os.getpid()}.nii.gz").write_text("another program's")
    (tmp_path / ".case0.host-notanumber.nii.gz").write_text("another program's")
    before = sorted(tmp_path.iterdir())
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no flock")
def test_a_folder_is_written_to_by_one_at_a_time(tmp_path):
    folder, order = tmp_path / "maps", []

    def second():
        with writing_alone(folder):
            order.append("second")

    with pytest.raises(KeyError), writing_alone(folder):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.2)
        order.append("first")
        raise KeyError  # a failure lets the next go on
    waiting.join(10)
    assert order == ["first", "second"] and list(folder.iterdir()) == []


def test_json_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "nowhere" / "a.json", {})
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "a.json", {})


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_a_result_that_a_process_makes_is_refused_to_others(tmp_path):
    result = tmp_path / "new" / "prior"
    with making_alone(result):
        with pytest.raises(InputError, match="another process is making it"), making_alone(result):
            pass
        with making_alone(tmp_path / "new" / "other"):
            pass
        assert len(list((tmp_path / "new").iterdir())) == 1
    with making_alone(result):
        pass
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written to"), making_alone(tmp_path / "file" / "prior"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked")
def test_a_folder_that_a_process_holds_is_refused_until_it_ends(tmp_path):
    script = "import sys\nfrom pathlib import Path\nfrom nnunet_phys.whole_files import hold_until_the_end\n"
    script += "hold_until_the_end(Path(sys.argv[1]))\nprint(flush=True)\nsys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    holder.stdout.readline()
    with pytest.raises(InputError, match="another process works there"):
        hold_until_the_end(tmp_path)
    holder.communicate()
    hold_until_the_end(tmp_path)
