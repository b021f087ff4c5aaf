"""Late gadolinium enhancement: inversion recovery in the steady state, read out by gradient echo or bSSFP."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from nnunet_phys.quantities import (
    BEATS,
    COUNT,
    DEPHASING_RATE,
    ECHO_TIME,
    EFFICIENCY,
    FLIP_ANGLE,
    HEARTBEAT,
    RATIO,
    RECOVERY_TIME,
    RELAXATION_TIME,
    REPETITION_TIME,
    SHARE,
    Range,
    Whole,
    number,
    span,
)
from nnunet_phys.sequences.blocks import (
    Affine,
    decay,
    recovering,
    recovery,
    single_shot_bssfp,
    single_shot_gre,
    t2_star_decay,
)
from nnunet_phys.sequences.checks import check_centre, check_echo
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, chance, whole_number
from nnunet_phys.sequences.pulse_sequence import BalancedSequence, PulseSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class InversionRecovery(PulseSequence):
    """Common to both read-outs: a cycle of one or more heartbeats, repeated to its steady state.

    Every block of the cycle is a map mz -> A + B mz. So the whole cycle is such a map, whose fixed point A / (1 - B) is
    mz before an inversion. Subclasses add the train.
    """

    inversion_time_ms: float = field(default=300.0, metadata=number(RECOVERY_TIME))
    flip_angle_deg: NumberOrMap = field(default=20.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=6.0, metadata=number(REPETITION_TIME))
    pulses: int = 25
    centre_pulse: int = 12
    beats: int = field(default=2, metadata=number(BEATS))
    rr_ms: float = field(default=900.0, metadata=number(HEARTBEAT))
    inversion_efficiency: float = field(default=0.96, metadata=number(EFFICIENCY))
    phase_sensitive: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_centre(self.pulses, self.centre_pulse)
        if not self.inversion_time_ms >= self.earliest_ms:
            raise ValueError(
                f"inversion_time_ms = {self.inversion_time_ms:g} is too early: from the start of the read-out to "
                f"centre_pulse it takes {self.earliest_ms:g} ms"
            )
        if not self.inversion_time_ms <= self.latest_ms:
            raise ValueError(
                f"inversion_time_ms = {self.inversion_time_ms:g} is too late: the read-out ends after "
                f"{self.beats} beats of rr_ms = {self.rr_ms:g}"
            )

    def _train(self, r1: torch.Tensor, r2: torch.Tensor) -> tuple[Affine, Affine]:
        """Maps of mz before the train: to the signal per unit PD, and to mz `pulses` TR after the train's start."""
        raise NotImplementedError

    @property
    def earliest_ms(self) -> float:
        """The earliest inversion time: from the start of the train to the echo at the centre of k-space."""
        raise NotImplementedError

    @property
    def _delay_ms(self) -> float:
        """From the inversion to the start of the train."""
        return self.inversion_time_ms - self.earliest_ms

    @property
    def latest_ms(self) -> float:
        """The latest inversion time, with which the train ends just before the next inversion."""
        return self.earliest_ms + self._free_ms

    @property
    def _free_ms(self) -> float:
        """The part of a cycle without a train: before and after it."""
        return self.beats * self.rr_ms - self.pulses * self.tr_ms

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signed signal of the maps' shape."""
        r1 = 1 / maps.t1
        echo, remainder = self._train(r1, 1 / maps.t2)
        e1 = decay(r1, self._delay_ms)
        prepare = Affine(recovery(0.0, e1), -self.inversion_efficiency * e1)
        rest = recovering(decay(r1, self._free_ms - self._delay_ms))
        before_inversion = prepare.then(remainder).then(rest).steady
        return maps.pd * echo(prepare(before_inversion))

    def null_inversion_time_ms(self, t1_ms: float, t2_ms: float) -> float:
        """The inversion time at which a tissue gives no signal, in closed form; the flip angle must be a number.

        Zero signal determines mz before the train, hence mz after it, hence the recovery between the two.

        Raises:
            ValueError: there is no such time within the cycle.
        """
        r1, r2 = torch.tensor([1 / t1_ms, 1 / t2_ms], dtype=torch.float64)
        echo, remainder = self._train(r1, r2)
        mz, efficiency = -echo.offset / echo.slope, self.inversion_efficiency
        kept = efficiency * (1 - remainder(mz)) * decay(r1, self._free_ms)
        delay = float(-torch.log((1 - mz + kept) / (1 + efficiency)) / r1)
        if not 0 <= delay <= self._free_ms:
            raise ValueError(
                f"no inversion time nulls T1 = {t1_ms:g}, T2 = {t2_ms:g} ms: the read-out would start {delay:.0f} ms "
                f"after the inversion, in a cycle that leaves it 0 to {self._free_ms:g} ms"
            )
        return delay + self.earliest_ms

    def at_null(self, tissue: TissueState, t1_ms: float, t2_ms: float) -> Self:
        """This sequence with the inversion time at which a tissue is black, `null_inversion_time_ms`.

        Args:
            tissue: state at the scan, such as contrast agent.
            t1_ms, t2_ms: T1 and T2 of the tissue in the maps, before the state changes them.

        Raises:
            ValueError: there is no such time within the cycle.
        """
        at_scan, _ = tissue(SpinMaps(*torch.tensor([[1.0], [t1_ms], [t2_ms]])))
        return replace(self, inversion_time_ms=self.null_inversion_time_ms(float(at_scan.t1), float(at_scan.t2)))


