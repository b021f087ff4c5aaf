"""Least-squares fits of signals that are linear in some parameters, pixel by pixel: variable projection.

The linear parameters follow in closed form from the nonlinear ones (`variable_projection`). So the nonlinear ones,
relaxation times, are searched on a logarithmic grid over their bounds, and Gauss-Newton steps with the linear ones
eliminated refine them. Images are weighted pixel by pixel and again after every step, so that one
that moved does not spoil the fit.

Shapes: N pixels, K images, L linear and P nonlinear parameters; images come first, pixels last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch

from nnunet_phys.separable_model import SeparableModel
from nnunet_phys.variable_projection import LEAST_WEIGHT, TINY, Projection, project

_PIXELS = 4096
"""How many are fitted at a time, which bounds the memory."""
_STEPS = 2
"""Gauss-Newton steps after the grid, and after every change of the weights."""
_MOST_MOVED = 2
"""Most images of a pixel that are left out before Tukey's weights judge all of them by the others."""
_SPARE_IMAGES = 3
"""Images beyond the parameters for each image that may be left out: the others still show that it stands out."""
_OUTLYING = 3.0
"""Studentised residual of an image that is left out. By chance, 3 % of pixels have one among 11 images."""
_TUKEY = 4.685
"""Constant of Tukey's weights, 95 % efficient under normal noise (Holland and Welsch 1977, Commun Stat A6:813)."""
_TUKEY_ROUNDS = 2
_LARGEST_STEP = 0.5
"""Largest step of the logarithm of a nonlinear parameter, several steps of any grid used here."""
_TISSUE_SHARE = 0.25
"""Pixels that reach this share of the 99th percentile of the brightest image show the level of noise. Assumed: tissue;
air and lung are below."""
_FAR_BETTER = 1.5
"""Ratio of `_loss` at which unlikely signs are believed. A choice: more than 1, as MOLLI follows its model only nearly,
so that wrong signs may fit a little better."""


@dataclass(frozen=True, eq=False)
class SeparableFit:
    """A fit of N pixels.

    Attributes:
        linear: (L, N), in the signal's unit.
        nonlinear: (P, N), within the bounds of the model's axes.
        signs: -1 or 1, (K, N): times the pixels, it is the signal that was fitted.
        weights: 0.001 to 1, (K, N): how far each image was believed.
        residual: signal minus fit, (K, N).
    """

    linear: torch.Tensor
    nonlinear: torch.Tensor
    signs: torch.Tensor
    weights: torch.Tensor
    residual: torch.Tensor


def grid_fit(model: SeparableModel, pixels: torch.Tensor) -> SeparableFit:
    """The best of the model's grid, between whose values a parabola through the explained energy interpolates.

    Args:
        model: the model of K images.
        pixels: (K, N).
    """
    grid, blocks = _Grid.of(model), pixels.double().split(_PIXELS, 1)
    return _joined([_grid_block(model, grid, block, model.signs(block)) for block in blocks])


def robust_fit(model: SeparableModel, pixels: torch.Tensor) -> SeparableFit:
    """The best of the grid, refined by Gauss-Newton steps with reweighted images.

    Magnitudes are fitted with each of the likely signs, and with the best of all; the latter counts where it explains a
    pixel far better, as after motion.

    Up to two images that stand out, one for every three images beyond the parameters, are left out of a pixel; then
    Tukey's weights (the biweight) take over. Their scale is the pixel's own residual, but no less than the noise of the
    whole series: few images fit well by chance. With fewer than three images to spare, all weights stay 1.

    Args:
        model: the model of K images.
        pixels: (K, N); the noise is taken to be the same in all of them.
    """
    grid, blocks = _Grid.of(model), pixels.double().split(_PIXELS, 1)
    fits = [_likely_fit(model, grid, block) for block in blocks]
    noise = None
    if len(pixels) - model.parameters >= _SPARE_IMAGES:
        noise = noise_level(model, pixels, torch.cat([fit.residual for fit in fits], 1))
        fits = [_refined(model, block, fit, noise) for block, fit in zip(blocks, fits, strict=True)]
    if model.lost_sign:
        fits = [_or_unlikely(model, grid, block, fit, noise) for block, fit in zip(blocks, fits, strict=True)]
    return _joined(fits)


def noise_level(model: SeparableModel, pixels: torch.Tensor, residual: torch.Tensor) -> float:
    """Standard deviation of the noise, from the residuals (K, N) of the median bright pixel; 0 without spare images.

    The median of a chi-square distribution of n degrees of freedom is about n (1 - 2/(9n))^3 (Wilson and Hilferty
    1931, PNAS 17:684).
    """
    freedom = len(pixels) - model.parameters
    if freedom < 1:
        return 0.0
    brightest = pixels.abs().amax(0)
    bright = brightest >= _TISSUE_SHARE * brightest.kthvalue(max(1, round(0.99 * len(brightest)))).values
    energy = residual[:, bright].square().sum(0).median()
    return math.sqrt(float(energy) / (freedom * (1 - 2 / (9 * freedom)) ** 3))


