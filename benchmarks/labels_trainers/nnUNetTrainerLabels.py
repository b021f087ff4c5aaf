"""Trainers of `labels.py`: on three sequences; with inflow by T1 and T2, as in the package, or by labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnunet_phys.augmentations.contrast import SynthesizeContrast
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin

Demo = recursive_find_trainer_class_by_name("nnUNetTrainerDemo")
CAVITIES = (1, 3)
RECIPES = Path(__file__).parents[1] / "recipes"


class nnUNetTrainerThreeSequences(PhysMixin, Demo):
    """bSSFP, MOLLI and GRE without contrast agent, with noise as the only scanner effect."""

    recipe = RECIPES / "three_sequences.json"


class nnUNetTrainerTissueInflow(PhysMixin, Demo):
    """Cine with blood at rest, and GRE with inflow where T1 and T2 are like blood's."""

    recipe = RECIPES / "inflow.json"


class nnUNetTrainerLabelInflow(nnUNetTrainerTissueInflow):
    """The same with inflow into the labelled cavities."""

    def get_training_transforms(self, *args, **kwargs):
        """The parent's transforms, with the synthesis replaced."""
        transforms = super().get_training_transforms(*args, **kwargs)
        ours = transforms.transforms[0]
        transforms.transforms[0] = PaintedInflow(ours.recipe, ours.cases, ours.masked)
        return transforms


class PaintedInflow(SynthesizeContrast):
    """The synthesis with blood that flows inside the labelled cavities and rests elsewhere."""

    def apply(self, data_dict: dict, draw, place, outside) -> dict:
        if draw is None or place is None or not getattr(draw.sequence, "inflow_pulses", None):
            return super().apply(data_dict, draw, place, outside)
        signals = []
        for blood in (0.0, 1.0):
            uniform = replace(draw, sequence=replace(draw.sequence, blood=blood))
            sample = super().apply({**data_dict, "image": data_dict["image"].clone()}, uniform, place, outside)
            signals.append(sample["image"] * sample["contrast"].deviation + sample["contrast"].mean)
        sample = super().apply(data_dict, draw, place, outside)  # its reservoir gives the z-score
        cavity = torch.isin(sample["segmentation"][:1], torch.tensor(CAVITIES))
        painted = torch.where(cavity, signals[1], signals[0])
        contrast = sample["contrast"]
        inside = sample["image"] != 0
        sample["image"] = ((painted - contrast.mean) / contrast.deviation) * inside
        return sample
