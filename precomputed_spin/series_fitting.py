"""Fitting the series of many cases: which are left to do, whether their images are usable, and the maps' files."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nnunet_phys.case_records import (
    CaseRecord,
    begin_case,
    claim,
    foreign_results,
    read_record,
    record_path,
    spacing_entry,
)
from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import file_sha256, hashed, inside
from nnunet_phys.image_files import Geometry, volume_at_the_end
from nnunet_phys.json_files import structure
from nnunet_phys.map_files import map_paths
from nnunet_phys.precomputed_spin.image_checks import value_faults
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.precomputed_spin.scan_loading import MOST_NEGATIVE, ImageReader, negative_share
from nnunet_phys.precomputed_spin.series_times import SeriesTimes, described
from nnunet_phys.relaxation_fit import RelaxationFit
from nnunet_phys.separable_model import SeparableModel
from nnunet_phys.whole_files import write_json, writing_alone

_CHOOSE = "Add --overwrite to make the case again, or choose another folder with -o."


@dataclass(frozen=True)
class SeriesJob:
    """A case whose series is to be fitted.

    Attributes:
        files: its images, in the order of the times.
        sequence: a key of `series_times.TIMES`.
        times: its times.
        perfect: saturation is taken to be perfect.
    """

    files: ScanFiles
    sequence: str
    times: SeriesTimes
    perfect: bool = False

    @property
    def case(self) -> str:
        """The case's name."""
        return self.files.case

    @property
    def signed(self) -> bool:
        """Whether scanners may deliver the images with their sign."""
        return self.sequence == "molli"

    def model(self, magnitude: bool = True) -> SeparableModel:
        """The model that is fitted."""
        return self.times.model(magnitude, self.perfect)

    @property
    def quantities(self) -> tuple[str, ...]:
        """PD, T1, T2: those that the series determines."""
        any_values = torch.ones(2, 1, dtype=torch.float64)
        return tuple(self.model().quantities(any_values, any_values))

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the maps, beside the images; plain JSON."""
        return {**described(self.times), "parameters": self.model().parameters, **self.times.rule}

    def faults(self, reader: ImageReader) -> list[str]:
        """A line for each fault of the images."""
        try:
            images = reader.look(self.files)
        except InputError as error:
            return list(error.of_case(self.case).faults)
        faults = list(value_faults(self.files, images, [self.signed] * len(images)))
        peaks = [float(image.max()) for image in images]
        if not faults and len(set(peaks)) == 1:
            faults.append(
                f"{self.files.paths[0]}, ...: every image of the series has the same maximum, {peaks[0]:g}: scaled one "
                "by one, or clipped? Give the images as the scanner made them, or rescaled alike."
            )
        return [f"{self.case}: {fault}" for fault in faults]

    def fit(self, reader: ImageReader) -> RelaxationFit:
        """Fit all slices, each with its own level of noise. The maps have the shape (slices, rows, columns).

        A MOLLI of magnitudes gets its polarity back; one with clearly negative pixels is taken as it is.
        """
        images = reader.take(self.files)
        magnitude = not (self.signed and negative_share(images) > MOST_NEGATIVE)
        values = torch.from_numpy(np.abs(images) if magnitude else images)
        fits = [self.times.fit(values[:, z], magnitude, self.perfect) for z in range(values.shape[1])]
        return RelaxationFit(
            {name: torch.stack([fit.maps[name] for fit in fits]) for name in self.quantities},
            torch.stack([fit.valid for fit in fits]),
            torch.stack([fit.residual for fit in fits]),
            float(np.median([fit.noise for fit in fits])),
        )


@dataclass(frozen=True)
class _Fit:
    """What the record of a case says about one series: what decided about its maps, and the images' SHA-256."""

    settings: dict[str, Any]
    images: tuple[str, ...]


@dataclass(frozen=True)
class _FittedRecord:
    """What the record of a fitted case holds beside its files: its series by their sequences."""

    fits: dict[str, _Fit]


