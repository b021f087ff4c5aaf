"""The images of a folder: regular files of one ending that nnU-Net reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnunet_phys.errors import InputError

ENDINGS: tuple[str, ...] = tuple(SimpleITKIO.supported_file_endings)
_UNREAD_ENDINGS = (".nii", ".mhd", ".hdr", ".dcm")
"""Volumes that nnU-Net's reader does not take: beside those that it takes they would be left out without a word."""


@dataclass(frozen=True)
class ImageFolder:
    """The images of a folder.

    Attributes:
        files: name, without ending, to path.
        ending: which they share, with the dot.
    """

    files: dict[str, Path]
    ending: str

    @classmethod
    def read(cls, folder: Path) -> ImageFolder:
        """Those of a folder, by its listing alone. Hidden files (macOS's `._` files among them) are left out.

        Raises:
            InputError: no such folder, no image, several endings, or a name that belongs to no regular file.
        """
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder. Give one of images.")
        by_ending: dict[str, dict[str, Path]] = {}
        irregular = []
        for path in sorted(folder.iterdir()):
            name = path.name.lower()
            ending = next((e for e in (*ENDINGS, *_UNREAD_ENDINGS) if name.endswith(e)), None)
            if ending is None or name.startswith("."):
                continue
            if not path.is_file():
                irregular.append(f"{path} is no regular file. Remove it, or mend the link.")
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
