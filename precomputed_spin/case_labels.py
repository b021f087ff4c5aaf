"""The labels of a data set's cases: which structures they show, and whether the likelihood uses them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nnunet_phys.errors import InputError
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.precomputed_spin.label_names import structure_codes

if TYPE_CHECKING:
    from nnunet_phys.precomputed_spin.raw_dataset import RawDataset
    from nnunet_phys.precomputed_spin.scan_files import ScanFiles
    from nnunet_phys.precomputed_spin.scan_protocol import ScanJob


LABEL_SHA256 = "label_sha256"
"""Name of `CaseLabels.deciding_sha256` in a case's record."""


@dataclass(frozen=True)
class CaseLabels:
    """Label images of cases.

    Attributes:
        paths: case to path of its label image.
        codes: codes of the structures RV, MYO and LV, as far as they are labelled.
        decide: the likelihood uses the labels as evidence of tissue; otherwise they only serve to judge the maps.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    decide: bool = False

    @classmethod
    def of_dataset(cls, dataset: RawDataset, decide: bool) -> CaseLabels:
        """The labels of a data set.

        Raises:
            InputError: none of its labels has the name of a structure.
        """
        return cls(dataset.labels, structure_codes(dataset.codes), decide)

    def deciding_path(self, case: str) -> Path | None:
        """The label image that the likelihood of a case uses; None if it uses none."""
        return self.paths[case] if self.decide else None

    def deciding_codes(self) -> dict[str, int]:
        """The codes of the structures that the likelihood uses; empty if it uses no labels."""
        return self.codes if self.decide else {}

    def deciding_sha256(self, case: str) -> str | None:
        """Hash of `deciding_path`; None also if the file is missing, which `faults` reports."""
        path = self.deciding_path(case)
        return file_sha256(path) if path is not None and path.is_file() else None

    def structures(self, files: ScanFiles) -> dict[str, np.ndarray]:
        """Masks (slices, rows, columns) of a case's structures; none without readable labels on the images' grid."""
        path = self.paths.get(files.case)
        try:
            if path is None or not path.is_file() or not files.geometry.agrees(Geometry.read(path)):
                return {}
            labels = read_image(path)
        except InputError:
            return {}
        return {name: labels == code for name, code in self.codes.items()}

    def faults(self, jobs: Iterable[ScanJob]) -> list[str]:
        """A line for each case whose labels cannot be used."""
        return [f"{job.case}: {fault}" for job in jobs for fault in self._faults_of(job.files)]

    def doubts(self, jobs: Iterable[ScanJob]) -> list[str]:
        """A line for each case with a label image that cannot judge its maps, where labels do not decide."""
        if self.decide:
            return []
        labelled = [job for job in jobs if (path := self.paths.get(job.case)) is not None and path.is_file()]
        return self.faults(labelled)

    def _faults_of(self, files: ScanFiles) -> tuple[str, ...]:
        path = self.paths[files.case]
        remedy = "Correct it, or leave --labels out." if self.decide else "Until it is corrected, it judges no maps."
        if not path.is_file():
            return (f"{path} cannot be read: there is no such file. Add it, or leave --labels out.",)
        try:
            if not files.geometry.agrees(Geometry.read(path)):
                return (f"{path} lies on another grid than {files.paths[0]}. {remedy}",)
            if not np.isin(read_image(path), list(self.codes.values())).any():
                return (f"{path} holds none of the codes {self.codes}. {remedy}",)
        except InputError as error:
            return error.faults
        return ()
