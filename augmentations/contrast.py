"""The transforms: an image with its maps becomes an image of another contrast, drawn anew for every sample.

`SynthesizeContrast` comes first in the pipeline, before the spatial transform, since signals mix where voxels mix: the
image may be interpolated, T1 may not. It leaves the signed signal. `AcquireImage` comes after the spatial transform and
adds noise and the scanner's other effects on an image, on the final crop, where that is cheapest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform

from nnunet_phys.augmentations.contrast_draw import SMALLEST_DEVIATION, ContrastDraw, noise_reference
from nnunet_phys.augmentations.recipe import ContrastRecipe
from nnunet_phys.fields import grid_positions
from nnunet_phys.forward import image_of
from nnunet_phys.reservoir import Reservoir


@dataclass(frozen=True)
class Acquisition:
    """What `AcquireImage` needs to know about a signal that has passed through the spatial transform.

    Attributes:
        draw: the contrast.
        reservoir_signal: signed signal of the case's reservoir, (n,).
        mean, deviation: mean and standard deviation of `reservoir_signal`. The signal passes the spatial transform as a
            z-score by these, since padding is 0.
        in_air: what is 0 is air, outside of the body's mask, not padding of which nothing is known.
    """

    draw: ContrastDraw
    reservoir_signal: torch.Tensor
    mean: float
    deviation: float
    in_air: bool = False


class Case(Protocol):
    """What `SynthesizeContrast` needs of a case; `precomputed_spin.dataset.SpinCase` is one."""

    @property
    def reservoir(self) -> Reservoir:
        """A few voxels of the whole case."""

    def maps(self, box: tuple[slice, ...]) -> torch.Tensor:
        """PD, T1 (ms), T2 (ms) and the distance to blood (mm) of a part of the case, float32 (4, ...)."""


class Patch(Protocol):
    """The part of a case that a patch shows; `precomputed_spin.dataset.SpinPatch` is one."""

    @property
    def case(self) -> Case:
        """The case."""

    @property
    def start(self) -> tuple[int, int, int]:
        """The patch's first voxel in the case."""

    @property
    def box(self) -> tuple[slice, ...]:
        """Where the patch lies in the padded image, per axis of the image."""


class Cases(Protocol):
    """What `SynthesizeContrast` needs of the training cases; `precomputed_spin.dataset.SpinCases` has it."""

    def __len__(self) -> int:
        """Their number."""

    def locate(self, plane: np.ndarray) -> Patch | None:
        """The patch that an index plane describes; None where all is padding."""


class SynthesizeContrast(BasicTransform):
    """Replace the real image by the signed signal of a contrast drawn for it.

    Takes `image` with two channels, image and index plane (see `precomputed_spin.dataset`), and returns the first,
    overwritten. The sample's `contrast` entry holds what `AcquireImage` needs; it is None where the real image is kept.
    Draws from np.random, since nnU-Net's workers fork with identical torch generators.

    Args:
        recipe: what to draw.
        cases: the training cases, which the index plane names.
        masked: the configuration normalises within the nonzero mask only (use_mask_for_norm), so voxels outside it,
            labelled -1, stay 0.
    """

    def __init__(self, recipe: ContrastRecipe, cases: Cases, masked: bool = False) -> None:
        super().__init__()
        self.recipe, self.cases, self.masked = recipe, cases, masked

    def __repr__(self) -> str:
        return f"SynthesizeContrast(recipe {self.recipe.name}, {len(self.cases)} cases, masked={self.masked})"

    def get_parameters(self, image: torch.Tensor, segmentation: torch.Tensor | None = None, **_: Any) -> dict:
        """The draw (None: keep the real image), the patch, and a mask of voxels that must stay 0."""
        patch = self.cases.locate(image[1].numpy())
        reservoir = None if patch is None else patch.case.reservoir
        outside = segmentation[0] < 0 if self.masked and segmentation is not None else None
        return {"draw": self.recipe.draw_sample(np.random, reservoir), "patch": patch, "outside": outside}

    def apply(
        self, data_dict: dict, draw: ContrastDraw | None, patch: Patch | None, outside: torch.Tensor | None
    ) -> dict:
        image = data_dict["image"] = data_dict["image"][:1]
        data_dict["contrast"] = None
        if draw is None or patch is None:
            return data_dict
        case, start, box = patch.case, patch.start, patch.box
        size = image[(0, *box)].shape
        size_3d = (1,) * (3 - len(size)) + size
        maps = case.maps(tuple(slice(low, low + n) for low, n in zip(start, size_3d, strict=True)))
        signal, acquisition = synthesize(maps, start, case.reservoir, draw)
        image[(0, *box)] = signal.reshape(size)
        if outside is not None:
            image[0, outside] = 0
        data_dict["contrast"] = replace(acquisition, in_air=outside is not None)
        return data_dict


