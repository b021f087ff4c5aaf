"""nnU-Net's 2d plan, whole or reduced to what a CPU trains in an hour or a GPU in minutes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from generalization.bed import CONFIGURATION
from nnunet_phys.experiments.small_training import shrink_plan


@dataclass(frozen=True)
class ReducedPlan:
    """What replaces the numbers in nnU-Net's plan.

    Attributes:
        features: channels of each stage of the U-Net.
        batch: patches per iteration.
        patch: rows and columns of a patch at most.
        pixel_mm: least pixel size, so that a patch of finer images, such as those of MyoPS (0.73 mm), shows the heart
            and what is around it, too.
    """

    features: tuple[int, ...]
    batch: int = 6
    patch: int = 160
    pixel_mm: float = 1.5

    def apply(self, plans_file: Path) -> None:
        """Edit nnU-Net's plans in place; a patch stays no larger than planned, up to a multiple of the last stride."""
        plans = json.loads(plans_file.read_text())
        configuration = plans["configurations"][CONFIGURATION]
        configuration["spacing"] = [max(mm, self.pixel_mm) for mm in configuration["spacing"]]
        plans_file.write_text(json.dumps(plans))
        multiple = 2 ** (len(self.features) - 1)
        rows, columns = (min(self.patch, -(-n // multiple) * multiple) for n in configuration["patch_size"])
        shrink_plan(plans_file, (rows, columns), self.batch, self.features)

    def __str__(self) -> str:
        return (
            f"{len(self.features)} stages of {self.features[0]}-{max(self.features)} features, batches of {self.batch},"
            f" patches of at most {self.patch}x{self.patch}, pixels of at least {self.pixel_mm:g} mm"
        )


FULL = "full"
REDUCED_PLANS = {
    "small": ReducedPlan((16, 32, 64, 128, 128)),
    "wide": ReducedPlan((32, 64, 128, 256, 256, 256)),
}
"""The plans that `run -plan` offers beside nnU-Net's own, `FULL`."""


def plan_description(plan: str) -> str:
    """The plan of a record, as a part of a sentence."""
    return "nnU-Net's own plan" if plan == FULL else f"the {plan} plan ({REDUCED_PLANS[plan]})"
