"""The demo's table and picture."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from nnunet_phys.experiments.comparison import Example, dice, dice_table, draw_comparison


def test_dice_is_the_mean_over_the_structures_of_the_truth():
    truth = np.array([[1, 1, 2, 2, 0]])
    assert dice(truth, truth) == 1
    assert dice(np.array([[1, 1, 0, 0, 2]]), truth) == 0.5
    assert np.isnan(dice(truth, np.zeros_like(truth)))


def test_the_table_has_a_column_per_model_and_means():
    scores = {"plain": {"cine": {"RV": 0.5, "LV": 0.7}}, "Phys": {"cine": {"RV": 0.9, "LV": 1.0}}}
    lines = dice_table(scores).splitlines()
    assert [line.split()[-2:] for line in lines[1:]] == [["0.500", "0.900"], ["0.700", "1.000"], ["0.600", "0.950"]]


@pytest.mark.parametrize("empty", [False, True])
def test_the_picture_fits_a_page(tmp_path, empty):
    rng = np.random.default_rng(0)
    labels = np.zeros((2, 40, 40), np.uint8)
    labels[:, 12:28, 12:20], labels[:, 14:26, 20:30] = 2, 3
    for folder, array in (
        ("imagesTs_gre/heart000_0000", rng.uniform(0, 9, labels.shape)),
        ("labelsTs_gre/heart000", labels),
        ("plain/gre/heart000", 0 * labels if empty else labels),
    ):
        path = tmp_path / f"{folder}.nii.gz"
        path.parent.mkdir(parents=True)
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    example = Example("gre", "heart000", "GRE")
    draw_comparison(tmp_path, {"plain": tmp_path / "plain"}, [example], 1, tmp_path / "demo.png")
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width == 750 and picture.height < 400
