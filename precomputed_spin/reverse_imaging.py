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

from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.labels import TissueLabels
from nnunet_phys.precomputed_spin.likelihood import (
    Likelihood,
    Observation,
    bright_level,
    centre_weights,
    saturation_mask,
)
from nnunet_phys.precomputed_spin.prior import SpinPrior
from nnunet_phys.precomputed_spin.samplers import ProximalSampler, Sampler, SliceNoise
from nnunet_phys.sequences import MOLLI
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

_LAST_ABAR = 0.995  # noise level that stands for what is left to decide on the native grid
_SHADED_PD = 20.0  # scaled PD that a voxel beside a coil may reach there, beyond what the prior knows


@dataclass(frozen=True)
class Series:
    """What one sequence measured of a volume.

    Attributes:
        sequence: the signal equation; gives as many images as there are.
        images: (images, slices, rows, columns) in any unit; one gain serves all.
        signed: the images keep the sign of the longitudinal magnetisation; else they are magnitudes.
        same_gain: they share the gain of the scan's first series.
    """

    sequence: PulseSequence
    images: np.ndarray
    signed: bool = False
    same_gain: bool = False


@dataclass(frozen=True)
class Scan:
    """All that was measured of one volume, on one grid.

    Attributes:
        case: names the volume; its slices' noise derives from it.
        series: at least one.
        pixel_mm: row and column spacing.
        tissue_weights: what labels make of each tissue (`labels.tissue_weights`), or None.
    """

    case: str
    series: tuple[Series, ...]
    pixel_mm: tuple[float, float]
    tissue_weights: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return self.series[0].images.shape[1:]


@dataclass(frozen=True)
class Inferred:
    """Maps of a scan.

    Attributes:
        scan: what they were made from.
        maps: on the scan's own grid (slices, rows, columns); T1 and T2 in ms, float32, CPU. Of several posterior
            samples, their mean (of the logarithm in T1 and T2), corrected to explain the images.
        error: of re-synthesis, root mean square over the images, same shape, as a share of the bright level.
        samples: the posterior samples, where more than one was drawn.
    """

    scan: Scan
    maps: SpinMaps
    error: torch.Tensor
    samples: tuple[SpinMaps, ...] = ()

    @property
    def spread(self) -> SpinMaps:
        """Standard deviation over the samples, in the maps' units."""
        return SpinMaps.unstack(torch.stack([m.stack() for m in self.samples]).std(0))


