"""One mask per MOLLI series (`nnunet_phys segment`) compared with single readouts and other ways to fuse them.

Digital hearts are those of the test bed: Bloch simulation, before and after contrast agent, three slices, readouts that
drift. They are segmented as they are, and with a third of their readouts moved by 5 to 15 mm. If NNUNET_PHYS_DATA names
a folder of real series with contours (not part of the project), these are segmented, too:

    NNUNET_PHYS_DATA=... python benchmarks/series_segmentation.py -model MODEL
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from generalization.digital_scanner import shifted
from generalization.digital_scans import scan_heart
from nnunet_phys.commands.shared.segmentation_model import SegmentationModel
from nnunet_phys.commands.shared.series_cases import SeriesFolder
from nnunet_phys.commands.shared.series_segmenter import IMAGES, MASKS, READOUTS, SeriesSegmenter
from nnunet_phys.commands.shared.series_translation import SeriesTranslator
from nnunet_phys.commands.shared.targets import named_path
from nnunet_phys.devices import torch_device
from nnunet_phys.digital_heart import LABELS
from nnunet_phys.image_files import Geometry, read_image, write_volume
from nnunet_phys.series_segmentation.agreement import label_dice
from nnunet_phys.series_segmentation.fusion import confidence, fuse, weights

_STRUCTURES = tuple(name for name in LABELS if name != "background")
_ENDING = ".nii.gz"
_SHAPE, _SLICES = (96, 96), 3
"""Rows, columns and slices of a digital heart, 2.5 mm and 10 mm apart."""
_MOVED_MM = (5.0, 15.0)
_BAD = 0.7
"""Dice of myocardium in a slice below which its mask is bad."""
_FLAGS = {
    "images disagree with the mask": "disagree",
    "few images are confident": "confident",
    "ring of myocardium": "cavity",
    "pieces": "pieces",
    "empty": "none of",
}
"""Kinds of flags, and a word of their lines."""


@dataclass(frozen=True, eq=False)
class Series:
    """A MOLLI series with the truth.

    Attributes:
        case: its name.
        images: (readouts, slices, rows, columns).
        times_ms: inversion times.
        labels: (slices, rows, columns).
        geometry: the grid.
        shifts: known shifts of the readouts in pixels, (readouts, 2); None where they are not known.
    """

    case: str
    images: np.ndarray
    times_ms: tuple[float, ...]
    labels: np.ndarray
    geometry: Geometry
    shifts: np.ndarray | None = None

    def write(self, folder: Path) -> None:
        """Write it as `nnunet_phys import` does."""
        folder.mkdir(parents=True)
        for k, image in enumerate(self.images):
            write_volume(folder / f"{self.case}_ti{k:02d}_0000{_ENDING}", image, self.geometry)
        protocol = {"sequence": "molli", "flip_angle_deg": 35.0, "inversion_times_ms": self.times_ms}
        content = {"inversion_times_ms": self.times_ms, "protocol": [protocol]}
        (folder / f"{self.case}.json").write_text(json.dumps(content))


@dataclass(frozen=True, eq=False)
class Recorder:
    """A model that keeps what it has found.

    Attributes:
        model: the model.
        found: probabilities of each image since they were last taken.
    """

    model: SegmentationModel
    found: list[np.ndarray] = field(default_factory=list)

    @property
    def labels(self) -> dict[str, int]:
        """The model's labels."""
        return self.model.labels

    def probabilities(self, image: np.ndarray, voxel_mm: tuple[float, float, float]) -> np.ndarray:
        """The model's probabilities."""
        self.found.append(self.model.probabilities(image, voxel_mm))
        return self.found[-1]

    def take(self) -> np.ndarray:
        """All that was found, (images, labels, slices, rows, columns)."""
        taken = np.stack(self.found)
        self.found.clear()
        return taken


