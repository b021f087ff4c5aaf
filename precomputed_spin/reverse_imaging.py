"""Reverse imaging (Zhao et al., MICCAI 2025): scans to PD, T1 and T2 maps on their own grids, batch by batch."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.nn.functional import interpolate, pad

from nnunet_phys.brightness import bright_level, centre_weights, saturation_mask
from nnunet_phys.errors import InputError
from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.labels import TissueLabels
from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.samplers import ProximalSampler, Sampler, SliceNoise
from nnunet_phys.precomputed_spin.scan import Inferred, Scan
from nnunet_phys.precomputed_spin.upsampling import upsample_guided
from nnunet_phys.sequences import MOLLI
from nnunet_phys.spin import SpinMaps

# Measured on three digital hearts at 1.5 mm: mean error of T1 in the heart 19.7 % from one cine image, 1.5 % from a
# MOLLI series, and residual of the cine image 0.08 %, unless said otherwise.
LAST_ABAR = 0.995
"""Noise level (cumulative alpha) at which the prior's errors stand for what is left to decide on an image's own grid.
Measured: 0.95 to 0.999 change the error of T1 by 0.05 points at most, the residual to 0.03 and 0.22 %."""
SHADED_PD = 20.0
"""Upper bound of scaled PD on that grid: beside a coil, PD with the receive bias exceeds what the prior knows.
Measured: 2 to 100 give the same maps; digital hearts have no such coil, so that the bound itself is assumed."""
NOISE_LEVEL = 0.015
"""Noise and errors of the signal equations, of the bright level. Measured: half and double change the error of T1 by
0.1 points, the residual to 0.02 and 0.37 %."""
PD_FREEDOM = 10.0
"""How much larger than the largest variance that of PD is in the last correction: shading, a gain, is PD's to explain.
Measured: 1 to 100 change the error of T1 by 0.2 points, the residual to 0.45 and 0.01 %."""
_LAST_ITERATIONS = 4
"""Gauss-Newton iterations of the last correction. Measured: 2 and 8 give the same maps."""


@dataclass(frozen=True)
class ReverseImager:
    """Turns images into maps.

    Attributes:
        prior: the spin prior.
        sampler: draws the maps.
        seed: of the noise.
        batch: slices that pass the network together; batches too small are filled up, and all are halved
            where the device's memory does not hold them.
        noise_level: standard deviation of noise and model errors as a share of the signal's bright level.
        samples: drawn per slice; several ask for a sampler that draws from the posterior (`average` of 1).

    Raises:
        ValueError: several samples of a sampler that averages.
    """

    prior: SpinPrior
    sampler: Sampler = field(default_factory=ProximalSampler)
    seed: int = 0
    batch: int = 8
    noise_level: float = NOISE_LEVEL
    samples: int = 1

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.sampler.draws_samples:
            raise ValueError(f"{self.samples} samples of averaged estimates spread too little: give average=1")

    @torch.no_grad()
    def __call__(self, scans: Iterable[Scan]) -> Iterator[Inferred]:
        """Infer maps of volumes, whose slices share batches where neighbours agree in sequences and padded size.

        Batches have a size that does not depend on what else there is to do, and are filled up where slices run out:
        the last bits of a network's results depend on it.

        Args:
            scans: read one by one, as they are needed.

        Yields:
            The maps of each scan, in the order of the scans.

        Raises:
            ValueError: the field of view is too small for the prior.
            InputError: maps of a scan are not finite.
        """
        run = _Run(self, self.batch)
        for volume in map(self._prepare, scans):
            if run.waiting and volume.kind != run.waiting[0].kind:
                yield from run.infer(fill_up=True)
            run.waiting.append(volume)
            yield from run.infer(fill_up=False)
        yield from run.infer(fill_up=True)

    def _prepare(self, scan: Scan) -> _Volume:
        """A scan's likelihood on its own grid, and on the prior's, where labels count, too."""
        prior = self.prior
        shape = tuple(round(n * mm / prior.pixel_mm) for n, mm in zip(scan.shape[1:], scan.pixel_mm, strict=True))
        if min(shape) < prior.minimum:
            view = [n * mm for n, mm in zip(scan.shape[1:], scan.pixel_mm, strict=True)]
            raise ValueError(
                f"a field of view of {view[0]:.0f} x {view[1]:.0f} mm is smaller than the prior's minimum of "
                f"{prior.minimum * prior.pixel_mm:.0f} mm"
            )
        fine = Likelihood(self._observations(scan), torch.ones(scan.shape, dtype=torch.bool), prior.scaling)
        labels = None
        if scan.tissue_weights is not None:
            labels = TissueLabels(torch.from_numpy(scan.tissue_weights), prior.scaling)
        coarse, window = _coarsen(replace(fine, labels=labels), shape, prior.multiple)
        return _Volume(scan, fine, coarse, window)

    def _observations(self, scan: Scan) -> tuple[Observation, ...]:
        """Images in the units of their signals, on the CPU; the first's bright level sets the gain."""
        observations: list[Observation] = []
        first_gain: torch.Tensor | None = None
        reference = SpinMaps.unstack(self.prior.reference)
        weights = centre_weights(*scan.shape[1:])
        for series in scan.series:
            images = torch.from_numpy(np.ascontiguousarray(series.images, dtype=np.float32))
            saturated = torch.zeros_like(images, dtype=torch.bool) if series.signed else saturation_mask(images)
            images = images if series.signed else images.clamp(min=0)
            level = float(bright_level(signals(series.sequence, reference).abs()))
            if series.same_gain and first_gain is not None:
                gain = first_gain
            else:
                gain = level / bright_level(images.abs(), weights)
            if first_gain is None:
                first_gain = gain
            observations.append(
                Observation(
                    series.sequence,
                    images * gain,
                    level,
                    self.noise_level * level,
                    saturated,
                    series.signed,
                    calibrate=bool(observations) and not series.same_gain,
                )
            )
        return tuple(observations)

    def sample(self, likelihood: Likelihood, keys: list[str]) -> torch.Tensor:
        """Sample the slices of a likelihood on the prior's grid.

        Args:
            likelihood: on the prior's device.
            keys: one per slice, of its noise.

        Returns:
            Scaled maps (samples, slices, 3, rows, columns), on the CPU.
        """
        # 1. What the first series alone says about each pixel, to find the gains of the others.
        first = replace(likelihood, observations=likelihood.observations[:1])
        guess = first.pixelwise_posterior(self.prior.library)[:, :3]
        likelihood = likelihood.calibrated(guess)
        # 2. What all series say about each pixel guides the prior.
        prior = self.prior.guided(likelihood.pixelwise_posterior(self.prior.library))
        # 3. Each sample from noise of its own.
        streams = [[key if k == 0 else f"{key}/{k}" for key in keys] for k in range(self.samples)]
        return torch.stack([self.sampler(prior, likelihood, SliceNoise(s, self.seed)).cpu() for s in streams])

    def finish(self, volume: _Volume) -> Inferred:
        """Bring the samples of a volume to its own grid, slice by slice."""
        u = torch.stack(volume.sampled, 1)
        rows, columns = volume.window
        level = torch.tensor([o.level for o in volume.fine.observations for _ in o.images]).view(-1, 1, 1, 1)
        samples, means, errors = [], [], []
        for z in range(u.shape[1]):
            # 1. The slice's images on their own grid, with the gains that the samples' mean suggests.
            fine = volume.fine[z : z + 1].to(self.prior.device)
            coarse = u[:, z : z + 1, :, rows, columns].to(self.prior.device)
            fine = fine.calibrated(interpolate(coarse.mean(0), fine.observed.shape[1:], mode="bilinear"))
            # 2. Each sample on that grid, with edges where the images have them, corrected to explain the images.
            correct = partial(
                fine.correct, variance=self._last_variance(), iterations=_LAST_ITERATIONS, greatest_pd=SHADED_PD
            )
            drawn = [correct(upsample_guided(sample, fine)) for sample in coarse]
            # 3. Their mean, which has to explain the images, too.
            mean = drawn[0] if len(drawn) == 1 else correct(torch.stack(drawn).mean(0))
            # 4. In physical units, and how far the images are from what the mean predicts.
            samples.append(torch.stack([self._decode(sample) for sample in drawn]))
            means.append(self._decode(mean))
            errors.append((fine.residual(mean).cpu() / level).square().mean(0).sqrt())
        maps = torch.cat(means)
        if not maps.isfinite().all():
            raise InputError(f"{volume.scan.case}: its maps are not finite. Look for extreme values in its images.")
        of_samples: Iterable[torch.Tensor] = torch.cat(samples, 1) if len(u) > 1 else ()
        return Inferred(
            volume.scan,
            SpinMaps.unstack(maps, 1),
            torch.cat(errors),
            tuple(SpinMaps.unstack(sample, 1) for sample in of_samples),
        )

    def _decode(self, scaled: torch.Tensor) -> torch.Tensor:
        """PD, T1 and T2 (slices, 3, rows, columns) on the CPU."""
        return self.prior.scaling.decode(scaled).stack(1).float().cpu()

    def _last_variance(self) -> torch.Tensor:
        """Belief of the last correction: the prior's errors near zero noise; a gain-like rest goes to PD."""
        last = int((self.prior.alphas_cumprod >= LAST_ABAR).sum()) - 1
        variance = self.prior.denoising_error[last].clone()
        variance[0] = PD_FREEDOM * variance.max()
        return variance.view(1, 3, 1, 1)


