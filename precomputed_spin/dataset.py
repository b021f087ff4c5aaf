"""An nnU-Net dataset whose patches record which part of which case they show, and the maps of these cases.

A patch has two channels, the image and its index plane (`precomputed_spin.index_plane`). `SynthesizeContrast` looks up
the maps by the plane, and reads the patch's part of them only when it makes a contrast. As further channels of every
patch, the maps would double the time that nnU-Net takes to crop and pad.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from nnunet_phys.errors import InputError, last_line
from nnunet_phys.precomputed_spin.index_plane import index_plane, read_index_plane
from nnunet_phys.precomputed_spin.preprocessed_dataset import Index, LazyArray
from nnunet_phys.precomputed_spin.spin_copies import copy_fault, copy_version, open_copy, reservoir_path, spin_folder
from nnunet_phys.reservoir import Reservoir

LoadedCase = tuple["IndexedImage", LazyArray, LazyArray | None, dict]
"""What nnU-Net's data loaders expect: channels, segmentation, that of the previous stage or None, properties."""


class IndexedImage:
    """An image and its index plane as one array, of which only the indexed part is read from disk.

    Offers what `acvl_utils.crop_and_pad_nd` needs of an array: `shape`, `dtype`, `ndim` and indexing.

    Args:
        image: the case's image, (1, ...).
        index: the case's index, for the plane.
    """

    def __init__(self, image: LazyArray, index: int) -> None:
        self._image, self._index = image, index
        self.shape = (2, *image.shape[1:])
        self.ndim = len(self.shape)
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: Index | tuple[Index, ...]) -> np.ndarray:
        """A part of both channels, read from disk.

        Raises:
            IndexError: the key leaves out the channel axis.
        """
        channels, *space = key if isinstance(key, tuple) else (key,)
        if channels is Ellipsis and space:
            raise IndexError("write out the channel axis: [:, ...], not [..., i]")
        part_of_image: tuple[Index, ...] = (slice(None), *space)
        image = np.asarray(self._image[part_of_image])
        start = [
            part.indices(size)[0] if isinstance(part, slice) else part
            for part, size in zip(space, self.shape[1:], strict=False)
        ]
        start += [0] * (self.ndim - 1 - len(space))
        plane = index_plane(self._index, tuple(start), image.shape[1:])[None]
        return np.concatenate((image, plane), dtype=self.dtype)[channels]


@dataclass(frozen=True)
class SpinCase:
    """A training case whose maps lie on disk.

    Attributes:
        folder: folder of the preprocessed maps.
        name: the case's name.
        reservoir: a sample of its voxels.
        version: `copy_version` of the maps that the sample is of.
    """

    folder: Path
    name: str
    reservoir: Reservoir
    version: int

    def maps(self, box: tuple[slice, ...]) -> torch.Tensor:
        """PD, T1 (ms), T2 (ms) and distance to blood (mm) of a part of the case on nnU-Net's grid, float32 (4, ...).

        Raises:
            InputError: the file is damaged, or no longer that of `version`.
        """
        channels_of_box = (slice(None), *box)
        try:
            maps = torch.from_numpy(open_copy(self.folder, self.name)[channels_of_box]).float()
            replaced = copy_version(self.folder, self.name) != self.version
        except FileNotFoundError:
            replaced = True
        except (RuntimeError, OSError) as error:
            raise InputError(
                f"{self.name}: {self.folder / self.name}.b2nd is damaged ({error}). Remove it and run nnunet_phys "
                "preprocess again."
            ) from None
        if replaced:
            raise InputError(
                f"{self.name}: `nnunet_phys preprocess` has replaced or removed its maps in {self.folder} since this "
                "training began. To go on with those that are there now, add --c."
            )
        return maps


@dataclass(frozen=True)
class SpinPatch:
    """The part of a case that a patch shows.

    Attributes:
        case: the case.
        start: the patch's first voxel in the case.
        box: where the patch lies in the padded image, per axis of the image.
    """

    case: SpinCase
    start: tuple[int, int, int]
    box: tuple[slice, ...]


class SpinCases(tuple[SpinCase, ...]):
    """The training cases, in the order that index planes refer to."""

    def locate(self, plane: np.ndarray) -> SpinPatch | None:
        """The patch that an index plane describes, with or without padding; None if the plane is all padding.

        Args:
            plane: (slices, rows, columns) or (rows, columns).

        Raises:
            ValueError: the patch is too small to record where it lies.
        """
        place = read_index_plane(plane)
        if place is None:
            return None
        index, start, box = place
        return SpinPatch(self[index], start, box)


class SpinDataset:
    """A training dataset of any of nnU-Net's dataset classes, with an index plane beside the image.

    Args:
        images: nnU-Net's dataset; the maps lie in a folder beside its folder (`spin_copies.spin_folder`).

    Attributes:
        images: nnU-Net's dataset.
        folder: folder of the maps.
        identifiers: names of the cases; a case's index is its position here.
        cases: the cases' maps, in the same order.

    Raises:
        FileNotFoundError: a case has no maps; call `faults` first.
    """

    def __init__(self, images: nnUNetBaseDataset) -> None:
        self.images, self.folder = images, spin_folder(images.source_folder)
        self.identifiers = images.identifiers
        self.cases = SpinCases(self._case(name) for name in self.identifiers)
        self._index = {case: index for index, case in enumerate(self.identifiers)}

    def _case(self, name: str) -> SpinCase:
        version = copy_version(self.folder, name)  # before the rest is read, so that a change since is noticed
        return SpinCase(self.folder, name, Reservoir.load(reservoir_path(self.folder, name)), version)

    def load_case(self, identifier: str) -> LoadedCase:
        """A case as nnU-Net's data loaders ask for it, with two channels."""
        image, seg, seg_prev, properties = self.images.load_case(identifier)
        return IndexedImage(image, self._index[identifier]), seg, seg_prev, properties

    def __getitem__(self, identifier: str) -> LoadedCase:
        return self.load_case(identifier)

    def __repr__(self) -> str:
        return f"SpinDataset({len(self.identifiers)} cases, maps in {self.folder})"


def faults(
    images: nnUNetBaseDataset, plans: PlansManager, configuration: ConfigurationManager, remedy: str
) -> list[str]:
    """Why the maps of cases must not be trained on (`spin_copies.copy_fault`).

    Args:
        images: nnU-Net's dataset of the cases to check.
        plans: the plans of the training.
        configuration: the configuration of the training.
        remedy: what the user should do; ends each line.

    Returns:
        one line per faulty case.
    """
    folder, lines = spin_folder(images.source_folder), []
    for case in images.identifiers:
        try:
            image, _, _, properties = images.load_case(case)
        except Exception as error:  # whatever nnU-Net's reader and pickle raise
            previous = images.folder_with_segs_from_previous_stage
            if previous is not None and not any(Path(previous).glob(f"{case}.*")):
                lines.append(
                    f"{case}: {previous} holds no segmentation of it. First train {configuration.previous_stage_name} "
                    "with this trainer, on all folds."
                )
                continue
            damaged = f"{images.source_folder}/{case} cannot be read ({last_line(error)})"
            lines.append(f"{case}: {damaged}. Run nnUNetv2_preprocess again.")
            continue
        fault = copy_fault(folder, case, image, properties, plans, configuration)
        if fault:
            lines.append(f"{case}: {fault}. {remedy}")
    return lines
