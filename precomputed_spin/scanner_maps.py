"""The T1 maps that a scanner computed, slice by slice on the grid of a series: `references/`, as `import` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnunet_phys.errors import InputError
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.json_files import read_json
from nnunet_phys.precomputed_spin.scan_files import ScanFiles
from nnunet_phys.quantification.planes import SlicePlane, slice_planes

_NAME = "_T1map"


@dataclass(frozen=True)
class _Description:
    """What is read of a map's CASE.json: the cases that it belongs to."""

    readouts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _ScannerMap:
    """One file.

    Attributes:
        path: the file.
        cases: the cases that it belongs to.
    """

    path: Path
    cases: tuple[str, ...]

    def slices(self, files: ScanFiles) -> dict[int, np.ndarray]:
        """T1 in ms, (rows, columns), by the numbers of the case's slices; empty if it lies on another grid.

        Raises:
            InputError: the file cannot be read.
        """
        geometry, grid = Geometry.read(self.path), files.geometry
        if len(geometry.size) < 3 or geometry.size[:2] != grid.size[:2]:
            return {}
        values, planes = read_image(self.path), slice_planes(geometry)
        return {
            z: values[k]
            for z, plane in enumerate(slice_planes(grid))
            for k, other in enumerate(planes)
            if _same(plane, other)
        }


@dataclass(frozen=True)
class ScannerMaps:
    """All T1 maps of a folder.

    Attributes:
        maps: the maps, by name.
        flags: maps that are left out, and why.
    """

    maps: tuple[_ScannerMap, ...]
    flags: tuple[str, ...]

    @classmethod
    def read(cls, folder: Path, ending: str) -> ScannerMaps:
        """Find the maps, and which cases they belong to.

        A map belongs to the case of its own name, `012_MOLLI_T1map` to 012_MOLLI, and to those that CASE.json beside it
        lists as `readouts`.

        Args:
            folder: holds the maps, and the JSON files that `import` wrote; it need not exist.
            ending: file ending of the maps, with the dot.
        """
        maps, flags = [], []
        for path in sorted(folder.glob(f"*{_NAME}.*")):
            if path.suffix == ".json":
                continue
            if not path.name.endswith(_NAME + ending):
                flags.append(f"the scanner's map {path.name} is left out: the images end with {ending}. Convert it.")
                continue
            name = path.name.removesuffix(_NAME + ending)
            description = _Description()
            try:
                if (folder / f"{name}.json").is_file():
                    description = read_json(folder / f"{name}.json", _Description, "Remove it.", extra=True)
            except InputError as error:
                flags.append(f"the scanner's map {path.name} is left out: {error}")
                continue
            maps.append(_ScannerMap(path, (name, *description.readouts)))
        return cls(tuple(maps), tuple(flags))

    def of(self, files: ScanFiles) -> tuple[np.ndarray | None, list[str]]:
        """The scanner's T1 of a case.

        A map of the case's own name goes before others.

        Args:
            files: the case's images.

        Returns:
            T1 in ms, (slices, rows, columns), 0 in slices without a map; None if no slice has one. And what is left
            out, a line each.
        """
        t1 = np.zeros(files.geometry.size[::-1], np.float32)
        own = [scanner_map for scanner_map in self.maps if files.case in scanner_map.cases]
        taken: dict[int, Path] = {}
        flags = []
        for scanner_map in sorted(own, key=lambda scanner_map: scanner_map.cases[0] != files.case):
            path = scanner_map.path
            try:
                slices = scanner_map.slices(files)
            except InputError as error:
                flags.append(f"the scanner's map is left out: {error}")
                continue
            if not slices:
                flags.append(f"the scanner's map {path} lies on another grid and is left out")
            if doubled := taken.keys() & slices.keys():
                flags.append(f"the scanner's map {path} is left out where {taken[min(doubled)]} lies")
            for z in slices.keys() - taken.keys():
                t1[z], taken[z] = slices[z], path
        return (t1 if taken else None), flags


def _same(plane: SlicePlane, other: SlicePlane) -> bool:
    """Whether two slices have their pixels at the same places, as `Geometry.agrees` sees it."""
    return all(
        np.allclose(a, b, rtol=1e-4, atol=1e-3)
        for a, b in (
            (plane.origin, other.origin),
            (plane.directions, other.directions),
            (plane.pixel_mm, other.pixel_mm),
        )
    )
