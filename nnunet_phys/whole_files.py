"""Write files and folders whole or not at all, and remove what killed processes leave behind.

A result is written in a hidden folder beside its final place, `.NAME.nnunet_phys-XXXXXXXX`, whose file `.lock` the
writing process keeps locked. A killed process leaves the folder but not the lock, so any other process, on this machine
or in another container, can recognise leftovers.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from nnunet_phys.errors import InputError, last_line

if sys.platform != "win32":
    import fcntl

logger = logging.getLogger(__name__)

_LEFTOVER = re.compile(r"\..+\.nnunet_phys-[a-z0-9_]{8}")  # as tempfile.mkdtemp completes names
_LOCK = ".lock"
_LONGEST_NAME = 60
"""Characters of the result's name in the hidden folder's name; file systems allow 255 bytes in all."""


@contextmanager
def working_folder(parent: Path, name: str) -> Iterator[Path]:
    """A hidden folder to work in, removed when the context ends.

    Args:
        parent: folder that contains it; move finished results there by `os.replace`.
        name: name of the result, with which the folder's name begins.

    Yields:
        the folder, in which the name `.lock` is reserved.
    """
    folder, lock = _locked_folder(parent, name)
    try:
        yield folder
    finally:
        lock.close()  # Windows removes no open file
        shutil.rmtree(folder, ignore_errors=True)


def _locked_folder(parent: Path, name: str) -> tuple[Path, IO[str]]:
    """Make a folder and hold its lock; try again if another process removed it as a leftover before it was locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{name[:_LONGEST_NAME]}.nnunet_phys-", dir=parent))
        try:
            lock = open(folder / _LOCK, "w")  # noqa: SIM115 - held until the folder is finished
        except FileNotFoundError:
            continue
        with suppress(OSError):  # on a file system without locks, leftovers stay
            _lock(lock, wait=True)
        if os.fstat(lock.fileno()).st_nlink > 0:
            return folder, lock
        lock.close()


def hold_until_the_end(folder: Path) -> None:
    """Hold a folder's lock until this process ends.

    Without locks (on Windows, and on some file systems of networks) it holds nothing.

    Raises:
        InputError: another process holds it.
        OSError: there is no such folder.
    """
    if sys.platform == "win32":  # folders cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor, wait=False)
    except BlockingIOError:
        os.close(descriptor)
        raise InputError(f"{folder}: another process works there. Wait until it ends, or end it.") from None
    except OSError:
        os.close(descriptor)


@contextmanager
def making_alone(result: Path) -> Iterator[None]:
    """Be the only process that makes a result, which appears when it is done: hold a lock until the context ends.

    The lock is that of a hidden file beside the result, `.NAME.lock`. A killed process leaves the file but not the
    lock. Without locks (on Windows, and on some file systems of networks) it does nothing.

    Args:
        result: what will be made.

    Raises:
        InputError: another process makes it, or its folder cannot be written to.
    """
    if sys.platform == "win32":
        yield
        return
    path = result.with_name(f".{result.name}{_LOCK}")
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "w")  # noqa: SIM115 - held until the context ends
        except OSError as error:
            raise InputError(f"{path.parent} cannot be written to ({last_line(error)}). Choose another -o.") from None
        try:
            _lock(file, wait=False)
        except BlockingIOError:
            file.close()
            raise InputError(f"{result}: another process is making it. Wait until it ends, or end it.") from None
        except OSError:
            break
        if os.fstat(file.fileno()).st_nlink > 0:
            break
        file.close()  # another process removed it before it was locked
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()


@contextmanager
def writing_alone(folder: Path) -> Iterator[None]:
    """Let processes write into a folder one after the other: hold its lock until the context ends.

    Without locks (on Windows, and on some file systems of networks) it does nothing.

    Args:
        folder: made if absent.

    Raises:
        OSError: it cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":  # folders cannot be opened there
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            _lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)


def _lock(file: IO[str] | int, wait: bool) -> None:
    """Lock a file, or what a descriptor stands for, until it is closed.

    Raises:
        OSError: another process holds it and `wait` is False, or there are no locks here.
    """
    if sys.platform == "win32":
        raise OSError("no flock on this system")
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in a folder; what running processes are writing stays.

    Where the system or the file system has no locks, leftovers stay.
    """
    for path in folder.glob(".*"):
        if _LEFTOVER.fullmatch(path.name) is None or not path.is_dir() or path.is_symlink():
            continue
        try:
            with open(path / _LOCK, "a") as lock:
                _lock(lock, wait=False)
                shutil.rmtree(path, ignore_errors=True)
        except OSError:  # it is being written, being removed, or not ours to remove
            continue


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write a file whole or not at all.

    Args:
        path: the file's place.

    Yields:
        a temporary path with the same file name, to write to; it replaces `path` when the context ends without an
        error.

    Raises:
        OSError: the folder cannot be written to.
    """
    with working_folder(path.parent, path.name.partition(".")[0]) as folder:
        temporary = folder / path.name
        yield temporary
        os.replace(temporary, path)
        logger.debug(f"written: {path}")


def write_json(path: Path, content: dict | list) -> None:
    """Write JSON whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    write_bytes(path, (json.dumps(content, indent=2) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({last_line(error)}). Is the disk full?") from None
