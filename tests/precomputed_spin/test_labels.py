"""Probabilities of tissues according to labels."""

import numpy as np
import pytest
import torch

from nnunet_phys.precomputed_spin.labels import IMPOSSIBLE, TissueLabels, tissue_weights
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.spin import SpinMaps

SCALING = SpinScaling()


def test_labels_have_weight_inside_structures_and_none_at_their_edges():
    mask = np.zeros((1, 48, 48), np.uint8)
    mask[:, 8:40, 4:22], mask[:, 8:40, 26:44] = 2, 3
    weights = tissue_weights(mask, {"MYO": 2, "LV": 3}, (2.0, 2.0))
    assert weights[0, :, 24, 12] == pytest.approx([0, 0, 1])
    assert weights[0, :, 24, 35] == pytest.approx([0.85, 0, 0.15])  # papillary muscles belong to the cavity
    assert (
        not weights[0, :, 24, [21, 22, 25, 26]].any() and not weights[0, :, 8].any() and not weights[0, :, 24, 46].any()
    )


def test_labels_decide_where_the_belief_is_vague_and_yield_where_it_is_certain(tissue):
    weights = torch.tensor([[0.85, 0.0, 0.15], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).T.view(1, 3, 1, 3)
    labels = TissueLabels(weights, SCALING)
    belief = SCALING.encode(tissue(0.8, 900, 90, (1, 1, 3)))
    mean, variance = labels.combine(belief, torch.full((1, 3, 1, 1), 0.3))
    pool, wall, _ = SCALING.decode(mean).stack().movedim(0, -1)[0, 0]
    assert 1300 < pool[1] < 1900 and pool[2] > 120 and 950 < wall[1] < 1350 and 40 < wall[2] < 60
    torch.testing.assert_close(mean[..., 2], belief[..., 2])
    assert (variance[:, 1:, 0, 1] < 0.05).all() and torch.allclose(variance[:, 0], torch.tensor(0.3))
    muscle = SCALING.encode(tissue(0.8, 1100, 48, (1, 1, 3)))  # a papillary muscle, clearly visible
    mean, _ = labels.combine(muscle, torch.full((1, 3, 1, 1), 1e-3))
    torch.testing.assert_close(mean[..., 0], muscle[..., 0], atol=0.05, rtol=0)


def test_labels_bound_relaxation_times_well_inside_of_structures_only():
    weights = torch.tensor([[0.0, 0.0, 1.0], [0.85, 0.0, 0.15], [0.17, 0.0, 0.03]]).T.view(1, 3, 1, 3)
    labels = TissueLabels(weights, SCALING)
    least, greatest = (
        SCALING.decode(torch.cat((bound[:, :1] * 0, bound), 1)).stack()[1:, 0, 0] for bound in labels.bounds
    )
    assert (least[0, :2] > 600).all() and greatest[0, 0] < 1700 and greatest[1, 0] < 80
    assert greatest[1, 1] > 250  # blood or papillary muscle
    assert least[0, 2] == pytest.approx(220) and greatest[0, 2] >= 2500  # near an edge: any tissue


def test_fat_is_impossible_inside_a_label():
    labels = TissueLabels(torch.tensor([0.0, 0.9, 0.1]).view(1, 3, 1, 1), SCALING)
    fat, blood = (
        SCALING.encode(SpinMaps(*(torch.full((1, 1, 1), v) for v in (1.0, t1, t2))))[0, 1:, 0, 0]
        for t1, t2 in ((350.0, 60.0), (1600.0, 150.0))
    )
    likely = labels.log_likelihood(torch.stack((fat, blood)), torch.tensor([0]))[0]
    assert likely[0] == IMPOSSIBLE and likely[1] > -5
