"""A case's record, `<case>.json`: the images that its results were made from and the result files, with their hashes.

A record vouches for the files that it names. It decides which cases are finished, which files may be replaced, and
which files belong to the user.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import HashedFile, file_sha256, hashed, inside
from nnunet_phys.image_files import TIFF, Geometry
from nnunet_phys.json_files import load_json, structure
from nnunet_phys.whole_files import write_json

AGAIN = "Make the case's results again."
"""The remedy for a record or a result that cannot be used."""


@dataclass(frozen=True)
class CaseRecord:
    """What a case's record says about files.

    Attributes:
        case: the case's name.
        image: the image that the case was made from; None while the case is unfinished.
        more_images: further images that it was made from.
        maps: its maps by their names, such as T1map.
        more_files: further files that belong to the case.
        unfinished: names of files that are being written.
    """

    case: str
    image: HashedFile | None = None
    more_images: tuple[HashedFile, ...] = ()
    maps: dict[str, HashedFile] = field(default_factory=dict)
    more_files: tuple[HashedFile, ...] = ()
    unfinished: tuple[str, ...] = ()

    @property
    def images(self) -> tuple[HashedFile, ...]:
        """All images that the case was made from; none while it is unfinished."""
        return () if self.image is None else (self.image, *self.more_images)

    @property
    def files(self) -> tuple[HashedFile, ...]:
        """All files that belong to the case."""
        return (*self.maps.values(), *self.more_files)

    def vouches_for(self, folder: Path, path: Path) -> bool:
        """Whether the record names a file and the file is unchanged, or the file was being written."""
        if path in (folder / name for name in self.unfinished):
            return True
        return any(path == folder / entry.file and entry.is_unchanged(folder) for entry in self.files)


def record_path(folder: str | Path, case: str) -> Path:
    """Path of a case's record: provenance and quality. It is written last.

    Raises:
        InputError: the case's name leads out of the folder.
    """
    return inside(Path(folder), f"{case}.json")


def load_record(folder: str | Path, case: str) -> dict | None:
    """A case's record, or None where the maps came without one.

    Raises:
        InputError: the file is not JSON, or not a record of this case.
    """
    content = read_record(folder, case)
    return None if content is None else content[0]


def read_record(folder: str | Path, case: str) -> tuple[dict, CaseRecord] | None:
    """A case's record as plain JSON, and what it says about files; None where there is no record.

    Raises:
        InputError: the file is not JSON, or not a record of this case.
    """
    path = record_path(folder, case)
    if not path.exists():
        return None
    remedy = f"It is not a record of nnunet_phys: move it away. {AGAIN}"
    content = load_json(path, remedy)
    record = structure(content, CaseRecord, str(path), remedy, extra=True)
    if record.case != case:
        raise InputError(f"{path} is the record of {record.case}. {AGAIN}")
    if not record.images and not record.unfinished:
        raise InputError(f"{path}: 'image' is missing. {remedy}")
    return content, record


def foreign_results(folder: Path, case: str, paths: Iterable[Path]) -> list[str]:
    """Files in the place of a case's results that this project did not write, or that were changed since.

    A command that writes results calls this for all cases before it starts, and refuses to replace such files unless
    the user asks for it.

    Args:
        folder: folder for the results.
        case: the case's name.
        paths: all files that will be written, except the record.

    Returns:
        one line for each such file, the record included; empty if nothing would be lost.

    Raises:
        InputError: the case's name leads out of the folder.
    """
    remedy = "Choose another folder with -o, or add --overwrite to replace it."
    faults = []
    try:
        loaded = read_record(folder, case)
    except InputError:
        loaded = None
        faults.append(f"{case}: {record_path(folder, case)} is not a record of nnunet_phys. {remedy}")
    for path in paths:
        if not os.path.lexists(path) or (loaded is not None and loaded[1].vouches_for(folder, path)):
            continue
        faults.append(f"{case}: {path} was not made by nnunet_phys, or was changed since. {remedy}")
    return faults


def begin_case(folder: Path, case: str, paths: Iterable[Path], settings: dict | None = None) -> None:
    """Make room for a case's results: remove earlier ones, and say in a first record which files will be written.

    If this run is killed, the first record shows the next run that these files are its own. The case does not
    count as finished until `save_record` replaces it.

    Args:
        folder: folder for the results, made if absent.
        case: the case's name.
        paths: all files that will be written, except the record, inside the folder.
        settings: plain JSON to keep in the first record.

    Raises:
        InputError: the record cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    discard(folder, case)
    claim(folder, case, paths, settings or {})


