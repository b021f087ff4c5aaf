"""What to synthesise: which sequences, in which ranges, how often. Data; drawing from it is apart from applying.

MOLLI's ranges lie around flip angle 35 degrees, first inversion time 100 ms and steps of 80 ms (Messroghli et al., JMRI
26:1081, 2007), the schemes and 50 degrees of McDiarmid et al. (QIMS 5:503, 2015), and ShMOLLI (Piechnik et al., JCMR
12:69, 2010). How wide they are, and the ranges of cine and GRE, are assumptions about clinical protocols. Every range
is (lowest, highest), drawn uniformly unless it says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from nnunet_phys.sequences import BSSFP, MOLLI, SpoiledGRE
from nnunet_phys.sequences.molli import parse_scheme
from nnunet_phys.spin import SpinMaps

Range = tuple[float, float]


class Sequence(Protocol):
    """A pulse sequence: signed signal of maps."""

    def __call__(self, maps: SpinMaps) -> Any: ...


class SequenceRanges(Protocol):
    """Ranges of one sequence's protocol. `rng` is np.random, a RandomState or a Generator."""

    def draw(self, rng: Any) -> Sequence: ...


@dataclass(frozen=True)
class BSSFPRanges:
    """Protocols of bSSFP cine."""

    flip_angle_deg: Range = (35.0, 80.0)
    tr_ms: Range = (2.5, 4.0)

    def draw(self, rng: Any) -> BSSFP:
        """One protocol."""
        return BSSFP(flip_angle_deg=rng.uniform(*self.flip_angle_deg), tr_ms=rng.uniform(*self.tr_ms))


@dataclass(frozen=True)
class MOLLIRanges:
    """Protocols of single MOLLI readouts; each readout is as likely as any other.

    Attributes:
        schemes: readouts per inversion with the pauses between in beats, or in seconds as in 5(3s)3.
        first_inversion_time_ms: later where the shot itself takes longer to the centre of k-space.
        inversion_step_ms: what each further inversion adds to the first one's inversion time.
    """

    schemes: tuple[str, ...] = ("5(3)3", "5(3s)3", "4(1)3(1)2", "3(3)3(3)5", "5(1)1(1)1")
    flip_angle_deg: Range = (25.0, 50.0)
    tr_ms: Range = (2.3, 3.0)
    pulses: tuple[int, int] = (45, 75)
    centre_pulse: tuple[int, int] = (10, 30)
    rr_ms: Range = (600.0, 1200.0)
    first_inversion_time_ms: Range = (90.0, 130.0)
    inversion_step_ms: float = 80.0
    inversion_efficiency: Range = (0.88, 1.0)

    def draw(self, rng: Any) -> MOLLI:
        """One readout of one protocol."""
        scheme = self.schemes[_integer(rng, 0, len(self.schemes) - 1)]
        readouts, _ = parse_scheme(scheme)
        tr_ms, centre_pulse = rng.uniform(*self.tr_ms), _integer(rng, *self.centre_pulse)
        first = max(rng.uniform(*self.first_inversion_time_ms), (centre_pulse + 1) * tr_ms)
        return MOLLI(
            scheme=scheme,
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            pulses=_integer(rng, *self.pulses),
            centre_pulse=centre_pulse,
            rr_ms=rng.uniform(*self.rr_ms),
            first_inversion_times_ms=tuple(first + i * self.inversion_step_ms for i in range(len(readouts))),
            inversion_efficiency=rng.uniform(*self.inversion_efficiency),
            readout=_integer(rng, 0, sum(readouts) - 1),
        )


@dataclass(frozen=True)
class GRERanges:
    """Protocols of spoiled GRE cine, also for patients with devices.

    Attributes:
        te_ms: echo time; never drawn beyond `te_of_tr` of the repetition time.
        inflow_pulses: excitations that blood sees while it crosses the slice, drawn log-uniformly.
        r2_prime_hz: 1/T2* - 1/T2; 11 in myocardium at 1.5 T, 18 at 3 T.
    """

    flip_angle_deg: Range = (8.0, 25.0)
    tr_ms: Range = (3.0, 10.0)
    te_ms: Range = (1.2, 5.0)
    te_of_tr: float = 0.7
    inflow_pulses: Range = (30.0, 1000.0)
    r2_prime_hz: Range = (5.0, 40.0)

    def draw(self, rng: Any) -> SpoiledGRE:
        """One protocol."""
        tr_ms = rng.uniform(*self.tr_ms)
        return SpoiledGRE(
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=tr_ms,
            te_ms=rng.uniform(self.te_ms[0], min(self.te_ms[1], self.te_of_tr * tr_ms)),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
            inflow_pulses=_log_uniform(rng, self.inflow_pulses),
        )


@dataclass(frozen=True)
class ContrastDraw:
    """One contrast, ready to be applied again.

    Attributes:
        sequence: the pulse sequence.
        t1_factor, t2_factor: what all T1 and T2 are multiplied by.
        noise: standard deviation of real and imaginary noise as a fraction of the case's bright signal (95th
            percentile).
        seed: of the noise.
    """

    sequence: Sequence
    t1_factor: float
    t2_factor: float
    noise: float
    seed: int


@dataclass(frozen=True)
class ContrastRecipe:
    """How training images are drawn.

    Attributes:
        sequences: ranges of each sequence.
        weights: how often each is drawn, relative to the others; all alike where empty.
        probability: share of synthesised samples; the others keep the real image.
        t1_factor, t2_factor: drawn log-uniformly, for all tissues of a sample together: the spread between
            field strengths and between mapping methods (T1 of myocardium is 996 ms by MOLLI and 1,170 by
            SASHA at 1.5 T, 1,523 by mSASHA at 3 T), of which a map knows one.
        noise: see `ContrastDraw`.
    """

    sequences: tuple[SequenceRanges, ...] = field(default=(BSSFPRanges(), MOLLIRanges(), GRERanges()))
    weights: tuple[float, ...] = ()
    probability: float = 0.7
    t1_factor: Range = (0.75, 1.35)
    t2_factor: Range = (0.8, 1.25)
    noise: Range = (0.0, 0.05)

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.sequences):
            raise ValueError(f"{len(self.weights)} weights for {len(self.sequences)} sequences")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability is {self.probability}, not within 0 to 1")

    def draw(self, rng: Any) -> ContrastDraw | None:
        """One contrast, or None for the real image. `rng` is np.random, a RandomState or a Generator."""
        if rng.uniform() >= self.probability:
            return None
        return self.draw_contrast(rng)

    def draw_contrast(self, rng: Any) -> ContrastDraw:
        """One contrast, always."""
        weights = self.weights or (1.0,) * len(self.sequences)
        chosen = rng.choice(len(weights), p=[weight / sum(weights) for weight in weights])
        return ContrastDraw(
            sequence=self.sequences[chosen].draw(rng),
            t1_factor=_log_uniform(rng, self.t1_factor),
            t2_factor=_log_uniform(rng, self.t2_factor),
            noise=rng.uniform(*self.noise),
            seed=_integer(rng, 0, 2**31 - 1),
        )


DEFAULT = ContrastRecipe()
MOLLI_ONLY = ContrastRecipe(sequences=(MOLLIRanges(),))
GRE_ONLY = ContrastRecipe(sequences=(GRERanges(),))


def _integer(rng: Any, lowest: int, highest: int) -> int:
    """Uniform integer, both ends included; np.random and Generator name their own methods differently."""
    return min(int(rng.uniform(lowest, highest + 1)), highest)


def _log_uniform(rng: Any, ends: Range) -> float:
    return math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1])))
