"""Reverse imaging (Zhao et al., MICCAI 2025): scans to PD, T1 and T2 maps on their own grids, batch by batch."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.nn.functional import interpolate, pad

from nnunet_phys.brightness import bright_level, centre_weights, saturation_mask
from nnunet_phys.errors import InputError
from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.label_brightness import weigh_by_brightness
from nnunet_phys.precomputed_spin.labels import TissueLabels
from nnunet_phys.precomputed_spin.likelihood import Likelihood, Observation
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.samplers import ProximalMean, Sampler, SliceNoise
from nnunet_phys.precomputed_spin.scan import Inferred, Scan
from nnunet_phys.precomputed_spin.upsampling import upsample_guided
from nnunet_phys.sequences import MOLLI
from nnunet_phys.spin import SpinMaps

logger = logging.getLogger(__name__)

# "Measured" means on three digital hearts at 1.5 mm. With the values below, the mean error of T1 in the heart is 19.7 %
# from one cine image and 1.5 % from a MOLLI series, and the residual of the cine image is 0.08 %.
LAST_ABAR = 0.995
"""Noise level (cumulative alpha) whose denoising error is the variance of the last correction, on an image's own grid.
Measured: 0.95 to 0.999 change the error of T1 by 0.05 percentage points at most; the residual is then 0.03 % to
0.22 %."""
SHADED_PD = 20.0
"""Upper bound of scaled PD in the last correction: beside a coil, PD with the receive bias exceeds the prior's range.
Measured: 2 to 100 give the same maps. Digital hearts have no such coil, so that the bound itself is assumed."""
NOISE_LEVEL = 0.015
"""Standard deviation of noise and of the signal equations' errors, as a share of the bright level. Measured: half and
twice as much change the error of T1 by 0.1 percentage points; the residual is then 0.02 % and 0.37 %."""
PD_FREEDOM = 3.0
"""PD's variance in the last correction, as a multiple of the largest of the three variances: shading acts as a gain,
which PD has to explain. Measured: 1 to 100 change the error of T1 by 0.2 percentage points, and contrasts by 0.1 to
0.6 dB, the less the better; the residual is then 0.45 % to 0.01 %."""
_LAST_ITERATIONS = 2
"""Gauss-Newton iterations of the last correction. Measured: 8 change no more than 1 % of pixels by 0.02 %."""


@dataclass(frozen=True)
class ReverseImager:
    """Turns images into maps.

    Attributes:
        prior: the spin prior.
        sampler: draws the maps.
        seed: random seed of the noise.
        batch: slices that pass through the network together. Incomplete batches are filled up; all are halved if the
            device runs out of memory.
        samples: samples drawn per slice; several need a sampler that draws from the posterior.
        advance: called after each batch with the number of slices that were sampled, for a progress bar.

    Raises:
        ValueError: several samples from a sampler that estimates the mean.
    """

    prior: SpinPrior
    sampler: Sampler = field(default_factory=ProximalMean)
    seed: int = 0
    batch: int = 8
    samples: int = 1
    advance: Callable[[int], object] | None = None

    def __post_init__(self) -> None:
        if self.samples > 1 and not self.sampler.draws_samples:
            raise ValueError(f"{self.samples} samples of a mean do not spread: give a sampler that draws them")

    @torch.no_grad()
    def __call__(self, scans: Iterable[Scan]) -> Iterator[Inferred]:
        """Infer maps of scans. Successive scans share batches if they agree in their sequences and padded size.

        The last bits of a network's results depend on the batch size. So the size does not depend on what other scans
        there are, and batches are filled up when slices run out.

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
        """A scan's likelihood on its own grid and on the prior's grid."""
        prior = self.prior
        shape = tuple(round(n * mm / prior.pixel_mm) for n, mm in zip(scan.shape[1:], scan.pixel_mm, strict=True))
        if min(shape) < prior.minimum:
            view = [n * mm for n, mm in zip(scan.shape[1:], scan.pixel_mm, strict=True)]
            raise ValueError(
                f"a field of view of {view[0]:.0f} x {view[1]:.0f} mm is smaller than the prior's minimum of "
                f"{prior.minimum * prior.pixel_mm:.0f} mm"
            )
        observations, labels = self._observations(scan), None
        if scan.tissue_weights is not None:
            labels = TissueLabels(torch.from_numpy(scan.tissue_weights), prior.scaling)
            if len(observations) == len(observations[0].images) == 1 and not observations[0].signed:
                labels = weigh_by_brightness(labels, observations[0])
        fine = Likelihood(observations, torch.ones(scan.shape, dtype=torch.bool), prior.scaling, labels)
        coarse, window = _coarsen(fine, shape, prior.multiple)
        return _Volume(scan, fine, coarse, window)

    def _observations(self, scan: Scan) -> tuple[Observation, ...]:
        """Images in the units of their signals, on the CPU. The bright level of a series sets its gain.

        Raises:
            InputError: images without a finite, positive bright level.
        """
        observations: list[Observation] = []
        first_gain: torch.Tensor | None = None
        reference = SpinMaps.unstack(self.prior.reference)
        weights = centre_weights(*scan.shape[1:])
        for series in scan.series:
            images = torch.from_numpy(np.ascontiguousarray(series.images, dtype=np.float32))
            if not (images.isfinite().all() and images.any()):
                raise InputError(f"{scan.case}: its images are 0 everywhere, or not finite. Correct or remove them.")
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
                    NOISE_LEVEL * level,
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
            keys: one string per slice, which determines its noise (`SliceNoise`).

        Returns:
            Scaled maps (samples, slices, 3, rows, columns), on the CPU.
        """
        # 1. Estimate the maps from the first series alone, to find the gains of the others that are not known.
        if likelihood.has_unknown_gains:
            first = replace(likelihood, observations=likelihood.observations[:1])
            likelihood = likelihood.calibrated(first.pixelwise_posterior(self.prior.library)[:, :3])
        # 2. Guide the prior by what the pixels of all series show.
        prior = self.prior
        if prior.takes_guide:
            prior = prior.guided(likelihood.pixelwise_posterior(prior.library))
        # 3. Draw each sample from its own noise.
        streams = [[key if k == 0 else f"{key}/{k}" for key in keys] for k in range(self.samples)]
        return torch.stack([self.sampler(prior, likelihood, SliceNoise(s, self.seed)).cpu() for s in streams])

    def finish(self, volume: _Volume) -> Inferred:
        """Bring the samples of a volume to its own grid, slice by slice."""
        u = torch.stack(volume.sampled, 1)
        rows, columns = volume.window
        level = torch.tensor([o.level for o in volume.fine.observations for _ in o.images]).view(-1, 1, 1, 1)
        samples, means, errors = [], [], []
        for z in range(u.shape[1]):
            # 1. Take the slice's images on their own grid, and set their gains by the samples' mean.
            fine = volume.fine[z : z + 1].to(self.prior.device)
            coarse = u[:, z : z + 1, :, rows, columns].to(self.prior.device)
            fine = fine.calibrated(interpolate(coarse.mean(0), fine.observed.shape[1:], mode="bilinear"))
            # 2. Bring each sample to that grid, with edges where the images have them, and let the images correct it.
            correct = partial(
                fine.correct, variance=self._last_variance(), iterations=_LAST_ITERATIONS, greatest_pd=SHADED_PD
            )
            drawn = [correct(upsample_guided(sample, fine)) for sample in coarse]
            # 3. Let the images correct the mean of the samples, too.
            mean = drawn[0] if len(drawn) == 1 else correct(torch.stack(drawn).mean(0))
            # 4. Convert to physical units, and measure how far the images are from what the mean predicts.
            samples.append(torch.stack([self._decode(sample) for sample in drawn]))
            means.append(self._decode(mean))
            errors.append((fine.residual(mean).cpu() / level).square().mean(0).sqrt())
        maps = torch.cat(means)
        if not maps.isfinite().all():
            raise InputError(f"{volume.scan.case}: its maps are not finite. Look for extreme values in its images.")
        sample_maps: Iterable[torch.Tensor] = torch.cat(samples, 1) if len(u) > 1 else ()
        return Inferred(
            volume.scan,
            SpinMaps.unstack(maps, 1),
            torch.cat(errors),
            tuple(SpinMaps.unstack(sample, 1) for sample in sample_maps),
        )

    def _decode(self, scaled: torch.Tensor) -> torch.Tensor:
        """PD, T1 (ms) and T2 (ms) of scaled maps, both (slices, 3, rows, columns), on the CPU."""
        return self.prior.scaling.decode(scaled).stack(1).float().cpu()

    def _last_variance(self) -> torch.Tensor:
        """Variance of the last correction, (1, 3, 1, 1): the prior's error near zero noise, larger for PD."""
        last = int((self.prior.alphas_cumprod >= LAST_ABAR).sum()) - 1
        variance = self.prior.denoising_error[last].clone()
        variance[0] = PD_FREEDOM * variance.max()
        return variance.view(1, 3, 1, 1)