def standard_errors(
    model: SeparableModel,
    linear: torch.Tensor,
    nonlinear: torch.Tensor,
    noise: torch.Tensor | float,
    weights: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Cramer-Rao bounds of the model's quantities under normal noise, from the Jacobian J of its signal.

    The covariance of the parameters is noise^2 (J^T J)^-1; that of a quantity follows from its gradient.

    Args:
        model: the model of K images.
        linear: (L, N).
        nonlinear: (P, N).
        noise: standard deviation, in the signal's unit, a number or (N,).
        weights: (K, N); default: all images count fully.

    Returns:
        standard deviation of each quantity, (N,); infinite where the images do not determine the parameters.
    """
    count = len(linear)
    with torch.enable_grad():
        parameters = torch.cat((linear, nonlinear.log())).detach().requires_grad_()
        quantities = model.quantities(parameters[:count], parameters[count:].exp())
        totals = {name: values.sum() for name, values in quantities.items()}
    slopes = (linear[None, :, None] * model.slopes(nonlinear)).sum(1)
    jacobian = torch.cat((model.columns(nonlinear), slopes))  # (L + P, K, N)
    scale = jacobian.square().sum(1).sqrt().clamp(min=TINY)
    jacobian = jacobian / scale[:, None]
    weighted = jacobian if weights is None else jacobian * weights
    information = torch.einsum("pkn,qkn->npq", weighted, jacobian)
    covariance, singular = torch.linalg.inv_ex(information)
    bounds = {}
    for name, total in totals.items():
        (gradient,) = torch.autograd.grad(total, parameters, retain_graph=True)
        gradient = (gradient / scale).T
        variance = torch.einsum("np,npq,nq->n", gradient, covariance, gradient)
        usable = (singular == 0) & (variance >= 0)
        bounds[name] = noise * torch.where(usable, variance, torch.inf).sqrt()
    return bounds


@dataclass(frozen=True, eq=False)
class _Grid:
    """The grid of a model, made once for all blocks and signs.

    Attributes:
        axes: the values of each nonlinear parameter.
        planes: what the linear parameters can explain at each of the G points, orthonormal, (L, G, K).
    """

    axes: list[torch.Tensor]
    planes: torch.Tensor

    @classmethod
    def of(cls, model: SeparableModel) -> _Grid:
        """The grid between the bounds of a model's axes."""
        axes = [axis.values for axis in model.axes]
        points = torch.stack([values.flatten() for values in torch.meshgrid(*axes, indexing="ij")])  # (P, G)
        planes, _ = torch.linalg.qr(model.columns(points).permute(2, 1, 0))  # (G, K, L)
        return cls(axes, planes.permute(2, 0, 1))


def _grid_block(model: SeparableModel, grid: _Grid, pixels: torch.Tensor, candidates: torch.Tensor) -> SeparableFit:
    """`grid_fit` of one block with the best of some candidates for the signs, (candidates, K, N or 1)."""
    axes = grid.axes
    explained = (grid.planes[:, None] @ (candidates * pixels)).square().sum(0)  # (candidates, G, N)
    best = explained.flatten(0, 1).argmax(0)
    side, place = best // explained.shape[1], best % explained.shape[1]
    pixel = torch.arange(pixels.shape[1])
    energy = explained.view(len(candidates), *map(len, axes), -1)
    index = torch.unravel_index(place, tuple(len(values) for values in axes))
    inner = [at.clamp(1, len(values) - 2) for at, values in zip(index, axes, strict=True)]
    fitted = torch.stack(
        [
            values[at] * (values[1] / values[0]) ** _peak(energy, side, inner, number, pixel)
            for number, (values, at) in enumerate(zip(axes, inner, strict=True))
        ]
    )
    signs = candidates.expand(-1, -1, len(pixel))[side, :, pixel].T
    weights = torch.ones_like(pixels)
    solved = project(model, signs * pixels, fitted, weights)
    return SeparableFit(solved.linear, fitted, signs, weights, solved.residual)


def _peak(
    energy: torch.Tensor, side: torch.Tensor, index: list[torch.Tensor], axis: int, pixel: torch.Tensor
) -> torch.Tensor:
    """How far from a grid point the peak of the parabola along one axis lies, -1 to 1 steps, (N,)."""

    def beside(offset: int) -> torch.Tensor:
        return energy[(side, *(at + offset * (number == axis) for number, at in enumerate(index)), pixel)]

    low, mid, high = beside(-1), beside(0), beside(1)
    curvature = low - 2 * mid + high
    return torch.where(curvature < 0, 0.5 * (low - high) / curvature, 0.0).clamp(-1, 1)


def _likely_fit(model: SeparableModel, grid: _Grid, pixels: torch.Tensor) -> SeparableFit:
    """A fit of one block with all weights 1: the best of those that begin at each of the likely signs.

    Near a null, the grid is too coarse to choose between them.
    """
    starts = [_grid_block(model, grid, pixels, signs[None]) for signs in model.likely_signs(pixels)]
    best, *others = (_refined(model, pixels, start, None) for start in starts)
    for other in others:
        best = _chosen(other.residual.square().sum(0) < best.residual.square().sum(0), other, best)
    return best


def _or_unlikely(
    model: SeparableModel, grid: _Grid, pixels: torch.Tensor, fit: SeparableFit, noise: float | None
) -> SeparableFit:
    """A fit of one block, but with any signs in pixels that these explain far better, as after motion."""
    other = _grid_block(model, grid, pixels, model.signs(pixels))
    other = _refined(model, pixels, other, None)
    if noise is not None:
        other = _refined(model, pixels, other, noise)
    return _chosen(_FAR_BETTER * _loss(other, noise) < _loss(fit, noise), other, fit)


def _loss(fit: SeparableFit, noise: float | None) -> torch.Tensor:
    """Sum of squared residuals, (N,); where the noise is known, Tukey's loss, to which an image that moved adds 1."""
    squares = fit.residual.square()
    if noise is not None:
        squares = 1 - (1 - (squares / max(_TUKEY * noise, TINY) ** 2).clamp(max=1)) ** 3
    return squares.sum(0)


def _chosen(where: torch.Tensor, fit: SeparableFit, other: SeparableFit) -> SeparableFit:
    """`fit` in the pixels (N,) where it is asked for, elsewhere `other`."""
    return SeparableFit(
        *(torch.where(where, getattr(fit, field.name), getattr(other, field.name)) for field in fields(fit))
    )


def _refined(model: SeparableModel, pixels: torch.Tensor, start: SeparableFit, noise: float | None) -> SeparableFit:
    """Gauss-Newton steps from a fit of one block: plain ones without `noise`, else with reweighted images."""
    signed, nonlinear, weights = start.signs * pixels, start.nonlinear, start.weights
    moved = min(_MOST_MOVED, (len(pixels) - model.parameters) // _SPARE_IMAGES)
    rounds = 1 if noise is None else moved + _TUKEY_ROUNDS
    bounds = torch.tensor([(axis.least, axis.greatest) for axis in model.axes], dtype=torch.float64).T[..., None]
    for number in range(rounds):
        if noise is not None:
            solved = project(model, signed, nonlinear, weights)
            if number < moved:
                weights = _without_worst(solved, weights, noise)
            else:
                weights = _tukey(solved, weights, model.parameters, noise)
        for _ in range(_STEPS):
            solved = project(model, signed, nonlinear, weights)
            nonlinear = (nonlinear * solved.step.clamp(-_LARGEST_STEP, _LARGEST_STEP).exp()).clamp(*bounds)
            if model.lost_sign:  # near zero, the grid was too coarse to decide
                signed = pixels.copysign(signed - solved.residual)
    solved = project(model, signed, nonlinear, weights)
    signs = torch.ones_like(pixels).copysign(signed) if model.lost_sign else start.signs
    return SeparableFit(solved.linear, nonlinear, signs, weights, solved.residual)


def _without_worst(solved: Projection, weights: torch.Tensor, noise: float) -> torch.Tensor:
    """Weights without the image whose omission improves the fit most (Cook and Weisberg 1982), if it may have moved.

    Only noise excuses it, not the pixel's own residual: two images that moved hide behind each other's residuals.
    """
    deviation, worst = (weights.sqrt() * solved.studentised()).abs().max(0)
    left = torch.where(deviation > _OUTLYING * noise, LEAST_WEIGHT, weights.gather(0, worst[None])[0])
    return weights.scatter(0, worst[None], left[None])


def _tukey(solved: Projection, weights: torch.Tensor, parameters: int, noise: float) -> torch.Tensor:
    """Tukey's weights (the biweight); the scale is that of the images that were believed before."""
    energy = (weights * solved.residual.square()).sum(0)
    scale = (energy / (weights.sum(0) - parameters).clamp(min=1)).sqrt().clamp(min=max(noise, TINY))
    shares = 1 - (solved.studentised() / (_TUKEY * scale)).square()
    return shares.clamp(min=0).square().clamp(min=LEAST_WEIGHT)


def _joined(parts: list[SeparableFit]) -> SeparableFit:
    """Blocks of pixels in one fit."""
    return SeparableFit(
        *(torch.cat([getattr(part, field.name) for part in parts], 1) for field in fields(SeparableFit))
    )