@dataclass
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
    noise_level: float = 0.015
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
        """
        waiting: deque[_Volume] = deque()
        for volume in map(self._prepare, scans):
            if waiting and volume.kind != waiting[0].kind:
                yield from self._infer(waiting, fill_up=True)
            waiting.append(volume)
            yield from self._infer(waiting, fill_up=False)
        yield from self._infer(waiting, fill_up=True)

    def _prepare(self, scan: Scan) -> _Volume:
        prior = self.prior
        shape = tuple(round(n * mm / prior.pixel_mm) for n, mm in zip(scan.shape[1:], scan.pixel_mm, strict=True))
        if min(shape) < prior.minimum:
            view = [n * mm for n, mm in zip(scan.shape[1:], scan.pixel_mm, strict=True)]
            raise ValueError(
                f"a field of view of {view[0]:.0f} x {view[1]:.0f} mm is smaller than the prior's minimum of "
                f"{prior.minimum * prior.pixel_mm:.0f} mm"
            )
        fine = Likelihood(
            self._observations(scan),
            torch.ones(scan.shape, dtype=torch.bool),
            prior.scaling,
        )
        labels = scan.tissue_weights
        told = replace(fine, labels=None if labels is None else TissueLabels(torch.from_numpy(labels), prior.scaling))
        coarse, window = _coarsen(told, shape, prior.multiple)
        return _Volume(scan, fine, coarse, window)

    def _observations(self, scan: Scan) -> tuple[Observation, ...]:
        """Images in the units of their signals, on the CPU; the first's bright level sets the gain."""
        observations, first_gain = [], None
        weights = centre_weights(*scan.shape[1:])
        for series in scan.series:
            images = torch.from_numpy(np.ascontiguousarray(series.images, dtype=np.float32))
            saturated = torch.zeros_like(images, dtype=torch.bool) if series.signed else saturation_mask(images)
            images = images if series.signed else images.clamp(min=0)
            level = float(bright_level(signals(series.sequence, SpinMaps.unstack(self.prior.reference)).abs()))
            gain = first_gain if series.same_gain and observations else level / bright_level(images.abs(), weights)
            first_gain = first_gain or gain
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

    def _infer(self, volumes: deque[_Volume], fill_up: bool) -> Iterator[Inferred]:
        """Sample slices of volumes of one kind, batch by batch, and take the volumes out that are complete.

        Args:
            volumes: in order.
            fill_up: sample slices too few for a batch, too; the rest of the batch repeats one of them.
        """
        while slices := [(v, z) for v in volumes for z in range(len(v.sampled), v.scan.shape[0])]:
            size = volumes[0].batch(self.batch)
            slices = slices[:size]
            missing = size - len(slices)
            if missing and not fill_up:
                return
            batch = [*slices, *[slices[-1]] * missing]
            likelihood = Likelihood.join([v.coarse[z : z + 1] for v, z in batch])
            try:
                u = self._sample(likelihood.to(self.prior.device), [f"{v.scan.case}/{z}" for v, z in batch])
            except RuntimeError as error:
                if not should_reduce_batch_size(error) or size == 1:
                    raise
                self.batch = size // 2
                warnings.warn(f"out of memory: batches of {self.batch} slices from here on", stacklevel=2)
                continue
            for k, (volume, _) in enumerate(slices):
                volume.sampled.append(u[:, k])
            while volumes and len(volumes[0].sampled) == volumes[0].scan.shape[0]:
                volume = volumes.popleft()
                yield self._finish(volume, torch.stack(volume.sampled, 1))

    def _sample(self, likelihood: Likelihood, keys: list[str]) -> torch.Tensor:
        """Scaled maps on the prior's grid, (samples, slices, 3, rows, columns), on the CPU."""
        first = replace(likelihood, observations=likelihood.observations[:1])
        guess = first.pixelwise_posterior(self.prior.library)[:, :3]
        likelihood = likelihood.calibrated(guess)
        prior = self.prior.guided(likelihood.pixelwise_posterior(self.prior.library))
        streams = [[key if k == 0 else f"{key}/{k}" for key in keys] for k in range(self.samples)]
        return torch.stack([self.sampler(prior, likelihood, SliceNoise(s, self.seed)).cpu() for s in streams])

    def _finish(self, volume: _Volume, u: torch.Tensor) -> Inferred:
        """Bring samples (samples, slices, 3, rows, columns) to the native grid, slice by slice."""
        level = torch.tensor([o.level for o in volume.fine.observations for _ in o.images]).view(-1, 1, 1, 1)
        samples, means, errors = [], [], []
        for z in range(u.shape[1]):
            here = volume.fine[z : z + 1].to(self.prior.device)
            coarse = u[:, z : z + 1][(..., *volume.window)].to(self.prior.device)
            here = here.calibrated(interpolate(coarse.mean(0), here.observed.shape[1:], mode="bilinear"))
            correct = partial(here.correct, variance=self._final_variance(), iterations=4, greatest_pd=_SHADED_PD)
            drawn = [correct(upsample_guided(one, here)) for one in coarse]
            mean = drawn[0]
            if len(drawn) > 1:
                mean = correct(torch.stack(drawn).mean(0))
            samples.append(torch.stack([self._decode(one) for one in drawn]))
            means.append(self._decode(mean))
            errors.append((here.residual(mean).cpu() / level).square().mean(0).sqrt())
        each = torch.cat(samples, 1) if len(u) > 1 else []
        return Inferred(
            volume.scan,
            SpinMaps.unstack(torch.cat(means), 1),
            torch.cat(errors),
            tuple(SpinMaps.unstack(one, 1) for one in each),
        )

    def _decode(self, scaled: torch.Tensor) -> torch.Tensor:
        return self.prior.scaling.decode(scaled).stack(1).float().cpu()

    def _final_variance(self) -> torch.Tensor:
        """Belief of the last correction: the prior's errors near zero noise; a gain-like rest goes to PD."""
        last = int((self.prior.alphas_cumprod >= _LAST_ABAR).sum()) - 1
        variance = self.prior.denoising_error[last].clone()
        variance[0] = 10 * variance.max()
        return variance.view(1, 3, 1, 1)


