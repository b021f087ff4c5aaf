"""The folder that `quantify` or `report` writes: a record holds the hashes of its files, so that it is known again."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import HashedFile, file_sha256, hashed, inside
from nnunet_phys.json_files import read_json
from nnunet_phys.pictures import MADE_BY
from nnunet_phys.whole_files import remove_leftovers, write_json

_CHOOSE = "Choose another folder with -o."
_OF_DESKTOPS = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers leave in a folder that they have shown."""


@dataclass(frozen=True)
class ReportKind:
    """A command that writes a folder, and the name of the folder's record."""

    command: str
    record: str


STUDY = ReportKind("quantify", "study.json")
MAPS = ReportKind("report", "report.json")


@dataclass(frozen=True)
class _ReportRecord:
    """What is read of a folder's record."""

    generator: str
    files: tuple[HashedFile, ...]


def check_report_folder(folder: Path, overwrite: bool, kind: ReportKind) -> list[Path]:
    """Refuse a folder that holds anything but a report that may be replaced.

    Returns:
        the files of the report that will be replaced, but for its record.

    Raises:
        InputError: it is a file; holds a file that the command did not write, or that was changed since; or it holds a
            report and `overwrite` is False.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"-o {folder} is a file. Name a folder.")
    if not folder.is_dir():
        return []
    remove_leftovers(folder)
    present = {path for path in folder.rglob("*") if not path.is_dir() and path.name not in _OF_DESKTOPS}
    if not present:
        return []
    record = folder / kind.record
    if record not in present:
        raise InputError(f"-o {folder} is not empty, and nnunet_phys {kind.command} did not fill it. {_CHOOSE}")
    content = read_json(record, _ReportRecord, _CHOOSE, extra=True)
    if content.generator != MADE_BY:
        raise InputError(f"-o {folder}: nnunet_phys did not make {record}. {_CHOOSE}")
    ours = {(inside(folder, entry.file), entry.sha256) for entry in content.files}
    for path in sorted(present - {record}):
        if (path, file_sha256(path)) not in ours:
            raise InputError(f"-o {folder}: {path} is not of the report there, or was changed since. {_CHOOSE}")
    if not overwrite:
        raise InputError(f"-o {folder} holds a report. Add --overwrite to replace it, or choose another folder.")
    return sorted({path for path, _ in ours if path in present})


def fill_report_folder(folder: Path, scratch: Path, old: list[Path], content: dict[str, Any], kind: ReportKind) -> None:
    """Move a finished report into its folder.

    The record comes first, and names the old files, too: so those of a killed process are known as ours.

    Args:
        folder: the report's folder.
        scratch: holds the new files, which may lie in folders, and nothing else.
        old: files to remove first.
        content: plain JSON for the record; the mark and the files' hashes are added.

    Raises:
        InputError: the record cannot be written.
    """
    new = sorted(path for path in scratch.rglob("*") if path.is_file())
    files = [hashed(path, path.relative_to(scratch).as_posix()) for path in new]
    replaced = [hashed(path, path.relative_to(folder).as_posix()) for path in old]
    write_json(folder / kind.record, {"generator": MADE_BY, "files": [*replaced, *files]})
    for path in old:
        path.unlink(missing_ok=True)
    for path in new:
        target = folder / path.relative_to(scratch)
        target.parent.mkdir(exist_ok=True)
        os.replace(path, target)
    write_json(folder / kind.record, {"generator": MADE_BY, **content, "files": files})
