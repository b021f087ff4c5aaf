"""The images of a folder: regular files with the same ending, which nnU-Net reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_phys.errors import InputError

ENDINGS: tuple[str, ...] = tuple(SimpleITKIO.supported_file_endings)
_UNREAD_ENDINGS = (".nii", ".mhd", ".hdr", ".dcm")
"""Endings of volumes that nnU-Net does not read. Beside images that it reads they would silently be left out."""


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        files: name, without ending, to path.
        ending: the file ending that they share, with the dot.
    """

    files: dict[str, Path]
    ending: str

    @classmethod
    def read(cls, folder: Path) -> ImageFolder:
        """List the images of a folder, without opening them. Hidden files, such as macOS's `._` files, are ignored.

        Raises:
            InputError: no such folder, no image, several endings, or an image that is not a regular file.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder. Give a folder of images.")
        by_ending: dict[str, dict[str, Path]] = {}
        irregular = []
        for path in sorted(folder.iterdir()):
            name = path.name.lower()
            ending = next((e for e in (*ENDINGS, *_UNREAD_ENDINGS) if name.endswith(e)), None)
            if ending is None or name.startswith("."):
                continue
            if not path.is_file():
                irregular.append(f"{path} is not a regular file. Remove it, or correct the link.")
            by_ending.setdefault(ending, {})[path.name[: -len(ending)]] = path
        if irregular:
            raise InputError(*irregular)
        if len(by_ending) != 1 or not set(by_ending) <= set(ENDINGS):
            listed = ", ".join(sorted(by_ending))
            problem = f"images that end in {listed}" if by_ending else "no image"
            raise InputError(
                f"{folder} holds {problem}. Give a folder of images with one ending, such as .nii.gz (readable: "
                f"{', '.join(ENDINGS)})."
            )
        ((ending, files),) = by_ending.items()
        return cls(files, ending)
