"""The count of what infarcts are called."""

import numpy as np
import pytest
import SimpleITK as sitk
from infarct_segmentation import label_counts

from nnunet_phys.errors import InputError


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(np.array(values, np.int16)), path)


def test_each_tissue_is_counted_by_the_label_it_gets(tmp_path):
    write(tmp_path / "scans" / "pathology" / "Case1.nii.gz", [[[2221, 2221, 2221, 1220, 200, 500, 0]]])
    write(tmp_path / "scans" / "pathology" / "Case2.nii.gz", [[[2221]]])
    write(tmp_path / "masks" / "Case1.nii.gz", [[[3, 3, 2, 0, 1, 2, 2]]])
    counts = label_counts(tmp_path / "scans", tmp_path / "masks")
    assert {tissue: list(of_label) for tissue, of_label in counts.items()} == {
        "scar": [0, 0, 1, 2],
        "oedema": [1, 0, 0, 0],
        "other myocardium": [0, 1, 0, 0],
    }
    write(tmp_path / "masks" / "Case2.nii.gz", [[[2, 2]]])
    with pytest.raises(InputError, match=r"Case2.nii.gz has shape \(1, 1, 2\)"):
        label_counts(tmp_path / "scans", tmp_path / "masks")
    with pytest.raises(InputError, match="holds none of the cases"):
        label_counts(tmp_path / "scans", tmp_path / "scans")
