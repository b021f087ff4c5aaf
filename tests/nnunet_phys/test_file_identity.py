"""Names that must not lead out of a folder, and files that are known again by their content."""

import os
from pathlib import Path

import pytest

from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import HashedFile, file_sha256, hashed, inside


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "/etc/a", "a/../../b", "a\0b"])
def test_no_name_leads_out_of_a_folder(tmp_path, name):
    with pytest.raises(InputError, match="does not name a file in"):
        inside(tmp_path, name)
    with pytest.raises(InputError, match="does not name a file in"):
        HashedFile(name, "0").is_unchanged(tmp_path)


def test_names_in_a_folder(tmp_path):
    assert inside(tmp_path, "a") == tmp_path / "a" and inside(Path("x"), "samples/0/a") == Path("x/samples/0/a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        file_sha256(tmp_path / "pipe")
    assert not HashedFile("pipe", "0").is_unchanged(tmp_path)


def test_a_file_is_known_again_by_its_content(tmp_path):
    path = tmp_path / "a"
    path.write_text("first")
    entry = HashedFile(**hashed(path, "a"))
    assert entry.is_unchanged(tmp_path)
    path.write_text("other")  # of the same size
    os.utime(path, ns=(1, 1))
    assert not entry.is_unchanged(tmp_path)
    path.write_text("first")
    assert entry.is_unchanged(tmp_path)
    path.unlink()
    assert not entry.is_unchanged(tmp_path)