@dataclass(eq=False)
class _Run:
    """The state of one pass over scans.

    Attributes:
        imager: the settings.
        batch: slices that pass through the network together, halved if the device runs out of memory.
        waiting: volumes of one kind with slices left to sample, in order.
    """

    imager: ReverseImager
    batch: int
    waiting: deque[_Volume] = field(default_factory=deque)

    def infer(self, fill_up: bool) -> Iterator[Inferred]:
        """Sample slices batch by batch, and yield the maps of volumes that are complete.

        Args:
            fill_up: sample the last slices, too, if they are too few for a batch; the last one is repeated.
        """
        device = self.imager.prior.device
        while slices := [(v, z) for v in self.waiting for z in range(len(v.sampled), v.scan.shape[0])]:
            # 1. Take the next batch. A size that depends on the volume alone keeps results the same to the last bit.
            size = self.waiting[0].batch(self.batch)
            slices = slices[:size]
            missing = size - len(slices)
            if missing and not fill_up:
                return
            batch = [*slices, *[slices[-1]] * missing]
            # 2. Sample it, or halve the batch size if it does not fit into the memory.
            likelihood = Likelihood.join([v.coarse[z : z + 1] for v, z in batch])
            try:
                u = self.imager.sample(likelihood.to(device), [f"{v.scan.case}/{z}" for v, z in batch])
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                if size == 1:
                    raise _memory_full(batch[0][0].scan.case, device) from None
                self.batch = size // 2
                logger.warning(f"out of memory: batches of {self.batch} slices from here on")
                continue
            # 3. Add the samples of each slice to its volume.
            for k, (volume, _) in enumerate(slices):
                volume.sampled.append(u[:, k])
            if self.imager.advance is not None:
                self.imager.advance(len(slices))
            # 4. Finish the volumes that are complete, in order.
            while self.waiting and len(self.waiting[0].sampled) == self.waiting[0].scan.shape[0]:
                volume = self.waiting.popleft()
                try:
                    inferred = self.imager.finish(volume)
                except RuntimeError as error:
                    if not should_reduce_batch_size(error):
                        raise
                    raise _memory_full(volume.scan.case, device) from None
                yield inferred


