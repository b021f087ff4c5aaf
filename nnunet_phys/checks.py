"""Checks of the parameters of sequences: wrong units, values out of range, and contradictions."""

from __future__ import annotations

import math

import torch

from nnunet_phys.spin import NumberOrMap


def check_flip_angle(flip_angle_deg: NumberOrMap) -> None:
    """Refuse flip angles that are not degrees between 0 and 180.

    Raises:
        ValueError: a number that is 0 or less, or above 180, or below 2, which looks like radians; a map with values
            below 0, or with such a maximum. A map may be 0 (no signal); 180 is what `effective_flip_angle` gives at the
            edge of a band.
    """
    is_map = isinstance(flip_angle_deg, torch.Tensor)
    least, largest = _range(flip_angle_deg)
    if 0 < largest < 2:
        raise ValueError(
            f"flip_angle_deg = {largest:g} looks like radians: give degrees ({math.degrees(largest):.4g}?)"
        )
    if not (least >= 0 and largest <= 180) or (largest == 0 and not is_map):
        outside = largest if least >= 0 else least
        raise ValueError(f"flip_angle_deg must lie between 0 and 180 degrees, got {outside:g}")


def check_positive(**parameters: float) -> None:
    """Refuse parameters that are not above 0.

    Raises:
        ValueError: names the first such parameter.
    """
    for name, value in parameters.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value:g}")


def check_not_negative(**parameters: NumberOrMap) -> None:
    """Refuse parameters (numbers or maps) that are below 0.

    Raises:
        ValueError: names the first such parameter.
    """
    for name, value in parameters.items():
        least, _ = _range(value)
        if not least >= 0:
            raise ValueError(f"{name} must not be negative, got {least:g}")


def check_share(**parameters: NumberOrMap) -> None:
    """Refuse shares (numbers or maps) outside 0 to 1.

    Raises:
        ValueError: names the first such parameter.
    """
    for name, value in parameters.items():
        least, largest = _range(value)
        if not (least >= 0 and largest <= 1):
            raise ValueError(f"{name} must lie between 0 and 1, got {least if not least >= 0 else largest:g}")


def check_efficiency(**parameters: float) -> None:
    """Refuse efficiencies of a preparation pulse that are not above 0 and at most 1.

    Raises:
        ValueError: names the first such parameter.
    """
    for name, value in parameters.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must lie in (0, 1], got {value:g}")


def check_centre(pulses: int, centre_pulse: int) -> None:
    """Refuse a centre of k-space outside the train.

    Raises:
        ValueError: `centre_pulse`, counted from 0, is not one of the train's pulses.
    """
    if not 0 <= centre_pulse < pulses:
        raise ValueError(f"centre_pulse must lie between 0 and pulses - 1 = {pulses - 1}, got {centre_pulse}")


def check_echo(tr_ms: float, te_ms: float, r2_prime_hz: NumberOrMap) -> None:
    """Refuse impossible times of a gradient echo.

    Raises:
        ValueError: TR not positive; TE negative or beyond TR; R2' negative.
    """
    check_positive(tr_ms=tr_ms)
    check_not_negative(te_ms=te_ms, r2_prime_hz=r2_prime_hz)
    if te_ms > tr_ms:
        raise ValueError(f"te_ms = {te_ms:g} lies beyond tr_ms = {tr_ms:g}")


def check_flow(inflow_pulses: float | None, blood: NumberOrMap | None) -> None:
    """Refuse impossible flow.

    Raises:
        ValueError: blood sees less than 1 pulse; a share of blood outside 0 to 1.
    """
    if inflow_pulses is not None and not inflow_pulses >= 1:
        raise ValueError(f"inflow_pulses must be at least 1, got {inflow_pulses:g}")
    if blood is not None:
        check_share(blood=blood)


def _range(value: NumberOrMap) -> tuple[float, float]:
    if isinstance(value, torch.Tensor):
        return float(value.detach().amin()), float(value.detach().amax())
    return float(value), float(value)
