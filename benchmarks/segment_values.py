"""T1 per segment under the masks that `nnunet_phys segment` makes, beside T1 under contours drawn by hand.

Takes the real MOLLI series in the folder that NNUNET_PHYS_DATA names (not part of the project): one apical slice each,
whose files have lost their orientation; they are shown with the anterior wall upwards. Prints a row per segment, with
the scanner's own map under the same contours.

    NNUNET_PHYS_DATA=... python benchmarks/segment_values.py -model MODEL

A model of benchmarks/generalization in WORK/models/RUN needs its trainer, too: set nnUNet_extTrainer to
benchmarks/generalization/trainers, PYTHONPATH to benchmarks, and NNUNET_PHYS_SCHEDULE to that folder's schedule.json.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from series_segmentation import real

from generalization.processes import run_command
from nnunet_phys.image_files import Geometry, read_image, write_volume

_SEGMENTS = ("13", "14", "15", "16", "septal", "global")
_ANTERIOR_UP = (1.0, 0, 0, 0, 1, 0, 0, 0, 1)


def main() -> None:
    """Print a table per series."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-model", type=Path, required=True, help="a trained model's folder or zip")
    parser.add_argument("-device", default="cpu")
    args = parser.parse_args()
    data = Path(os.environ["NNUNET_PHYS_DATA"]) / "molli_t1net"
    for series in real(data):
        geometry = Geometry(series.geometry.size, series.geometry.spacing, (0.0, 0.0, 0.0), _ANTERIOR_UP)
        with tempfile.TemporaryDirectory() as name:
            work = Path(name)
            replace(series, geometry=geometry).write(work / "scans")
            model = ("-model", str(args.model.resolve()), "-device", args.device)
            run_command("nnunet_phys", "segment", "-i", str(work / "scans"), "-o", str(work / "segmented"), *model)
            shutil.copytree(work / "segmented", work / "drawn")
            mask = next((work / "drawn" / "masks").iterdir())
            write_volume(mask, series.labels, geometry, kind=np.uint8)
            scanner = read_image(data / "reference" / f"{series.case}_T1map.nii.gz")
            (work / "drawn" / "references").mkdir(exist_ok=True)
            reference = work / "drawn" / "references" / f"{series.case}_T1map.nii.gz"
            write_volume(reference, scanner, geometry)
            values = {}
            for masks in ("segmented", "drawn"):
                report = work / f"report_{masks}"
                run_command("nnunet_phys", "quantify", "-i", str(work / masks), "-o", str(report), "-levels", "apical")
                for row in csv.DictReader((report / "segments.csv").open()):
                    if row["mean_ms"]:
                        values[masks, row["method"], row["segment"]] = float(row["mean_ms"])
        print(
            f"\n{series.case}\n\n| segment | mask of the model, ms | contours | difference | scanner's map, contours |"
        )
        print("|---|---|---|---|---|")
        differences = []
        for segment in _SEGMENTS:
            made, drawn = values["segmented", "fit", segment], values["drawn", "fit", segment]
            differences.append(made - drawn)
            of_scanner = values["drawn", "scanner", segment]
            print(f"| {segment} | {made:.0f} | {drawn:.0f} | {made - drawn:+.0f} | {of_scanner:.0f} |")
        print(f"\nmean absolute difference of segments 13-16: {np.abs(differences[:4]).mean():.1f} ms")


if __name__ == "__main__":
    main()
