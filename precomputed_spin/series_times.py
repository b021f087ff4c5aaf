"""The times of a quantitative series, as CASE.json, one file for all cases, or file names state them; and its model."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from nnunet_phys.errors import InputError, counted
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.precomputed_spin.shmolli_fit import fit_shmolli, shmolli_order
from nnunet_phys.quantities import PREPARATION_TIME
from nnunet_phys.relaxation_fit import RelaxationFit, fit_series, undetermined
from nnunet_phys.relaxation_models import (
    InversionRecovery,
    PreparedSaturationRecovery,
    Recovery,
    SaturationRecovery,
    T2Preparation,
)
from nnunet_phys.separable_model import SeparableModel
from nnunet_phys.sequences import MSASHA

_LEAST_LONGEST_MS = 10.0
"""Times that all stay below this are in seconds: no series ends so early."""
_LONGEST_MS = 1e5
"""Longest finite time. Assumed: ten times the longest recovery that is waited for; in microseconds, times exceed it."""


@dataclass(frozen=True)
class SeriesTimes(ABC):
    """Times of a series in ms, as its JSON file holds them: the fields that are tuples have one entry per image."""

    @abstractmethod
    def model(self, magnitude: bool, perfect: bool) -> SeparableModel:
        """The model to fit.

        Args:
            magnitude: the images have lost their sign.
            perfect: saturation is taken to be perfect, where the model can be told.
        """

    def fit(self, images: torch.Tensor, magnitude: bool, perfect: bool) -> RelaxationFit:
        """Fit a slice.

        Args:
            images: (images, ...), in the order of the times.
            magnitude, perfect: as for `model`.
        """
        return fit_series(self.model(magnitude, perfect), images)

    @property
    def rule(self) -> dict[str, str]:
        """How images are chosen where not all count in each pixel; plain JSON."""
        return {}

    @classmethod
    def example(cls) -> str:
        """What to write into a JSON file."""
        listed = ", ".join(f'"{field.name}": [...]' for field in fields(cls) if field.name != "delay_ms")
        infinite = ", null for the image without saturation" if "ts_ms" in listed else ""
        return f"Write {{{listed}}}, in ms and one per image{infinite}."

    @property
    def lists(self) -> dict[str, tuple[float | None, ...]]:
        """The fields with one entry per image."""
        return {name: values for name, values in asdict(self).items() if isinstance(values, tuple)}

    def check(self, count: int, where: str) -> None:
        """Refuse times that cannot be those of a series.

        Raises:
            InputError: another number than that of the images, negative times, seconds, or times that leave a map open.
        """
        faults = []
        for name, values in self.lists.items():
            finite = [value for value in values if value is not None]
            longest = max(finite, default=0.0)
            if len(values) != count:
                faults.append(f"{len(values)} {name} in {where} for {counted(count, 'image')}. Give one per image.")
            elif min(finite, default=0.0) < 0 or longest > _LONGEST_MS:
                faults.append(f"{name} in {where} must lie between 0 and {_LONGEST_MS:g} ms. Correct them.")
            elif 0 < longest < _LEAST_LONGEST_MS:
                faults.append(f"{name} up to {longest:g} in {where} look like seconds: give ms.")
        if faults:
            raise InputError(*faults)
        model = self.model(magnitude=True, perfect=False)
        if count <= model.parameters:
            raise InputError(f"{where}: {counted(count, 'image')} where the fit needs {model.parameters + 1} or more.")
        if missing := undetermined(model):
            raise InputError(f"the times in {where} do not determine {' and '.join(missing)}. Give those of the scan.")


@dataclass(frozen=True)
class MOLLITimes(SeriesTimes):
    """`inversion_times_ms`: to the centre of k-space."""

    inversion_times_ms: tuple[float, ...]

    def model(self, magnitude: bool, perfect: bool) -> SeparableModel:
        return InversionRecovery(self.inversion_times_ms, magnitude=magnitude)

    def fit(self, images: torch.Tensor, magnitude: bool, perfect: bool) -> RelaxationFit:
        order = shmolli_order(self.inversion_times_ms)
        if order is None:
            return super().fit(images, magnitude, perfect)
        return fit_shmolli(self.inversion_times_ms, order, images, magnitude)

    @property
    def rule(self) -> dict[str, str]:
        return {} if shmolli_order(self.inversion_times_ms) is None else {"readouts": "5, 6 or 7 by T1, as ShMOLLI"}


@dataclass(frozen=True)
class SASHATimes(SeriesTimes):
    """`ts_ms`: from saturation to the centre of k-space; None without saturation."""

    ts_ms: tuple[float | None, ...]

    def model(self, magnitude: bool, perfect: bool) -> SeparableModel:
        kind = SaturationRecovery if perfect else Recovery
        return kind(_with_infinity(self.ts_ms))


@dataclass(frozen=True)
class T2PrepTimes(SeriesTimes):
    """`t2_prep_ms`: echo times of the preparation."""

    t2_prep_ms: tuple[float, ...]

    def model(self, magnitude: bool, perfect: bool) -> SeparableModel:
        return T2Preparation(self.t2_prep_ms)


@dataclass(frozen=True)
class MSASHATimes(SeriesTimes):
    """`ts_ms`, `t2_prep_ms` and `delay_ms`: attributes of `sequences.MSASHA`."""

    ts_ms: tuple[float | None, ...]
    t2_prep_ms: tuple[float, ...]
    delay_ms: float = MSASHA.delay_ms

    def check(self, count: int, where: str) -> None:
        """See `SeriesTimes`.

        Raises:
            InputError: also a delay that is negative or in seconds.
        """
        try:
            PREPARATION_TIME.check(self.delay_ms)
        except ValueError as error:
            raise InputError(f"delay_ms in {where}: {error}.") from None
        super().check(count, where)

    def model(self, magnitude: bool, perfect: bool) -> SeparableModel:
        return PreparedSaturationRecovery(_with_infinity(self.ts_ms), self.t2_prep_ms, self.delay_ms)


TIME_NAMES = {"molli": "inversion_times_ms", "sasha": "ts_ms", "t2prep": "t2_prep_ms"}
"""Series with one time per image, keys of `TIMES`, and what CASE.json calls the times."""

TIMES: dict[str, type[SeriesTimes]] = {
    "msasha": MSASHATimes,
    "sasha": SASHATimes,
    "molli": MOLLITimes,
    "t2prep": T2PrepTimes,
}
"""Sequences that can be fitted."""


def read_times(sequence: str, files: ScanFiles, place: Path) -> SeriesTimes:
    """Read and check the times of a case.

    Args:
        sequence: a key of `TIMES`.
        files: the case's images.
        place: a JSON file for all cases, or a folder of CASE.json. A MOLLI's inversion times may stand in the file
            names instead (CASE_ti120_0000).

    Raises:
        InputError: no times, or impossible ones; images that are not numbered without a gap.
    """
    files.check_numbers()
    if any(files.marked) != all(files.marked):
        raise InputError(f"{files.paths[0].name}, ...: only some names hold _ti. Rename the others alike.")
    schema = TIMES[sequence]
    if sequence == "molli" and files.times_ms:
        times: SeriesTimes = MOLLITimes(files.times_ms)
        where = "the file names"
    else:
        path = place / f"{files.case}.json" if place.is_dir() else place
        if not path.exists():
            raise InputError(f"no times: there is no {path}. {schema.example()} For fit, -times names its folder.")
        times, where = read_json(path, schema, schema.example(), extra=True), str(path)
    times.check(files.count, where)
    return times


def described(times: SeriesTimes) -> dict[str, Any]:
    """Times as plain JSON."""
    return {name: list(values) if isinstance(values, tuple) else values for name, values in asdict(times).items()}


def _with_infinity(times_ms: tuple[float | None, ...]) -> tuple[float, ...]:
    return tuple(math.inf if time is None else time for time in times_ms)