@dataclass(eq=False)
class Table:
    """Dice of the structures by method, flags of slices, and errors of shifts, over series."""

    dice: dict[str, list[np.ndarray]] = field(default_factory=dict)
    slices: list[tuple[float, list[str]]] = field(default_factory=list)
    shift_errors: list[float] = field(default_factory=list)
    shift_sizes: list[float] = field(default_factory=list)
    count: int = 0

    def add(self, series: Series, segmenter: SeriesSegmenter, recorder: Recorder) -> None:
        """Segment a series, and score it."""
        with tempfile.TemporaryDirectory() as scratch:
            scans, results = Path(scratch) / "scans", Path(scratch) / "results"
            series.write(scans)
            results.mkdir()
            read = SeriesFolder.read(scans, (), translate=True)
            (case,) = read.cases
            entry = segmenter(case, read.reader.take(case.files), results)
            mask = read_image(results / MASKS / f"{series.case}{_ENDING}")
            assert len(list((results / IMAGES).iterdir())) == len(series.images) + 1
            assert len(list((results / READOUTS).iterdir())) == len(series.images) + 1
        self._score(series, recorder.take(), mask, entry)

    def _score(self, series: Series, found: np.ndarray, mask: np.ndarray, entry: dict) -> None:
        *readouts, translated = found.argmax(1)
        single = np.stack([_dice(one, series.labels) for one in readouts])
        votes = np.stack([(np.stack(readouts) == code).sum(0) for code in range(len(LABELS))])
        scores = {
            "single readouts, mean": single.mean(0),
            "single readouts, worst": single.min(0),
            "single readouts, third best": np.sort(single, axis=0)[-3],
            "majority vote": _dice(votes.argmax(0), series.labels),
            "translated image": _dice(translated, series.labels),
        }
        for name, rule in _RULES.items():
            scores[f"{name}, of readouts"] = _dice(rule(found[:-1]).argmax(0), series.labels)
            scores[f"{name}, and translated"] = _dice(rule(found).argmax(0), series.labels)
        scores["segment (registered where moved)"] = _dice(mask, series.labels)
        for name, values in scores.items():
            self.dice.setdefault(name, []).append(values)
        for z, labels in enumerate(series.labels):
            if (labels == LABELS["MYO"]).any():
                myo = _dice(mask[z : z + 1], labels[None])[_STRUCTURES.index("MYO")]
                self.slices.append((float(myo), [f for f in entry["flags"] if f", slice {z}: " in f]))
        self.count += 1
        if series.shifts is None:
            return
        for k, name in enumerate(f"{series.case}_ti{i:02d}_0000" for i in range(len(series.images))):
            for by in entry["readouts"][name]["shift_mm"]:
                true = -(series.shifts[k] - np.median(series.shifts, axis=0)) * series.geometry.pixel_mm
                self.shift_sizes.append(float(np.linalg.norm(true)))
                self.shift_errors.append(np.nan if by is None else float(np.linalg.norm(np.array(by) - true)))

    def show(self, title: str) -> None:
        """Print everything."""
        print(f"\n{title}: {self.count} series. Dice, %: {', '.join(_STRUCTURES)}, mean")
        for name, values in self.dice.items():
            mean = 100 * np.mean(values, axis=0)
            print(f"  {name:<46}{' '.join(f'{value:5.1f}' for value in mean)} {mean.mean():6.1f}")
        bad = [flags for myo, flags in self.slices if myo < _BAD]
        good = [flags for myo, flags in self.slices if myo >= _BAD]
        print(f"  {len(bad)} slices with Dice of MYO below {_BAD}, {len(good)} others. Flagged of them:")
        for name, word in {**_FLAGS, "any flag": ""}.items():
            found, false = (sum(any(word in flag for flag in flags) for flags in group) for group in (bad, good))
            print(f"  {name:<46}{found} of {len(bad)}, {false} of {len(good)}")
        if self.shift_sizes:
            sizes, errors = np.array(self.shift_sizes), np.array(self.shift_errors)
            for what, chosen in (("moved", sizes > _MOVED_MM[0] / 2), ("not moved", sizes <= _MOVED_MM[0] / 2)):
                known = errors[chosen & np.isfinite(errors)]
                error = f", median error {np.median(known):.1f} mm" if len(known) else ""
                print(f"  {what}: shift known in {len(known)} of {chosen.sum()}{error}")