def _memory_full(case: str, device: torch.device) -> InputError:
    return InputError(f"{case}: the memory of {device} is too small for one slice. Free it, or use another -device.")


@dataclass(frozen=True, eq=False)
class _Volume:
    """A scan with what is needed to infer its maps, and the samples drawn so far.

    Attributes:
        scan: the scan.
        fine: its likelihood on its own grid.
        coarse: its likelihood on the prior's grid, padded.
        window: rows and columns of the padded grid that the scan fills.
        sampled: scaled maps (samples, 3, rows, columns) on the padded grid of the slices that are done, in order.
    """

    scan: Scan
    fine: Likelihood
    coarse: Likelihood
    window: tuple[slice, slice]
    sampled: list[torch.Tensor] = field(default_factory=list)

    @property
    def kind(self) -> tuple:
        """Equal for volumes whose slices may share a batch."""
        sequences = tuple((series.sequence, series.signed, series.same_gain) for series in self.scan.series)
        has_labels = self.scan.tissue_weights is not None
        return sequences, self.coarse.observed.shape[1:], has_labels, self.scan.case if self.shares_no_batch else None

    @property
    def shares_no_batch(self) -> bool:
        """Whether its slices share no batch with other scans: a MOLLI's timing differs from scan to scan."""
        return any(isinstance(series.sequence, MOLLI) for series in self.scan.series)

    def batch(self, most: int) -> int:
        """Size of its batches, at most `most`; equal for all batches of a scan that shares none."""
        slices = self.scan.shape[0]
        return math.ceil(slices / math.ceil(slices / most)) if self.shares_no_batch else most


def _coarsen(fine: Likelihood, shape: tuple[int, ...], multiple: int) -> tuple[Likelihood, tuple[slice, slice]]:
    """A likelihood on a grid of `shape` (rows, columns) over the same field of view, padded to multiples of `multiple`.

    Returns:
        the padded likelihood, and the rows and columns of its grid that the field of view fills.
    """
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
