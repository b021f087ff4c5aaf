"""Which file is meant: names that must not lead out of a folder, and hashes by which a record knows a file again."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nnunet_phys.errors import InputError


@dataclass(frozen=True)
class HashedFile:
    """A file as it was when a record was written.

    Attributes:
        file: its name; for a file that belongs to the case, its path relative to the record's folder.
        sha256: hash of its content, in hexadecimal.
    """

    file: str
    sha256: str

    def is_unchanged(self, folder: Path) -> bool:
        """Whether the file is there, and as it was.

        Args:
            folder: where it lies.

        Raises:
            InputError: its name leads out of the folder.
        """
        path = inside(folder, self.file)
        return path.is_file() and file_sha256(path) == self.sha256


def inside(folder: Path, name: str) -> Path:
    """The path of a file in a folder, by its name.

    Every path that is made from text in a file, such as a case's name, must come from this function before anything is
    written to it.

    Args:
        folder: the folder.
        name: the file's name, or its path relative to the folder.

    Raises:
        InputError: the name is empty, or leads out of the folder.
    """
    base = os.path.abspath(folder)
    path = os.path.abspath(os.path.join(base, name)) if "\0" not in name else base
    if path == base or os.path.commonpath((base, path)) != base:
        raise InputError(f"{name!r} does not name a file in {folder}. Rename the case.")
    return folder / name


def hashed(path: Path, name: str) -> dict[str, str]:
    """A file's entry in a record: its name there and its SHA-256."""
    return {"file": name, "sha256": file_sha256(path)}


def files_sha256(files: Mapping[str, Path]) -> str:
    """SHA-256 of files under their names, whatever folder they lie in, in hexadecimal.

    Raises:
        OSError: a file cannot be read.
    """
    lines = "".join(f"{name} {file_sha256(path)}\n" for name, path in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, as hexadecimal digits; computed again only after the file has changed.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    return _sha256(str(path), *file_state(path))


def file_state(path: str | Path) -> tuple[int, int, int]:
    """Modification time, size and inode of a file, which change with its content.

    Raises:
        OSError: the file cannot be read, or is not a regular file.
    """
    state = os.stat(path)
    if not stat.S_ISREG(state.st_mode):
        raise OSError(f"{path} is not a regular file")
    return state.st_mtime_ns, state.st_size, state.st_ino


@lru_cache(maxsize=100_000)
def _sha256(path: str, *state: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
