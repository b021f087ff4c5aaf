"""A heart whose T1 and extracellular volume are known in each segment, written as `import` and `segment` leave them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.image_files import Geometry, write_volume

APEX = np.array((0.6, -0.6, -0.53)) / np.linalg.norm((0.6, -0.6, -0.53))
ANTERIOR = np.array((0.0, 0.0, 1.0)) - APEX[2] * APEX
ANTERIOR /= np.linalg.norm(ANTERIOR)
SEPTAL = np.cross(APEX, ANTERIOR)
TIMES = [120.0, 200.0, 280.0, 1020.0, 1100.0, 1920.0, 2820.0, 3720.0]
BLOOD, BLOOD_POST, HAEMATOCRIT = 1600.0, 400.0, 0.42


class Patient:
    """A digital heart with a T1 and an extracellular volume of its own in each segment.

    Attributes:
        labels: (slices, rows, columns), from the base.
        segment: number of each pixel's segment, by its angle about the centre of the cavity, if the septum were 120
            degrees wide and the right ventricle lay in its middle.
        geometry: puts the septum to the right and the anterior wall upwards; the image itself is `mirrored` or not.
    """

    def __init__(self, mirrored: bool = False, slices: int = 1) -> None:
        self.heart = digital_heart(seed=5, slices=4, shape=(88, 80))
        self.labels = self.heart.labels[:slices]
        to_rv = np.argwhere(self.labels[0] == LABELS["RV"]).mean(0) - np.argwhere(self.labels[0] == LABELS["LV"]).mean(
            0
        )
        septal = to_rv / np.linalg.norm(to_rv)  # rows, columns
        anterior = np.array((-septal[1], septal[0])) * (-1 if mirrored else 1)
        row, column = (septal[i] * SEPTAL + anterior[i] * ANTERIOR for i in (0, 1))
        direction = np.stack((column, row, APEX), axis=1)
        size = (*self.labels.shape[:0:-1], slices)
        self.geometry = Geometry(size, (2.5, 2.5, 10.0), (10.0, -20.0, 30.0), tuple(direction.ravel()))
        self.segment = np.zeros(self.labels.shape, int)
        for z, labels in enumerate(self.labels):
            pixels = np.argwhere(labels == LABELS["MYO"])
            vectors = pixels - np.argwhere(labels == LABELS["LV"]).mean(0)
            angle = np.rad2deg(np.arctan2(-vectors @ anterior, vectors @ septal))  # 90 is inferior
            first, step = (7, 60) if slices == 1 else ((1, 60), (7, 60), (13, 90))[z]
            start = -135 if first == 13 else -120  # of the anterior wall
            self.segment[(z, *pixels.T)] = first + (angle - start) % 360 // step

    def t1(self, post: bool = False) -> np.ndarray:
        """T1 in ms."""
        before = np.where(self.segment > 0, 900.0 + 15 * self.segment, BLOOD)
        if not post:
            return before
        change = (1 / BLOOD_POST - 1 / BLOOD) / (1 - HAEMATOCRIT) * (20 + self.segment) / 100
        return np.where(self.segment > 0, 1 / (1 / before + change), BLOOD_POST)

    def readouts(self, post: bool = False) -> np.ndarray:
        """Magnitudes of a perfect inversion recovery, which the fit's model describes without bias."""
        times = np.array(TIMES)[:, None, None, None]
        density = np.random.default_rng(0).uniform(450, 550, self.labels.shape)
        return density * np.abs(1 - 2 * np.exp(-times / self.t1(post)))


def write_study(
    folder: Path, readouts: np.ndarray, labels: np.ndarray, geometry: Geometry, times=TIMES, case="012_MOLLI"
):
    """Write images, times, mask and dataset.json of a series, as `import` and `segment` leave them."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(readouts):
        write_volume(folder / "images" / f"{case}_ti{i:02d}_0000.nii.gz", image, geometry)
    protocol = [{"sequence": "molli", "flip_angle_deg": 35.0, "inversion_times_ms": list(times)}]
    content = {"inversion_times_ms": list(times), "protocol": protocol, "acquisition": {"vendor": "none"}}
    (folder / "images" / f"{case}.json").write_text(json.dumps(content))
    write_map(folder / "masks" / f"{case}.nii.gz", labels.astype(np.uint8), geometry)
    (folder / "dataset.json").write_text(json.dumps({"labels": LABELS}))


def write_map(path: Path, values: np.ndarray, geometry: Geometry) -> None:
    """Write an image with its own data type."""
    path.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(geometry.spacing)
    image.SetOrigin(geometry.origin)
    image.SetDirection(geometry.direction)
    sitk.WriteImage(image, str(path))


def quantify(study: Path, report: Path, *more) -> list[str]:
    return ["quantify", "-i", str(study), "-o", str(report), "--disable_progress_bar", *map(str, more)]


def table(report: Path) -> list[dict[str, str]]:
    with open(report / "segments.csv", newline="") as file:
        return list(csv.DictReader(file))


def by_segment(report: Path, column: str, method: str = "fit") -> dict[str, float]:
    return {row["segment"]: float(row[column]) for row in table(report) if row["method"] == method and row[column]}


def content(report: Path) -> dict:
    return json.loads((report / "study.json").read_text())
