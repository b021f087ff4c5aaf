"""How long, how fast and at which pixel sizes a spin prior learns."""

from __future__ import annotations

from dataclasses import dataclass

PIXEL_MM = (0.5, 10.0)
"""Smallest and largest pixel size of a prior. Assumed: half the finest clinical pixel (1 mm), and a pixel as thick as
the left ventricle's wall."""


@dataclass(frozen=True)
class Stage:
    """A stretch of training at one crop size.

    Attributes:
        until: fraction of all steps at which it ends.
        crop: rows and columns of a training crop, pixels.
        batch: crops per step.
    """

    until: float
    crop: int
    batch: int


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        steps: optimiser steps.
        stages: small crops first, which saves steps; the last stage must end at 1.
        learning_rate: AdamW's learning rate after the warm-up; it then falls as a half cosine to 0.
        batch_factor: factor of the stages' crops per step; a GPU takes more than a CPU.
        guided_share: share of crops that are guided by images of them.
        labelled_share: share of these whose guides also use the labels of the heart, where it is labelled.
        warmup_steps: steps over which the learning rate rises from 0.
        checkpoint_minutes: time between checkpoints.

    Raises:
        ValueError: no steps, or stages whose ends do not increase to 1.
    """

    steps: int = 6400
    stages: tuple[Stage, ...] = (Stage(0.5, 64, 16), Stage(1.0, 128, 6))
    learning_rate: float = 6e-4
    batch_factor: int = 1
    guided_share: float = 0.9
    labelled_share: float = 0.3
    warmup_steps: int = 100
    checkpoint_minutes: float = 4.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.steps} steps: give 1 or more")
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(ends) or ends[-1] != 1:
            raise ValueError(f"stages end at {ends}: they must increase to 1")

    @property
    def largest_crop(self) -> int:
        """Rows and columns of the largest crop."""
        return max(stage.crop for stage in self.stages)

    def stage(self, step: int) -> Stage:
        """The stage of a step."""
        return next(stage for stage in self.stages if step < stage.until * self.steps)
