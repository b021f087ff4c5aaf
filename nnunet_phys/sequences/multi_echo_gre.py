"""Spoiled gradient echo at several echo times: T2* mapping, in clinical use for iron in the heart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from nnunet_phys.quantities import DEPHASING_RATE, ECHO_TIME, FLIP_ANGLE, REPETITION_TIME, Range, number, span
from nnunet_phys.sequences.blocks import spoiled_gre_train, t2_star_decay
from nnunet_phys.sequences.checks import check_echo
from nnunet_phys.sequences.protocol_ranges import LONGEST_T1_MS, ProtocolRanges, Rng
from nnunet_phys.sequences.pulse_sequence import TimeSeries
from nnunet_phys.spin import NumberOrMap, SpinMaps
from nnunet_phys.tissue_state import TissueState


@dataclass(frozen=True)
class MultiEchoGRE(TimeSeries):
    """Ideally spoiled gradient echoes of one excitation, read at several echo times.

        S(TE) = PD sin(a) (1 - E1) / (1 - E1 cos(a)) exp(-TE/T2*),   1/T2* = 1/T2 + R2'

    The steady state of `SpoiledGRE` with blood at rest. (Blood has no signal after a black-blood preparation
    and is bright by inflow without it; T2* of the septum is measured from either image.) Iron shortens T2*: below 20 ms
    at 1.5 T is abnormal, below 10 ms severe (Anderson et al. 2001, Eur Heart J 22:2171).

    Attributes:
        te_ms: echo times, one image per time. The default is like a common protocol of eight echoes.
        flip_angle_deg: a, a number or broadcastable to the maps.
        tr_ms: TR.
        r2_prime_hz: R2', as in `SpoiledGRE`; about 80 where iron shortens T2* to 10 ms.

    Raises:
        ValueError: no echo time, or as `SpoiledGRE`.
    """

    name: ClassVar[str] = "multi_echo_gre"
    times: ClassVar[str] = "te_ms"

    te_ms: tuple[float, ...] = field(default=(2.6, 4.8, 7.0, 9.2, 11.4, 13.6, 15.8, 18.0), metadata=number(ECHO_TIME))
    flip_angle_deg: NumberOrMap = field(default=20.0, metadata=number(FLIP_ANGLE))
    tr_ms: float = field(default=20.0, metadata=number(REPETITION_TIME))
    r2_prime_hz: NumberOrMap = field(default=11.0, metadata=number(DEPHASING_RATE))

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.te_ms:
            raise ValueError("te_ms is empty: give at least one echo time")
        for te_ms in self.te_ms:
            check_echo(self.tr_ms, te_ms)

    @property
    def dephasing_ms(self) -> float:
        """TE of the first image."""
        return self.te_ms[0]

    def __call__(self, maps: SpinMaps) -> torch.Tensor:
        """Signal, echo times first, (images, *maps.shape); never negative."""
        sine, _, mz, _ = spoiled_gre_train(1 / maps.t1, self.flip_angle_deg, self.tr_ms)
        r2, excited = 1 / maps.t2, maps.pd * (sine * mz)
        return torch.stack([excited * t2_star_decay(r2, self.r2_prime_hz, te_ms) for te_ms in self.te_ms])


@dataclass(frozen=True)
class MultiEchoGRERanges(ProtocolRanges):
    """Single echoes, with R2' up to severe iron overload; the ranges around published protocols are assumed."""

    sequence = MultiEchoGRE

    te_ms: Range = field(default=(2.0, 18.0), metadata=span(ECHO_TIME, "echo time"))
    flip_angle_deg: Range = field(default=(15.0, 35.0), metadata=span(FLIP_ANGLE, "flip angle"))
    tr_ms: Range = field(default=(18.5, 25.0), metadata=span(REPETITION_TIME, "repetition time"))
    r2_prime_hz: Range = field(
        default=(5.0, 100.0), metadata=span(DEPHASING_RATE, "1/T2* - 1/T2; about 80 where iron shortens T2* to 10 ms")
    )

    def draw_sequence(self, rng: Rng, tissue: TissueState, longest_t1_ms: float = LONGEST_T1_MS) -> MultiEchoGRE:
        """See `ProtocolRanges`."""
        return MultiEchoGRE(
            te_ms=(rng.uniform(*self.te_ms),),
            flip_angle_deg=rng.uniform(*self.flip_angle_deg),
            tr_ms=rng.uniform(*self.tr_ms),
            r2_prime_hz=rng.uniform(*self.r2_prime_hz),
        )
