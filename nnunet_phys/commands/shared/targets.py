"""Where results go: never among what is read, nor where there is no room, found out before the work."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nnunet_phys.errors import InputError


def refuse_as_target(folder: Path, *sources: Path) -> None:
    """Refuse a folder for the results that is one of those that are read.

    Raises:
        InputError: it is.
    """
    if folder.resolve() in {source.resolve() for source in sources}:
        raise InputError(f"-o {folder} is a folder that is read from. Choose another.")


def check_target(folder: Path, needed: int) -> None:
    """Refuse a folder that cannot take so many bytes, before hours are spent; make it if it is not there.

    Raises:
        InputError: it cannot be written to, or has too little room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder} cannot be written to ({error.strerror}). Choose another folder with -o.") from None
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: {free / 2**30:.1f} GiB are free, the results may take {needed / 2**30:.1f}. Make room, or "
            "choose another folder with -o."
        )


def check_file_target(path: Path) -> None:
    """Refuse a file for the results that lies nowhere.

    Raises:
        InputError: there is no folder to hold it, or it is a folder itself.
    """
    if not path.absolute().parent.is_dir():
        raise InputError(f"-o {path}: there is no folder {path.absolute().parent}.")
    if path.is_dir():
        raise InputError(f"-o {path} is a folder. Name a file.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise InputError(f"-o {path}: {path.absolute().parent} cannot be written to. Choose another folder.")
