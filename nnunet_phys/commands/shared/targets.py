"""Checks of the place for results: not among the inputs, not over files of others, and with enough disk space."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.pictures import MADE_BY


def named_path(text: str) -> Path:
    """An argparse type: a path. An empty text, which would mean the current folder, is refused."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: name a file or folder")
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is not a path")
    return Path(text)


def refuse_as_target(folder: Path, *sources: Path) -> None:
    """Refuse a folder for the results that is also read from.

    Raises:
        InputError: it is one of the sources.
    """
    if folder.resolve() in {source.resolve() for source in sources}:
        raise InputError(f"-o {folder} is a folder that is read from. Choose another.")


def check_target(folder: Path, needed: int) -> None:
    """Refuse a folder that cannot hold `needed` bytes, before hours of work; make it if it does not exist.

    Raises:
        InputError: it is a file, cannot be written to, or has too little room.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file. Name a folder for the results with -o.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = last_line(error)
        raise InputError(f"{folder} cannot be written to ({reason}). Choose another folder with -o.") from None
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {_size(free)} are free, the results may take {_size(needed)}. Make room, or choose another "
            "folder with -o."
        )


def _size(count: int) -> str:
    """A number of bytes, such as 1.5 GiB or 20 MiB."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.3g} MiB"


def check_new_folder(folder: Path, work: str) -> None:
    """Refuse a folder for the results that holds anything but what a killed command left half-written.

    Args:
        folder: the folder.
        work: name of the command's working folder.

    Raises:
        InputError: it is a file, or not empty.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"-o {folder} is a file. Name a folder.")
    if folder.exists() and any(not path.name.startswith(f".{work}.nnunet_phys-") for path in folder.iterdir()):
        raise InputError(f"-o {folder} is not empty. Choose a new folder.")


def check_file_target(path: Path, endings: tuple[str, ...]) -> None:
    """Refuse a path for a page or a picture that cannot be written, or that holds another file already.

    Args:
        path: the path.
        endings: accepted file endings, with the dot.

    Raises:
        InputError: the ending is another; its folder does not exist or cannot be written to; or the path is a folder,
            or a file that no command of this package made.
    """
    _check_place(path, endings)
    if os.path.lexists(path) and not _made_by_us(path):
        raise InputError(f"{path} exists, and nnunet_phys did not make it. Remove or rename it.")


def check_new_file(path: Path, endings: tuple[str, ...]) -> None:
    """Refuse a path for a new file that cannot be written, or that exists.

    Args:
        path: the path.
        endings: accepted file endings, with the dot.

    Raises:
        InputError: as for `check_file_target`, and for any file that exists.
    """
    _check_place(path, endings)
    if os.path.lexists(path):
        raise InputError(f"{path} exists. Choose another name, or remove it.")


def _check_place(path: Path, endings: tuple[str, ...]) -> None:
    """Refuse a path with another ending, a folder, and a folder that cannot be written to.

    Raises:
        InputError: it is refused.
    """
    if path.suffix.lower() not in endings:
        raise InputError(f"{path}: name a file that ends in {' or '.join(endings)}.")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder {folder}. Make it, or choose another.")
    if path.is_dir():
        raise InputError(f"{path} is a folder. Name a file.")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: {folder} cannot be written to. Choose another folder.")


def _made_by_us(path: Path) -> bool:
    """Whether a page or picture bears our mark near its beginning."""
    if not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return MADE_BY.encode() in file.read(1024)
    except OSError:
        return False
