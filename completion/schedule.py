"""How long, on what views, and how fast the networks learn."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from nnunet_phys.completion.defaults import DENOISER_STEPS


@dataclass(frozen=True)
class CompletionSchedule:
    """How long and on what the networks learn.

    Attributes:
        autoencoder_steps, encoder_steps, denoiser_steps: optimiser steps.
        regressor_steps: those of the regressor; 0 for latent diffusion alone, as published.
        pretraining_share: steps on slices from maps, relative to those on the user's, of regressor and denoiser.
        view: rows and columns of a view.
        views: views that are encoded once for the denoiser.
        autoencoder_crop: rows and columns of the autoencoder's views.
        batch: views per step of the regressor and the denoiser; the image encoder takes twice as many, in pairs.
        autoencoder_batch: views per step of the autoencoder, of one channel each.
        learning_rate: the greatest learning rate of the regressor and the denoiser.
        autoencoder_rate: that of the autoencoder and the image encoder.
        heat: whether the denoiser's loss counts more in the regions.
        slice_size: rows and columns of the slices that are kept in memory; views are not taken from beyond.
        checkpoint_minutes: minutes between two checkpoints.
    """

    autoencoder_steps: int = 3000
    encoder_steps: int = 600
    regressor_steps: int = 4000
    denoiser_steps: int = DENOISER_STEPS
    pretraining_share: float = 0.6
    view: int = 192
    views: int = 3000
    autoencoder_crop: int = 96
    batch: int = 8
    autoencoder_batch: int = 8
    learning_rate: float = 3e-4
    autoencoder_rate: float = 1e-3
    heat: bool = True
    slice_size: int = 320
    checkpoint_minutes: float = 3.0

    def scaled(self, denoiser_steps: int, batch_factor: int) -> CompletionSchedule:
        """The same schedule with other lengths and with more views per step.

        Regressor and denoiser change in proportion; autoencoder and image encoder by the square root, a choice, since
        the autoencoder limits every image. A shorter training encodes fewer views, as encoding takes as long as it.

        Args:
            denoiser_steps: optimiser steps of the denoiser.
            batch_factor: factor of the views per step. Learning rates grow by its square root, as Adam's should
                (Malladi et al., NeurIPS 2022).
        """
        share, growth = denoiser_steps / self.denoiser_steps, math.sqrt(batch_factor)
        batch = batch_factor * self.batch
        return replace(
            self,
            autoencoder_steps=math.ceil(math.sqrt(share) * self.autoencoder_steps),
            encoder_steps=math.ceil(math.sqrt(share) * self.encoder_steps),
            regressor_steps=math.ceil(share * self.regressor_steps),
            denoiser_steps=denoiser_steps,
            views=math.ceil(min(share, 1.0) * self.views),
            batch=batch,
            autoencoder_batch=batch_factor * self.autoencoder_batch,
            learning_rate=growth * self.learning_rate,
            autoencoder_rate=growth * self.autoencoder_rate,
        )
