"""Scars and contrast agent in the digital heart."""

import numpy as np
import pytest

from nnunet_phys.digital_heart import LABELS, digital_heart
from nnunet_phys.heart_enhancement import agent_concentration, draw_scar
from nnunet_phys.tissues import TISSUE_NAMES


@pytest.fixture(scope="module")
def heart():
    return digital_heart(5, slices=5)


def test_a_scar_lies_in_the_wall_and_starts_at_the_cavity(heart):
    for seed in range(8):
        scar = draw_scar(np.random.default_rng(seed), heart.labels)
        wall = heart.labels == LABELS["MYO"]
        assert scar.any() and (wall | ~scar).all()
        assert 0.02 < scar.sum() / wall.sum() < 0.4
        for plane, labels in zip(scar, heart.labels, strict=True):
            if plane.any():
                beside = np.zeros(plane.shape, bool)
                beside[:-1] |= plane[1:]
                beside[1:] |= plane[:-1]
                beside[:, :-1] |= plane[:, 1:]
                beside[:, 1:] |= plane[:, :-1]
                assert (labels[beside] == LABELS["LV"]).any()


def test_each_tissue_takes_up_its_share(heart):
    scar = draw_scar(np.random.default_rng(0), heart.labels)
    concentration = agent_concentration(heart.tissue, scar, 0.6, 0.5, 2.0)
    of = {name: np.unique(concentration[(heart.tissue == i) & ~scar]) for i, name in enumerate(TISSUE_NAMES)}
    assert of["blood"] == of["venous blood"] == pytest.approx(0.6)
    assert of["myocardium"] == pytest.approx(0.3) and of["fat"] == 0
    assert np.unique(concentration[scar]) == pytest.approx(0.6)
