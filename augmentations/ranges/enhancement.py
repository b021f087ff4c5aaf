"""Ranges of late enhancement and first-pass perfusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from nnunet_phys.augmentations.ranges.values import Range, Whole, integer
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.sequences import InversionRecoveryBSSFP, InversionRecoveryGRE, SaturationRecoveryGRE
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class _LateEnhancementRanges:
    """What both read-outs of late enhancement share.

    Attributes:
        nulled_t1_ms, nulled_t2_ms: of the myocardium that the operator nulls, before contrast and before the recipe's
            factors, which the state of the tissue applies.
        of_null: inversion time relative to the null.
        beats: from one inversion to the next.
        phase_sensitive: share of PSIR.
    """

    nulled_t1_ms: Range
    nulled_t2_ms: Range
    of_null: Range
    beats: Whole
    phase_sensitive: float
    flip_angle_deg: Range
    tr_ms: Range
    pulses: Whole
    rr_ms: Range
    inversion_efficiency: Range

    def _protocol(self, rng: Any) -> dict:
        pulses = integer(rng, *self.pulses)
        return {
            "flip_angle_deg": rng.uniform(*self.flip_angle_deg),
            "tr_ms": rng.uniform(*self.tr_ms),
            "pulses": pulses,
            "centre_pulse": pulses // 2,
            "beats": integer(rng, *self.beats),
            "rr_ms": rng.uniform(*self.rr_ms),
            "inversion_efficiency": rng.uniform(*self.inversion_efficiency),
            "phase_sensitive": bool(rng.uniform() < self.phase_sensitive),
        }

    def _near_null(self, kind: type, protocol: dict, rng: Any, tissue: TissueState) -> Any:
        """The protocol with an inversion time around the null, within what its cycle admits."""
        native = [torch.tensor([rng.uniform(*ends)]) for ends in (self.nulled_t1_ms, self.nulled_t2_ms)]
        now, _ = tissue(SpinMaps(torch.ones(1), *native))
        middle = protocol["beats"] * protocol["rr_ms"] / 2  # any time that fits
        try:
            null_ms = kind(**protocol, inversion_time_ms=middle).null_inversion_time_ms(float(now.t1), float(now.t2))
        except ValueError:  # so much contrast agent that the train comes too late for the null
            null_ms = 0.0
        to_centre = (protocol["centre_pulse"] + 1) * protocol["tr_ms"]
        latest = protocol["beats"] * protocol["rr_ms"] - (protocol["pulses"] + 1) * protocol["tr_ms"]
        wanted = null_ms * rng.uniform(*self.of_null)
        return kind(**protocol, inversion_time_ms=min(max(wanted, to_centre), latest))


@dataclass(frozen=True)
class LateGRERanges(_LateEnhancementRanges):
    """Late enhancement by segmented inversion-recovery GRE."""

    name: ClassVar[str] = "lge_gre"

    te_ms: Range
    r2_prime_hz: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> InversionRecoveryGRE:
        """One protocol."""
        protocol = self._protocol(rng)
        echo = {"te_ms": rng.uniform(*self.te_ms), "r2_prime_hz": rng.uniform(*self.r2_prime_hz)}
        return self._near_null(InversionRecoveryGRE, {**protocol, **echo}, rng, tissue)


@dataclass(frozen=True)
class LateBSSFPRanges(_LateEnhancementRanges):
    """Late enhancement by inversion-recovery bSSFP."""

    name: ClassVar[str] = "lge_bssfp"

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> InversionRecoveryBSSFP:
        """One protocol."""
        return self._near_null(InversionRecoveryBSSFP, self._protocol(rng), rng, tissue)


@dataclass(frozen=True)
class PerfusionRanges:
    """First-pass perfusion by saturation-recovery GRE."""

    name: ClassVar[str] = "perfusion"

    ts_ms: Range
    flip_angle_deg: Range
    tr_ms: Range
    te_of_tr: Range
    pulses: Whole
    centre_pulse: Whole
    rr_ms: Range
    saturation_efficiency: Range
    r2_prime_hz: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> SaturationRecoveryGRE:
        """One image."""
        tr_ms, centre_pulse = rng.uniform(*self.tr_ms), integer(rng, *self.centre_pulse)
        return SaturationRecoveryGRE(
            ts_ms=max(rng.uniform(*self.ts_ms), (centre_pulse + 1) * tr_ms),
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=rng.uniform(*self.te_of_tr) * tr_ms,
            pulses=integer(rng, *self.pulses),
            centre_pulse=centre_pulse,
            rr_ms=rng.uniform(*self.rr_ms),
            saturation_efficiency=rng.uniform(*self.saturation_efficiency),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
        )
