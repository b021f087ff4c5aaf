"""Ranges of protocols: one frozen dataclass per sequence, whose values a recipe's JSON holds.

A `Range` is (least, greatest), drawn uniformly unless it says so; times in ms, angles in degrees. `draw` takes `rng`,
which is np.random, a RandomState or a Generator, the state of the tissue and the case's reservoir, since a scanner's
operator looks at the patient, too: the inversion time of late enhancement follows the myocardium's null.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from nnunet_phys.fields import Region
from nnunet_phys.reservoir import Reservoir
from nnunet_phys.sequences import (
    BSSFP,
    MOLLI,
    SASHA,
    BlackBloodTSE,
    InversionRecoveryBSSFP,
    InversionRecoveryGRE,
    LookLocker,
    SaturationRecoveryGRE,
    SpoiledGRE,
    T2PreparedBSSFP,
    T2PreparedGRE,
)
from nnunet_phys.sequences.molli import parse_scheme
from nnunet_phys.spin import SpinMaps
from nnunet_phys.tissue_state import ContrastAgent, TissueState

Range = tuple[float, float]
Whole = tuple[int, int]
"""A range of whole numbers, both ends included."""
Names = tuple[str, ...]


@dataclass(frozen=True)
class BSSFPRanges:
    """bSSFP cine.

    Attributes:
        inflow_pulses: pulses that blood sees on its way through the slice, drawn log-uniformly.
    """

    name: ClassVar[str] = "bssfp"

    flip_angle_deg: Range
    tr_ms: Range
    inflow_pulses: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> BSSFP:
        """One protocol."""
        return BSSFP(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            inflow_pulses=log_uniform(rng, self.inflow_pulses),
        )


@dataclass(frozen=True)
class GRERanges:
    """Spoiled GRE cine, also of patients with devices.

    Attributes:
        te_ms: echo time; not drawn beyond `te_of_tr` of the repetition time, where the range admits that.
        inflow_pulses: as in `BSSFPRanges`.
        r2_prime_hz: 1/T2* - 1/T2; 11 in myocardium at 1.5 T, 18 at 3 T.
    """

    name: ClassVar[str] = "gre"

    flip_angle_deg: Range
    tr_ms: Range
    te_ms: Range
    te_of_tr: float
    inflow_pulses: Range
    r2_prime_hz: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> SpoiledGRE:
        """One protocol."""
        tr_ms = rng.uniform(*self.tr_ms)
        return SpoiledGRE(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=rng.uniform(self.te_ms[0], max(self.te_ms[0], min(self.te_ms[1], self.te_of_tr * tr_ms))),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
            inflow_pulses=log_uniform(rng, self.inflow_pulses),
        )


@dataclass(frozen=True)
class ErnstRanges:
    """GRE as in eq. (6) of the reverse-imaging paper: no inflow, T2 for T2*.

    Attributes:
        te_of_tr: echo time as a fraction of the repetition time.
        least_te_ms: it is never less.
    """

    name: ClassVar[str] = "ernst"

    flip_angle_deg: Range
    tr_ms: Range
    te_of_tr: Range
    least_te_ms: float

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> SpoiledGRE:
        """One protocol."""
        tr_ms = rng.uniform(*self.tr_ms)
        return SpoiledGRE(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=max(self.least_te_ms, rng.uniform(*self.te_of_tr) * tr_ms),
            r2_prime_hz=0.0,
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
class SASHARanges:
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
    flip_angle_deg: Range
    tr_ms: Range
    pulses: Whole
    centre_pulse: Whole

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> SASHA:
        """One image."""
        return SASHA(
            ts_ms=None if rng.uniform() < self.anchor else log_uniform(rng, self.ts_ms),
            t2_prep_ms=rng.uniform(*self.t2_prep_ms) if rng.uniform() < self.prepared else 0.0,
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            pulses=integer(rng, *self.pulses),
            centre_pulse=integer(rng, *self.centre_pulse),
        )


@dataclass(frozen=True)
class T2PreparedBSSFPRanges:
    """Images of T2 mapping, read out by bSSFP.

    Attributes:
        unprepared: share of images without preparation.
        t2_prep_ms: of the others.
    """

    name: ClassVar[str] = "t2prep"

    unprepared: float
    t2_prep_ms: Range
    flip_angle_deg: Range
    tr_ms: Range
    pulses: Whole
    centre_pulse: Whole

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> T2PreparedBSSFP:
        """One image."""
        return T2PreparedBSSFP(
            t2_prep_ms=(0.0 if rng.uniform() < self.unprepared else rng.uniform(*self.t2_prep_ms),),
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            pulses=integer(rng, *self.pulses),
            centre_pulse=integer(rng, *self.centre_pulse),
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


@dataclass(frozen=True)
class BlackBloodRanges:
    """Black-blood turbo spin echo.

    Attributes:
        tr_beats: heartbeats between excitations.
        stir: share with an inversion that nulls fat.
        stir_inversion_time_ms: of these.
        residual_blood: share of blood's signal that double inversion leaves.
    """

    name: ClassVar[str] = "black_blood"

    te_ms: Range
    rr_ms: Range
    tr_beats: Whole
    echo_spacing_ms: Range
    stir: float
    stir_inversion_time_ms: Range
    residual_blood: Range

    def draw(self, rng: Any, tissue: TissueState, case: Reservoir | None) -> BlackBloodTSE:
        """One protocol."""
        te_ms, spacing = rng.uniform(*self.te_ms), rng.uniform(*self.echo_spacing_ms)
        return BlackBloodTSE(
            te_ms=te_ms,
            tr_ms=rng.uniform(*self.rr_ms) * integer(rng, *self.tr_beats),
            echo_spacing_ms=spacing,
            echo_train_length=max(2, 2 * round(te_ms / spacing)),
            inversion_time_ms=rng.uniform(*self.stir_inversion_time_ms) if rng.uniform() < self.stir else None,
            residual_blood=rng.uniform(*self.residual_blood),
        )


@dataclass(frozen=True)
class AgentRanges:
    """Contrast agent; see `ContrastAgent`.

    Attributes:
        probability: share of images with it.
        blood_mmol_l: concentration in blood.
        tissue_of_blood: that in tissue, relative to blood's.
    """

    probability: float
    blood_mmol_l: Range
    tissue_of_blood: Range

    def draw(self, rng: Any) -> ContrastAgent:
        """Concentrations, zero where there is none."""
        if rng.uniform() >= self.probability:
            return ContrastAgent(0.0, 0.0)
        blood = rng.uniform(*self.blood_mmol_l)
        return ContrastAgent(blood, blood * rng.uniform(*self.tissue_of_blood))


@dataclass(frozen=True)
class RegionRanges:
    """Random regions in another state: scars, oedema, and blood that the bolus has not reached.

    Attributes:
        probability: share of images with them.
        share, scale_mm: see `fields.Region`.
        t1_factor, t2_factor, uptake: of tissue like myocardium there; see `TissueState`.
        blood_factor: of the contrast agent in blood there.
    """

    probability: float
    share: Range
    scale_mm: Range
    t1_factor: Range
    t2_factor: Range
    uptake: Range
    blood_factor: Range

    def draw(self, rng: Any, tissue: TissueState) -> tuple[Region, TissueState] | tuple[None, None]:
        """Where, and in which state."""
        if rng.uniform() >= self.probability:
            return None, None
        region = Region(rng.uniform(*self.share), rng.uniform(*self.scale_mm), integer(rng, 0, 2**31 - 1))
        return region, TissueState(
            t1_factor=tissue.t1_factor,
            t2_factor=tissue.t2_factor,
            agent=ContrastAgent(tissue.agent.blood * rng.uniform(*self.blood_factor), tissue.agent.tissue),
            muscle_t1_factor=rng.uniform(*self.t1_factor),
            muscle_t2_factor=rng.uniform(*self.t2_factor),
            muscle_uptake=rng.uniform(*self.uptake),
        )


SEQUENCE_RANGES = {
    kind.name: kind
    for kind in (
        BSSFPRanges,
        MOLLIRanges,
        GRERanges,
        SASHARanges,
        T2PreparedBSSFPRanges,
        T2PreparedGRERanges,
        LateGRERanges,
        LateBSSFPRanges,
        PerfusionRanges,
        BlackBloodRanges,
        LookLockerRanges,
        ErnstRanges,
    )
}
"""Ranges by the sequence's name in a recipe."""


def integer(rng: Any, lowest: int, highest: int) -> int:
    """Uniform whole number, both ends included; np.random and Generator name their own methods differently."""
    return min(int(rng.uniform(lowest, highest + 1)), highest)


def log_uniform(rng: Any, ends: Range) -> float:
    """Number whose logarithm is uniform."""
    return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))
