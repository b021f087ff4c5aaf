"""Black-blood turbo spin echo, T2-weighted, for oedema; with STIR, fat is dark, too."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import (
    BEATS,
    ECHO_SPACING,
    ECHO_TIME,
    HEARTBEAT,
    RECOVERY_TIME,
    REPETITION_TIME,
    SHARE,
    Range,
    Whole,
    number,
    span,
)
from nnunet_phys.sequences.blocks import blood_share, decay, inversion, recovery
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng, chance, whole_number
from nnunet_phys.sequences.pulse_sequence import PulseSequence
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class BlackBloodTSE(PulseSequence):
    """Double inversion, which does not change static tissue, then turbo spin echo with ideal pulses.

        S = PD w mz exp(-TE/T2),   w = 1 - blood (1 - residual_blood)

    The excitation leaves no mz. From one echo to the next, through the refocusing pulse between them, mz changes as
    m -> (1 - h)^2 - h^2 m with h = exp(-ESP / (2 T1)), so that at the last of n echoes it is

        m_n = (1 - h)^2 (1 - (-h^2)^n) / (1 + h^2)

    (derived here; it is about 0, as a spin-echo train keeps mz small). From there it recovers to the next excitation;
    with STIR, a perfect inversion comes `inversion_time_ms` before that. Exact against `bloch`.

    Flowing blood keeps a share of the signal that it would have at rest. This is an ASSUMPTION that does not separate
    the double inversion's null from the wash-out of the refocused slice.

    Attributes:
        te_ms: effective TE, at the centre of k-space; not checked to be a multiple of the echo spacing.
        tr_ms: TR, one or two heartbeats.
        echo_spacing_ms: ESP.
        echo_train_length: n.
        inversion_time_ms: inversion time of STIR, which nulls fat at about its T1 times ln 2; None: no inversion.
        residual_blood: share of its signal that flowing blood keeps, 0-1; 0-0.3 is usual (an assumption).
        blood: share of flowing blood in each voxel, a number or broadcastable to the maps. None:
            `tissue_kinds.flowing_blood`.

    Raises:
        ValueError: a time out of range, TE outside the train, a train and inversion that do not fit into TR, a share
            outside 0-1.
    """

    name: ClassVar[str] = "black_blood"

    te_ms: float = field(default=60.0, metadata=number(ECHO_TIME))
    tr_ms: float = field(default=1800.0, metadata=number(REPETITION_TIME))
    echo_spacing_ms: float = field(default=6.0, metadata=number(ECHO_SPACING))
    echo_train_length: int = 20
    inversion_time_ms: float | None = field(default=None, metadata=number(RECOVERY_TIME))
    residual_blood: float = field(default=0.1, metadata=number(SHARE))
    blood: NumberOrMap | None = field(default=None, metadata=number(SHARE))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.echo_spacing_ms <= self.te_ms <= self._train_ms:
            raise ValueError(
                f"te_ms = {self.te_ms:g} lies outside the train's {self.echo_spacing_ms:g} to {self._train_ms:g} ms"
            )
        if self._rest_ms < 0:
            raise ValueError(f"train ({self._train_ms:g} ms) and inversion do not fit into tr_ms = {self.tr_ms:g}")

    @property
    def _train_ms(self) -> float:
        """From the excitation to the last echo."""
        return self.echo_train_length * self.echo_spacing_ms

    @property
    def _rest_ms(self) -> float:
        """From the last echo to the inversion, or to the next excitation."""
        return self.tr_ms - self._train_ms - (self.inversion_time_ms or 0.0)

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal of the maps' shape; negative where STIR's inversion has not yet recovered."""
        r1 = 1 / maps.t1
        half = decay(r1, self.echo_spacing_ms / 2)
        n, square = self.echo_train_length, half * half
        mz = (1 - half) ** 2 * (1 - (-1) ** n * decay(r1, self._train_ms)) / (1 + square)
        mz = recovery(mz, decay(r1, self._rest_ms))
        if self.inversion_time_ms is not None:
            mz = recovery(inversion(mz), decay(r1, self.inversion_time_ms))
        kept = 1 - blood_share(maps.t1, maps.t2, self.blood) * (1 - self.residual_blood)
        return maps.pd * (kept * mz * decay(1 / maps.t2, self.te_ms))


@dataclass(frozen=True)
class BlackBloodRanges(ProtocolRanges):
    """Black-blood turbo spin echo."""

    sequence = BlackBloodTSE

    te_ms: Range = field(default=(20.0, 100.0), metadata=span(ECHO_TIME, "effective echo time"))
    rr_ms: Range = field(default=(600.0, 1200.0), metadata=span(HEARTBEAT, "heartbeat"))
    tr_beats: Whole = field(default=(1, 2), metadata=span(BEATS, "heartbeats between excitations"))
    echo_spacing_ms: Range = field(default=(4.0, 8.0), metadata=span(ECHO_SPACING, "echo spacing of the train"))
    stir: float = field(default=0.5, metadata=number(SHARE, "share of images with an inversion that nulls fat (STIR)"))
    stir_inversion_time_ms: Range = field(
        default=(140.0, 220.0), metadata=span(RECOVERY_TIME, "inversion time of these images")
    )
    residual_blood: Range = field(
        default=(0.0, 0.3), metadata=span(SHARE, "share of its signal that blood keeps after double inversion")
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> BlackBloodTSE:
        """See `ProtocolRanges`."""
        te_ms = rng.uniform(*self.te_ms)
        echo_spacing_ms = rng.uniform(*self.echo_spacing_ms)
        return BlackBloodTSE(
            te_ms=te_ms,
            tr_ms=rng.uniform(*self.rr_ms) * whole_number(rng, *self.tr_beats),
            echo_spacing_ms=echo_spacing_ms,
            echo_train_length=max(2, 2 * round(te_ms / echo_spacing_ms)),
            inversion_time_ms=rng.uniform(*self.stir_inversion_time_ms) if chance(rng, self.stir) else None,
            residual_blood=rng.uniform(*self.residual_blood),
        )
