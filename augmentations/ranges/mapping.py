"""Ranges of the images of T1 and T2 mapping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nnunet_phys.augmentations.ranges.values import Names, Range, Whole, integer, log_uniform
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.sequences import MOLLI, SASHA, LookLocker, T2PreparedBSSFP, T2PreparedGRE
from nnunet_phys.sequences.molli import parse_scheme
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class MOLLIRanges:
    """Single MOLLI readouts, each as likely as any other.

    Around flip angle 35 degrees, first inversion time 100 ms and steps of 80 ms (Messroghli et al., JMRI 26:1081,
    2007), the schemes and 50 degrees of McDiarmid et al. (QIMS 5:503, 2015), ShMOLLI (Piechnik et al., JCMR 12:69,
    2010).

    Attributes:
        schemes: readouts per inversion with the pauses between in beats, or in seconds as in 5(3s)3.
        first_inversion_time_ms: later where the shot itself takes longer to the centre of k-space.
        inversion_step_ms: what each further inversion adds to the first one's inversion time.
    """

    name: ClassVar[str] = "molli"

    schemes: Names
    flip_angle_deg: Range
    tr_ms: Range
    pulses: Whole
    centre_pulse: Whole
    rr_ms: Range
    first_inversion_time_ms: Range
    inversion_step_ms: float
    inversion_efficiency: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> MOLLI:
        """One readout of one protocol."""
        scheme = self.schemes[integer(rng, 0, len(self.schemes) - 1)]
        readouts, _ = parse_scheme(scheme)
        tr_ms, centre_pulse = rng.uniform(*self.tr_ms), integer(rng, *self.centre_pulse)
        first = max(rng.uniform(*self.first_inversion_time_ms), (centre_pulse + 1) * tr_ms)
        return MOLLI(
            scheme=scheme,
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            pulses=integer(rng, *self.pulses),
            centre_pulse=centre_pulse,
            rr_ms=rng.uniform(*self.rr_ms),
            first_inversion_times_ms=tuple(first + i * self.inversion_step_ms for i in range(len(readouts))),
            inversion_efficiency=rng.uniform(*self.inversion_efficiency),
            readout=integer(rng, 0, sum(readouts) - 1),
        )


@dataclass(frozen=True)
class LookLockerRanges:
    """Continuous read-out after an inversion, as in eq. (5) of the reverse-imaging paper.

    Attributes:
        earliest_ms: least time after the inversion.
        latest_of_t1: greatest, as a multiple of the case's 99th percentile of T1.
    """

    name: ClassVar[str] = "looklocker"

    flip_angle_deg: Range
    earliest_ms: float
    latest_of_t1: float

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> LookLocker:
        """One protocol; without a case, T1 of blood at 1.5 T stands for its longest."""
        longest = 1550.0 if case is None else float(np.quantile(case.voxels[1], 0.99))
        latest = max(self.earliest_ms, self.latest_of_t1 * longest)
        return LookLocker(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg), time_ms=rng.uniform(self.earliest_ms, latest)
        )


@dataclass(frozen=True)
class _ShotRanges:
    """What images of one bSSFP shot share.

    Attributes:
        pulses: read-out pulses of the shot.
        centre_pulse: the one at the centre of k-space, counted from 0.
    """

    flip_angle_deg: Range
    tr_ms: Range
    pulses: Whole
    centre_pulse: Whole

    def _shot(self, rng: Any) -> dict:
        return {
            "flip_angle_deg": rng.uniform(*self.flip_angle_deg),
            "tr_ms": rng.uniform(*self.tr_ms),
            "pulses": integer(rng, *self.pulses),
            "centre_pulse": integer(rng, *self.centre_pulse),
        }


@dataclass(frozen=True)
class SASHARanges(_ShotRanges):
    """SASHA and mSASHA images.

    Attributes:
        ts_ms: drawn log-uniformly.
        anchor: share of images without saturation.
        prepared: share of images with T2 preparation (mSASHA), among those with saturation.
        t2_prep_ms: of these.
    """

    name: ClassVar[str] = "sasha"

    ts_ms: Range
    anchor: float
    prepared: float
    t2_prep_ms: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> SASHA:
        """One image."""
        ts_ms, t2_prep_ms = None, 0.0
        if rng.uniform() >= self.anchor:
            ts_ms = log_uniform(rng, self.ts_ms)
            if rng.uniform() < self.prepared:
                t2_prep_ms = rng.uniform(*self.t2_prep_ms)
        return SASHA(ts_ms=ts_ms, t2_prep_ms=t2_prep_ms, **self._shot(rng))


@dataclass(frozen=True)
class T2PreparedBSSFPRanges(_ShotRanges):
    """Images of T2 mapping, read out by bSSFP.

    Attributes:
        unprepared: share of images without preparation.
        t2_prep_ms: of the others.
    """

    name: ClassVar[str] = "t2prep"

    unprepared: float
    t2_prep_ms: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> T2PreparedBSSFP:
        """One image."""
        return T2PreparedBSSFP(
            t2_prep_ms=(0.0 if rng.uniform() < self.unprepared else rng.uniform(*self.t2_prep_ms),),
            **self._shot(rng),
        )


@dataclass(frozen=True)
class T2PreparedGRERanges:
    """Images of T2 mapping, read out by GRE; see `T2PreparedBSSFPRanges`."""

    name: ClassVar[str] = "t2prep_gre"

    unprepared: float
    t2_prep_ms: Range
    flip_angle_deg: Range
    tr_ms: Range
    te_ms: Range
    centre_pulse: Whole
    r2_prime_hz: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> T2PreparedGRE:
        """One image."""
        return T2PreparedGRE(
            t2_prep_ms=(0.0 if rng.uniform() < self.unprepared else rng.uniform(*self.t2_prep_ms),),
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            te_ms=rng.uniform(*self.te_ms),
            centre_pulse=integer(rng, *self.centre_pulse),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
        )
