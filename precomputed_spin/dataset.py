"""An nnU-Net dataset whose patches tell which part of which case they are, and the maps that go with them.

A patch comes as two channels, the image and one plane that tells case and place (`nnunet_phys.reservoir.index_plane`).
By it `SynthesizeContrast` finds the maps, and reads them where a contrast is made, without the padding: as further
channels of the patch they would double the time that nnU-Net takes to crop and pad.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.spin_copies import copy_fault, open_copy, reservoir_path, spin_folder
from nnunet_phys.reservoir import Reservoir, index_plane


class IndexedImage:
    """An image and its index plane as one array that is read where it is indexed.

    Offers what `acvl_utils.crop_and_pad_nd` asks of an array: `shape`, `dtype`, `ndim` and indexing.

    Args:
        image: lazy or real array of shape (1, ...).
        index: the case's index, for the plane.
    """

    def __init__(self, image: Any, index: int) -> None:
        self._image, self._index = image, index
        self.shape = (2, *image.shape[1:])
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key) -> np.ndarray:
        channels, *space = key if isinstance(key, tuple) else (key,)
        if channels is Ellipsis and space:
            raise IndexError("write out the channel axis: [:, ...], not [..., i]")
        image = np.asarray(self._image[(slice(None), *space)])
        start = [
            part.indices(n)[0] if isinstance(part, slice) else part
            for part, n in zip(space, self.shape[1:], strict=False)
        ]
        start += [0] * (self.ndim - 1 - len(space))
        plane = index_plane(self._index, tuple(start), image.shape[1:])[None]
        return np.concatenate((image, plane), dtype=self.dtype)[channels]


@dataclass(frozen=True)
class SpinCase:
    """What is kept on disk of a case's maps.

    Attributes:
        folder: of the preprocessed maps.
        name: of the case.
        reservoir: a few of its voxels.
    """

    folder: Path
    name: str
    reservoir: Reservoir

    def maps(self, box: tuple[slice, slice, slice]) -> np.ndarray:
        """PD, T1 (ms) and T2 (ms) of a part of the case on nnU-Net's grid, float32 (3, ...).

        Raises:
            InputError: the file is damaged.
        """
        try:
            return open_copy(self.folder, self.name)[(slice(None), *box)]
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"{self.name}: {self.folder / self.name}.b2nd is damaged ({error}). Remove it and run nnunet_phys "
                "preprocess again."
            ) from None


class SpinDataset:
    """nnU-Net's training dataset of any class, with an index plane beside the image.

    Args:
        images: nnU-Net's dataset; the maps lie in the sibling of its folder.

    Attributes:
        identifiers: the cases; a case's index is its place here.
        cases: by that index, their maps.

    Raises:
        FileNotFoundError: a case has no maps; call `faults` first.
    """

    def __init__(self, images: nnUNetBaseDataset) -> None:
        self.images, self.folder = images, spin_folder(images.source_folder)
        self.identifiers = images.identifiers
        self.cases = [
            SpinCase(self.folder, case, Reservoir.load(reservoir_path(self.folder, case))) for case in self.identifiers
        ]
        self._index = {case: index for index, case in enumerate(self.identifiers)}

    def load_case(self, identifier: str):
        """As nnU-Net's: channels (see the module), segmentation, previous stage's or None, properties."""
        image, seg, seg_prev, properties = self.images.load_case(identifier)
        return IndexedImage(image, self._index[identifier]), seg, seg_prev, properties

    def __getitem__(self, identifier: str):
        return self.load_case(identifier)

    def __repr__(self) -> str:
        return f"SpinDataset({len(self.identifiers)} cases, maps in {self.folder})"


def faults(
    images: nnUNetBaseDataset, plans: PlansManager, configuration: ConfigurationManager, remedy: str
) -> list[str]:
    """What keeps the maps of these cases from being trained on (`preprocessed.copy_fault`).

    Args:
        images: nnU-Net's dataset of the cases in question.
        plans: the plans of the training.
        configuration: its configuration.
        remedy: what to do, for the end of each line.

    Returns:
        one line per case; empty where all is well.
    """
    folder, lines = spin_folder(images.source_folder), []
    for case in images.identifiers:
        image, _, _, properties = images.load_case(case)
        fault = copy_fault(folder, case, properties, image.shape[1:], plans, configuration)
        if fault:
            lines.append(f"{case}: {fault}. {remedy}")
    return lines