@dataclass(frozen=True)
class FittedMaps:
    """Where the maps of a fitted case lie, beside those of another series of the same case.

    Attributes:
        folder: folder of the maps.
        job: the case.
        ending: file ending of the maps, with the dot.
    """

    folder: Path
    job: SeriesJob
    ending: str

    def state(self) -> str:
        """Whether the case is "new", "finished", or there with the maps of another series, which these "complete".

        Raises:
            InputError: files that would be lost: foreign or changed ones, maps made with other settings or from other
                images, or another series that determines the same map.
        """
        record_file = record_path(self.folder, self.job.case)
        foreign = foreign_results(self.folder, self.job.case, self._all_paths())
        if foreign:
            raise InputError(*foreign)
        loaded = read_record(self.folder, self.job.case)
        if loaded is None or not loaded[1].images:
            return "new"
        content, record = loaded
        if "fits" not in content:
            raise InputError(f"{self.job.case}: {record_file} is of maps that another command made. {_CHOOSE}")
        fits = structure(content, _FittedRecord, str(record_file), _CHOOSE, extra=True).fits
        if self.job.sequence in fits:
            same = fits[self.job.sequence].settings == self.job.settings
            if not same or list(fits[self.job.sequence].images) != self._image_hashes():
                changed = "from other images" if same else "with other settings"
                raise InputError(f"{self.job.case}: the fit in {record_file} was made {changed}. {_CHOOSE}")
            self._check_intact(record)
            return "finished"
        for name in self.job.quantities[1:]:
            if f"{name}map" in record.maps:
                there = self.folder / record.maps[f"{name}map"].file
                raise InputError(f"{self.job.case}: {there} exists, from {' and '.join(fits)}. {_CHOOSE}")
        self._check_intact(record)
        if "PDmap" not in record.maps:
            raise InputError(f"{self.job.case}: {record_file} names no PD map. {_CHOOSE}")
        there = inside(self.folder, record.maps["PDmap"].file)
        if not Geometry.read(there).agrees(self.job.files.geometry):
            raise InputError(
                f"{self.job.case}: {self.job.files.paths[0]} differs in geometry from {there}, beside which its maps "
                "would lie. Resample the series to one grid, or choose another folder with -o."
            )
        return "complete"

    def save(self, fit: RelaxationFit, replace: bool) -> None:
        """Write the maps, the mask and the residual map, each whole or not at all; the record last.

        Args:
            fit: the fit of the job.
            replace: remove what the folder holds of the case first.

        Raises:
            InputError: a file cannot be written.
        """
        job, geometry = self.job, self.job.files.geometry
        with writing_alone(self.folder):
            loaded = None if replace else read_record(self.folder, job.case)
            old = {} if loaded is None or not loaded[1].images else loaded[0]
            paths = self._written(old)
            volumes = {path: fit.maps[name] for name, path in zip(self._new(old), paths, strict=False)}
            volumes.update(zip(paths[-2:], (fit.valid.float(), fit.residual), strict=True))
            if old:
                claim(self.folder, job.case, paths, old)
            else:
                begin_case(self.folder, job.case, paths)
            with ExitStack() as written:
                for path, values in volumes.items():
                    written.enter_context(volume_at_the_end(path, values, geometry))
            write_json(record_path(self.folder, job.case), self._record(old, paths, fit))

    def _record(self, old: dict[str, Any], paths: list[Path], fit: RelaxationFit) -> dict[str, Any]:
        """The case's record with this fit, whose files are written."""
        images = [hashed(path, path.name) for path in self.job.files.paths]
        entry = {
            "settings": self.job.settings,
            "images": self._image_hashes(),
            "noise": fit.noise,
            "valid_share": float(fit.valid.float().mean()),
        }
        maps = {f"{name}map": hashed(path, path.name) for name, path in zip(self._new(old), paths, strict=False)}
        return {
            **{key: value for key, value in old.items() if key != "unfinished"},
            **spacing_entry(self.job.files.paths[0]),
            "case": self.job.case,
            "fits": {**old.get("fits", {}), self.job.sequence: entry},
            "image": old.get("image", images[0]),
            "more_images": [*old["more_images"], *images] if old else images[1:],
            "maps": {**old.get("maps", {}), **maps},
            "more_files": [*old.get("more_files", []), *(hashed(path, path.name) for path in paths[-2:])],
        }

    def _new(self, old: dict[str, Any]) -> list[str]:
        """The quantities whose maps are written: an earlier series keeps its PD."""
        return [name for name in self.job.quantities if f"{name}map" not in old.get("maps", {})]

    def _written(self, old: dict[str, Any]) -> list[Path]:
        """Paths of the new maps, then of the mask and the residual."""
        names = [
            *(f"{name}map" for name in self._new(old)),
            f"{self.job.sequence}valid",
            f"{self.job.sequence}residual",
        ]
        return [inside(self.folder, f"{self.job.case}_{name}{self.ending}") for name in names]

    def _all_paths(self) -> list[Path]:
        """Paths of all three maps, which belong to one case, and of the mask and the residual."""
        return [*map_paths(self.folder, self.job.case, self.ending).values(), *self._written({})[-2:]]

    def _image_hashes(self) -> list[str]:
        return [file_sha256(path) for path in self.job.files.paths]

    def _check_intact(self, record: CaseRecord) -> None:
        """Refuse a case with a file that is missing or was changed."""
        for entry in record.files:
            if not entry.is_unchanged(self.folder):
                path = self.folder / entry.file
                raise InputError(f"{self.job.case}: {path} is missing or was changed since it was written. {_CHOOSE}")