@dataclass(frozen=True)
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
        told, own = self.scan.tissue_weights is not None, self.scan.case if self.is_alone else None
        return tuple((s.sequence, s.signed) for s in self.scan.series), self.coarse.observed.shape[1:], told, own

    @property
    def is_alone(self) -> bool:
        """Whether it shares no batch: a MOLLI's timing is each scan's own."""
        return any(isinstance(s.sequence, MOLLI) for s in self.scan.series)

    def batch(self, most: int) -> int:
        """Slices of its batches, at most so many."""
        slices = self.scan.shape[0]
        return math.ceil(slices / math.ceil(slices / most)) if self.is_alone else most


def _coarsen(fine: Likelihood, shape: tuple[int, int], multiple: int) -> tuple[Likelihood, tuple[slice, slice]]:
    """A likelihood on a grid of `shape` over the same field of view, padded to multiples; and the field's window."""
    margins = [math.ceil(n / multiple) * multiple - n for n in shape]
    border = (margins[1] // 2, margins[1] - margins[1] // 2, margins[0] // 2, margins[0] - margins[0] // 2)

    def resample(images: torch.Tensor) -> torch.Tensor:
        smooth = interpolate(images.float(), shape, mode="bilinear", antialias=True)
        smooth = pad(smooth, border, mode="replicate")
        return smooth > 0.5 if images.dtype == torch.bool else smooth

    coarse = fine.map(resample, lambda each: resample(each) if each.ndim == 4 else each)
    observed = pad(torch.ones((len(fine.observed), *shape), dtype=torch.bool), border)
    window = slice(border[2], border[2] + shape[0]), slice(border[0], border[0] + shape[1])
    return replace(coarse, observed=observed), window


def upsample_guided(u: torch.Tensor, fine: Likelihood) -> torch.Tensor:
    """Bring scaled maps to the grid of a finer image, keeping tissue edges where the image has them.

    Joint bilateral upsampling (Kopf et al., ACM TOG 26:96, 2007): each fine pixel mixes the 3x3 coarse pixels around
    it, weighted by distance and by how well each one's signal explains the fine image, so that T1 and T2 switch at the
    image's edge rather than half a coarse pixel beside it.

    Args:
        u: scaled maps (slices, 3, rows, columns).
        fine: likelihood of the image on the fine grid, which spans the same field of view.

    Returns:
        Scaled maps (slices, 3, fine rows, fine columns).
    """
    shape, coarse = fine.observed.shape[1:], u.shape[2:]
    positions = [(torch.arange(n, device=u.device) + 0.5) * (m / n) - 0.5 for n, m in zip(shape, coarse, strict=True)]
    nearest = [p.round().long() for p in positions]
    tolerance, candidates, scores = 4 * fine.sigma, [], []
    for dr in (-1, 0, 1):
        rows = (nearest[0] + dr).clamp(0, coarse[0] - 1)
        for dc in (-1, 0, 1):
            columns = (nearest[1] + dc).clamp(0, coarse[1] - 1)
            candidate = u[:, :, rows][..., columns]
            away = (positions[0] - nearest[0] - dr)[:, None] ** 2 + (positions[1] - nearest[1] - dc)[None] ** 2
            fit = -0.5 * (fine.residual(candidate) / tolerance).square().sum(0)
            candidates.append(candidate)
            scores.append(fit - away / 0.5)
    weights = torch.softmax(torch.stack(scores), 0)[:, :, None]
    return (weights * torch.stack(candidates)).sum(0)
