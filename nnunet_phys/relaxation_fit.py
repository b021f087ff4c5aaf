"""Conventional maps of a series: PD, T1 and T2 as far as it determines them, and where they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from nnunet_phys.separable_fit import noise_level, robust_fit, standard_errors
from nnunet_phys.separable_model import SeparableModel
from nnunet_phys.spin import T1_MAX_MS, T1_MIN_MS, T2_MAX_MS, T2_MIN_MS

LEAST_SNR = 5.0
"""Least signal of a valid pixel's fit, in standard deviations of the noise. A choice: magnitudes in air have a mean of
1.25 (Gudbjartsson and Patz 1995, Magn Reson Med 34:910), and lung lies a little above."""
LARGEST_ERROR = 1.0
"""Largest standard error of a valid pixel's values, as a share of each. A much smaller one would mask the pixels whose
noise raises a relaxation time, since the error rises with it, and leave those whose noise lowers it."""
_LARGEST_TYPICAL_ERROR = 0.25
"""Largest standard error of a usable series, as a share of the value. A choice: a quarter tells blood from fat."""
_BOUNDS = {"PD": (0.0, torch.inf), "T1": (T1_MIN_MS, T1_MAX_MS), "T2": (T2_MIN_MS, T2_MAX_MS)}
_DARKEST = 1e-30
"""Stands for the maximum of images without any signal."""
_TYPICAL_NOISE = 1 / 50
"""Noise of a good series, as a share of the signal at equilibrium."""


@dataclass(frozen=True, eq=False)
class RelaxationFit:
    """Maps of a series. All tensors have the shape of one image.

    Attributes:
        maps: PD (in the images' unit), T1 and T2 (ms), as far as the series determines them, float32; 0 where they are
            not valid.
        valid: bool: the fit reaches an SNR of 5, and the values lie inside the bounds of `spin` and above their
            standard errors.
        residual: root mean square difference between images and fit, in the images' unit, float32; images that were
            discounted count fully, so motion shows.
        noise: standard deviation of the noise, in the images' unit, as the residuals of bright pixels show it.
    """

    maps: dict[str, torch.Tensor]
    valid: torch.Tensor
    residual: torch.Tensor
    noise: float

    @property
    def misfit(self) -> torch.Tensor:
        """The residual as a share of the signal at equilibrium (PD); meaningless where the fit is not valid."""
        return self.residual / self.maps["PD"]


def fit_series(model: SeparableModel, images: torch.Tensor) -> RelaxationFit:
    """Fit a series pixel by pixel (`robust_fit`).

    Args:
        model: the model, with the times of the images.
        images: (images, ...), finite, any unit.

    Raises:
        ValueError: not more images than the model has parameters.
    """
    if len(images) <= model.parameters:
        raise ValueError(f"{len(images)} images for {model.parameters} parameters: give {model.parameters + 1} or more")
    shape, brightest = images.shape[1:], images.abs().max().double().clamp(min=_DARKEST)
    pixels = images.flatten(1).double() / brightest
    fit = robust_fit(model, pixels)
    noise = noise_level(model, pixels, fit.residual)
    freedom = (fit.weights.sum(0) - model.parameters).clamp(min=1)
    own = ((fit.weights * fit.residual.square()).sum(0) / freedom).sqrt().clamp(min=noise)
    errors = standard_errors(model, fit.linear, fit.nonlinear, own, fit.weights)
    values = model.quantities(fit.linear, fit.nonlinear)
    errors["PD"], values["PD"] = errors["PD"] * brightest, values["PD"] * brightest
    signal = fit.signs * pixels - fit.residual
    valid = signal.abs().amax(0) > LEAST_SNR * noise
    for name, value in values.items():
        least, greatest = _BOUNDS[name]
        valid &= (value > least) & (value < greatest) & (errors[name] < LARGEST_ERROR * value)
    return RelaxationFit(
        {name: torch.where(valid, value, 0.0).float().reshape(shape) for name, value in values.items()},
        valid.reshape(shape),
        (fit.residual.square().mean(0).sqrt() * brightest).float().reshape(shape),
        noise * float(brightest),
    )


def undetermined(model: SeparableModel) -> list[str]:
    """Quantities that the times of a series leave open: their error in myocardium at an SNR of 50 exceeds 25 %."""
    linear, nonlinear = (torch.tensor(values, dtype=torch.float64)[:, None] for values in model.typical)
    errors = standard_errors(model, linear, nonlinear, _TYPICAL_NOISE)
    values = model.quantities(linear, nonlinear)
    return [name for name, error in errors.items() if not float(error) < _LARGEST_TYPICAL_ERROR * float(values[name])]
