"""Dice, Hausdorff distances and statistics agree with values computed by hand or published."""

import json
import math

import numpy as np
import pytest
import SimpleITK as sitk

from generalization.comparisons import holm, mean_and_sd, mean_interval, paired_p
from generalization.scores import Score, hd95, mean_dice, score_case


def square(rows: slice, columns: slice, slices: int = 1) -> np.ndarray:
    mask = np.zeros((slices, 20, 20), bool)
    mask[:, rows, columns] = True
    return mask


def write(path, array, spacing=(2.0, 2.0, 10.0)):
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))


def test_hd95_of_a_shifted_square_is_the_shift():
    truth, moved = square(slice(4, 10), slice(4, 10)), square(slice(4, 10), slice(7, 13))
    assert hd95(truth, truth, (10.0, 2.0, 2.0)) == 0
    assert hd95(moved, truth, (10.0, 2.0, 1.5)) == pytest.approx(3 * 1.5)


def test_hd95_counts_in_mm_across_slices_and_symmetrically():
    first, both = square(slice(4, 10), slice(4, 10), 2), square(slice(4, 10), slice(4, 10), 2)
    first[1] = False  # one slice lacks the structure: its contour is a slice thickness away
    assert hd95(first, both, (8.0, 2.0, 2.0)) == hd95(both, first, (8.0, 2.0, 2.0)) == pytest.approx(8.0)


def test_hd95_ignores_the_worst_twentieth():
    truth = square(slice(2, 18), slice(2, 18))
    speck = truth.copy()
    speck[0, 0, 0] = True
    assert hd95(speck, truth, (10.0, 1.0, 1.0)) < 1


def test_hd95_is_unknown_where_either_is_empty():
    empty = np.zeros((1, 20, 20), bool)
    assert math.isnan(hd95(empty, square(slice(4, 10), slice(4, 10)), (1.0, 1.0, 1.0)))
    assert math.isnan(hd95(empty, empty, (1.0, 1.0, 1.0)))


def test_scores_of_a_case(tmp_path):
    truth, predicted = np.zeros((2, 1, 20, 20), np.uint8)
    truth[0, 4:10, 4:10] = 1  # RV: half of it is found, and as much beside it
    predicted[0, 4:10, 7:13] = 1
    truth[0, 14:16, 14:16] = 2  # MYO: missed; LV: neither here nor there
    write(tmp_path / "truth.nii.gz", truth)
    write(tmp_path / "predicted.nii.gz", predicted)
    scores = score_case(tmp_path / "predicted.nii.gz", tmp_path / "truth.nii.gz")
    assert scores["RV"] == Score(0.5, 6.0)
    assert scores["MYO"] == Score(0.0, None)
    assert scores["LV"] == Score(None, None)
    assert mean_dice(scores) == pytest.approx(0.25)
    json.dumps([vars(score) for score in scores.values()], allow_nan=False)


def test_holm_agrees_with_a_worked_example():
    # p = 0.01, 0.04, 0.03, 0.005 of four tests: 4 x 0.005, 3 x 0.01, 2 x 0.03, and the last no less than that
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_wilcoxon_agrees_with_the_exact_distribution():
    better = {str(k): 0.8 + 0.01 * k for k in range(8)}
    worse = {str(k): 0.7 for k in range(8)}
    assert paired_p(better, worse) == pytest.approx(2 / 2**8)  # all eight differences have one sign
    assert paired_p(better, better) == 1.0


def test_no_p_with_too_few_pairs():
    few = {str(k): 0.1 * k for k in range(5)}
    assert paired_p(few, {key: value + 0.1 for key, value in few.items()}) is None
    assert paired_p({**few, "a": math.nan}, {**few, "a": 0.5}) is None


def test_values_are_paired_by_name_not_by_place():
    first = {name: float(k) for k, name in enumerate("abcdef")}
    assert paired_p(first, dict(reversed(first.items()))) == 1.0


def test_interval_holds_the_mean_and_narrows():
    values = list(np.random.default_rng(0).normal(0.8, 0.05, 60))
    narrow, wide = mean_interval(values), mean_interval(values[:10])
    assert narrow[0] < np.mean(values) < narrow[1]
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 * np.std(values) / np.sqrt(60), rel=0.1)
    assert wide[1] - wide[0] > narrow[1] - narrow[0]
    assert mean_interval(values) == narrow
    assert mean_interval([0.5, math.nan]) is None


def test_mean_and_sd_leave_out_what_is_unknown():
    assert mean_and_sd([1.0, 3.0, math.nan]) == (2.0, pytest.approx(math.sqrt(2)))
    assert math.isnan(mean_and_sd([math.nan])[0])
