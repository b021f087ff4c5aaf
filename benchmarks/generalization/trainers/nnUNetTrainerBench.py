"""nnU-Net's, DA5's and this package's trainers on the bed's schedule."""

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerDA5 import nnUNetTrainerDA5

from generalization.training import BenchTraining
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin


class nnUNetTrainerBench(BenchTraining, nnUNetTrainer):
    """Plain nnU-Net."""


class nnUNetTrainerBenchDA5(BenchTraining, nnUNetTrainerDA5):
    """nnU-Net's strongest augmentation of intensities and shape."""


class nnUNetTrainerBenchPhys(BenchTraining, PhysMixin, nnUNetTrainer):
    """Contrast synthesis; the bed names the recipe in nnUNet_phys_recipe."""