def discard(folder: Path, case: str) -> None:
    """Remove the files that a case's record names, so that none stays beside new ones, then the record.

    The record may go last: a case whose record names missing files does not count as finished.
    """
    with suppress(InputError):
        loaded = read_record(folder, case)
        record = None if loaded is None else loaded[1]
        for name in () if record is None else (*(entry.file for entry in record.files), *record.unfinished):
            with suppress(InputError):  # a name that leads out of the folder
                inside(folder, name).unlink(missing_ok=True)
    record_path(folder, case).unlink(missing_ok=True)


def claim(folder: Path, case: str, paths: Iterable[Path], settings: dict) -> None:
    """Write a record that names the files that are being written.

    Args:
        folder: folder for the results.
        case: the case's name.
        paths: the files, inside the folder.
        settings: plain JSON to keep in the record.

    Raises:
        InputError: the record cannot be written.
    """
    names = [_name_in(folder, path) for path in paths]
    write_json(record_path(folder, case), {**settings, "case": case, "unfinished": names})


def _name_in(folder: Path, path: Path) -> str:
    """A file's path relative to the folder that contains it."""
    return path.relative_to(folder).as_posix()


def save_record(
    folder: Path, case: str, record: dict, images: tuple[Path, ...], more_files: tuple[Path, ...] = ()
) -> None:
    """Write a case's record, which makes it count as finished.

    Args:
        folder: folder of the case's files.
        case: the case's name.
        record: plain JSON; `case`, `image`, `more_images` and `more_files` (names and SHA-256) are added, and the
            `spacing` of TIFF files.
        images: the images that the case was made from.
        more_files: files that belong to the case, inside the folder.

    Raises:
        InputError: the record cannot be written.
    """
    sources = [hashed(path, path.name) for path in images]
    entries = {"case": case, "image": sources[0], "more_images": sources[1:], **spacing_entry(images[0])}
    results = [hashed(path, _name_in(folder, path)) for path in more_files]
    write_json(record_path(folder, case), {**record, **entries, "more_files": results})


def spacing_entry(image: Path) -> dict[str, tuple[float, ...]]:
    """`spacing` for the record of a case of TIFF files, where nnU-Net's reader seeks it; empty for other formats."""
    return {"spacing": Geometry.read(image).spacing[::-1]} if image.suffix.lower() in TIFF else {}


def is_finished(folder: str | Path, case: str, images: tuple[Path, ...]) -> bool:
    """Whether a case was made from exactly these images, and all files that its record names exist unchanged.

    Of TIFF files, the spacing counts, too, which lies in a file of its own. A file is hashed again only after it has
    changed.
    """
    try:
        loaded = read_record(folder, case)
    except InputError:  # a broken record vouches for nothing
        return False
    if loaded is None:
        return False
    record = loaded[1]
    try:
        if not record.images or [e.sha256 for e in record.images] != [file_sha256(path) for path in images]:
            return False
        spacing = spacing_entry(images[0]).get("spacing")
        if spacing is not None and list(spacing) != loaded[0].get("spacing"):
            return False
        return all(entry.is_unchanged(Path(folder)) for entry in record.files)
    except (OSError, InputError):  # a file is missing, or its name leads elsewhere
        return False


def package_versions() -> dict[str, str]:
    """Versions of the packages on which maps, priors and models depend, for a record."""
    return {name: version(name) for name in ("nnunet_phys", "nnunetv2", "torch", "diffusers", "numpy")}
