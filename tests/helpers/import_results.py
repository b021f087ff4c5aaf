"""What `nnunet_phys import` wrote, read back, and the MOLLI series that several of its tests import."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

MOLLI_MS = [100.0, 1000.0, 1900.0, 2800.0, 3700.0, 180.0, 1080.0, 1980.0]
MOLLI = {"SeriesDescription": "T1 MOLLI pre", "ScanningSequence": ("GR", "IR"), "SequenceName": "*tfi2d1_84"}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def content(path: Path) -> dict:
    return json.loads(path.read_text())


def values(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