@dataclass(frozen=True)
class InversionRecoveryGRE(InversionRecovery):
    """Segmented inversion-recovery gradient echo, the usual late enhancement (LGE).

    Every `beats` heartbeats: inversion, a delay, a train of ideally spoiled gradient echoes (`single_shot_gre`), and
    free recovery to the next inversion, in the steady state and not from equilibrium. Exact against `bloch`. The
    textbook's 1 - 2 exp(-TI/T1) + exp(-RR/T1) neglects the train. Jenista et al., J Cardiovasc Magn Reson 25:18 (2023),
    describe its use.

    Attributes:
        inversion_time_ms: time from the inversion to the echo at the centre of k-space. `null_inversion_time_ms` gives
            the time that makes a tissue black.
        flip_angle_deg: a number or broadcastable to the maps.
        tr_ms, te_ms: TR and TE.
        pulses: pulses (views) of one segment.
        centre_pulse: the pulse, from 0, at the centre of k-space.
        beats: heartbeats from one inversion to the next.
        rr_ms: duration of a heartbeat.
        inversion_efficiency: 1 is a perfect inversion.
        phase_sensitive: PSIR: images show the signed signal instead of its magnitude. The signal that a call returns is
            signed in either case.
        r2_prime_hz: R2', as in `SpoiledGRE`.

    Raises:
        ValueError: a flip angle outside 0-180 degrees or looking like radians, a time out of range, a centre outside
            the train, an efficiency outside (0, 1], or a read-out that does not fit between two inversions.
    """

    name: ClassVar[str] = "lge_gre"

    te_ms: float = field(default=2.5, metadata=number(ECHO_TIME))
    r2_prime_hz: NumberOrMap = field(default=11.0, metadata=number(DEPHASING_RATE))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_echo(self.tr_ms, self.te_ms)

    @property
    def dephasing_ms(self) -> float:
        return self.te_ms

    @property
    def earliest_ms(self) -> float:
        return self.centre_pulse * self.tr_ms + self.te_ms

    def _train(self, r1: torch.Tensor, r2: torch.Tensor) -> tuple[Affine, Affine]:
        echo, remainder = single_shot_gre(r1, self.flip_angle_deg, self.tr_ms, self.pulses, self.centre_pulse)
        weight = t2_star_decay(r2, self.r2_prime_hz, self.te_ms)
        return Affine(weight * echo.offset, weight * echo.slope), remainder


@dataclass(frozen=True)
class InversionRecoveryBSSFP(InversionRecovery, BalancedSequence):
    """Segmented inversion-recovery bSSFP, the late enhancement of single shots and fast heartbeats.

    As `InversionRecoveryGRE`, with `single_shot_bssfp` for the train, and with the same attributes except TE, which is
    TR/2, and R2'. Agrees with `bloch` within 0.1 % of M0 (T2 > 25 ms, 35-70 degrees).

    Raises:
        ValueError: as `InversionRecoveryGRE`.
    """

    name: ClassVar[str] = "lge_bssfp"

    flip_angle_deg: NumberOrMap = field(default=50.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=2.8, metadata=number(REPETITION_TIME))
    pulses: int = 40
    centre_pulse: int = 20

    @property
    def earliest_ms(self) -> float:
        return (self.centre_pulse + 1) * self.tr_ms

    def _train(self, r1: torch.Tensor, r2: torch.Tensor) -> tuple[Affine, Affine]:
        return single_shot_bssfp(r1, r2, self.flip_angle_deg, self.tr_ms, self.pulses, self.centre_pulse)


