"""Which tissue of a labelled cavity a pixel shows: unlike the rest of the cavity, it is papillary muscle."""

from __future__ import annotations

from dataclasses import replace

import torch

from nnunet_phys.precomputed_spin.labels import LABELLED_TISSUES, TissueLabels, tissue_moments
from nnunet_phys.precomputed_spin.likelihood import Observation
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissues import TISSUES

_CAVITIES = tuple(LABELLED_TISSUES.index(name) for name in ("blood", "venous blood"))
_MUSCLE = LABELLED_TISSUES.index("myocardium")
_DEVIATION = 0.15
"""Standard deviation of blood's and muscle's brightness within a cavity, relative to its median brightness: flow, coil
shading, noise and partial volume. Assumed."""
_FEWEST_PIXELS = 12
"""Fewest pixels of a cavity whose median stands for its blood. Assumed."""


def weigh_by_brightness(labels: TissueLabels, observation: Observation) -> TissueLabels:
    """Labels whose cavities are divided into blood and muscle by a magnitude image.

    A label says that most of a cavity is blood, so the cavity's median brightness is that of its blood, whatever the
    coils do there. Against it, each pixel's brightness tells blood from muscle, whose ratio the sequence gives
    (Bayes' rule, with the label's shares as the prior).

    Args:
        labels: what labels say, on the image's grid.
        observation: one magnitude image, (1, slices, rows, columns).

    Returns:
        the labels with new weights; their sum in each pixel is as before.
    """
    centres, _ = tissue_moments(labels.scaling)
    scaled = torch.cat((torch.zeros(len(centres), 1), centres), 1).T[None, :, None]
    tissues = labels.scaling.decode(scaled)
    pd = torch.tensor([_middle_pd(name) for name in LABELLED_TISSUES]).view_as(tissues.pd)
    signal = observation.predict(SpinMaps(pd, tissues.t1, tissues.t2)).flatten()
    image, weights = observation.images[0], labels.weights.clone()
    for cavity in _CAVITIES:
        muscle_ratio = float(signal[_MUSCLE] / signal[cavity])
        for z in range(len(image)):
            inside = labels.weights[z, cavity] > 0
            if int(inside.sum()) < _FEWEST_PIXELS:
                continue
            middle = image[z][inside].median()
            if middle <= 0:  # black blood at 0, or no image: nothing to compare with
                continue
            ratio = image[z][inside] / middle
            blood, muscle = labels.weights[z, cavity][inside], labels.weights[z, _MUSCLE][inside]
            log_odds = ((ratio - 1).square() - (ratio - muscle_ratio).square()) / (2 * _DEVIATION**2)
            share = torch.sigmoid(log_odds + (muscle / blood).log())
            weights[z, cavity][inside] = (blood + muscle) * (1 - share)
            weights[z, _MUSCLE][inside] = (blood + muscle) * share
    return replace(labels, weights=weights)


def _middle_pd(name: str) -> float:
    """PD in the middle of a tissue's range; venous blood has that of blood (`tissues`)."""
    least, greatest = TISSUES[1.5]["blood" if name == "venous blood" else name].pd
    return (least + greatest) / 2
