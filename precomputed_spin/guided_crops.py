"""What a spin prior learns from at each step: crops of maps, and guides from images of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from nnunet_phys.devices import one_thread
from nnunet_phys.digital_heart import LABELS
from nnunet_phys.precomputed_spin.guide_images import GUIDES, draw_guide
from nnunet_phys.precomputed_spin.label_names import structure_codes
from nnunet_phys.precomputed_spin.labels import tissue_weights
from nnunet_phys.precomputed_spin.prior_schedule import Schedule
from nnunet_phys.precomputed_spin.spin_scaling import SpinScaling
from nnunet_phys.precomputed_spin.training_processes import ALONE, TrainingProcesses

_CODES = structure_codes(dict(LABELS))


@dataclass(frozen=True, eq=False)
class GuidedCrops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What a prior learns from at each step: square crops of scaled maps, rotated and mirrored at random, and guides.

    A step's crops depend on the seed, the step and the process alone, so that worker processes can draw them ahead.

    Attributes:
        scaled: scaled maps (slices, 3, rows, columns).
        labels: what is labelled in them, uint8 (slices, rows, columns).
        pixel_mm: pixel size of the maps.
        scaling: scaling of the maps.
        reference: PD, T1 (ms), T2 (ms) of the voxels to compare images and pixels with, (3, n).
        unguided: the guide where there are no images, (6, 1, 1).
        schedule: sizes of the crops, and shares of their guides.
        seed: random seed.
        team: the processes that learn together, whose crops differ.
    """

    scaled: torch.Tensor
    labels: torch.Tensor
    pixel_mm: float
    scaling: SpinScaling
    reference: torch.Tensor
    unguided: torch.Tensor
    schedule: Schedule
    seed: int
    team: TrainingProcesses = ALONE

    def __len__(self) -> int:
        """Number of steps."""
        return self.schedule.steps

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Crops (batch, 3, rows, columns) and their guides (batch, 6, rows, columns) of a step."""
        stage = self.schedule.stage(step)
        rng = np.random.default_rng([self.seed, step * self.team.count + self.team.index])
        count = stage.batch * self.schedule.batch_factor
        with one_thread():  # as in worker processes, so that their number changes no bit
            crops = [self._draw_crop(int(i), stage.crop, rng) for i in rng.integers(len(self.scaled), size=count)]
        stacked = torch.stack(crops)
        return stacked[:, :3], stacked[:, 3:]

    def _draw_crop(self, index: int, size: int, rng: np.random.Generator) -> torch.Tensor:
        """A crop of a slice's maps and its guide, (9, size, size)."""
        row, column = (int(rng.integers(n - size + 1)) for n in self.scaled.shape[-2:])
        window = slice(row, row + size), slice(column, column + size)
        crop = torch.cat((self.scaled[index][:, window[0], window[1]], self._draw_guide(index, window, rng)))
        crop = torch.rot90(crop, int(rng.integers(4)), (1, 2))
        return crop.flip(-1) if rng.random() < 0.5 else crop

    def _draw_guide(self, index: int, window: tuple[slice, slice], rng: np.random.Generator) -> torch.Tensor:
        """A guide of a window of a slice, (6, rows, columns)."""
        if rng.random() >= self.schedule.guided_share:
            return self.unguided.expand(6, *(part.stop - part.start for part in window))
        shares = np.array([share for share, _ in GUIDES.values()])
        protocols = [draw for _, draw in GUIDES.values()]
        sequence = protocols[rng.choice(len(protocols), p=shares / shares.sum())](rng)
        weights, mask = None, self.labels[index].numpy()
        if rng.random() < self.schedule.labelled_share and mask.any():
            weights = tissue_weights(mask[None], _CODES, (self.pixel_mm, self.pixel_mm))[0]
        return draw_guide(self.scaled[index], self.scaling, self.reference, sequence, rng, window, weights)
