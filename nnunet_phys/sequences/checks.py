"""Contradictions between the parameters of a sequence; what a single one may be, its quantity says (`quantities`)."""

from __future__ import annotations


def check_centre(pulses: int, centre_pulse: int) -> None:
    """Refuse a centre of k-space outside the train.

    Raises:
        ValueError: `centre_pulse`, counted from 0, is not one of the train's pulses.
    """
    if not 0 <= centre_pulse < pulses:
        raise ValueError(f"centre_pulse must lie between 0 and pulses - 1 = {pulses - 1}, got {centre_pulse}")


def check_echo(tr_ms: float, te_ms: float) -> None:
    """Refuse an echo after the end of its repetition.

    Raises:
        ValueError: TE beyond TR.
    """
    if te_ms > tr_ms:
        raise ValueError(f"te_ms = {te_ms:g} lies beyond tr_ms = {tr_ms:g}")