@dataclass(eq=False)
class _Run:
    """One pass over scans: what changes while it lasts.

    Attributes:
        imager: its settings.
        batch: slices that pass the network together, halved where the memory does not hold them.
        waiting: volumes of one kind with slices left to sample, in order.
    """

    imager: ReverseImager
    batch: int
    waiting: deque[_Volume] = field(default_factory=deque)

    def infer(self, fill_up: bool) -> Iterator[Inferred]:
        """Sample slices batch by batch, and take the volumes out that are complete.

        Args:
            fill_up: sample slices too few for a batch, too; the rest of the batch repeats one of them.
        """
        device = self.imager.prior.device
        while slices := [(v, z) for v in self.waiting for z in range(len(v.sampled), v.scan.shape[0])]:
            # 1. The next batch; a size that depends on the volumes alone keeps results the same to the last bit.
            size = self.waiting[0].batch(self.batch)
            slices = slices[:size]
            missing = size - len(slices)
            if missing and not fill_up:
                return
            batch = [*slices, *[slices[-1]] * missing]
            # 2. Sample it, or halve it where it does not fit into the memory.
            likelihood = Likelihood.join([v.coarse[z : z + 1] for v, z in batch]).to(device)
            try:
                u = self.imager.sample(likelihood, [f"{v.scan.case}/{z}" for v, z in batch])
            except RuntimeError as error:
                if not should_reduce_batch_size(error) or size == 1:
                    raise
                self.batch = size // 2
                warnings.warn(f"out of memory: batches of {self.batch} slices from here on", stacklevel=2)
                continue
            # 3. Each slice to its volume.
            for k, (volume, _) in enumerate(slices):
                volume.sampled.append(u[:, k])
            # 4. Volumes that are complete leave, in order.
            while self.waiting and len(self.waiting[0].sampled) == self.waiting[0].scan.shape[0]:
                yield self.imager.finish(self.waiting.popleft())