class AcquireImage(BasicTransform):
    """Image effects, noise, magnitude, and the z-score that nnU-Net would compute over the whole case.

    Takes the result of `SynthesizeContrast`, after any spatial transform; real images stay as they are. Padding stays
    0, nnU-Net's value for it. Leaves the `ContrastDraw` in the sample's `contrast`, whose `describe` is its record, or
    None for a real image.
    """

    def apply(self, data_dict: dict, **_: Any) -> dict:
        acquisition = data_dict["contrast"]
        if acquisition is not None:
            data_dict["image"] = acquire(data_dict["image"], acquisition)
            data_dict["contrast"] = acquisition.draw
        return data_dict


def _spacing_mm(reservoir: Reservoir) -> tuple[float, float, float]:
    slice_mm, row_mm, column_mm = (float(spacing) for spacing in reservoir.spacing_mm)
    return slice_mm, row_mm, column_mm


def synthesize(
    maps: torch.Tensor, start: tuple[int, ...], reservoir: Reservoir, draw: ContrastDraw
) -> tuple[torch.Tensor, Acquisition]:
    """Signed signal of a patch, as a z-score.

    Args:
        maps: PD, T1 (ms), T2 (ms) and distance to blood (mm) of the patch, (4, slices, rows, columns).
        start: index of the patch's first voxel in the case, three numbers.
        reservoir: a few voxels of the whole case.
        draw: the contrast.

    Returns:
        tensor (slices, rows, columns), and what `acquire` needs.
    """
    voxel_mm = _spacing_mm(reservoir)
    maps, blood_mm = maps[:3], maps[3]
    positions = grid_positions(start, tuple(maps.shape[1:]), tuple(reservoir.shape), voxel_mm)
    z, y, x = torch.from_numpy(reservoir.position_mm)
    points = z, y, x  # a tuple of three, for type checkers
    flips = draw.flip_angles(positions)
    flips_of_points = draw.flip_angles(points)
    table = draw.table(flips_of_points)
    signal = draw.tabulated_signal(table, maps, positions, flips, voxel_mm, blood_mm)
    voxels, blood_mm_of_points = torch.from_numpy(reservoir.voxels), torch.from_numpy(reservoir.blood_mm)
    of_points = draw.tabulated_signal(table, voxels, points, flips_of_points, voxel_mm, blood_mm_of_points)
    deviation, mean = torch.std_mean(of_points, correction=0)
    deviation = deviation.clamp_min(SMALLEST_DEVIATION)
    acquisition = Acquisition(draw, of_points, float(mean), float(deviation))
    signal = draw.displaced(signal, positions)
    return torch.add(-mean / deviation, signal, alpha=1 / acquisition.deviation), acquisition


def acquire(image: torch.Tensor, acquisition: Acquisition) -> torch.Tensor:
    """The image that the scanner makes of a signal, as nnU-Net normalises it.

    nnU-Net takes mean and deviation of the whole case. Here they come from the case's reservoir, with the same noise.
    How blur, ghosts and cut k-space change them cannot be seen in single voxels, so it is measured on this image.

    Args:
        image: what `synthesize` returned, after any spatial transform, (1, ...); 0 is padding.
        acquisition: as returned with it.

    Returns:
        tensor of that shape, 0 in the padding.
    """
    draw, of_points = acquisition.draw, acquisition.reservoir_signal
    padding = image == 0
    # 1. The signed signal again, from its z-score
    signal = torch.add(torch.tensor(acquisition.mean), image, alpha=acquisition.deviation)
    if acquisition.in_air:
        signal.masked_fill_(padding, 0)
    # 2. Blur, cut k-space and ghosts
    finished = draw.with_image_effects(signal)
    # 3. Mean and deviation of the case's image, noise included
    reference = noise_reference(of_points)
    deviation_of_case, mean_of_case = torch.std_mean(draw.detected(of_points.clone(), reference), correction=0)
    deviation, mean = float(deviation_of_case), float(mean_of_case)
    # 4. How step 2 changes them, measured on this image
    if finished is not signal:
        before = _statistics(image_of(draw.sequence, signal), padding)
        after = _statistics(image_of(draw.sequence, finished), padding)
        half = 0.5 * deviation * deviation  # a patch may differ from the case: no effect changes the case by more
        deviation = math.sqrt(deviation**2 + min(max(after[1] ** 2 - before[1] ** 2, -half), half))
        mean += after[0] - before[0]
    deviation = max(deviation, SMALLEST_DEVIATION)
    # 5. Noise and magnitude, then the z-score; padding stays 0
    image_shown = draw.detected(finished, reference)
    return torch.add(torch.tensor(-mean / deviation), image_shown, alpha=1 / deviation).masked_fill_(padding, 0)


def _statistics(image: torch.Tensor, padding: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation outside the padding, by sums: selecting by the mask would take longer."""
    count = image.numel() - int(padding.sum())
    if count < image.numel():
        image = image.masked_fill(padding, 0)
    mean = float(image.sum()) / max(count, 1)
    return mean, math.sqrt(max(float(image.square().sum()) / max(count, 1) - mean * mean, 0.0))
