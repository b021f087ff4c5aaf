"""How often flags are right: precision and recall on digital hearts whose scans are described rightly and wrongly.

Each heart is imaged by the Bloch simulation as cine and as a MOLLI series, with receive bias, off-resonance and noise.
Good are slices of scans that are described as they were made and did not move. Bad are slices

- of cine with a flip angle of 50 degrees that is described as 20, or as gradient echo (maps with labels);
- of a MOLLI series, two of whose readouts have moved by 5 mm, or that is described by wrong inversion times;
- of cine without labels, if T1 of a cavity's blood comes out wrong by more than a third; else they are good.

    OMP_NUM_THREADS=1 python benchmarks/flags.py

If NNUNET_PHYS_DATA names a folder of real scans (not part of the project), it also prints what is flagged in one slice
of each of some LGE, MOLLI and T2 images, which are described as well as they can be.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from nnunet_phys import bloch
from nnunet_phys.digital_heart import LABELS, DigitalHeart, digital_heart
from nnunet_phys.heart_scanner import noisy_magnitude, off_resonance_hz, receive_bias
from nnunet_phys.image_files import Geometry, read_image
from nnunet_phys.polarity import fit_inversion_recovery
from nnunet_phys.precomputed_spin.label_names import structure_codes
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.quality import quality
from nnunet_phys.precomputed_spin.quality_record import Flag
from nnunet_phys.precomputed_spin.reverse_imaging import ReverseImager
from nnunet_phys.precomputed_spin.scan import Scan, Series
from nnunet_phys.sequences import BSSFP, MOLLI, BlackBloodTSE, InversionRecoveryGRE, SpoiledGRE
from nnunet_phys.sequences.pulse_sequence import PulseSequence

FIRST_SEED = 8_000_000
SLICES, SHAPE, PIXEL_MM = 3, (88, 88), 2.5
MIDDLE, APEX = 1, 2
NOISE = 0.004
"""Standard deviation of the noise per unit PD, as in `experiments.heart_scans`."""
MOVED_READOUTS, MOVED_PIXELS = (2, 5), 2
WRONG_T1 = 1 / 3
"""Cavities without labels that are wrong by more than this share of T1 are bad: blood then has T1 of muscle or fat."""
REAL_CASES = 2


@dataclass(frozen=True, eq=False)
class Scans:
    """A slice of a digital heart and its images, (images, 1, rows, columns)."""

    heart: DigitalHeart
    labels: np.ndarray
    t1: np.ndarray
    cine: np.ndarray
    molli: np.ndarray

    @classmethod
    def of(cls, heart: DigitalHeart, z: int, seed: int) -> Scans:
        """Image a slice."""
        rng = np.random.default_rng([seed, z])
        t1, t2, pd = (np.asarray(m[z : z + 1], np.float64) for m in (heart.maps.t1, heart.maps.t2, heart.maps.pd))
        coil = pd * receive_bias(rng, SHAPE, PIXEL_MM, centre_mm=heart.centre_mm)
        field = off_resonance_hz(rng, SHAPE, rng.uniform(20, 50))[None]
        cine = bloch.steady_state_bssfp(t1, t2, flip_angle_deg=50.0, tr_ms=3.2, off_resonance_hz=field)
        molli = bloch.molli(t1, t2, rr_ms=900.0, off_resonance_hz=field)
        cine_image, molli_images = (1000 * noisy_magnitude(rng, coil * signal, NOISE) for signal in (cine, molli))
        return cls(heart, heart.labels[z : z + 1], t1, cine_image[None], molli_images)


def series(sequence: PulseSequence, images: np.ndarray) -> tuple[Series, ...]:
    """Images of one sequence; a MOLLI gets its polarity back, as `nnunet_phys reverse` does it."""
    if isinstance(sequence, MOLLI):
        fit = fit_inversion_recovery(torch.from_numpy(images), sequence.inversion_times_ms)
        return (Series(sequence, images * fit.polarity.numpy(), signed=True),)
    return (Series(sequence, images),)


def conditions(scans: Scans) -> Iterator[tuple[str, bool, tuple[Series, ...], bool]]:
    """Title, whether it is bad, the series as they are described, and whether labels decide, of each condition."""
    molli = MOLLI(rr_ms=900.0)
    moved = scans.molli.copy()
    moved[list(MOVED_READOUTS)] = np.roll(moved[list(MOVED_READOUTS)], MOVED_PIXELS, axis=2)
    yield "cine, labels", False, series(BSSFP(50.0, tr_ms=3.2), scans.cine), True
    yield "cine of 50 degrees as 20, labels", True, series(BSSFP(20.0), scans.cine), True
    yield "cine as GRE, labels", True, series(SpoiledGRE(), scans.cine), True
    yield "MOLLI", False, series(molli, scans.molli), False
    yield "MOLLI, two readouts moved by 5 mm", True, series(molli, moved), False
    yield "MOLLI of 5(3)3 as 3(3)5", True, series(replace(molli, scheme="3(3)5"), scans.molli), False


def digital(imager: ReverseImager, hearts: int) -> None:
    """Print what is flagged in digital hearts."""
    codes = structure_codes(dict(LABELS))
    found: dict[tuple[str, bool], list[tuple[Flag, ...]]] = defaultdict(list)
    for seed in range(FIRST_SEED, FIRST_SEED + hearts):
        heart = digital_heart(seed, SLICES, SHAPE, PIXEL_MM, hidden_walls=True)
        scans = Scans.of(heart, MIDDLE, seed)
        for title, bad, described, with_labels in conditions(scans):
            weights = tissue_weights(scans.labels, codes, (PIXEL_MM, PIXEL_MM)) if with_labels else None
            (inferred,) = imager([Scan(f"{seed}", described, (PIXEL_MM, PIXEL_MM), weights)])
            masks = {name: scans.labels == code for name, code in codes.items()}
            found[title, bad].append(quality(inferred, imager.prior.scaling, masks).flags)
        for z in (MIDDLE, APEX):
            scans = Scans.of(heart, z, seed)
            (inferred,) = imager([Scan(f"{seed}", series(BSSFP(50.0, tr_ms=3.2), scans.cine), (PIXEL_MM, PIXEL_MM))])
            masks = {name: scans.labels == code for name, code in codes.items()}
            t1 = inferred.maps.t1.numpy()
            bad = any(
                masks[name].any() and abs(np.median(t1[masks[name]]) / np.median(scans.t1[masks[name]]) - 1) > WRONG_T1
                for name in ("RV", "LV")
            )
            title = f"cine without labels, T1 of a cavity {'wrong' if bad else 'right'}"
            found[title, bad].append(quality(inferred, imager.prior.scaling, masks).flags)
    print_table(found)


def print_table(found: dict[tuple[str, bool], list[tuple[Flag, ...]]]) -> None:
    """Slices and flagged slices of each condition, and precision and recall of all.

    Args:
        found: title and whether it is bad to the flags of each slice.
    """
    print("| condition | | slices | flagged | kinds |\n|---|---|---|---|---|")
    for (title, bad), slices in found.items():
        kinds = sorted({str(flag.kind) for flags in slices for flag in flags})
        print(
            f"| {title} | {'bad' if bad else 'good'} | {len(slices)} | {sum(map(bool, slices))} | {', '.join(kinds)} |"
        )
    right = sum(bool(flags) for (_, bad), slices in found.items() if bad for flags in slices)
    flagged = sum(bool(flags) for slices in found.values() for flags in slices)
    bad_slices = sum(len(slices) for (_, bad), slices in found.items() if bad)
    print(f"precision {right}/{flagged} = {right / max(flagged, 1):.2f}, recall {right}/{bad_slices} = ", end="")
    print(f"{right / max(bad_slices, 1):.2f}")


def real(imager: ReverseImager, folder: Path) -> None:
    """Print the residual and the flags of the middle slice of real images, judged by their labels if they have any."""
    myops = folder / "myops2020" / "train"
    cases = sorted(path.name.removesuffix("_0000.nii.gz") for path in (myops / "LGE").iterdir())[:REAL_CASES]
    for channel, sequence in (("LGE", InversionRecoveryGRE()), ("T2", BlackBloodTSE())):
        for case in cases:
            path = myops / channel / f"{case}_0000.nii.gz"
            labels = read_image(myops / "labels" / f"{case}.nii.gz")
            z = len(labels) // 2
            masks = {name: labels[z : z + 1] == code for name, code in structure_codes(dict(LABELS)).items()}
            print_real(imager, f"{channel} {case}", series(sequence, read_image(path)[None, z : z + 1]), path, masks)
    molli = folder / "molli_t1net"
    for reference in sorted((molli / "reference").glob("*.json")):
        times = tuple(json.loads(reference.read_text())["inversion_times_ms"])
        paths = [molli / "images" / f"{reference.stem}_ti{i:02d}_0000.nii.gz" for i in range(len(times))]
        images = np.stack([read_image(path) for path in paths])
        print_real(imager, f"MOLLI {reference.stem}", series(MOLLI.from_inversion_times(times), images), paths[0], {})


def print_real(
    imager: ReverseImager, title: str, described: tuple[Series, ...], path: Path, masks: dict[str, np.ndarray]
) -> None:
    """Print the residual and the flags of one scan, whose geometry is that of an image file."""
    (inferred,) = imager([Scan(title, described, Geometry.read(path).pixel_mm)])
    judgement = quality(inferred, imager.prior.scaling, masks)
    reasons = "; ".join(flag.reason for flag in judgement.flags) or "no flags"
    print(f"{title}: residual {100 * judgement.residual_rms:.1f} %, {reasons}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-hearts", type=int, default=4, help="digital hearts (default %(default)s)")
    parser.add_argument("-prior", default="digital_heart")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    imager = ReverseImager(SpinPrior.load(args.prior, args.device), batch=1)
    digital(imager, args.hearts)
    if "NNUNET_PHYS_DATA" in os.environ:
        real(imager, Path(os.environ["NNUNET_PHYS_DATA"]))


if __name__ == "__main__":
    main()
