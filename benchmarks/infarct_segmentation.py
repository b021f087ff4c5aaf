"""What becomes of infarcts in segmentations of LGE: blood, myocardium, right ventricle or background?

Counts the pixels of scar, oedema and remaining myocardium in MyoPS 2020 (`train`, in the folder in NNUNET_PHYS_DATA,
not part of the project) by the label that a model gives them. Segmentations are those of the test bed, or any with the
cases' names and its labels.

    NNUNET_PHYS_DATA=... python benchmarks/infarct_segmentation.py W/predictions/acdc__p*__seed*/myops_lge
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from infarcts import MYOPS_MYO, MYOPS_OEDEMA, MYOPS_SCAR

from generalization.test_sets import STRUCTURES
from nnunet_phys.errors import InputError
from nnunet_phys.image_files import read_image

TISSUES = {"scar": MYOPS_SCAR, "oedema": MYOPS_OEDEMA, "other myocardium": MYOPS_MYO}


def main() -> None:
    """Print one line per tissue and folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="segmentations: CASE.nii.gz")
    args = parser.parse_args()
    names = ("background", *STRUCTURES)
    print("% of pixels called".ljust(28) + "".join(f"{name:>12}" for name in names))
    for folder in args.folders:
        counts = label_counts(Path(os.environ["NNUNET_PHYS_DATA"]) / "myops2020" / "train", folder)
        print(folder)
        for tissue, of_label in counts.items():
            print(f"  {tissue:<26}" + "".join(f"{share:12.1f}" for share in 100 * of_label / of_label.sum()))


def label_counts(scans: Path, segmentations: Path) -> dict[str, np.ndarray]:
    """Numbers of pixels of each tissue by the label they get, over all cases.

    Raises:
        InputError: no case is there, or one has another shape.
    """
    counts = {tissue: np.zeros(len(STRUCTURES) + 1, int) for tissue in TISSUES}
    files = [file for file in sorted((scans / "pathology").glob("*.nii.gz")) if (segmentations / file.name).is_file()]
    if not files:
        raise InputError(f"{segmentations} holds none of the cases of {scans / 'pathology'}.")
    for file in files:
        codes, labels = read_image(file), read_image(segmentations / file.name)
        if codes.shape != labels.shape:
            raise InputError(f"{segmentations / file.name} has shape {labels.shape}, its labels have {codes.shape}.")
        for tissue, code in TISSUES.items():
            counts[tissue] += np.bincount(labels[codes == code].astype(int), minlength=len(STRUCTURES) + 1)
    return counts


if __name__ == "__main__":
    main()