@dataclass(frozen=True)
class InversionRecoveryRanges(ProtocolRanges):
    """Ranges of both read-outs. The inversion time is drawn relative to the myocardium's null, as operators set it."""

    sequence: ClassVar[type[InversionRecovery]]

    nulled_t1_ms: Range = field(
        default=(950.0, 1150.0),
        metadata=span(
            RELAXATION_TIME, "T1 of the myocardium that is nulled, before contrast agent and the recipe's factors"
        ),
    )
    nulled_t2_ms: Range = field(default=(45.0, 60.0), metadata=span(RELAXATION_TIME, "T2 of that myocardium"))
    of_null: Range = field(
        default=(0.8, 1.5), metadata=span(RATIO, "inversion time relative to the null of that myocardium")
    )
    beats: Whole = field(default=(1, 2), metadata=span(BEATS, "heartbeats from one inversion to the next"))
    phase_sensitive: float = field(default=0.3, metadata=number(SHARE, "share of phase-sensitive images (PSIR)"))
    flip_angle_deg: Range = field(default=(15.0, 25.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(5.0, 8.0), metadata=span(REPETITION_TIME, "repetition time"))
    pulses: Whole = field(
        default=(15, 30), metadata=span(COUNT, "pulses of a read-out; the middle one is at the centre of k-space")
    )
    rr_ms: Range = field(default=(600.0, 1200.0), metadata=span(HEARTBEAT, "heartbeat"))
    inversion_efficiency: Range = field(
        default=(0.88, 1.0), metadata=span(EFFICIENCY, "efficiency of the inversion; 1 is perfect")
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> InversionRecovery:
        """See `ProtocolRanges`."""
        untimed = self._untimed(rng)
        t1_ms, t2_ms = rng.uniform(*self.nulled_t1_ms), rng.uniform(*self.nulled_t2_ms)
        try:
            null_ms = untimed.at_null(tissue, t1_ms, t2_ms).inversion_time_ms
        except ValueError:  # with so much contrast agent, the null comes before the train can start
            null_ms = 0.0
        chosen_ms = null_ms * rng.uniform(*self.of_null)
        return replace(untimed, inversion_time_ms=min(max(chosen_ms, untimed.earliest_ms), untimed.latest_ms))

    def _untimed(self, rng: Rng) -> InversionRecovery:
        """The protocol with any inversion time that fits."""
        return self.sequence(**self._protocol(rng))

    def _protocol(self, rng: Rng) -> dict[str, Any]:
        """Its parameters, by name."""
        pulses = whole_number(rng, *self.pulses)
        beats = whole_number(rng, *self.beats)
        rr_ms = rng.uniform(*self.rr_ms)
        return {
            "flip_angle_deg": rng.uniform(*self.flip_angle_deg),
            "tr_ms": rng.uniform(*self.tr_ms),
            "pulses": pulses,
            "centre_pulse": pulses // 2,
            "beats": beats,
            "rr_ms": rr_ms,
            "inversion_efficiency": rng.uniform(*self.inversion_efficiency),
            "phase_sensitive": chance(rng, self.phase_sensitive),
            "inversion_time_ms": beats * rr_ms / 2,
        }


@dataclass(frozen=True)
class InversionRecoveryGRERanges(InversionRecoveryRanges):
    """Late enhancement by segmented inversion-recovery GRE."""

    sequence = InversionRecoveryGRE

    te_ms: Range = field(default=(1.5, 4.0), metadata=span(ECHO_TIME, "echo time"))
    r2_prime_hz: Range = field(default=(5.0, 40.0), metadata=span(DEPHASING_RATE, "1/T2* - 1/T2"))

    def _protocol(self, rng: Rng) -> dict[str, Any]:
        protocol = super()._protocol(rng)
        return {**protocol, "te_ms": rng.uniform(*self.te_ms), "r2_prime_hz": rng.uniform(*self.r2_prime_hz)}


@dataclass(frozen=True)
class InversionRecoveryBSSFPRanges(InversionRecoveryRanges):
    """Late enhancement by inversion-recovery bSSFP."""

    sequence = InversionRecoveryBSSFP

    flip_angle_deg: Range = field(default=(40.0, 60.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(2.5, 3.5), metadata=span(REPETITION_TIME, "echo spacing"))
    pulses: Whole = field(
        default=(20, 70), metadata=span(COUNT, "pulses of a read-out; the middle one is at the centre of k-space")
    )