@dataclass(frozen=True, eq=False)
class _Volume:
    """A scan, its likelihood on its own grid and on the prior's, padded, where it lies in there, and what was drawn.

    Attributes:
        sampled: scaled maps (samples, 3, rows, columns) on the prior's grid of the slices that are done, in order.
    """

    scan: Scan
    fine: Likelihood
    coarse: Likelihood
    window: tuple[slice, slice]
    sampled: list[torch.Tensor] = field(default_factory=list)

    @property
    def kind(self) -> tuple:
        """Equal for volumes whose slices may share a batch."""
        sequences = tuple((series.sequence, series.signed) for series in self.scan.series)
        has_labels = self.scan.tissue_weights is not None
        return sequences, self.coarse.observed.shape[1:], has_labels, self.scan.case if self.is_alone else None

    @property
    def is_alone(self) -> bool:
        """Whether it shares no batch: a MOLLI's timing is each scan's own."""
        return any(isinstance(series.sequence, MOLLI) for series in self.scan.series)

    def batch(self, most: int) -> int:
        """Slices of its batches, at most so many."""
        slices = self.scan.shape[0]
        return math.ceil(slices / math.ceil(slices / most)) if self.is_alone else most


def _coarsen(fine: Likelihood, shape: tuple[int, ...], multiple: int) -> tuple[Likelihood, tuple[slice, slice]]:
    """A likelihood on a grid of `shape` over the same field of view, padded to multiples; and the field's window."""
    margins = [math.ceil(n / multiple) * multiple - n for n in shape]
    border = (margins[1] // 2, margins[1] - margins[1] // 2, margins[0] // 2, margins[0] - margins[0] // 2)

    def resample(images: torch.Tensor) -> torch.Tensor:
        smooth = interpolate(images.float(), shape, mode="bilinear", antialias=True)
        smooth = pad(smooth, border, mode="replicate")
        return smooth > 0.5 if images.dtype == torch.bool else smooth

    coarse = fine.map(resample, lambda by_slice: resample(by_slice) if by_slice.ndim == 4 else by_slice)
    observed = pad(torch.ones((len(fine.observed), *shape), dtype=torch.bool), border)
    window = slice(border[2], border[2] + shape[0]), slice(border[0], border[0] + shape[1])
    return replace(coarse, observed=observed), window
