"""Trainers of the methods from the literature, on the bed's schedule (`generalization.competitors` cites the papers).

Network, optimiser, spatial augmentation and augmentation of intensities are nnU-Net's, but for what a trainer adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from generalization.competitors import bayeseg, gin_ipa, randconv, slaug
from generalization.competitors.field_training import FieldTraining
from generalization.competitors.synthseg import SynthesizeFromLabels
from generalization.competitors.three_copies import ThreeCopies
from nnunet_phys.trainers.nnUNetTrainerPhys import PhysMixin


class nnUNetTrainerBenchGINIPA(ThreeCopies, FieldTraining, nnUNetTrainer):
    """Three views by random networks, two of them blended; the first is supervised, all have to agree."""

    def losses(self, data: torch.Tensor, target: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `FieldTraining`."""
        output = self.predict(gin_ipa.three_views(self.copies(data)))
        supervised = self.loss([scale[: len(data)] for scale in output], target)
        yield supervised + gin_ipa.CONSISTENCY * gin_ipa.consistency(output[0])


class nnUNetTrainerBenchPhysGIN(FieldTraining, PhysMixin, nnUNetTrainer):
    """Contrast synthesis, and half of all images, real or synthetic, through a random network of GIN."""

    def losses(self, data: torch.Tensor, target: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `FieldTraining`."""
        chosen = torch.rand(len(data), 1, 1, 1, device=data.device) < 0.5
        yield self.loss(self.predict(torch.where(chosen, gin_ipa.random_network(data), data)), target)


class nnUNetTrainerBenchRandConv(ThreeCopies, FieldTraining, nnUNetTrainer):
    """Three random convolutions; the first is supervised, all have to agree."""

    def losses(self, data: torch.Tensor, target: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `FieldTraining`."""
        output = self.predict(randconv.three_views(self.copies(data)))
        supervised = self.loss([scale[: len(data)] for scale in output], target)
        yield supervised + randconv.CONSISTENCY * randconv.consistency(output[0])


class nnUNetTrainerBenchSLAug(FieldTraining, nnUNetTrainer):
    """A global view of the image, then a fusion with a class-local view by the saliency of the first; both supervised.

    The two views are made before the spatial augmentation, as in the published code.
    """

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> BasicTransform:
        """nnU-Net's, after the two views."""
        return ComposeTransforms(
            [slaug.LocationScale(), *nnUNetTrainer.get_training_transforms(*args, **kwargs).transforms]
        )

    def losses(self, data: torch.Tensor, target: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `FieldTraining`."""
        everywhere, local = data[:, :1].clone().requires_grad_(True), data[:, 1:]
        yield self.loss(self.predict(everywhere), target)
        fused = slaug.fuse(everywhere.detach(), local, everywhere.grad)
        yield self.loss(self.predict(fused), target)


class nnUNetTrainerBenchSynthSeg(FieldTraining, nnUNetTrainer):
    """Images made from the labels, after the spatial augmentation."""

    @staticmethod
    def get_training_transforms(*args: Any, **kwargs: Any) -> BasicTransform:
        """nnU-Net's, with the synthesis behind the spatial transform."""
        transforms: list[BasicTransform] = []
        for transform in nnUNetTrainer.get_training_transforms(*args, **kwargs).transforms:
            transforms.append(transform)
            if isinstance(transform, SpatialTransform):
                transforms.append(SynthesizeFromLabels())
        return ComposeTransforms(transforms)

    def losses(self, data: torch.Tensor, target: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `FieldTraining`."""
        yield self.loss(self.predict(data), target)


class nnUNetTrainerBenchBayeSeg(FieldTraining, nnUNetTrainer):
    """Shape, appearance and segmentation inferred together; needs a GPU, as two networks run at full resolution.

    The optimiser is the paper's, AdamW: under nnU-Net's SGD the loss rose to thousands in the first iterations of a
    trial, as the network of the shape has no normalisation. The learning rate falls as nnU-Net's does.
    """

    largest_gradient = bayeseg.LARGEST_GRADIENT

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, PolyLRScheduler]:
        """AdamW and nnU-Net's schedule."""
        self.initial_lr = bayeseg.LEARNING_RATE
        optimizer = torch.optim.AdamW(self.network.parameters(), self.initial_lr, weight_decay=bayeseg.WEIGHT_DECAY)
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    @staticmethod
    def build_network_architecture(
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> bayeseg.BayeSeg:
        """nnU-Net's network with two outputs per class, behind those of shape and appearance."""
        return bayeseg.BayeSeg(
            nnUNetTrainer.build_network_architecture(
                plans_manager,
                configuration_manager,
                num_input_channels,
                2 * num_output_channels,
                enable_deep_supervision,
            )
        )

    def losses(self, data: torch.Tensor, target: list[torch.Tensor]) -> Iterator[torch.Tensor]:
        """See `FieldTraining`."""
        posterior = self.predict(data)
        supervised = self.loss(bayeseg.training_logits(posterior["segmentation"]), target)
        yield supervised + bayeseg.EVIDENCE * bayeseg.negative_evidence(data, posterior)
