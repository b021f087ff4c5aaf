"""What a voxel's T1 and T2 say about its tissue. No label is read, so no outline of a label can get into an image.

This is the only definition of flowing blood: training, inference, translation and pictures share it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_phys.spin import SpinMaps

BLOOD_T1_MS, BLOOD_T2_MS = 800.0, 88.0
"""Where the factors of `flowing_blood` are one half: T1 between post-contrast and native blood, T2 between spleen
(79 ms) and venous blood (110 ms), low enough for the right ventricle, whose inferred T2 is often below 100; assumed."""
_BLOOD_T1_STEEPNESS, _BLOOD_T2_STEEPNESS = 12.0, 9.0
"""Slopes of these factors over log T1 and log T2; assumed."""
_FAT_STEEPNESS, _MUSCLE_STEEPNESS = 12.0, 10.0
"""Slopes of the other tissues' factors; assumed."""
FAT_MOST_T1_MS = 480.0
"""Between fat (250-410 ms) and the shortest native T1 of other tissue (liver, 550-660 ms); assumed."""
MUSCLE_LEAST_T1_MS, MUSCLE_MOST_T2_MS = 700.0, 75.0
"""Least T1 and greatest T2 of tissue like myocardium, oedema (T2 up to 70 ms) included; assumed."""


def flowing_blood(t1: torch.Tensor, t2: torch.Tensor) -> torch.Tensor:
    """How much a voxel looks like flowing native blood: 0 to 1, smooth.

    An ASSUMPTION, not a published formula: a product of logistic functions of log T2 and of log T1. It is above 0.93 in
    arterial blood (T1 1250-2000, T2 above 120 ms), about 0.88 in venous blood (T2 110 ms), 0.27 in spleen (T2 79 ms),
    0.06 in oedema (T2 65 ms), and below 0.01 in myocardium, muscle, liver and fat. It knows no flow: fluid at rest
    counts as blood, post-contrast blood does not. A sequence with its own share of blood uses that instead.

    Args:
        t1: ms, any shape, > 0.
        t2: ms, same shape, > 0.

    Returns:
        Weight of that shape.
    """
    by_t2 = torch.sigmoid(_BLOOD_T2_STEEPNESS * torch.log(t2 / BLOOD_T2_MS))
    return by_t2 * torch.sigmoid(_BLOOD_T1_STEEPNESS * torch.log(t1 / BLOOD_T1_MS))


@dataclass(frozen=True, eq=False)
class TissueKinds:
    """What T1 and T2 say about the tissue: smooth weights from 0 to 1, of the maps' shape.

    Attributes:
        blood: flowing blood.
        watery: neither blood nor fat.
        muscle: like myocardium.
    """

    blood: torch.Tensor
    watery: torch.Tensor
    muscle: torch.Tensor

    @classmethod
    def of(cls, maps: SpinMaps) -> TissueKinds:
        """Blood by `flowing_blood`, the others by logistic functions of log T1 and log T2; an assumption."""
        blood = flowing_blood(maps.t1, maps.t2)
        watery = (1 - blood) * torch.sigmoid(_FAT_STEEPNESS * torch.log(maps.t1 / FAT_MOST_T1_MS))
        above_t1 = torch.sigmoid(_MUSCLE_STEEPNESS * torch.log(maps.t1 / MUSCLE_LEAST_T1_MS))
        return cls(blood, watery, above_t1 * torch.sigmoid(_MUSCLE_STEEPNESS * torch.log(MUSCLE_MOST_T2_MS / maps.t2)))
