"""Simulated images that guide a prior in its training."""

import numpy as np
import pytest

from nnunet_phys.brightness import bright_level
from nnunet_phys.digital_heart import digital_heart
from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.guide_images import GUIDES, observe
from nnunet_phys.sequences import BSSFP, MOLLI, SpoiledGRE


@pytest.mark.parametrize("sequence", [BSSFP(50.0), SpoiledGRE(inflow_pulses=50.0), MOLLI()])
def test_observed_images_show_the_maps_in_the_unit_of_the_signal(sequence):
    maps = digital_heart(0, 2).maps
    observation = observe(maps, sequence, maps.stack().flatten(1)[:, ::64], np.random.default_rng(0))
    truth = signals(sequence, maps)
    assert observation.signed == (len(truth) > 1) and observation.images.shape == truth.shape
    assert float(bright_level(observation.images.abs())) == pytest.approx(observation.level, rel=0.4)
    assert np.corrcoef(observation.images.ravel(), truth.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("name", GUIDES)
def test_every_draw_is_a_new_protocol_that_can_be_observed(name):
    rng, maps = np.random.default_rng(0), digital_heart(0, 1).maps
    drawn = [GUIDES[name][1](rng) for _ in range(2000)]
    assert len(set(drawn)) == 2000
    for sequence in drawn[:3]:
        images = observe(maps, sequence, maps.stack().flatten(1)[:, ::64], rng).images
        assert len(images) == sequence.image_count and bool(images.isfinite().all())
