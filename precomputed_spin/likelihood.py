"""How well maps explain images: signal equations, gains and noise levels, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from nnunet_phys.forward import signals
from nnunet_phys.precomputed_spin.labels import TissueLabels
from nnunet_phys.precomputed_spin.spin_scaling import GREATEST, LEAST, SpinScaling
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import SpinMaps

_POSTERIOR_NOISE = 0.05
"""Error of a guiding image by its noise, gain and protocol, as a share of the bright level. The prior was trained with
it: `guide_images.observe` adds up to as much noise, and changes gain and flip angle at random."""
_POSTERIOR_PIXELS = 512
"""Pixels processed at once: their weights over a library of 512 voxels take 1 MB, which a processor can cache."""
_TABLE_STEP = 0.1
"""Spacing of a table of a guide over an image's brightness, in units of `_POSTERIOR_NOISE`, the scale on which it
varies. Measured: interpolated guides differ from exact ones by less than 0.003 in scaled maps."""
_TABLE_MARGIN = 8.0
"""How far the table goes beyond the library's signals, in the same unit: there the nearest voxel explains a pixel."""
LABELLED_PD = (1.0, 1.25, 1.6, 2.0, 2.5)
"""PD of labelled tissue, relative to the library's: beside a coil, blood can be brighter than anything in a digital
heart, and would pass for fat. Assumed: surface coils make it up to 2.5 times as bright."""
_GAIN_BOUNDS = (0.1, 10.0)
"""Bounds of a gain's correction in `calibrated`. Assumed: gains are off by less, as bright levels are measured in one
body."""


@dataclass(frozen=True, eq=False)
class Observation:
    """Images that one sequence made of some slices.

    Attributes:
        sequence: the signal equation; acts voxel by voxel and gives as many images as there are.
        images: (images, slices, rows, columns) in the signal's unit, that is, divided by their common gain.
        level: `brightness.bright_level` of the sequence's signal over a body, in the same unit.
        sigma: standard deviation of the images' noise and of the model's errors, in the same unit.
        saturated: bool, of the images' shape: True where they were clipped; a larger signal does not contradict these.
        signed: the images keep the sign of the longitudinal magnetisation; else they are magnitudes.
        calibrate: the gain is only a guess, to be set from maps of the other observations (`Likelihood.calibrated`).
    """

    sequence: PulseSequence
    images: torch.Tensor
    level: float
    sigma: float
    saturated: torch.Tensor
    signed: bool = False
    calibrate: bool = False

    def predict(self, maps: SpinMaps) -> torch.Tensor:
        """The images that maps would give, (images, *maps.shape)."""
        predicted = signals(self.sequence, maps)
        return predicted if self.signed else predicted.abs()