def _dice(mask: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Dice of the structures in a volume, 0-1, (structures,)."""
    flat = mask.reshape(1, 1, -1, mask.shape[-1]), labels.reshape(1, -1, labels.shape[-1])
    return label_dice(*flat, len(LABELS))[0, 0]


def _geometric(found: np.ndarray) -> np.ndarray:
    """All images alike, (labels, slices, rows, columns)."""
    return fuse(found, np.full((len(found), found.shape[2]), 1 / len(found)))


def _by_entropy(found: np.ndarray) -> np.ndarray:
    """Mean of the probabilities, weighted in every pixel by 1 - entropy / its greatest value."""
    entropy = -(found * np.log(np.maximum(found, 1e-6))).sum(1, keepdims=True) / np.log(found.shape[1])
    shares = 1.001 - entropy
    return (shares * found).sum(0) / shares.sum(0)


def _by_confidence(found: np.ndarray) -> np.ndarray:
    """As `segment`, without registration."""
    return fuse(found, weights(confidence(found)))


_RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean softmax": lambda found: found.mean(0),
    "softmax weighted by entropy": _by_entropy,
    "geometric mean": _geometric,
    "geometric mean by confidence": _by_confidence,
}


def digital(hearts: Iterable[int], moved: bool) -> Iterator[Series]:
    """Series of digital hearts, before and after contrast agent; a third of the readouts moved on request."""
    for index in hearts:
        scanned, rng = scan_heart(index, _SLICES, _SHAPE), np.random.default_rng(index)
        slice_mm, row_mm, column_mm = scanned.heart.spacing_mm
        size = (_SHAPE[1], _SHAPE[0], _SLICES)
        geometry = Geometry(size, (column_mm, row_mm, slice_mm), (0.0,) * 3, (1.0, 0, 0, 0, 1, 0, 0, 0, 1))
        for name in ("molli", "molli_post"):
            scan = scanned.scans[name]
            images = np.stack(list(scan.images.values())).astype(np.float32)
            shifts = np.zeros((len(images), 2))
            if moved:
                chosen = rng.choice(len(images), len(images) // 3, replace=False)
                angle = rng.uniform(0, 2 * np.pi, len(chosen))
                length = rng.uniform(*_MOVED_MM, len(chosen)) / row_mm
                shifts[chosen] = np.stack((np.sin(angle), np.cos(angle)), 1) * length[:, None]
                images = np.abs(np.stack([shifted(one, *by) for one, by in zip(images, shifts, strict=True)]))
                images = images.astype(np.float32)
            times = tuple(scan.inversion_times_ms.values())
            yield Series(f"{name}{index}", images, times, scanned.heart.labels, geometry, shifts)


def real(folder: Path) -> Iterator[Series]:
    """The real series with contours."""
    for path in sorted((folder / "labels").glob(f"*{_ENDING}")):
        case = path.name.removesuffix(_ENDING)
        times = tuple(json.loads((folder / "reference" / f"{case}.json").read_text())["inversion_times_ms"])
        paths = [folder / "images" / f"{case}_ti{k:02d}_0000{_ENDING}" for k in range(len(times))]
        images = np.stack([read_image(one) for one in paths])
        yield Series(case, images, times, read_image(path), Geometry.read(paths[0]))


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-model", type=named_path, required=True, help="a trained model's folder or zip")
    parser.add_argument(
        "-hearts", type=int, default=8, help="digital hearts, with two series each (default %(default)s)"
    )
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    model = SegmentationModel.open(args.model, None, "checkpoint_final.pth", torch_device(args.device), False)
    translator, recorder = SeriesTranslator.load(args.prior, args.device, None), Recorder(model)
    codes = {name: LABELS[name] for name in _STRUCTURES}
    segmenter = SeriesSegmenter(recorder, codes, translator, True, _ENDING)
    tables = {}
    if "NNUNET_PHYS_DATA" in os.environ:
        tables["real series"] = real(Path(os.environ["NNUNET_PHYS_DATA"]) / "molli_t1net")
    tables["digital hearts, drifting"] = digital(range(args.hearts), moved=False)
    tables["digital hearts, a third of the readouts moved by 5-15 mm"] = digital(range(args.hearts), moved=True)
    for title, all_series in tables.items():
        table = Table()
        for series in all_series:
            table.add(series, segmenter, recorder)
        table.show(title)


if __name__ == "__main__":
    main()
