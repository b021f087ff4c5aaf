"""One mask for a series: its images are segmented, brought together where the heart moved, translated, and fused."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_phys.commands.shared.segmentation_model import SegmentationModel
from nnunet_phys.commands.shared.series_cases import SeriesCase
from nnunet_phys.commands.shared.series_translation import SeriesTranslator
from nnunet_phys.file_identity import inside
from nnunet_phys.image_files import write_volume
from nnunet_phys.series_segmentation.agreement import agreement, label_dice
from nnunet_phys.series_segmentation.flags import series_flags, shape_flags
from nnunet_phys.series_segmentation.fusion import confidence, fuse, weights
from nnunet_phys.series_segmentation.motion import find_motion

IMAGES, MASKS, READOUTS = "images", "masks", "readouts"
"""Folders of the results: images as they lie under the masks, masks, and the masks of single images."""
_TRANSLATED = "translated"
"""What the translated image is called beside the names of the images."""


@dataclass(frozen=True, eq=False)
class SeriesSegmenter:
    """Segments cases with a model.

    Attributes:
        model: the model.
        codes: codes of the labels whose masks are checked, by RV, MYO and LV as far as they are known.
        translator: translates series that say how they were made; None: nothing is translated.
        keep_readouts: write the masks of single images, too.
        ending: file ending of images and masks, with the dot.
    """

    model: SegmentationModel
    codes: Mapping[str, int]
    translator: SeriesTranslator | None
    keep_readouts: bool
    ending: str

    def names(self, case: SeriesCase) -> list[str]:
        """The files that will be written for a case, relative to the folder of results."""
        names = [f"{MASKS}/{case.case}{self.ending}", *(f"{IMAGES}/{path.name}" for path in case.files.paths)]
        if case.description is not None:
            names.append(f"{IMAGES}/{case.description.name}")
        if case.is_series and self.keep_readouts:
            names += [f"{READOUTS}/{name}{self.ending}" for name in self._readout_names(case)]
        return names

    def __call__(self, case: SeriesCase, images: np.ndarray, folder: Path) -> dict[str, Any]:
        """Segment a case, and write its images and masks.

        Args:
            case: the case.
            images: its images or frames, (images, slices, rows, columns).
            folder: an empty folder for `names`.

        Returns:
            what segment.json says about it, beside the files; plain JSON.

        Raises:
            InputError: a file cannot be read or written.
        """
        (folder / IMAGES).mkdir()
        for path in (*case.files.paths, *(() if case.description is None else (case.description,))):
            shutil.copyfile(path, folder / IMAGES / path.name)
        if not case.is_series:
            return self._separately(case, images, folder)
        geometry = case.files.geometry
        segmented = np.stack([self.model.probabilities(image, geometry.voxel_mm) for image in images])
        motion = find_motion(segmented, confidence(segmented), geometry.pixel_mm)
        found = np.empty_like(segmented)
        for k, path in enumerate(case.files.paths):
            if motion.moved[k].any():
                registered = torch.from_numpy(motion.registered(k, images[k]))
                write_volume(folder / IMAGES / path.name, registered, geometry)
            found[k] = np.stack([motion.registered(k, label) for label in segmented[k]])
        names = list(case.files.files)
        if self.translator is not None and case.job is not None:
            here = {name: folder / IMAGES / path.name for name, path in case.job.files.files.items()}
            translated = self.translator(replace(case.job, files=replace(case.job.files, files=here)))
            of_translated = self.model.probabilities(translated, geometry.voxel_mm)[None]
            segmented, found = (np.concatenate((those, of_translated)) for those in (segmented, found))
            names.append(_TRANSLATED)
        # interpolation blurs, which must not make the images that moved less confident
        mask, entry = self._fused(case.case, names, found, confidence(segmented))
        for k, name in enumerate(case.files.files):
            shifts = motion.shifts[k] * geometry.pixel_mm
            entry["readouts"][name] |= {
                "shift_mm": [
                    _rounded(by) if known else None for by, known in zip(shifts, motion.known[k], strict=True)
                ],
                "registered_slices": np.flatnonzero(motion.moved[k]).tolist(),
            }
        self._write(folder / MASKS, case, {case.case: mask})
        if self.keep_readouts:
            self._write(folder / READOUTS, case, dict(zip(self._readout_names(case), found.argmax(1), strict=True)))
        return entry

    def _fused(
        self, case: str, names: Sequence[str], found: np.ndarray, confidences: np.ndarray
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """The mask of a series, and what segment.json says about it.

        Args:
            case: the case's name.
            names: of the images.
            found: probabilities of the labels in them, (images, labels, slices, rows, columns).
            confidences: of the images, (images, slices).
        """
        shares = weights(confidences)
        mask = fuse(found, shares).argmax(0)
        dice = label_dice(found.argmax(1), mask, len(self.model.labels))
        agreements = agreement(dice)
        labels = [name for name, code in sorted(self.model.labels.items(), key=itemgetter(1)) if code]
        readouts = {
            name: {
                "confidence": _rounded(confidences[k]),
                "weight": _rounded(shares[k]),
                "agreement": _rounded(agreements[k]),
                "dice": [dict(zip(labels, _rounded(of_slice), strict=True)) for of_slice in dice[k]],
            }
            for k, name in enumerate(names)
        }
        flags = []
        for z, of_slice in enumerate(mask):
            doubts = [
                *series_flags(agreements[:, z], confidences[:, z], shares[:, z]),
                *shape_flags(of_slice, self.codes),
            ]
            flags += [f"{case}, slice {z}: {doubt}" for doubt in doubts]
        return mask, {"agreement": _rounded((shares * agreements).sum(0)), "readouts": readouts, "flags": flags}

    def _separately(self, case: SeriesCase, images: np.ndarray, folder: Path) -> dict[str, Any]:
        """A mask for each frame of a file."""
        voxel_mm = case.files.geometry.voxel_mm
        masks = np.stack([self.model.probabilities(image, voxel_mm).argmax(0) for image in images])
        self._write(folder / MASKS, case, {case.case: masks if len(masks) > 1 else masks[0]})
        titles = [f"{case.case}, frame {t}" if len(masks) > 1 else case.case for t in range(len(masks))]
        flags = [
            f"{title}, slice {z}: {doubt}"
            for title, mask in zip(titles, masks, strict=True)
            for z, of_slice in enumerate(mask)
            for doubt in shape_flags(of_slice, self.codes)
        ]
        return {"flags": flags}

    def _readout_names(self, case: SeriesCase) -> list[str]:
        """Names of the masks of single images, without ending."""
        names = [name.removesuffix("_0000") if any(case.files.marked) else name for name in case.files.files]
        translated = self.translator is not None and case.job is not None
        return [*names, f"{case.case}_{_TRANSLATED}"] if translated else names

    def _write(self, folder: Path, case: SeriesCase, masks: Mapping[str, np.ndarray]) -> None:
        """Write label codes on the grid of the images."""
        folder.mkdir()
        for name, mask in masks.items():
            values = torch.from_numpy(mask.astype(np.uint8))
            write_volume(inside(folder, f"{name}{self.ending}"), values, case.files.geometry, kind=np.uint8)


def _rounded(values: Sequence[float] | np.ndarray) -> list[float | None]:
    """Numbers with three decimals; None for NaN, which JSON lacks."""
    return [round(float(value), 3) if np.isfinite(value) else None for value in values]