@dataclass(frozen=True, eq=False)
class Likelihood:
    """Gaussian likelihood of all images of some slices, given scaled maps.

    Attributes:
        observations: the images, all on one grid.
        observed: bool (slices, rows, columns): False where nothing was measured (padding).
        scaling: scaling of the maps.
        labels: probabilities of tissues according to labels, or None.
    """

    observations: tuple[Observation, ...]
    observed: torch.Tensor
    scaling: SpinScaling
    labels: TissueLabels | None = None

    def map(
        self,
        of_images: Callable[[torch.Tensor], torch.Tensor],
        of_slices: Callable[[torch.Tensor], torch.Tensor],
    ) -> Likelihood:
        """Apply `of_images` to all tensors (images, slices, rows, columns), and `of_slices` to all (slices, ...)."""
        return replace(
            self,
            observations=tuple(
                replace(o, images=of_images(o.images), saturated=of_images(o.saturated)) for o in self.observations
            ),
            observed=of_slices(self.observed),
            labels=self.labels and replace(self.labels, weights=of_slices(self.labels.weights)),
        )

    def __getitem__(self, slices: slice) -> Likelihood:
        """The likelihood of some of the slices."""
        return self.map(lambda images: images[:, slices], lambda by_slice: by_slice[slices])

    def to(self, device: torch.device) -> Likelihood:
        """The same likelihood on another device."""
        return self.map(lambda images: images.to(device), lambda by_slice: by_slice.to(device))

    @classmethod
    def join(cls, parts: list[Likelihood]) -> Likelihood:
        """Join the slices of several likelihoods, which must agree in their sequences and in the grid's size."""
        observations = tuple(
            replace(
                matching[0],
                images=torch.cat([o.images for o in matching], 1),
                saturated=torch.cat([o.saturated for o in matching], 1),
            )
            for matching in zip(*(part.observations for part in parts), strict=True)
        )
        weights = [part.labels.weights for part in parts if part.labels is not None]
        labels = parts[0].labels and replace(parts[0].labels, weights=torch.cat(weights))
        return cls(observations, torch.cat([part.observed for part in parts]), parts[0].scaling, labels)

    @cached_property
    def sigma(self) -> torch.Tensor:
        """Standard deviation of each image, (images, 1, 1, 1), in the signals' unit."""
        sigmas = [o.sigma for o in self.observations for _ in o.images]
        return torch.tensor(sigmas, device=self.observed.device).view(-1, 1, 1, 1)

    def _differences(self, u: torch.Tensor) -> torch.Tensor:
        """Images minus the signals of scaled maps, whether they count or not; shapes as in `residual`."""
        maps = self.scaling.decode(u)
        return torch.cat([o.images - o.predict(maps) for o in self.observations])

    def _counted(self, differences: torch.Tensor) -> torch.Tensor:
        """Where differences count, of the same shape: not on padding, nor where a signal exceeds a clipped image."""
        saturated = torch.cat([o.saturated for o in self.observations])
        return self.observed & ~(saturated & (differences < 0))

    def residual(self, u: torch.Tensor) -> torch.Tensor:
        """Images minus the signals of scaled maps `u` (slices, 3, rows, columns).

        It is 0 on padding, and on clipped pixels where the signal is larger than the image.

        Returns:
            (images, slices, rows, columns), the images of all observations one after the other.
        """
        differences = self._differences(u)
        return torch.where(self._counted(differences), differences, 0.0)

    def linearise(self, u: torch.Tensor, counted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Images minus signals (images, slices, rows, columns), and the signals' J (images, slices, 3, rows, columns).

        The model is point-wise, so one backward pass per image gives every pixel's three derivatives.

        Args:
            u: scaled maps (slices, 3, rows, columns).
            counted: bool, of the differences' shape; differences and J are 0 elsewhere.
        """
        with torch.enable_grad():
            u = u.detach().requires_grad_(True)
            differences = torch.where(counted, self._differences(u), 0.0)
            derivatives = [torch.autograd.grad(of_image.sum(), u, retain_graph=True)[0] for of_image in differences]
        return differences.detach(), -torch.stack(derivatives)

    @torch.no_grad()
    def correct(
        self, mean: torch.Tensor, variance: torch.Tensor, iterations: int = 2, greatest_pd: float = GREATEST
    ) -> torch.Tensor:
        """Most probable scaled maps given the images and, per pixel, a Gaussian belief about them (Gauss-Newton).

        The linearised images enter one after the other, as measurements enter a Kalman filter (Kalman 1960), so that
        no matrix has to be inverted. T1 or T2 that would leave its bounds, which labels narrow, is held there, and the
        others follow; PD is then clipped.

        Args:
            mean: the belief's mean (slices, 3, rows, columns).
            variance: the belief's variance of PD, T1 and T2, broadcastable to `mean`.
            iterations: number of linearisations.
            greatest_pd: upper bound of scaled PD.

        Returns:
            Maps of the same shape, within bounds.
        """
        least, greatest = self._bounds(greatest_pd)
        mean = mean.maximum(least).minimum(greatest)
        # A clipped image pulls a belief that is too dark up to its own value, and leaves a brighter one alone.
        counted = self._counted(self._differences(mean))
        u = mean
        for _ in range(iterations):
            residual, jacobian = self.linearise(u, counted)
            innovation = residual - (jacobian * (mean - u)).sum(2)
            u, covariance = mean, torch.diag_embed(variance.expand_as(mean).movedim(1, -1)).movedim((-2, -1), (1, 2))
            for i, sigma in enumerate(self.sigma.flatten()):
                j = jacobian[i]
                cross = (covariance * j[:, None]).sum(2)
                gain = cross / (sigma**2 + (j * cross).sum(1, keepdim=True))
                u = u + gain * (innovation[i] - (j * (u - mean)).sum(1))[:, None]
                covariance = covariance - gain[:, :, None] * cross[:, None]
            u = _hold(u, covariance, least, greatest)
        return u

    def _bounds(self, greatest_pd: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Least and greatest scaled PD, T1 and T2, both (slices or 1, 3, rows or 1, columns or 1)."""
        if self.labels is None:
            any_tissue = torch.ones((1, 2, 1, 1), device=self.observed.device)
            least, greatest = LEAST * any_tissue, GREATEST * any_tissue
        else:
            least, greatest = self.labels.bounds
        return (
            torch.cat((torch.full_like(least[:, :1], LEAST), least), 1),
            torch.cat((torch.full_like(greatest[:, :1], greatest_pd), greatest), 1),
        )

    @property
    def has_unknown_gains(self) -> bool:
        """Whether the gain of any observation is only a guess."""
        return any(o.calibrate for o in self.observations)

    @torch.no_grad()
    def calibrated(self, u: torch.Tensor) -> Likelihood:
        """This likelihood, guessed gains set by least squares to fit the signals of scaled maps, slice by slice.

        A single series needs no such calibration, as PD takes up a wrong gain. The gains of two series would contradict
        each other.

        Args:
            u: scaled maps (slices, 3, rows, columns).
        """
        if not self.has_unknown_gains:
            return self
        maps, calibrated = self.scaling.decode(u), []
        for o in self.observations:
            if o.calibrate:
                measured = o.images * (self.observed & ~o.saturated)
                gain = (measured * o.predict(maps)).sum((0, 2, 3)) / measured.square().sum((0, 2, 3)).clamp(min=1e-12)
                o = replace(o, images=o.images * gain.clamp(*_GAIN_BOUNDS).view(-1, 1, 1))
            calibrated.append(o)
        return replace(self, observations=tuple(calibrated))

    def squared_norm(self, u: torch.Tensor) -> torch.Tensor:
        """||images - signals(u)||^2, summed over all pixels, slices and images. Differentiable."""
        return self.residual(u).square().sum()

    def pixelwise_posterior(self, library: torch.Tensor) -> torch.Tensor:
        """The tissue of each pixel as its own values suggest: the guide of a prior, for any sequences.

        Mean and standard deviation of the scaled PD, T1 and T2 over a library of voxels, weighted by how well a voxel
        explains the pixel and fits its label. Labelled tissue may be brighter than the library's (`LABELLED_PD`).
        Padding counts like measured pixels: a prior learns from whole images.

        Args:
            library: PD, T1 (ms), T2 (ms) of voxels as frequent as in a body, (3, n).

        Returns:
            (slices, 6, rows, columns): three means, three standard deviations.
        """
        library = library.to(self.observed.device)
        averages = self._averages(library, torch.arange(self.observed.numel(), device=library.device), None)
        if self.labels is not None:
            labelled = self.labels.labelled.flatten().nonzero()[:, 0]
            brighter = torch.cat([library * library.new_tensor([[pd], [1.0], [1.0]]) for pd in LABELLED_PD], 1)
            averages[labelled] = self._averages(brighter, labelled, self.labels)
        mean, mean_square = averages.T.reshape(2, 3, *self.observed.shape)
        deviation = (mean_square - mean.square()).clamp(min=0).sqrt()
        return torch.cat((mean, deviation)).movedim(0, 1)

    def _averages(self, library: torch.Tensor, pixels: torch.Tensor, labels: TissueLabels | None) -> torch.Tensor:
        """Averages of the library's scaled PD, T1, T2 and of their squares, weighted by how well they explain pixels.

        Args:
            library: PD, T1 (ms), T2 (ms), (3, n), on the images' device.
            pixels: indices of pixels among all slices * rows * columns.
            labels: what labels say of the pixels, or None.

        Returns:
            (pixels, 6).
        """
        # 1. The library's voxels: their scaled values and squares, which are averaged, and their signals.
        voxels = SpinMaps.unstack(library)
        scaled = self.scaling.encode(voxels.map(lambda m: m[None, None]))[0, :, 0].clamp(LEAST, GREATEST).T
        moments = torch.cat((scaled, scaled.square()), 1)
        expected = torch.cat([o.predict(voxels) for o in self.observations]).T

        # 2. The pixels' values, (pixels, images); pixels and signals in units of the tolerance.
        tolerance = _POSTERIOR_NOISE * torch.tensor([o.level for o in self.observations for _ in o.images])
        tolerance = tolerance.to(library.device)
        expected = expected / tolerance
        observed = torch.cat([o.images.flatten(1)[:, pixels] for o in self.observations]).T / tolerance
        clipped = torch.cat([o.saturated.flatten(1)[:, pixels] for o in self.observations]).T

        # 3. Averages over the library. For one image they depend on one number: they are tabulated
        if labels is None and expected.shape[1] == 1:
            low, high = float(expected.min()) - _TABLE_MARGIN, float(expected.max()) + _TABLE_MARGIN
            knots = torch.arange(low, high, _TABLE_STEP, device=expected.device)[:, None]
            position = ((observed[:, 0] - low) / _TABLE_STEP).clamp(0, len(knots) - 1.001)
            averages = moments.new_empty((len(pixels), 6))
            for is_clipped in (False, True):
                chosen = clipped[:, 0] == is_clipped
                if chosen.any():
                    table = _explain(knots, torch.full_like(knots, is_clipped, dtype=torch.bool), expected) @ moments
                    below = position[chosen].long()
                    averages[chosen] = torch.lerp(table[below], table[below + 1], (position[chosen] - below)[:, None])
            return averages
        averages = moments.new_empty((len(pixels), 6))
        for start in range(0, len(pixels), _POSTERIOR_PIXELS):
            part = slice(start, start + _POSTERIOR_PIXELS)
            label_term = 0.0 if labels is None else labels.log_likelihood(scaled[:, 1:], pixels[part])
            averages[part] = _explain(observed[part], clipped[part], expected, label_term) @ moments
        return averages


def _explain(
    observed: torch.Tensor, clipped: torch.Tensor, expected: torch.Tensor, log_prior: torch.Tensor | float = 0.0
) -> torch.Tensor:
    """How well each voxel of a library explains each pixel: weights (pixels, n) that add up to 1.

    Args:
        observed: values of pixels, (pixels, images), in units of their noise.
        clipped: bool, of the same shape: a voxel that is brighter does not contradict such a value.
        expected: signals of the library's voxels, (n, images), in the same unit.
        log_prior: log-probability of each voxel in each pixel, (pixels, n).
    """
    fit = observed @ expected.T - 0.5 * expected.square().sum(1)  # the log-likelihood but for a constant per pixel
    has_clipped = clipped.any(1)
    if has_clipped.any():
        difference = observed[has_clipped, None] - expected
        one_sided = torch.where(clipped[has_clipped, None], difference.clamp(min=0), difference)
        fit[has_clipped] = -0.5 * one_sided.square().sum(2)
    return torch.softmax(fit + log_prior, 1)


def _hold(u: torch.Tensor, covariance: torch.Tensor, least: torch.Tensor, greatest: torch.Tensor) -> torch.Tensor:
    """Maps within bounds: T1, then T2 beyond its bound enters as an exact measurement of it; what remains is clipped.

    Args:
        u: most probable scaled maps without bounds, (slices, 3, rows, columns).
        covariance: their covariance, (slices, 3, 3, rows, columns).
        least: bounds that broadcast to `u`.
        greatest: the same.
    """
    for i in (1, 2):
        within = u[:, i].maximum(least[:, i]).minimum(greatest[:, i])
        beyond = (u[:, i] - within)[:, None]
        gain = covariance[:, i] / covariance[:, i, i].clamp(min=1e-12)[:, None]
        u = u - gain * beyond
        covariance = covariance - (beyond != 0)[:, None] * gain[:, :, None] * covariance[:, i, None]
    return u.maximum(least).minimum(greatest)
