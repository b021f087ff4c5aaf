"""Which channels of which cases are on disk, in nnU-Net's naming: CASE_0000, CASE_0001, ..."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nnunet_phys.completion.slices import Brightness, ChannelSlices, resample, resampled_size
from nnunet_phys.errors import InputError, counted
from nnunet_phys.image_files import Geometry, read_image, read_notes
from nnunet_phys.precomputed_spin.image_folder import ImageFolder
from nnunet_phys.precomputed_spin.label_names import structure_codes
from nnunet_phys.precomputed_spin.raw_dataset import DatasetDescription, find_dataset

SYNTHETIC = "SYNTHETIC image, not acquired: computed by nnunet_phys complete"
"""What the header of a computed image says."""
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class ChannelCase:
    """A case's files.

    Attributes:
        name: its name.
        images: path of each channel that there is, by its number.
        label: path of its label image, which may be missing; None where nothing is labelled.
    """

    name: str
    images: dict[int, Path]
    label: Path | None = None

    def geometry(self) -> Geometry:
        """The grid that the channels share.

        Raises:
            InputError: a file cannot be read, is 4-D, or lies on another grid.
        """
        first, *others = self.images.values()
        geometry = Geometry.read(first)
        for path in (first, *others):
            own = Geometry.read(path)
            if own.volumes > 1:
                raise InputError(f"{path} is 4-D. Give one volume per channel.")
            difference = own.difference(geometry)
            if difference is not None:
                raise InputError(
                    f"{path.name} and {first.name} differ in {difference}. Bring all channels to one grid."
                )
        return geometry

    def volume(self, channel: int) -> tuple[np.ndarray, Brightness]:
        """A channel's values (slices, rows, columns), and its brightness.

        Raises:
            InputError: it cannot be read, or is constant.
        """
        path = self.images[channel]
        values = read_image(path)
        brightness = Brightness.of(values)
        if brightness.is_flat or values.min() == values.max():
            raise InputError(f"{path} is constant, or nearly. Remove it, or replace it by the image.")
        return values, brightness

    def slices(
        self, channels: Sequence[int], pixel_mm: float
    ) -> tuple[torch.Tensor, tuple[int, int], list[Brightness]]:
        """Channels as the networks see them.

        Args:
            channels: numbers of the channels.
            pixel_mm: pixel size that the slices get.

        Returns:
            float32 (slices, channels, rows, columns) from -1 to 1; rows and columns of the images; the brightness of
            each channel.

        Raises:
            InputError: as for `geometry` and `volume`.
        """
        geometry = self.geometry()
        volumes, brightness = zip(*(self.volume(channel) for channel in channels), strict=True)
        scaled = [b.to_network(torch.from_numpy(volume)) for volume, b in zip(volumes, brightness, strict=True)]
        native = geometry.size[1], geometry.size[0]
        size = resampled_size(native, geometry.pixel_mm, pixel_mm)
        return resample(torch.stack(scaled, 1), size), native, list(brightness)


@dataclass(frozen=True)
class MultiChannelDataset:
    """A data set in nnU-Net's raw format with two or more channels.

    Attributes:
        name: `DatasetXXX_Name`.
        cases: its training cases, each with all channels.
        channels: names of the channels, by their numbers.
        labels: structure to its code, or to the codes of a region.
    """

    name: str
    cases: list[ChannelCase]
    channels: list[str]
    labels: dict[str, int | list[int]]

    @classmethod
    def open(cls, name_or_id: str | int) -> MultiChannelDataset:
        """Find a data set by nnU-Net's own rules.

        Raises:
            InputError: no such data set; one channel only; a case without all of its channels.
        """
        folder, description = find_dataset(name_or_id)
        if not all(number.isdecimal() for number in description.channels):
            raise InputError(f"{folder.name}: the keys of channel_names in its dataset.json must be 0, 1, ...")
        channels = [text for _, text in sorted(description.channels.items(), key=lambda item: int(item[0]))]
        if len(channels) < 2:
            raise InputError(f"{folder.name} has {counted(len(channels), 'channel')}. Completion needs two or more.")
        cases = _training_cases(folder, description)
        faults = [
            f"{case.name}: channel {number} ({text}) is missing. Add it, or remove the case."
            for case in cases
            for number, text in enumerate(channels)
            if number not in case.images
        ]
        if faults:
            raise InputError(*faults)
        return cls(folder.name, cases, channels, description.labels)

    def regions(self, names: Sequence[str] | None) -> dict[str, list[int]]:
        """Codes of the labels where the loss may count more.

        Args:
            names: names of labels; None for all but the background and the cavities RV and LV.

        Raises:
            InputError: there is no label of that name.
        """
        if names is None:
            try:
                known = structure_codes({text: code for text, code in self.labels.items() if isinstance(code, int)})
            except InputError:
                known = {}
            cavities = [known.get("RV"), known.get("LV"), 0]
            names = [text for text, code in self.labels.items() if code not in cavities and text != "ignore"]
        unknown = [text for text in names if text not in self.labels]
        if unknown:
            raise InputError(f"-regions: {self.name} has no label {unknown[0]}. It has {', '.join(self.labels)}.")
        return {text: list(np.atleast_1d(self.labels[text])) for text in names}


def cases_in_folder(folder: Path) -> tuple[list[ChannelCase], str]:
    """The cases of a folder, and their file ending.

    Raises:
        InputError: no such folder; no images; a name without a channel; a computed image.
    """
    listed = ImageFolder.read(folder)
    cases: dict[str, dict[int, Path]] = {}
    faults = []
    for name, path in listed.files.items():
        match = _CHANNEL.fullmatch(name)
        if match is None:
            faults.append(f"{path}: an image must be named CASE_0000{listed.ending}. Rename or remove it.")
        else:
            cases.setdefault(match["case"], {})[int(match["channel"])] = path
    if faults:
        raise InputError(*faults)
    listed_cases = [ChannelCase(name, dict(sorted(images.items()))) for name, images in cases.items()]
    _refuse_synthetic(listed_cases)
    return listed_cases, listed.ending


def _refuse_synthetic(cases: Sequence[ChannelCase]) -> None:
    """Refuse computed images among acquired ones.

    Raises:
        InputError: one line for each of them.
    """
    faults = [
        f"{path} is a synthetic image, and would count as acquired. Remove it."
        for case in cases
        for path in case.images.values()
        if path.is_file() and read_notes(path) == SYNTHETIC
    ]
    if faults:
        raise InputError(*faults)


def _training_cases(folder: Path, description: DatasetDescription) -> list[ChannelCase]:
    if description.dataset is None:
        cases, ending = cases_in_folder(folder / "imagesTr")
        return [ChannelCase(case.name, case.images, folder / "labelsTr" / f"{case.name}{ending}") for case in cases]
    cases = [
        ChannelCase(
            name,
            {number: folder / os.path.expandvars(image) for number, image in enumerate(files.images)},
            folder / os.path.expandvars(files.label),
        )
        for name, files in description.dataset.items()
    ]
    if not cases:
        raise InputError(f"{folder / 'dataset.json'} lists no cases under 'dataset'. Add them, or remove the entry.")
    _refuse_synthetic(cases)
    return cases


def read_slices(
    cases: Sequence[ChannelCase], channels: int, regions: dict[str, list[int]], pixel_mm: float, size: int
) -> tuple[ChannelSlices, list[list[Brightness]]]:
    """All slices of cases that have all channels.

    Args:
        cases: the cases.
        channels: number of channels.
        regions: codes of each region; none where the loss needs no labels.
        pixel_mm: pixel size that the slices get.
        size: rows and columns to which they are cut or padded about their centre.

    Returns:
        The slices; the brightness of each case's channels.

    Raises:
        InputError: files that cannot be used, one line each.
    """
    volumes_and_masks, brightness = [], []
    faults: list[str] = []
    for case in cases:
        try:
            images, _, of_case = case.slices(range(channels), pixel_mm)
            masks = _region_masks(case, regions, (images.shape[2], images.shape[3]))
        except InputError as error:
            faults.extend(error.of_case(case.name).faults)
            continue
        volumes_and_masks.append((images, masks))
        brightness.append(of_case)
    if faults:
        raise InputError(*faults)
    return ChannelSlices.join(volumes_and_masks, size), brightness


def _region_masks(case: ChannelCase, regions: dict[str, list[int]], size: tuple[int, int]) -> torch.Tensor:
    """Masks of the regions with this many rows and columns, bool (slices, regions, *size).

    Raises:
        InputError: the label image is missing, cannot be read, or lies on another grid.
    """
    geometry = case.geometry()
    if not regions:
        slices = geometry.size[2] if len(geometry.size) > 2 else 1
        return torch.zeros(slices, 0, *size, dtype=torch.bool)
    if case.label is None or not case.label.is_file():
        raise InputError(f"{case.label} is missing. Add it, or train without regions (--no_heat).")
    if not geometry.agrees(Geometry.read(case.label)):
        raise InputError(f"{case.label} lies on another grid than the images. Correct it, or use --no_heat.")
    labels = read_image(case.label)
    masks = torch.stack([torch.from_numpy(np.isin(labels, codes)).float() for codes in regions.values()], 1)
    return resample(masks, size) > 0.5
